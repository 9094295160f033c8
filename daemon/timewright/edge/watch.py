"""File events, as hints only: they wake a scan, and may say where to look first.

Every watcher loses events (faults.md, finding 4), so nothing here is believed: a wake means "look",
silence means nothing, names are never all there is, and `refresh`, called before each periodic scan,
notices that we have gone deaf.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.utils import BaseThread, UnsupportedLibcError

from timewright.edge.source import escape, is_followed_name, is_ignored_name, is_spec_name

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

Mode = Literal["inotify", "polling"]
Notify = Callable[[bool, str], None]  # (whether the path leads elsewhere, the one spec that it is about)

FIX_WATCHES = "sysctl -w fs.inotify.max_user_watches=1048576"
FIX_INSTANCES = "sysctl -w fs.inotify.max_user_instances=1024"

#: What is asked of the kernel. Not OPEN, ACCESS or CLOSE_NOWRITE: our own reads would wake us for
#: ever (faults.md D16). Not MODIFY or ATTRIB: who writes is done when he closes, and a touch is nothing.
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
#: A Kubernetes volume publishes by renaming this link: the one hidden name that means news.
_CONFIGMAP_LINK = "..data"
_MAX_LINKS = 40  # the kernel's own limit on one path
_ATTEMPTS = 3
_MOST_NAMED = 8  # names that are kept of a burst; more are a checkout, or the like
_MOVE_DELAY_S = 0.01
_LAG_S = 0.02  # what watchdog may need to add a watch for a directory that was just made

_attaching = threading.Lock()  # one at a time: an observer's threads and descriptors are found by comparing


class Survey(NamedTuple):
    """What a path passes through. `real`: the directory it leads to, None when it leads to none, and
    `identity` its (device, inode). `anchors`: (directory, name) of each entry whose replacement makes
    the path lead elsewhere: links on the way, the directory itself, or the first part that is missing.
    """

    real: Path | None
    identity: tuple[int, int] | None
    anchors: tuple[tuple[Path, str], ...]


def survey(root: Path) -> Survey:
    """Follow `root` part by part, as the kernel does."""
    anchors: list[tuple[Path, str]] = []
    here = Path("/")
    todo = _parts(Path.cwd() / root)
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            here = here.parent
            continue
        path = here / name
        try:
            is_link = stat.S_ISLNK(path.lstat().st_mode)
            target = path.readlink() if is_link else None
        except OSError:
            return Survey(None, None, (*anchors, (here, name)))
        if is_link or not todo:
            anchors.append((here, name))
        if target is None:
            here = path
        elif (links := links + 1) > _MAX_LINKS:
            return Survey(None, None, tuple(anchors))
        else:
            here = Path("/") if target.is_absolute() else here
            todo.extend(_parts(target))
    return _arrived(here, anchors)


def _parts(path: Path) -> list[str]:
    """A path's names, the last one first."""
    return [part for part in reversed(path.parts) if part != "/"]


def _arrived(here: Path, anchors: list[tuple[Path, str]]) -> Survey:
    try:
        status = here.stat()
    except OSError:
        return Survey(None, None, tuple(anchors))
    if not stat.S_ISDIR(status.st_mode):
        return Survey(None, None, tuple(anchors))
    return Survey(here, (status.st_dev, status.st_ino), tuple(anchors))


class Watcher:
    """Wakes somebody when the source may have changed.

    `on_wake` is called in the event loop: `first_s` after the first event of a burst, at most every
    `again_s` while it lasts, and always once after its last event; with the specs, by their paths in the
    source, that were written or came, if events told of nothing else, and with none where they did.
    `mode` "polling" means that no events come, and `problem` says why and what to do; the caller then
    scans more often. A source that isn't there is no problem here: we wait for it to appear.
    """

    def __init__(
        self,
        root: Path,
        on_wake: Callable[[frozenset[str]], None],
        *,
        first_s: float = 0.002,
        again_s: float = 0.05,
        retry_s: float = 30.0,
    ) -> None:
        self.mode: Mode = "polling"
        self.problem = ""
        self._root = root
        self._on_wake = on_wake
        self._burst = _Burst(self._fire, first_s, again_s)
        self._retry_s = retry_s
        self._retry_at = 0.0
        self._attached: _Attached | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: asyncio.Task[None] | None = None
        self._names: deque[str] = deque()  # written by watchdog's thread; '': anything may have changed
        self._poked = False  # a call into the loop is under way; written by watchdog's thread too
        self._moved = False  # the path may lead elsewhere by now

    async def start(self) -> None:
        """Begin to watch. Never fails: see `mode`. What changed before is for the first scan."""
        self._loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.to_thread(self._attach)

    async def refresh(self) -> bool:
        """Call before each periodic scan: attaches anew when the path leads elsewhere, or when some
        directory isn't watched. Returns whether it did: until now, events may have been lost."""
        async with self._lock:
            if self._loop is None:
                return False
            if self._attached is None and time.monotonic() < self._retry_at:
                return False
            return await asyncio.to_thread(self._repair)

    async def stop(self) -> None:
        """End all threads. No wake comes afterwards."""
        self._loop = None
        self._burst.cancel()
        if self._following is not None:
            await asyncio.wait([self._following])
        async with self._lock:
            await asyncio.to_thread(self._detach)

    # in a worker thread, under the lock

    def _repair(self) -> bool:
        attached = self._attached
        if attached is not None and attached.survey == survey(self._root) and not attached.deaf():
            return False
        self._attach()
        return self._attached is not None

    def _attach(self) -> None:
        self._detach()
        try:
            self._attached = _attach_settled(self._root, self._notify)
        except _CannotWatchError as error:
            self.mode, self.problem = "polling", str(error)
            self._retry_at = time.monotonic() + self._retry_s
        else:
            self.mode, self.problem = "inotify", ""

    def _detach(self) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.close()

    # in watchdog's thread

    def _notify(self, moved: bool, name: str) -> None:
        """One call into the loop at a time, so 10,000 events don't queue up 10,000 calls."""
        if moved:
            self._moved = True
        if len(self._names) <= _MOST_NAMED:  # else they are too many already
            self._names.append(name)
        loop = self._loop
        if loop is not None and not self._poked:
            self._poked = True
            with contextlib.suppress(RuntimeError):  # the loop was closed without stop()
                loop.call_soon_threadsafe(self._poke)

    # in the event loop

    def _poke(self) -> None:
        self._poked = False  # first, so that an event from now on pokes again
        if self._loop is not None:
            self._burst.poke(self._loop)

    def _fire(self) -> None:
        idle = self._following is None or self._following.done()
        if self._moved and idle and self._loop is not None:
            self._moved = False
            self._following = self._loop.create_task(self._follow())
        self._on_wake(self._take_names())

    def _take_names(self) -> frozenset[str]:
        names: list[str] = []
        while self._names:
            names.append(self._names.popleft())
        return frozenset() if "" in names or len(names) > _MOST_NAMED else frozenset(names)

    async def _follow(self) -> None:
        """Go where the path leads by now, and wake again for what happened there in between."""
        async with self._lock:
            if self._loop is not None:
                await asyncio.to_thread(self._attach)
        self._poke()


class _Burst:
    """Turns many pokes into few calls: the first soon, the others apart, one after the last poke."""

    def __init__(self, fire: Callable[[], None], first_s: float, again_s: float) -> None:
        self._fire = fire
        self._first_s = first_s
        self._again_s = again_s
        self._last = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def poke(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None:
            at = max(loop.time() + self._first_s, self._last + self._again_s)
            self._timer = loop.call_at(at, self._ring, loop)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._last = loop.time()
        self._fire()


class _CannotWatchError(Exception):
    """Why there are no file events, and what to do about it."""


class _Attached(NamedTuple):
    """Watchdog at work: its threads, and the inotify instances it opened (none where /proc is not)."""

    observer: BaseObserver
    survey: Survey
    threads: tuple[threading.Thread, ...]
    descriptors: tuple[int, ...]

    def close(self) -> None:
        _close(self.observer)

    def deaf(self) -> bool:
        """Has a thread died, or is a directory not watched?

        Watchdog swallows both, a reached limit too, so we ask the kernel what is really watched.
        """
        if not all(thread.is_alive() for thread in self.threads):
            return True
        for _ in range(_ATTEMPTS):
            if _watched(self.descriptors) >= self._expected():
                return False
            time.sleep(_LAG_S)
        return True

    def _expected(self) -> int:
        if not self.descriptors:
            return 0
        real = self.survey.real
        outside = [d for d in _anchor_directories(self.survey) if real is None or not d.is_relative_to(real)]
        return len(outside) + (_count_directories(real) if real is not None else 0)


def _attach_settled(root: Path, notify: Notify) -> _Attached:
    """Attach to where `root` leads, and look again whether it still leads there."""
    attached = _attach(survey(root), notify)
    for _ in range(_ATTEMPTS):
        now = survey(root)
        if now == attached.survey:
            break
        attached.close()
        attached = _attach(now, notify)
    return attached


def _attach(target: Survey, notify: Notify) -> _Attached:
    """Start watchdog on the tree and on the anchors. Raises _CannotWatchError, with nothing left over."""
    with _attaching:
        threads, descriptors = _threads(), _inotify_descriptors()
        observer = _new_observer()
        try:
            observer.start()
            _schedule(observer, target, notify)
            ours = tuple(_threads() - threads)
            attached = _Attached(observer, target, ours, tuple(_inotify_descriptors() - descriptors))
            if attached.deaf():
                raise _why_deaf(observer)
        except OSError as error:
            _close(observer)
            raise _why_not(error) from error
        except BaseException:
            _close(observer)
            raise
    return attached


def _close(observer: BaseObserver) -> None:
    _hush()
    observer.stop()
    observer.join()


def _hush() -> None:
    """Watchdog warns when `mkdir -p` made it add a watch twice, or remove one twice; neither matters.

    Where warnings are errors, that one would end its thread.
    """
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning, r"watchdog\.")


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if isinstance(thread, BaseThread)}


def _new_observer() -> BaseObserver:
    if sys.platform != "linux":
        raise _CannotWatchError("file events are used on Linux only; polling instead")
    try:
        from watchdog.observers.inotify import InotifyObserver

        _hush()
        _hasten_moves()
        return InotifyObserver()
    except (ImportError, UnsupportedLibcError, AttributeError) as error:
        raise _CannotWatchError(f"inotify is not there ({error}); polling instead") from error
    except OSError as error:
        raise _why_not(error) from error


def _hasten_moves() -> None:
    """Watchdog holds half of a rename back for 0.5 s, and all behind it, to pair it with the other.

    Its reader can lose that race for a rename within the tree too: of 200 written by rename, one woke
    us after 508 ms. Pairs don't matter here. (watchdog 6 keeps its 0.5 s.)
    """
    with contextlib.suppress(ImportError):
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

        InotifyMoveEventGrouper.delay = _MOVE_DELAY_S


def _schedule(observer: BaseObserver, target: Survey, notify: Notify) -> None:
    real = target.real
    if real is not None:
        handler = _TreeHandler(str(real), notify)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # gone: its anchor tells, or refresh
            observer.schedule(handler, str(real), recursive=True, event_filter=_EVENTS)
    anchors = _AnchorHandler(target, notify)
    for directory in _anchor_directories(target):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            observer.schedule(anchors, str(directory), recursive=False, event_filter=_EVENTS)


def _anchor_directories(target: Survey) -> list[Path]:
    """Those that we may watch. A parent that isn't readable is left to `refresh`."""
    return [d for d in dict.fromkeys(d for d, _ in target.anchors) if os.access(d, os.R_OK)]


class _TreeHandler(FileSystemEventHandler):
    """Events below the source: only names that a scan would look at are news."""

    def __init__(self, real: str, notify: Notify) -> None:
        self._real = real
        self._prefix = real.rstrip("/") + "/"
        self._notify = notify

    def dispatch(self, event: FileSystemEvent) -> None:
        for path in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
            if path == self._real:
                self._notify(True, "")
            elif path.startswith(self._prefix) and self._is_news(path, event):
                self._notify(False, self._named(path, event))

    def _named(self, path: str, event: FileSystemEvent) -> str:
        """The spec that was written or came, and nothing else happened; '' for any other news."""
        there = event.dest_path if isinstance(event, FileMovedEvent) else event.src_path
        kind = isinstance(event, FileMovedEvent | FileClosedEvent | FileCreatedEvent)
        name = path.removeprefix(self._prefix)
        return name if kind and path == os.fsdecode(there) and is_spec_name(name.rpartition("/")[2]) else ""

    def _is_news(self, path: str, event: FileSystemEvent) -> bool:
        *above, name = path.removeprefix(self._prefix).split("/")
        if any(is_ignored_name(part) for part in above):
            return False
        if is_followed_name(name) or name == _CONFIGMAP_LINK:
            return True
        return event.is_directory and not is_ignored_name(name)


class _AnchorHandler(FileSystemEventHandler):
    """Events beside the path: only those that make it lead elsewhere are news."""

    def __init__(self, target: Survey, notify: Notify) -> None:
        self._paths = {str(directory / name) for directory, name in target.anchors}
        self._paths.update(str(directory) for directory, _ in target.anchors)
        self._notify = notify

    def dispatch(self, event: FileSystemEvent) -> None:
        if not self._paths.isdisjoint((os.fsdecode(event.src_path), os.fsdecode(event.dest_path))):
            self._notify(True, "")


def _why_not(error: OSError) -> _CannotWatchError:
    """An error of inotify, in words, with the line that cures it."""
    if error.errno == errno.ENOSPC:
        return _CannotWatchError(
            f"the limit of inotify watches is reached; polling instead. Try: {FIX_WATCHES}"
        )
    if error.errno == errno.EMFILE and not _out_of_descriptors():
        return _CannotWatchError(
            f"the limit of inotify instances is reached; polling instead. Try: {FIX_INSTANCES}"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _CannotWatchError("there are too many open files; polling instead. Try: raise LimitNOFILE")
    return _CannotWatchError(f"inotify fails: {escape(str(error))}; polling instead")


def _why_deaf(observer: BaseObserver) -> _CannotWatchError:
    """Watchdog told nothing; one more watch does, since a watch's own root is the case it reports."""
    try:
        observer.schedule(FileSystemEventHandler(), "/proc", event_filter=_EVENTS)
    except OSError as error:
        return _why_not(error)
    return _CannotWatchError(
        "not every directory of the source can be watched; polling instead. Try: check their permissions"
    )


def _out_of_descriptors() -> bool:
    """EMFILE means two things; a file that is always there tells which."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def _inotify_descriptors() -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) == "anon_inode:inotify":
                    found.add(int(entry.name))
    return found


def _watched(descriptors: tuple[int, ...]) -> int:
    """How many watches the kernel really holds."""
    count = 0
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            count += Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii").count("inotify wd:")
    return count


def _count_directories(root: Path) -> int:
    """The directories that watchdog watches: all, the hidden ones too, through no link."""
    count = 0
    todo = [str(root)]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            todo.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            count += 1
    return count
