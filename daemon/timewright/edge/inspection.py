"""Looks at a release's directory as somebody may have left it, and holds it against its receipt.

Whatever lies there is only looked at: no link is followed, no pipe waited for, no error let out. A directory
that was read once is not read again while the kernel says that nothing in it changed (size, inode, mtime and
ctime of every entry). A plain user can set an mtime and no ctime, so an edit that keeps all of these takes
root, a broken disk or a clock that was set back: for those, callers ask for a `full` look now and then.
Empty directories are nothing that could be loaded, and are passed over.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from timewright.core import differences as d
from timewright.core.differences import Difference, Kind
from timewright.core.digest import sha256
from timewright.edge import files
from timewright.edge.source import RACY_NS, Stamp, escape

_CHUNK = 1 << 20
#: Digest of what is neither a file nor a link; no file has it.
SPECIAL = "special"
#: The one link that a release has.
PACKAGES = "node_modules"


@dataclass
class Sight:
    """What a directory holds, by path below it. `stamps`: files, links and what else lies there, without
    having been read. `folders`: those that were walked, '' among them. `strange`: what needs no reading to be
    told that it doesn't belong there."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    strange: list[Difference] = field(default_factory=list)


@dataclass(frozen=True)
class _Known:
    """What an earlier look found, and the stamps that it holds for."""

    stamps: Mapping[str, Stamp]
    found: tuple[Difference, ...]


class Inspector:
    """Compares directories with lists of digests, and remembers what it saw."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}

    def differences(
        self, root: Path, expected: Mapping[str, str], *, full: bool = True, besides: str = ""
    ) -> tuple[Difference, ...]:
        """What is not as `expected` (path → SHA-256; of its target, for a link). `full`: read every file.
        `besides`: a file that belongs there and isn't listed; its content is for others to judge."""
        now = time.time_ns()
        closed = _why_closed(root)
        if closed is not None:
            return (closed,)
        sight = look(root, expected, besides)
        known = self._known.get(root)
        if not full and known is not None and not sight.strange and known.stamps == sight.stamps:
            return known.found
        found = tuple(_compare(root, sight, expected, besides))
        settled = all(stamp.ctime_ns < now - RACY_NS for stamp in sight.stamps.values())
        if settled and not any(item.kind is Kind.UNREADABLE for item in found):
            self._known[root] = _Known(sight.stamps, found)
        else:  # a file that changes within one tick of the kernel's clock keeps its stamp
            self._known.pop(root, None)
        return found

    def forget(self, root: Path) -> None:
        self._known.pop(root, None)


def look(root: Path, expected: Mapping[str, str], besides: str = "") -> Sight:
    """Walk a directory without reading its files. Never raises."""
    wanted = {"", *(folder for path in expected for folder in above(path))}
    sight = Sight()
    todo = [""]
    while todo:
        folder = todo.pop()
        sight.folders.add(folder)
        try:
            with os.scandir(root / folder) as scanned:
                entries = list(scanned)
        except OSError as error:
            sight.strange.append(d.unreadable(f"{escape(folder)}/", _why(error)))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            below = _see(sight, entry, path, path in wanted, path in expected or path == besides)
            if below:
                todo.append(path)
    return sight


def _why_closed(root: Path) -> Difference | None:
    """What is wrong with the directory itself; None when nothing is."""
    try:
        mode = root.lstat().st_mode
    except FileNotFoundError:
        return Difference("", Kind.MISSING, f"release {root.name} is missing")
    except OSError as error:
        return Difference("", Kind.UNREADABLE, f"release {root.name} can't be read: {_why(error)}")
    if not stat.S_ISDIR(mode):
        return Difference("", Kind.SPECIAL, f"release {root.name} was replaced by {_word(mode)}")
    if not _may_enter(mode):
        why = f"its mode is {stat.S_IMODE(mode):03o}"
        return Difference("", Kind.UNREADABLE, f"release {root.name} can't be read: {why}")
    return None


def _may_enter(mode: int) -> bool:
    """Whether a folder's owner can look into it: root could, whatever its mode, and workers can't."""
    return bool(mode & stat.S_IRUSR and mode & stat.S_IXUSR)


def _see(sight: Sight, entry: os.DirEntry[str], path: str, is_folder: bool, is_file: bool) -> bool:
    """Note one entry; whether it is a directory to walk."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        sight.strange.append(d.unreadable(escape(path), _why(error)))
        return False
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        if is_folder:
            return _is_open(sight, path, mode)
        if is_file:
            sight.strange.append(d.replaced(escape(path), "a folder"))
        elif _holds_anything(Path(entry.path)):
            sight.strange.append(d.added(f"{escape(path)}/"))
        return False
    if is_folder:
        sight.strange.append(d.replaced(f"{escape(path)}/", _word(mode)))
        return False
    if stat.S_ISLNK(mode):
        sight.links.add(path)
    elif is_file and not stat.S_ISREG(mode):
        sight.strange.append(d.replaced(escape(path), _word(mode)))
        return False
    elif is_file and not mode & stat.S_IRUSR:  # to root, who may read all, it looks fine; to workers it isn't
        sight.strange.append(d.unreadable(escape(path), f"its mode is {stat.S_IMODE(mode):03o}"))
        return False
    sight.stamps[path] = Stamp.of(status)
    return False


def _is_open(sight: Sight, path: str, mode: int) -> bool:
    """Whether a folder of the release can be walked."""
    if _may_enter(mode):
        return True
    sight.strange.append(d.unreadable(f"{escape(path)}/", f"its mode is {stat.S_IMODE(mode):03o}"))
    sight.folders.add(path)
    return False


def _compare(root: Path, sight: Sight, expected: Mapping[str, str], besides: str) -> Iterator[Difference]:
    yield from sight.strange
    spoken = {item.path.rstrip("/") for item in sight.strange}
    gone: set[str] = set()
    for path, digest in expected.items():
        if path in sight.stamps:
            yield from _compare_file(root, path, digest, sight)
            continue
        top = _missing_top(path, sight.folders)
        if top not in gone and not any(escape(part) in spoken for part in (*above(path), path)):
            gone.add(top)
            yield d.missing(escape(top) if top == path else f"{escape(top)}/")
    for path in sight.stamps.keys() - expected.keys() - {besides}:
        yield d.added(escape(path))


def _compare_file(root: Path, path: str, digest: str, sight: Sight) -> Iterator[Difference]:
    try:
        found = digest_of(root, path)
    except FileNotFoundError:
        yield d.missing(escape(path))
        return
    except OSError as error:
        yield d.unreadable(escape(path), _why(error))
        return
    if path in sight.links and path != PACKAGES:
        yield d.replaced(escape(path), "a link")
    elif path == PACKAGES and path not in sight.links:
        yield d.replaced(escape(path), "a file")
    elif found != digest:
        yield d.changed(escape(path))


def digest_of(root: Path, path: str) -> str:
    """SHA-256 of a file below `root`, of a link's target, or SPECIAL. Raises OSError."""
    place = root / path
    if place.is_symlink():
        return sha256(os.fsencode(place.readlink()))
    with os.fdopen(files.open_beneath(root, path), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return SPECIAL
        hashed = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
        return hashed.hexdigest()


def above(path: str) -> Iterator[str]:
    """The folders that a path lies in: a/b/c → a, a/b."""
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


def _missing_top(path: str, folders: set[str]) -> str:
    """What is missing of a path: the topmost folder that isn't there, or the path itself."""
    return next((folder for folder in above(path) if folder not in folders), path)


def _holds_anything(root: Path) -> bool:
    """Whether there is more below a directory than directories; True where that can't be told."""
    try:
        with os.scandir(root) as entries:
            return any(
                not entry.is_dir(follow_symlinks=False) or _holds_anything(Path(entry.path))
                for entry in entries
            )
    except (OSError, RecursionError):
        return True


def _word(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFREG: "a file",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
