"""Leaves no process behind, however a part ends; and what processes use."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def none_left() -> Iterator[None]:
    """Ends what was started inside and still runs, children of children too, also after SIGTERM.

    A process whose parent died comes to us (a "subreaper"), so nothing can slip away.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = signal.signal(signal.SIGTERM, _on_term)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        end_all()


def run(part: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run one part to its end."""
    with none_left():
        asyncio.run(part())


def _on_term(number: int, _: object) -> None:
    sys.exit(128 + number)


def end_all(patience_s: float = 5.0) -> None:
    """SIGTERM for all that we started, then SIGKILL for what is left."""
    for number, seconds in ((signal.SIGTERM, patience_s), (signal.SIGKILL, patience_s)):
        deadline = time.monotonic() + seconds
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while time.monotonic() < deadline:
            _reap()
            if not descendants(os.getpid()):
                return
            time.sleep(0.02)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def children(pid: int) -> list[int]:
    """The living children of all its threads."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(word) for word in (thread / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def tree(pid: int) -> list[int]:
    return [pid, *descendants(pid)]


def cpu_ticks(pids: list[int]) -> int:
    """CPU time so far, user and system, in ticks of the clock (100 a second)."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total


def cpu_seconds(pids: list[int]) -> float:
    return cpu_ticks(pids) / _TICK


def memory_mib(pids: list[int]) -> float:
    """Proportional set size: memory that several share counts once. Falls back to resident memory where the
    kernel doesn't tell."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += _kib(pid, "smaps_rollup", "Pss:") or _kib(pid, "status", "VmRSS:")
    return total / 1024


def _kib(pid: int, file: str, label: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(label):
                return int(line.split()[1])
    return 0


def rss_mib(pids: list[int]) -> float:
    """Resident memory, where what several share counts for each."""
    return sum(_kib(pid, "status", "VmRSS:") for pid in pids) / 1024
