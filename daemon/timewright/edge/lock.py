"""One daemon for one data directory: a lock that dies with its holder and says who that is."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from pathlib import Path

from timewright.core.errors import TimewrightError


class DataLock:
    """An flock on DATA/timewright.lock. The file is never removed: removing it would let two
    daemons hold locks on two files of one name. The kernel frees it when the holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises TimewrightError that names the holder when it is taken."""
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe(os.pread(descriptor, 1000, 0))
            os.close(descriptor)
            raise TimewrightError(
                f"another timewright works on {self._path.parent}: {holder}",
                hint="stop it first, or give this one another --data directory",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise TimewrightError(
                f"{self._path} can't be locked: {error.strerror}",
                hint="put the data directory on a local file system",
            ) from error
        text = json.dumps({"pid": os.getpid(), "since": time.time()})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
        self._file = descriptor

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise TimewrightError(
                f"{self._path} can't be opened: {error.strerror}",
                hint="it must be a regular file of this user; move away what is there",
            ) from None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise TimewrightError(f"{self._path} is not a regular file", hint="move it away")

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _describe(text: bytes) -> str:
    try:
        holder = json.loads(text)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f"process {int(holder['pid'])}, since {since}"
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError):
        return "a process that did not say who it is"
