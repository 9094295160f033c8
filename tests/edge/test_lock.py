from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from timewright.core.errors import TimewrightError
from timewright.edge.lock import DataLock

from tests.support import child_env, python

HOLD = """
import sys, pathlib, time
from timewright.edge.lock import DataLock
lock = DataLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen(python(HOLD, path), env=child_env(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_daemon_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as other, pytest.raises(TimewrightError) as caught:
        DataLock(tmp_path / "lock").acquire()
    assert f"another timewright works on {tmp_path}: process {other.pid}, since 20" in caught.value.message
    assert "--data" in caught.value.hint


def test_the_lock_of_a_killed_daemon_is_free_at_once_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as other:
        inode = path.stat().st_ino
        other.send_signal(signal.SIGKILL)
        other.wait()
        lock = DataLock(path)
        lock.acquire()
    assert path.stat().st_ino == inode
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()


def test_a_released_lock_can_be_taken_again_and_releasing_twice_is_fine(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path / "lock"), DataLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(TimewrightError):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = DataLock(tmp_path / "lock")
    lock.acquire()
    with subprocess.Popen(["sleep", "60"]) as child:
        lock.release()
        again = DataLock(tmp_path / "lock")
        again.acquire()
        again.release()
        child.kill()


@pytest.mark.parametrize(
    "text",
    ["", "garbage", "[]", "{}", '{"pid": "x", "since": 1}', '{"pid": 1, "since": 1e300}', '{"pid": 1}'],
)
def test_a_holder_that_can_not_be_read_is_still_a_holder(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock"
    path.write_text(text)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimewrightError, match="a process that did not say who it is"):
            DataLock(path).acquire()


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize("make", [make_link, Path.mkdir, os.mkfifo], ids=["link", "directory", "fifo"])
def test_a_lock_that_is_no_regular_file_is_refused(tmp_path: Path, make: object) -> None:
    path = tmp_path / "lock"
    make(path)  # type: ignore[operator]
    with pytest.raises(TimewrightError, match=str(path)):
        DataLock(path).acquire()
    assert not (tmp_path / "target").exists()


def test_a_file_system_without_locks_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(TimewrightError, match="can't be locked: No locks available") as caught:
        DataLock(tmp_path / "lock").acquire()
    assert "local file system" in caught.value.hint
