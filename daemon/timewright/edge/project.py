"""A project's folder: reads the files that belong into a spec, writes the files of one.

Reading follows no link. Writing goes through directory descriptors, part by part, so that a link
that stands in the way leads nowhere (faults.md E16).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timewright.core.document import Limits
from timewright.core.errors import Problem, SpecError, TimewrightError
from timewright.core.pack import SIDE_FILE, read_side
from timewright.core.packrules import (
    CODE_SUFFIXES,
    Ignore,
    Rules,
    gitignore,
    globs,
    listed,
    outer_bases,
    outputs,
    why_not_text,
)
from timewright.edge.files import unique

_MOST_ENTRIES = 20_000  # more is a mistaken path, such as a home directory
_MOST_DEPTH = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Found:
    """What a project's folder holds. `left_out`: (path, why), a folder's path with a final slash.
    `side`: what `timewright.json` holds, None when there is none."""

    files: dict[str, str] = field(default_factory=dict)
    side: dict[str, Any] | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(
    root: Path,
    limits: Limits,
    *,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    skip: str = "",
    with_side: bool = True,
) -> Found:
    """The files of the project in `root` that belong into its spec. `include` and `exclude`: patterns
    as .gitignore has them. `skip`: a file that isn't looked at. `with_side`: heed `timewright.json`.
    Raises TimewrightError, SpecError (a bad timewright.json) and GlobError."""
    found = Found()
    try:
        if with_side and (root / SIDE_FILE).is_file():
            found.side = read_side((root / SIDE_FILE).read_bytes())
        rules = Rules(
            globs(include), globs(exclude), listed(found.side or {}), outputs(lambda path: _text(root, path))
        )
        reader = _Reader(root, rules, limits, found, (SIDE_FILE, skip))
        reader.folder("", "", ())
        reader.check_size()
    except OSError as error:
        raise TimewrightError(f"{error.filename or root} can't be read: {error.strerror}") from None
    for base in outer_bases(lambda path: _text(root, path)):
        found.warnings.append(f"tsconfig.json extends {base}, which lies outside of the project")
    return found


def _text(root: Path, path: str) -> str | None:
    if path.startswith(("..", "/")):
        return None
    try:
        return (root / path).read_text("utf-8")
    except (OSError, ValueError):
        return None


@dataclass
class _Reader:
    root: Path
    rules: Rules
    limits: Limits
    found: Found
    skip: tuple[str, ...]
    entries: int = 0
    size: int = 0
    largest: list[tuple[int, str]] = field(default_factory=list)

    def check_size(self) -> None:
        if self.size <= self.limits.bytes:
            return
        largest = ", ".join(f"{path} ({size:,})" for size, path in sorted(self.largest)[-3:][::-1])
        self.found.problems.append(
            Problem(
                "(project)",
                f"the files have {self.size:,} bytes in all, the limit is {self.limits.bytes:,}; "
                f"the largest are {largest}",
                "leave some out with --exclude, or raise source.max_spec_bytes",
            )
        )

    def folder(self, path: str, above: str, ignores: tuple[Ignore, ...]) -> None:
        """Read one folder and those below. `above`: why what lies in it is left out, or ''."""
        prefix = f"{path}/" if path else ""
        here = self.root / path
        if (text := _text(self.root, f"{prefix}.gitignore")) is not None:
            ignores = (*ignores, Ignore(prefix, gitignore(text)))
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            self.entries += 1
            if self.entries > _MOST_ENTRIES:
                raise TimewrightError(
                    f"{self.root} has more than {_MOST_ENTRIES:,} files and folders",
                    hint="is this the folder of one project? Leave some out with --exclude",
                )
            name = prefix + entry.name
            if entry.is_symlink():
                self.leave_out(name, "a link", above)
            elif entry.is_dir(follow_symlinks=False):
                self.subfolder(name, above, ignores)
            elif entry.is_file(follow_symlinks=False):
                self.file(name, above, ignores)
            else:
                self.leave_out(name, "no regular file", above)

    def subfolder(self, path: str, above: str, ignores: tuple[Ignore, ...]) -> None:
        why = above or self.rules.folder(path, ignores)
        if path.count("/") >= _MOST_DEPTH:
            why = why or f"more than {_MOST_DEPTH} folders deep"
        if why:
            self.leave_out(f"{path}/", why, above)
        if not why or (self.rules.may_enter(path) and path.count("/") < _MOST_DEPTH):
            self.folder(path, why, ignores)

    def file(self, path: str, above: str, ignores: tuple[Ignore, ...]) -> None:
        if path in self.skip:
            return
        if why := self.rules.file(path, above, ignores):
            self.leave_out(path, why, above)
            return
        size = (self.root / path).lstat().st_size
        if size > self.limits.bytes:
            why = f"has {size:,} bytes, the limit is {self.limits.bytes:,}"
        elif self.size + size > self.limits.bytes:
            self.size += size  # too much already: check_size says so
            self.largest.append((size, path))
            return
        else:
            data = _bytes(self.root / path)
            why = why_not_text(data)
        if not why:
            self.size += size
            self.largest.append((size, path))
            self.found.files[path] = data.decode()
        elif path.endswith(CODE_SUFFIXES):
            self.found.problems.append(Problem(path, why, "leave it out with --exclude, or mend it"))
        else:
            self.leave_out(path, why, above)

    def leave_out(self, path: str, why: str, above: str) -> None:
        if not above:  # else its folder is named already
            self.found.left_out.append((path, why))


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return file.read()


# Writing ---------------------------------------------------------------------------------------


def is_empty(root: Path) -> bool:
    """Is there nothing at `root`, or an empty folder? Raises TimewrightError when it is a file."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
    except OSError as error:
        raise TimewrightError(f"{root} can't be read: {error.strerror}") from None


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files (relative path → text) below `root`, each by rename, and nowhere else.

    The paths must be good ones (`core.names.path_problem`). Raises SpecError when a link or another
    kind of file is in the way of one; nothing is written through it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise TimewrightError(f"{root} can't be made: {error.strerror}") from None
    try:
        for path, text in files.items():
            try:
                _write(descriptor, path.split("/"), text.encode())
            except OSError as error:
                raise SpecError([Problem(path, _why(error), "remove what is in the way")]) from None
    finally:
        os.close(descriptor)


def _write(root: int, parts: list[str], data: bytes) -> None:
    parent = root
    try:
        for name in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
            below = os.open(name, _DIRECTORY, dir_fd=parent)
            if parent != root:
                os.close(parent)
            parent = below
        _replace(parent, parts[-1], data)
    finally:
        if parent != root:
            os.close(parent)


def _replace(parent: int, name: str, data: bytes) -> None:
    """Put a file into an open folder by rename; a link of its name is replaced, not followed."""
    temporary = unique()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=parent), "wb") as file:
            file.write(data)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)
        raise


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return "can't be written: a link or a file stands where one of its folders should be"
    if error.errno == errno.EISDIR:
        return "can't be written: a folder of that name is there"
    return f"can't be written: {error.strerror}"
