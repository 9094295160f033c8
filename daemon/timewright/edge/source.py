"""Reads the source folder. The truth is a full scan; a stat cache, like git's index, makes it cheap.

Nothing found in the folder is trusted: names, links and file types are whatever somebody put there.
Every file is opened beneath the folder's own descriptor, never followed out of it, never waited for,
and its bytes are read once, from the descriptor that was checked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

from timewright.core.document import Limits
from timewright.core.errors import Problem
from timewright.core.policy import is_policy_name

SPEC_SUFFIXES = (".json", ".yaml", ".yml")
#: A source may well be a project of its own, with tools that check its specs.
_PROJECT_FILES = frozenset({"package.json", "package-lock.json", "tsconfig.json"})
_IGNORED_DIRECTORIES = frozenset({"node_modules"})

#: A file that changed this shortly before it was read may change again without a new ctime ("racy
#: git"): kernels before 6.13 stamp files from a clock that ticks every 1-10 ms (CONFIG_HZ 1000-100).
#: Two of the longest ticks; the price of too much is one more read of a file that was just written.
RACY_NS = 20_000_000
#: The same where stamps are whole seconds (FAT ticks in 2 s, ext3 and 128-byte-inode ext4 in 1 s).
COARSE_RACY_NS = 2_000_000_000 + RACY_NS
_SECOND_NS = 1_000_000_000

MAX_SPECS = 50_000  # in one source; more is a mistaken path, such as / or a home directory
MAX_DEPTH = 32  # directories below each other; each holds a descriptor while it is read

_T = TypeVar("_T")
_TRIES = 3  # an editor's or git-sync's swap under our hands is over by the second look
_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

#: Not the file's fault, and over soon: it was swapped while we looked, or we ran out of something.
_PASSING = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


class Stamp(NamedTuple):
    """What the kernel says of a file without reading it. Only a hint: the digest decides."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(*_STAMP_OF(status))


class Seen(NamedTuple):
    """One file of the source.

    `path` is relative and posix; a name that can't be shown as it is comes escaped, with a problem.
    `digest` is the content's SHA-256 in hex, None where `problem` says why it wasn't read; `stamp` is
    None where not even that could be had. `read_at_ns`: wall clock, from before the content was read.
    `busy`: it was changing as we looked; look again soon, and take it neither for there nor for gone.
    """

    path: str
    stamp: Stamp | None
    digest: str | None
    problem: Problem | None
    read_at_ns: int
    busy: bool = False


@dataclass(frozen=True)
class Scan:
    """The source as it was at one time.

    Only when `complete` does a path's absence mean that the spec is gone; else `problem` says in one
    line why not, and `incomplete` which directories weren't read. `read` counts contents read.
    """

    complete: bool
    problem: str
    files: tuple[Seen, ...]
    read: int
    incomplete: tuple[Problem, ...]


class Content(NamedTuple):
    """A file's bytes and the stamp that it had both before and after they were read."""

    data: bytes
    stamp: Stamp


class UnreadableError(OSError):
    """A file of the source can't be read; `problem` says why. `busy`: it may well be in a moment."""

    def __init__(self, problem: Problem, *, busy: bool = False, stamp: Stamp | None = None) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.busy = busy
        self.stamp = stamp


class _TooManyError(Exception):
    """The scan met more specs than the limit allows."""


def is_ignored_name(name: str) -> bool:
    """Is this file or directory name none of ours: hidden, an editor's, a package folder?"""
    return name[:1] in (".", "#") or name in _IGNORED_DIRECTORIES


def is_spec_name(name: str) -> bool:
    """Does a file of this name hold a spec?

    Temporary names (`x.json~`, `x.json.Ab12Cd`, `4913`, `x.json.part`) end otherwise, so an allow
    list of endings refuses the ones that nobody thought of too.
    """
    if not name.endswith(SPEC_SUFFIXES) or is_ignored_name(name):
        return False
    return not is_policy_name(name) and name not in _PROJECT_FILES


def is_followed_name(name: str) -> bool:
    """Is a file of this name part of the source: a spec, or a policy with defaults for specs?"""
    return is_spec_name(name) or (is_policy_name(name) and not is_ignored_name(name))


def is_clean_name(name: str) -> bool:
    """Can this name be shown and logged as it is?

    Not when it has undecodable bytes, control or invisible characters. Nor a backslash: escaped
    names have them, and a name must not look like another one's escaped form.
    """
    return name.isprintable() and "\\" not in name


def escape(name: str) -> str:
    r"""A name for people: undecodable bytes, control and invisible characters as `\xff`, `\n`, `\u202e`."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def scan(
    root: Path, known: Mapping[str, Seen], *, limits: Limits, now_ns: int, max_specs: int = MAX_SPECS
) -> Scan:
    """Read the whole source once; contents only where the stamp is new or too young to be trusted.

    `known`: the last scan's files by path, or what a state file kept of them. A file that didn't
    change comes back as the very same object. `now_ns`: the wall clock before the call, in ns.
    Never raises for what it finds in the source. Blocks for as long as the disk does.
    """
    try:
        descriptor = os.open(root, _DIRECTORY)
    except (OSError, ValueError) as error:
        return _unopened(root, error)
    try:
        reader = _Reader(
            _Root(descriptor, os.path.realpath(root).rstrip("/")), known, limits, now_ns, max_specs
        )
        reader.read_all()
        if _replaced(root, descriptor):
            reader.skip("", "was replaced while it was read")
        return reader.result()
    finally:
        os.close(descriptor)


def scan_named(root: Path, known: Mapping[str, Seen], *, limits: Limits, now_ns: int) -> tuple[Seen, ...]:
    """These files alone, as a scan would see them, by the same arguments. What can't be opened is missing."""
    try:
        descriptor = os.open(root, _DIRECTORY)
    except (OSError, ValueError):
        return ()
    try:
        reader = _Reader(
            _Root(descriptor, os.path.realpath(root).rstrip("/")), known, limits, now_ns, len(known) + 1
        )
        reader.read_known()
        return reader.result().files
    finally:
        os.close(descriptor)


def read_file(root: Path, path: str, limits: Limits) -> Content:
    """Read one file of the source, with the same care as a scan.

    `path` as in `Seen.path`. Raises UnreadableError; `busy` in it when the file changed while it was
    read, or vanished. The bytes need not be those of an earlier scan: compare the digest.
    """
    if not is_clean_name(path) or any(part in ("", ".", "..") for part in path.split("/")):
        raise _refuse(escape(path), "is not a path inside of the source")
    try:
        descriptor = os.open(root, _DIRECTORY)
    except OSError as error:
        raise _refuse(path, f"the source can't be opened: {_why(error)}", busy=True) from error
    try:
        return _settled(lambda: _read(_Root(descriptor, os.path.realpath(root).rstrip("/")), path, limits))
    finally:
        os.close(descriptor)


class _Root(NamedTuple):
    """The source while it is open: everything is opened beneath `descriptor`. `real`: no links in it."""

    descriptor: int
    real: str


class _Reader:
    """One scan under way: walks the directories beneath one open root and collects what it finds."""

    def __init__(
        self, root: _Root, known: Mapping[str, Seen], limits: Limits, now_ns: int, max_specs: int
    ) -> None:
        self._root = root
        self._known = known
        self._limits = limits
        self._now_ns = now_ns
        self._max_specs = max_specs
        self._read = 0
        self._files: dict[str, Seen] = {}
        self._incomplete: list[Problem] = []

    def read_all(self) -> None:
        try:
            self._directory(self._root.descriptor, "", 1)
        except _TooManyError:
            self.skip("", f"has more than {self._max_specs:,} specs", "is the path of the source right?")

    def read_known(self) -> None:
        for path in self._known:
            self._spec(path)

    def result(self) -> Scan:
        problem = str(self._incomplete[0]) if self._incomplete else ""
        if len(self._incomplete) > 1:
            problem += f" (and {len(self._incomplete) - 1} more)"
        return Scan(not self._incomplete, problem, self._sorted(), self._read, tuple(self._incomplete))

    def _sorted(self) -> tuple[Seen, ...]:
        """The files by path. `known` mostly comes in that order from the last scan, and a list that
        is nearly sorted sorts in no time: it halves the scan of 10,000 files."""
        files = self._files
        ordered = [files.pop(path) for path in self._known if path in files]
        ordered.extend(files.values())
        ordered.sort(key=itemgetter(0))
        return tuple(ordered)

    def skip(self, path: str, message: str, hint: str = "") -> None:
        """Note a directory ('' is the root) that isn't fully read: nothing may be called gone."""
        self._incomplete.append(Problem(path or escape(self._root.real), message, hint))

    def _directory(self, descriptor: int, prefix: str, depth: int) -> None:
        try:
            entries, settled = _list(descriptor)
            below = self._entries(entries, prefix)
        except OSError as error:
            self.skip(prefix.rstrip("/"), f"can't be listed: {_why(error)}")
            return
        if not settled:
            self.skip(prefix.rstrip("/"), "kept changing while it was listed")
        for name in below:
            self._enter(descriptor, name, prefix, depth)

    def _entries(self, entries: list[os.DirEntry[str]], prefix: str) -> list[str]:
        """Take the files of one directory; returns the names of the directories to enter.

        The hot loop: a file that didn't change costs one fstatat and one look into a mapping. An
        equal stamp is the same inode, so kind and name were judged before. Each entry is dropped
        when done, or the garbage collector would walk 10,000 stat results.
        """
        below: list[str] = []
        known, files = self._known.get, self._files
        while entries:
            entry = entries.pop()
            name = entry.name
            if not name.endswith(SPEC_SUFFIXES):
                self._other(entry, prefix, below)
                continue
            path = prefix + name
            old = known(path)
            if old is not None and old.stamp == _fields(entry) and self._holds(old):
                files[path] = old
            elif is_followed_name(name):
                self._spec(path)
        return below

    def _holds(self, old: Seen) -> bool:
        """Is what is known of a file with this very stamp still good?"""
        _, stamp, digest, _, read_at_ns, _ = old
        if stamp is None or digest is None or stamp.size > self._limits.bytes:
            return False
        age = read_at_ns - stamp.ctime_ns
        return age >= COARSE_RACY_NS or (age >= RACY_NS and not _is_coarse(stamp))

    def _other(self, entry: os.DirEntry[str], prefix: str, below: list[str]) -> None:
        if is_ignored_name(entry.name):
            return
        if entry.is_dir(follow_symlinks=False):
            below.append(entry.name)
        elif entry.is_symlink():
            self._other_link(prefix + entry.name)

    def _enter(self, parent: int, name: str, prefix: str, depth: int) -> None:
        path = prefix + name
        if not is_clean_name(name):
            self._add_problem(_bad_name(path))
            return
        if depth >= MAX_DEPTH:
            self.skip(path, f"is more than {MAX_DEPTH} directories deep")
            return
        try:
            descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            self.skip(path, f"can't be opened: {_why(error)}")
            return
        try:
            self._directory(descriptor, path + "/", depth + 1)
        finally:
            os.close(descriptor)

    def _spec(self, path: str) -> None:
        """Open and read what is at `path`; a link's target may turn out to be known."""
        if len(self._files) >= self._max_specs:
            raise _TooManyError
        if not is_clean_name(path):
            self._add_problem(_bad_name(path))
            return
        try:
            seen = _settled(lambda: self._content(path))
        except UnreadableError as error:
            self._add_problem(error)
        else:
            self._files[path] = seen

    def _content(self, path: str) -> Seen:
        with _opened(self._root, path) as descriptor:
            old = self._known.get(path)
            if old is not None and old.stamp == Stamp.of(os.fstat(descriptor)) and self._holds(old):
                return old
            data, stamp = _read_descriptor(descriptor, path, self._limits)
        self._read += 1
        return Seen(path, stamp, hashlib.sha256(data).hexdigest(), None, self._now_ns)

    def _other_link(self, path: str) -> None:
        """A link without a spec's name: specs below a directory outside would be missed in silence."""
        target = os.path.realpath(f"{self._root.real}/{path}")
        if not _is_inside(self._root.real, target) and Path(target).is_dir():
            self._add_problem(_leads_outside(escape(path), target))

    def _add_problem(self, error: UnreadableError) -> None:
        where = error.problem.where
        self._files[where] = Seen(where, error.stamp, None, error.problem, self._now_ns, error.busy)


def _unopened(root: Path, error: OSError | ValueError) -> Scan:
    problem = Problem(escape(str(root)), f"the source can't be opened: {_why(error)}")
    return Scan(False, str(problem), (), 0, (problem,))


def _replaced(root: Path, descriptor: int) -> bool:
    """Is the root's path by now another directory than the one we read (git-sync's swap, a mount)?"""
    try:
        return not os.path.samestat(root.stat(), os.fstat(descriptor))
    except OSError:
        return True


def _list(descriptor: int) -> tuple[list[os.DirEntry[str]], bool]:
    """A directory's entries, and whether it kept still meanwhile.

    readdir is not atomic: a file renamed as we list can be missed under both of its names, and a
    missed file would look deleted.
    """
    for _ in range(_TRIES):
        before = Stamp.of(os.fstat(descriptor))
        with os.scandir(descriptor) as found:
            entries = list(found)
        if Stamp.of(os.fstat(descriptor)) == before:
            return entries, True
    return entries, False


def _settled(attempt: Callable[[], _T]) -> _T:
    """Try again, at once, what failed only because something changed under our hands."""
    for _ in range(_TRIES - 1):
        try:
            return attempt()
        except UnreadableError as error:
            if not error.busy:
                raise
    return attempt()


def _read(root: _Root, path: str, limits: Limits) -> Content:
    with _opened(root, path) as descriptor:
        return _read_descriptor(descriptor, path, limits)


@contextmanager
def _opened(root: _Root, path: str) -> Iterator[int]:
    """Open one file beneath the root for reading; a link is followed when it leads to one inside."""
    try:
        descriptor = _open_beneath(root.descriptor, path.split("/"), path)
        if descriptor is None:
            descriptor = _open_beneath(root.descriptor, _resolve(root.real, path), path)
        if descriptor is None:
            raise _refuse(path, "is a link that was swapped as it was followed", busy=True)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except UnreadableError:
        raise
    except OSError as error:
        gone = error.errno == errno.ENOENT
        message = "vanished while it was read" if gone else f"can't be read: {_why(error)}"
        raise _refuse(path, message, busy=error.errno in _PASSING) from error


def _open_beneath(root: int, parts: list[str], path: str) -> int | None:
    """Open a regular file part by part, following no link on the way; None when it is a link itself.

    So a directory that is swapped for a link after we looked leads nowhere (faults.md E16). The kind
    is looked at first since opening a device can do things, and fstat looks again afterwards.
    """
    parent = root
    try:
        for name in parts[:-1]:
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            if parent != root:
                os.close(parent)
            parent = below
        status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return None
        _check_kind(status, path)
        return os.open(parts[-1], _FILE, dir_fd=parent)
    finally:
        if parent != root:
            os.close(parent)


def _resolve(real: str, path: str) -> list[str]:
    """Where a link leads, as names beneath the root. Raises UnreadableError when it leads elsewhere."""
    link = f"{real}/{path}"
    try:
        target = os.path.realpath(link, strict=True)
    except OSError as error:
        where = "in a circle" if error.errno == errno.ELOOP else "nowhere"
        raise _refuse(path, f"is a link that leads {where}") from error
    if not _is_inside(real, target):
        raise _leads_outside(path, target)
    return target[len(real) + 1 :].split("/") if target != real else ["."]


def _is_inside(real: str, target: str) -> bool:
    return target == real or target.startswith(f"{real}/")


def _read_descriptor(descriptor: int, path: str, limits: Limits) -> Content:
    """The bytes of an open file, when it is a regular one, not too large, and holds still meanwhile."""
    status = os.fstat(descriptor)
    _check_kind(status, path)
    stamp = Stamp.of(status)
    if stamp.size > limits.bytes:
        message = f"has {stamp.size:,} bytes, the limit is {limits.bytes:,}"
        raise _refuse(path, message, "make it smaller, or raise source.max_spec_bytes", stamp=stamp)
    data = _slurp(descriptor, limits.bytes)
    if Stamp.of(os.fstat(descriptor)) != stamp:
        raise _refuse(path, "changed while it was read", busy=True, stamp=stamp)
    return Content(data, stamp)


def _slurp(descriptor: int, limit: int) -> bytes:
    """Read to the end, but little more than `limit` bytes of a file that grows meanwhile."""
    parts: list[bytes] = []
    size = 0
    while size <= limit and (part := os.read(descriptor, _CHUNK)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _fields(entry: os.DirEntry[str]) -> tuple[int, ...]:
    """An entry's stamp as a plain tuple, which is quicker; () when it is gone since it was listed."""
    try:
        return _STAMP_OF(entry.stat(follow_symlinks=False))
    except OSError:
        return ()


_STAMP_OF: Callable[[os.stat_result], tuple[int, ...]] = attrgetter(
    "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev"
)


def _is_coarse(stamp: Stamp) -> bool:
    return stamp.ctime_ns % _SECOND_NS == 0 and stamp.mtime_ns % _SECOND_NS == 0


def _check_kind(status: os.stat_result, path: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something odd")
    raise _refuse(path, f"is {kind}, not a file", stamp=Stamp.of(status))


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _leads_outside(path: str, target: str) -> UnreadableError:
    return _refuse(
        path, f"is a link that leads outside of the source, to {escape(target)}", "put the file itself here"
    )


def _bad_name(path: str) -> UnreadableError:
    return _refuse(
        escape(path),
        "has a name with undecodable, invisible or control characters, or a backslash",
        "rename it",
    )


def _refuse(
    path: str, message: str, hint: str = "", *, busy: bool = False, stamp: Stamp | None = None
) -> UnreadableError:
    return UnreadableError(Problem(path, message, hint), busy=busy, stamp=stamp)


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
