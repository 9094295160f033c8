"""Small verbs on files that survive a crash: write, publish by rename, sync, link, remove."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
import uuid
from pathlib import Path
from typing import Final

from timewright.edge.failpoint import failpoint

_OURS: Final = ".tmp-"


def unique(stem: str = "") -> str:
    """A temporary name that nobody else has, known as ours by its start (swept at the next start)."""
    return f"{_OURS}{stem}{uuid.uuid4().hex[:12]}"


def is_unique(name: str) -> bool:
    """Whether a name is one of those."""
    return name.startswith(_OURS)


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write and fsync one file that nobody reads yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` at `path` by rename: a reader sees the old file or the new one."""
    temporary = path.parent / unique()
    failpoint("before-replace")
    try:
        write(temporary, data, mode=mode)
        failpoint("mid-replace")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    failpoint("after-replace")
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Make every file and directory below `root` durable. An error of fsync is not retried: after
    one the kernel may have dropped the data (faults.md C3), so the caller throws the tree away."""
    found = list(os.walk(root))
    paths = [Path(directory, name) for directory, _, names in found for name in names]
    opened: list[int] = []
    try:
        for path in paths:
            if not path.is_symlink():
                opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
                _write_out(opened[-1])
                if len(opened) >= _AT_ONCE:
                    _sync_all(opened)
        _sync_all(opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    for directory, _, _ in found:
        sync_directory(Path(directory))


_AT_ONCE: Final = 16  # open files: many releases are sealed at the same time
_SYNC_FILE_RANGE_WRITE: Final = 2
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _write_out(descriptor: int) -> None:
    """Have the kernel begin to write a file: the disk does that for many at once, while `fsync` waits for one
    after the other. Whether it went well `fsync` says."""
    if _libc is not None and hasattr(_libc, "sync_file_range"):
        _libc.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def _sync_all(descriptors: list[int]) -> None:
    """`fsync` each of them and close it; those that are left where one fails stay open."""
    while descriptors:
        os.fsync(descriptors[-1])
        os.close(descriptors.pop())


def sync_many(root: Path) -> None:
    """As `sync_tree`, for very many files: their file system as a whole takes 0.2 s where 10,000 files
    one by one take 3 to 16. Raises OSError when the disk says no."""
    if _libc is None or not hasattr(_libc, "syncfs"):
        sync_tree(root)
        return
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(root))
    finally:
        os.close(descriptor)


def point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` by one rename, whether it was a link, a file or nothing."""
    temporary = link.parent / unique(link.name[:100] + "-")
    temporary.symlink_to(target)
    try:
        failpoint("mid-link")
        temporary.replace(link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(link.parent)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: What the kernel or the file system says when it can't exchange (EPERM: a container's system call filter).
#: A real lack of rights shows again in the plain rename.
_NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def exchange(new: Path, old: Path) -> bool:
    """Let two names of one file system change places, so that a reader of `old` sees what was there or what
    comes, and never nothing. Returns whether that was one step.

    Where the kernel or the file system can't (NFS, old FUSE, musl before 1.2.6), `old` is renamed aside and
    `new` renamed in: for an instant nothing is there, and a crash just then leaves nothing there.
    """
    if _exchanged(new, old):
        return True
    aside = old.parent / unique("gone-")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    aside.rename(new)
    return False


def _exchanged(a: Path, b: Path) -> bool:
    if _libc is None or not hasattr(_libc, "renameat2"):
        return False
    if _libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(a), None, str(b))


def open_beneath(root: Path, path: str) -> int:
    """A descriptor of a file below `root`, through no link on the way and at the end, and never waiting for a
    pipe. Raises OSError: ELOOP or ENOTDIR where a link lies on the way."""
    *folders, name = path.split("/")
    if not {"", ".", ".."}.isdisjoint((*folders, name)):
        raise OSError(errno.EINVAL, "not a path below it", path)
    here = os.open(root, _FOLDER)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        found = os.open(name, _FILE, dir_fd=here)
    finally:
        os.close(here)
    if stat.S_ISDIR(os.fstat(found).st_mode):  # Python's file objects refuse one, and leave it open
        os.close(found)
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    return found


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_link(link: Path) -> str | None:
    """Where a link points; None when there is none (or something else is in its place)."""
    try:
        return os.readlink(link)  # noqa: PTH115 - the text as it stands, not a resolved path
    except OSError:
        return None


def remove(path: Path) -> None:
    """Remove a file, a link or a whole tree; what is not there is fine. A tree vanishes from its
    name first, so that a reader never sees a part of it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    doomed = path if is_unique(path.name) else path.parent / unique("gone-")
    if doomed != path:
        path.rename(doomed)
        failpoint("mid-remove")
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(parent: Path | str) -> int:
    """Remove leftovers of a crash directly below `parent`; returns how many there were."""
    count = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(parent):
            if is_unique(entry.name):
                remove(Path(entry.path))
                count += 1
    return count
