"""The daemon as systemd sees it: ready, alive, reloading. The real process, told by a socket of ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from timewright.edge.statefile import StateFile

from tests.e2e.disks import mountable, small_disk
from tests.e2e.host import REPO

pytestmark = pytest.mark.e2e
PATIENCE = 60.0
LIMIT = 2.0  # seconds without a sign of life after which systemd would end it
SETTINGS = '[compiler]\nmode = "off"\n'  # no compile here: signals are our subject


class Unit:
    """`timewright run` with Type=notify, WatchdogSec=2."""

    def __init__(self, home: Path) -> None:
        self.home, self.settings = home, home / "timewright.toml"
        self.settings.write_text(SETTINGS)
        self.specs, self.data = home / "specs", home / "var"
        self.specs.mkdir()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(home / "notify"))
        self._socket.setblocking(False)
        self.told: list[tuple[float, str]] = []
        self.log = home / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        limit = f"{LIMIT * 1e6:.0f}"
        env = {**kept, "NOTIFY_SOCKET": str(self.home / "notify"), "WATCHDOG_USEC": limit, **env}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "timewright.cli.main", "run", "--config", self.settings],
                env={**env, "PYTHONPATH": str(REPO / "daemon")},
                stdout=log,
                stderr=log,
            )

    def listen(self) -> list[str]:
        while True:
            try:
                self.told.append((time.monotonic(), self._socket.recv(4096).decode()))
            except BlockingIOError:
                return [text for _, text in self.told]

    def until(self, met: Callable[[list[str]], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not met(self.listen()):
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            assert self.process is None or self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def fed(self) -> list[float]:
        """When it showed a sign of life, as far as is known; to be looked at after `listen`."""
        return [at for at, text in self.told if text == "WATCHDOG=1"]

    def asks(self, path: str) -> bytes:
        """What the API answers."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(str(self.data / "api.sock"))
            line.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: line.recv(4096), b""))

    def fact(self, name: str) -> Any:
        state = StateFile(self.data / "state.db", read_only=True)
        try:
            return state.fact(name)
        finally:
            state.close()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._socket.close()


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    made = Unit(tmp_path)
    try:
        yield made
    finally:
        made.close()


def has(word: str) -> Callable[[list[str]], object]:
    return lambda told: any(text.startswith(word) for text in told)


def test_it_is_ready_when_the_first_pass_was_made_and_says_how_things_stand(unit: Unit) -> None:
    (unit.specs / "held.json").write_text("{}")
    unit.start(TIMEWRIGHT_FAILPOINT="parse-held=sleep:2")
    unit.until(has("READY=1"))
    assert unit.fact("last_pass"), "ready before its first pass was made"
    unit.until(has("STATUS="))
    words = [text for _, text in unit.told]
    assert words.index("READY=1") < words.index("STATUS=nothing deployed")
    assert "timewright is up" in unit.log.read_text()


@mountable
def test_it_is_ready_when_a_disk_refuses_the_first_pass_and_says_so(unit: Unit) -> None:
    """systemd ends one that isn't ready every five minutes, and with it the API that tells the reason."""
    with small_disk(unit.data) as disk:
        unit.start()
        unit.until(has("READY=1"))
        unit.stop()
        unit.listen()
        unit.told.clear()
        for number in range(300):
            (unit.specs / f"{number}.json").write_text(f'{{"workflowId": "w{number}"}}')
        disk.fill(spare=64 << 10)  # enough to open the state file
        unit.start()
        unit.until(has("READY=1"))
        assert has("STATUS=passes fail: the state file can't be used")(unit.listen())
        assert b"the state file can't be used" in unit.asks("/readyz")
        unit.told.clear()
        disk.free()
        unit.until(has("STATUS=300 DEPLOYMENT_FAILED"))
        unit.stop()


def test_it_shows_signs_of_life_while_it_has_nothing_to_do(unit: Unit) -> None:
    unit.settings.write_text(SETTINGS + "[source]\nscan_interval_s = 3600\n")  # no pass gives any
    unit.start()
    unit.until(has("READY=1"))
    unit.told.clear()
    unit.until(lambda _: len(unit.fed()) > 3 and all(b - a < LIMIT for a, b in pairwise(unit.fed()[-4:])))


@pytest.mark.parametrize(("point", "is_blocked"), [("before-state", True), ("parse-hang", False)])
def test_a_pass_that_hangs_shows_no_sign_of_life(unit: Unit, point: str, is_blocked: bool) -> None:
    """It blocks all of the daemon, or awaits for ever what another thread does while the API answers."""
    unit.start(TIMEWRIGHT_FAILPOINT=f"{point}=sleep:3600")
    unit.until(lambda told: "READY=1" in told and len(unit.fed()) >= 2)
    (unit.specs / "hang.json").write_text('{"workflowId": "hang"}')
    unit.until(lambda _: time.monotonic() - unit.fed()[-1] > 2 * LIMIT)
    if not is_blocked:
        assert b'"alive":true' in unit.asks("/healthz").replace(b" ", b"")
    assert unit.process is not None
    assert unit.process.poll() is None


def test_other_settings_are_taken_up_by_the_same_process(unit: Unit) -> None:
    unit.start()
    unit.until(has("READY=1"))
    unit.told.clear()
    unit.settings.write_text(SETTINGS + '[source]\npath = "elsewhere"\n')
    unit.signal(signal.SIGHUP)
    unit.until(has("READY=1"))
    assert unit.told[0][1].startswith("RELOADING=1")
    assert (unit.home / "elsewhere").is_dir()
    assert unit.process is not None
    assert unit.process.poll() is None, "and it is the process that was started"


def test_wrong_settings_change_nothing_and_are_told(unit: Unit) -> None:
    unit.start()
    unit.until(has("READY=1"))
    unit.told.clear()
    unit.settings.write_text("[source]\npath = 17\n")
    unit.signal(signal.SIGHUP)
    unit.until(has("READY=1"))
    asked = [sys.executable, "-m", "timewright.cli.main", "status", "--data", str(unit.data)]
    env = {**os.environ, "PYTHONPATH": str(REPO / "daemon")}
    said = subprocess.run(asked, env=env, cwd=unit.home.parent, capture_output=True, text=True).stdout
    assert "The settings can't be read" in said
    assert "source.path" in said
    unit.settings.write_text(SETTINGS)
    unit.told.clear()
    unit.signal(signal.SIGHUP)
    unit.until(has("READY=1"))
    said = subprocess.run(asked, env=env, cwd=unit.home.parent, capture_output=True, text=True).stdout
    assert "settings" not in said


def test_a_stop_is_told_and_is_quick(unit: Unit) -> None:
    unit.start()
    unit.until(has("READY=1"))
    unit.signal(signal.SIGTERM)
    assert unit.process is not None
    assert unit.process.wait(PATIENCE) == 0
    assert "STOPPING=1" in unit.listen()
    unit.process = None
