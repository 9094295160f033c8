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

import pytest

from tests.e2e.host import REPO

pytestmark = pytest.mark.e2e
PATIENCE = 30.0


class Unit:
    """`timewright run` with Type=notify, WatchdogSec=2."""

    def __init__(self, home: Path) -> None:
        self.home, self.settings = home, home / "timewright.toml"
        self.settings.write_text('[compiler]\nmode = "off"\n')  # no compile here: signals are our subject
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(home / "notify"))
        self._socket.setblocking(False)
        self.told: list[tuple[float, str]] = []
        self.log = home / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {**kept, "NOTIFY_SOCKET": str(self.home / "notify"), "WATCHDOG_USEC": "2000000", **env}
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
    unit.start()
    unit.until(has("STATUS="))
    words = [text for _, text in unit.told]
    assert words.index("READY=1") < words.index("STATUS=nothing deployed")
    assert "timewright is up" in unit.log.read_text()


def test_it_shows_signs_of_life_while_it_has_nothing_to_do(unit: Unit) -> None:
    unit.start()
    unit.until(lambda told: told.count("WATCHDOG=1") >= 4)
    fed = [at for at, text in unit.told if text == "WATCHDOG=1"]
    assert max(later - earlier for earlier, later in pairwise(fed)) < 2, "the unit's limit"


def test_a_loop_that_hangs_shows_no_sign_of_life(unit: Unit) -> None:
    unit.start()
    unit.until(has("READY=1"))
    unit.until(lambda told: told.count("WATCHDOG=1") >= 2)
    unit.signal(signal.SIGSTOP)
    unit.listen()
    time.sleep(0.2)
    count = len(unit.listen())
    time.sleep(2.5)
    assert len(unit.listen()) == count
    unit.signal(signal.SIGCONT)
    unit.until(lambda told: len(told) > count)


def test_other_settings_are_taken_up_by_the_same_process(unit: Unit) -> None:
    unit.start()
    unit.until(has("READY=1"))
    unit.told.clear()
    unit.settings.write_text('[compiler]\nmode = "off"\n[source]\npath = "elsewhere"\n')
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
    asked = [sys.executable, "-m", "timewright.cli.main", "status", "--data", str(unit.home / "var")]
    env = {**os.environ, "PYTHONPATH": str(REPO / "daemon")}
    said = subprocess.run(asked, env=env, cwd=unit.home.parent, capture_output=True, text=True).stdout
    assert "The settings can't be read" in said
    assert "source.path" in said
    unit.settings.write_text('[compiler]\nmode = "off"\n')
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
