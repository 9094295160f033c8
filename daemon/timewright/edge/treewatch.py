"""File events of the worker tree, as hints only: whose release or link somebody may have touched.

One inotify instance, read by the event loop, with a watch for each directory of each live release: all of
releases/ would be six times as many and tell of every build, and watchdog would start a thread for each.
Silence means nothing: events get lost, and where the kernel's limit is reached there are none at all
(`problem` says so).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from timewright.edge.watch import FIX_INSTANCES, FIX_WATCHES

_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK = 0x1000000, 0x2000000, 0x4000000
#: Not OPEN, ACCESS or CLOSE_NOWRITE: our own reads would wake us for ever. Nor MODIFY: a writer closes.
_EVENTS = (
    _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
    | _ONLYDIR | _DONT_FOLLOW | _EXCL_UNLINK
)  # fmt: skip
_LINKS = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR
_HEAD = struct.Struct("iIII")
_BUFFER = 64 * 1024

#: What `on_change` is told when nobody knows whose directory it was.
ALL = ""


class TreeWatch:
    """Tells `on_change`, in the event loop, the id of each workflow whose directories may have changed."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self.problem = ""
        self._on_change = on_change
        self._descriptor = -1
        self._owners: dict[int, str | None] = {}  # watch → workflow id; None: a folder of links
        self._watches: dict[str, set[int]] = {}
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def start(self) -> None:
        """Begin, in a running loop. Never fails: see `problem`."""
        if self._libc is None:
            self.problem = "file events are used on Linux only"
            return
        descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            self._give_up(ctypes.get_errno())
            return
        self._descriptor = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def stop(self) -> None:
        """End; no hint comes afterwards."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1
        self._owners.clear()
        self._watches.clear()

    def watch_links(self, folders: Iterable[Path]) -> None:
        """Watch folders of links: each is named by its workflow."""
        for folder in folders:
            watch = self._add(folder, _LINKS)
            if watch is not None:
                self._owners[watch] = None

    def watch(self, workflow_id: str, folders: Iterable[Path]) -> None:
        """Watch these for a workflow, and none that were watched for it before."""
        found = {watch for folder in folders if (watch := self._add(folder, _EVENTS)) is not None}
        for gone in self._watches.get(workflow_id, set()) - found:
            self._drop(gone)
        if self._descriptor >= 0:
            self._watches[workflow_id] = found
            self._owners.update(dict.fromkeys(found, workflow_id))

    def keep(self, workflow_ids: Iterable[str]) -> None:
        """Watch for no other workflow than these."""
        for workflow_id in self._watches.keys() - set(workflow_ids):
            for watch in self._watches.pop(workflow_id):
                self._drop(watch)

    def _add(self, folder: Path, events: int) -> int | None:
        if self._descriptor < 0 or self._libc is None:
            return None
        watch: int = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), events)
        if watch >= 0:
            return watch
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.ENOMEM):
            self._give_up(number)
        return None  # it isn't there, or is none of ours to read: the interval finds that

    def _drop(self, watch: int) -> None:
        if self._owners.pop(watch, None) is not None and self._libc is not None:
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def _give_up(self, number: int) -> None:
        self.stop()
        limit, fix = "watches", FIX_WATCHES
        if number == errno.EMFILE:
            limit, fix = "instances", FIX_INSTANCES
        self.problem = f"the limit of inotify {limit} is reached. Try: {fix}, and restart"

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _BUFFER)
        except OSError:
            return
        at = 0
        told: set[str] = set()
        while at < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            name = data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0")
            at += _HEAD.size + length
            told |= self._owner(watch, mask, os.fsdecode(name))
        for workflow_id in sorted(told):
            self._on_change(workflow_id)

    def _owner(self, watch: int, mask: int, name: str) -> set[str]:
        """Whom an event is about."""
        if mask & _OVERFLOW:
            return {ALL}
        if watch not in self._owners:
            return set()
        owner = self._owners[watch]
        if mask & _IGNORED:
            del self._owners[watch]
            if owner is not None:
                self._watches.get(owner, set()).discard(watch)
        if owner is not None:
            return {owner}
        if not name or mask & _IGNORED:
            return {ALL}
        return set() if name.startswith(".tmp-") else {name}
