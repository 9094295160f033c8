"""Ordinary projects, as people and generators write them, deployed as they are and run to completion.

tests/projects/NAME/ is a project folder. Its project.json says what its workflow returned when the
project was built and run by hand, and how it is expected to be served; it is no part of the spec.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.e2e.host import REPO, Host, TemporalServer, run_workflow, running_host

PROJECTS = sorted(path.parent for path in (REPO / "tests" / "projects").glob("*/project.json"))
#: Seconds for all of them: packages are installed, compilers started, workflows bundled by webpack.
PATIENCE = 420.0


@dataclass(frozen=True)
class Deployed:
    """One host with all projects in its source; `packed`: what `timewright pack` said of each."""

    host: Host
    packed: dict[str, str]


def pack(folder: Path, spec: Path) -> str:
    """What `timewright pack` says of a folder."""
    command = [sys.executable, "-m", "timewright.cli.main", "pack", str(folder), "--id", folder.name]
    done = subprocess.run(
        [*command, "--exclude", "/project.json", "-o", str(spec)],
        env={**os.environ, "PYTHONPATH": str(REPO / "daemon")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, temporal: TemporalServer) -> Iterator[Deployed]:
    """Waits until each project is served, or has failed: its own test says so then."""
    home = tmp_path_factory.mktemp("projects")
    with running_host(home, temporal.address) as host:
        packed = {folder.name: pack(folder, host.specs / f"{folder.name}.json") for folder in PROJECTS}
        host.start_worker()
        host.start_daemon()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(_is_settled(host, path.name) for path in PROJECTS):
            time.sleep(0.5)
        yield Deployed(host, packed)


def _is_settled(host: Host, name: str) -> bool:
    status = host.status(name)
    served = status.get("status") == "DEPLOYED" and status.get("health") == "Healthy"
    return served or status.get("status") == "DEPLOYMENT_FAILED"


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
async def test_project_is_deployed_as_it_is_and_its_workflow_runs_to_completion(
    folder: Path, deployed: Deployed, client: Client
) -> None:
    host, expected = deployed.host, json.loads((folder / "project.json").read_text())

    status = host.status(folder.name)
    assert (status.get("status"), status.get("health")) == ("DEPLOYED", "Healthy"), _story(deployed, folder)
    assert _receipt(host, folder.name)["isolation"] == expected["isolation"]
    for warning in expected["warnings"]:
        assert any(warning in said for said in status["warnings"]), (warning, status["warnings"])

    queue = expected["taskQueue"]
    result = await run_workflow(client, expected["workflowType"], *expected["args"], queue=queue)
    assert result == expected["expect"]


def test_there_is_a_project_for_each_kind() -> None:
    """At least twelve, each with what its own run returned."""
    assert len(PROJECTS) >= 12
    for folder in PROJECTS:
        expected = json.loads((folder / "project.json").read_text())
        assert set(expected) == {"workflowType", "taskQueue", "args", "expect", "isolation", "warnings"}


def _receipt(host: Host, name: str) -> dict[str, Any]:
    return tomllib.loads((host.data / "workflows" / name / "release.toml").read_text())


def _story(deployed: Deployed, folder: Path) -> str:
    """All that is known of a project that isn't served."""
    status = json.dumps(deployed.host.status(folder.name), indent=2)
    worker = deployed.host.worker_log.read_text(errors="replace").splitlines()
    lines = [line for line in worker if f'"{folder.name}"' in line or f"/{folder.name}/" in line]
    return "\n".join(["", deployed.packed[folder.name], status, *lines[-20:]])
