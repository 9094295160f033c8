"""Fault points for the kill tests: named steps at which a test can have the daemon die, fail or wait.

    TIMEWRIGHT_FAILPOINT=after-link               dies there, as by SIGKILL
    TIMEWRIGHT_FAILPOINT=after-link=kill:3        … when it comes there for the third time
    TIMEWRIGHT_FAILPOINT=before-link=raise:ENOSPC OSError, each time
    TIMEWRIGHT_FAILPOINT=before-reload=sleep:5    blocks the whole daemon for five seconds, each time

Several stand with commas between. Without the variable `failpoint` is a function that does nothing. A test in
this process arms points by itself (`arm`, `disarm`).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

#: All points, by what they lie around. One that ends in "-" is followed by what is at hand (a file's name).
POINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "read": ("parse-",),
    "record": ("before-state", "mid-state", "after-state", "before-record", "after-record"),
    "build": ("before-compile", "after-compile", "before-publish", "after-publish"),
    "release": ("before-seal", "after-seal", "before-exchange", "after-exchange"),
    "link": ("before-link", "mid-link", "after-link"),
    "pool": ("before-pool-seal", "after-pool-seal", "before-pool-link", "after-pool-link"),
    "pool's list": ("before-keep", "after-keep", "before-pool-drop", "after-pool-drop"),
    "worker host": ("before-reload", "after-reload"),
    "rollout": ("before-rollout", "after-rollout"),
    "undeploy": ("before-retire", "before-unlink", "after-unlink"),
    "rollback": ("before-rollback", "before-revert-pin"),
    "put back": ("before-put-back", "after-put-back"),
    "holds": ("before-hold", "after-hold"),
    "a small file": ("before-replace", "mid-replace", "after-replace"),
    "retention": ("before-collect", "mid-remove", "after-collect", "before-pool-collect"),
    "rebuild": ("before-rebuild", "after-rebuild"),
    "adopt": ("before-adopt", "mid-adopt", "after-adopt"),
    "tell": ("notify-before", "notify-between", "notify-after", "before-deliver", "after-deliver"),
}

Fault = Callable[[], None]
_armed: dict[str, Fault] = {}


def failpoint(name: str) -> None:
    """Come to a step. Nothing happens, unless a test armed it."""
    if _armed and name in _armed:
        _armed[name]()


def arm(name: str, fault: Fault) -> None:
    """Have `fault` called at a point. Raises ValueError for a name that stands nowhere."""
    known = [point for group in POINTS.values() for point in group]
    if name not in known and not any(point.endswith("-") and name.startswith(point) for point in known):
        raise ValueError(f"there is no fault point {name!r}; there are: {', '.join(known)}")
    _armed[name] = fault


def disarm() -> None:
    """No point does anything any more."""
    _armed.clear()


def parsed(action: str) -> Fault:
    """The fault that a text asks for: kill, kill:N, raise:ERRNO, sleep:SECONDS. Raises ValueError."""
    verb, _, argument = action.partition(":")
    if verb == "raise":
        number = getattr(errno, argument, None)
        if number is None:
            raise ValueError(f"{argument!r} is no name of an error, as ENOSPC is")
        return _raiser(number)
    if verb == "sleep":
        seconds = float(argument)
        return lambda: time.sleep(seconds)
    if verb == "kill":
        return _killer(int(argument or 1))
    raise ValueError(f"a fault is kill, kill:N, raise:ERRNO or sleep:SECONDS, not {action!r}")


def _raiser(number: int) -> Fault:
    def fault() -> None:
        raise OSError(number, os.strerror(number))

    return fault


def _killer(times: int) -> Fault:
    left = times

    def fault() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


for _item in filter(None, os.environ.get("TIMEWRIGHT_FAILPOINT", "").split(",")):
    arm(_item.partition("=")[0], parsed(_item.partition("=")[2] or "kill"))
