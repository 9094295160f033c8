"""What systemd is told: against a socket of ours in its place."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from timewright.edge.systemd import Systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(str(tmp_path / "notify"))
        there.settimeout(2)
        yield there


def told(manager: socket.socket) -> list[str]:
    """All that was sent until now."""
    found = []
    manager.setblocking(False)
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_without_a_manager_nothing_happens() -> None:
    systemd = Systemd({})
    systemd.ready()
    systemd.feed()
    systemd.stopping()
    assert systemd.watchdog_s is None


def test_ready_status_and_stopping_are_told(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})
    systemd.ready()
    systemd.status("3 DEPLOYED")
    systemd.status("3 DEPLOYED")
    systemd.stopping()
    assert told(manager) == ["READY=1", "STATUS=3 DEPLOYED", "STOPPING=1"]


def test_a_reload_is_told_with_its_moment(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    Systemd({"NOTIFY_SOCKET": manager.getsockname()}).reloading()
    (text,) = told(manager)
    assert text.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert before <= int(text.rpartition("=")[2]) <= time.monotonic_ns() // 1000


def test_signs_of_life_are_given_at_twice_the_pace_that_is_asked_for(manager: socket.socket) -> None:
    given = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "200000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    systemd = Systemd(given)
    assert systemd.watchdog_s == pytest.approx(0.1)
    for _ in range(100):
        systemd.feed()
    assert told(manager) == ["WATCHDOG=1"], "the work may call it as often as it likes"
    time.sleep(0.11)
    systemd.feed()
    assert told(manager) == ["WATCHDOG=1"]


def test_a_watchdog_of_another_process_is_not_fed() -> None:
    given = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    assert Systemd(given).watchdog_s is None


def test_our_children_do_not_get_the_variables_and_our_successor_does() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "PATH": "/bin"}
    systemd = Systemd(environ)
    assert environ == {"PATH": "/bin"}
    assert systemd.restored()["NOTIFY_SOCKET"] == "/nowhere"


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@timewright-nobody"])
def test_a_manager_that_is_not_there_harms_nothing(address: str) -> None:
    Systemd({"NOTIFY_SOCKET": address}).ready()


def test_a_manager_that_does_not_read_holds_nothing_up(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})
    for number in range(2000):
        systemd.status(str(number))
