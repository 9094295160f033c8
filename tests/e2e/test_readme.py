"""The transcript on the README's first screen, run as it stands."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from timewright.core.errors import TimewrightError
from timewright.core.state import Status
from timewright.edge.statefile import StateFile

from tests.e2e.host import PATIENCE, REPO, TemporalServer, free_port

BUSY = (Status.DEPLOYING, Status.UNDEPLOYING)


def transcript() -> list[tuple[str, list[str]]]:
    """(command, the lines it prints) of the README's console block."""
    block = re.search(r"```console\n(.*?)```", (REPO / "README.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    steps: list[tuple[str, list[str]]] = []
    for line in block[1].splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def general(line: str) -> str:
    """A line without what differs from run to run: digests, times, durations, padding."""
    for pattern in (r"\b[0-9a-f]{12}\b", r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?", r"\b\d+[smh]\b", r"\d+ ms"):
        line = re.sub(pattern, "#", line)
    return re.sub(r"\s+", " ", line).strip()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    """A directory as after `make run`: the examples, and everything running (the port is a free one)."""
    shutil.copytree(REPO / "specs", tmp_path / "specs")
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "run.log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "timewright.cli.main", "run", "--embedded"],
            cwd=tmp_path,
            env=environment(address),
            stdout=log,
            stderr=log,
        )
    (tmp_path / ".address").write_text(address)
    yield tmp_path
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 0, (tmp_path / "run.log").read_text()
    with pytest.raises(OSError, match="refused"):
        TemporalServer(tmp_path, int(address.rsplit(":")[-1])).probe()


def environment(address: str) -> dict[str, str]:
    command = os.environ.get("TEMPORAL_CLI") or shutil.which("temporal") or ""
    path = [str(Path(sys.executable).parent), str(Path(command).parent), os.environ["PATH"]]
    return {
        "PATH": ":".join(path),
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": str(REPO / "daemon"),
        "TEMPORAL_ADDRESS": address,
    }


def test_the_first_screen_of_the_readme_is_true(desk: Path) -> None:
    address = (desk / ".address").read_text()
    _settle(desk, "hello", "order-saga", "reminder", "report")
    for command, expected in transcript():
        done = subprocess.run(
            command,
            shell=True,
            cwd=desk,
            env=environment(address),
            capture_output=True,
            text=True,
            timeout=60,
        )
        printed = iter([general(line) for line in done.stdout.splitlines()])
        for line in map(general, expected):  # in this order, perhaps with others between
            assert line in printed, f"$ {command}\nexpected {line!r} in\n{done.stdout}{done.stderr}"
        if "mv " in command:
            time.sleep(0.5)
            _settle(desk, "hello")


def _settle(desk: Path, *workflow_ids: str) -> None:
    """Wait until these are deployed and healthy, or have failed."""
    deadline = time.monotonic() + PATIENCE
    while not all(_is_settled(desk, workflow_id) for workflow_id in workflow_ids):
        assert time.monotonic() < deadline, (desk / "run.log").read_text()
        time.sleep(0.1)


def _is_settled(desk: Path, workflow_id: str) -> bool:
    try:
        state = StateFile(desk / "var" / "state.db", read_only=True)
    except TimewrightError:
        return False
    record = state.record(workflow_id)
    state.close()
    if record is None or record.status in BUSY:
        return False
    return record.status is Status.DEPLOYMENT_FAILED or record.health == "Healthy"
