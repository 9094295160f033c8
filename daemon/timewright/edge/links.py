"""The links of a worker tree, read again only when its directory has changed.

A link is never changed in place: making, replacing or removing one changes its directory's ctime, which
nobody can set. So an equal stamp that was old enough when the links were read means equal links.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

from timewright.edge.source import COARSE_RACY_NS

_NO_LINK = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL)  # nothing is there, or something else
_Stamp = tuple[int, int, int, int]


class Links:
    """The links of one directory, and where they point."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: Mapping[str, str] = {}
        self._stamp: _Stamp | None = None  # of the directory when `_known` was read; None: not to be trusted

    def read(self) -> Mapping[str, str]:
        """Workflow id → release, of the links that are ours; nothing while there is no directory: nothing was
        deployed yet, or somebody removed the tree, and it is made again."""
        try:
            stamp = _stamp(self.directory)
            if stamp != self._stamp:
                before = time.time_ns()
                self._known = self._read()
                self._stamp = stamp if before - stamp[2] >= COARSE_RACY_NS else None
        except (FileNotFoundError, NotADirectoryError):
            self._known, self._stamp = {}, None
        return self._known

    def one(self, workflow_id: str) -> str | None:
        """Where one of them points now; None when it isn't there, or none of ours. Raises OSError."""
        try:
            return release_of(workflow_id, os.readlink(self.directory / workflow_id))  # noqa: PTH115
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return None

    def _read(self) -> dict[str, str]:
        found: dict[str, str] = {}
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.is_symlink() and not entry.name.startswith(".tmp-"):
                    release = _release(entry)
                    if release is not None:
                        found[entry.name] = release
        return found


def release_of(workflow_id: str, target: str) -> str | None:
    """The release that a workflow's link to `target` names, if the link is one of ours."""
    above, _, release = target.rstrip("/").rpartition("/")
    return release if release and above.rpartition("/")[2] == workflow_id else None


def _release(entry: os.DirEntry[str]) -> str | None:
    try:
        return release_of(entry.name, os.readlink(entry.path))  # noqa: PTH115 - ten thousand of them
    except OSError:
        return None


def _stamp(directory: Path) -> _Stamp:
    found = directory.stat()
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_mtime_ns
