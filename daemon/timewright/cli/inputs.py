"""What `validate` is given: files, folders and standard input, as documents to check."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from timewright.cli.common import is_yaml
from timewright.core.document import Limits
from timewright.core.errors import Problem
from timewright.core.policy import is_policy_name
from timewright.edge import source
from timewright.edge.source import is_spec_name

STDIN = "-"


@dataclass(frozen=True)
class Input:
    """One document. `name`: as people gave it; `path`: absolute, posix, without the first slash, ''
    for standard input; `problem`: why there is no `data`; `level` of that problem."""

    name: str
    path: str
    data: bytes = b""
    problem: Problem | None = None
    level: str = "error"

    @property
    def is_yaml(self) -> bool:
        return is_yaml(self.name, self.data)

    @property
    def is_policy(self) -> bool:
        return is_policy_name(Path(self.name).name)


def collect(names: Iterable[str], root: Path, limits: Limits) -> list[Input]:
    """Every document that is meant, once: the files, the folders' specs, and the policies that speak
    for them, found in their folders up to the one that was given or `root`, the source."""
    found: dict[str, Input] = {}
    policies: dict[str, None] = {}
    for name in names:
        if name == STDIN:
            found.setdefault("", Input(STDIN, "", sys.stdin.buffer.read()))
            continue
        path = Path(name)
        listed = list(_folder(path, limits)) if path.is_dir() else [_file(name, path, limits)]
        for item in listed:
            found.setdefault(item.path, item)
        top = root if _is_below(path, root) else path if path.is_dir() else path.parent
        for item in listed:
            policies.update(dict.fromkeys(_policies(Path(item.name), top)))
    for name in policies:
        item = _file(name, Path(name), limits)
        found.setdefault(item.path, item)
    return list(found.values())


def _is_below(path: Path, root: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root))  # noqa: PTH100 - links stay


def _file(name: str, path: Path, limits: Limits) -> Input:
    try:
        with path.open("rb") as file:  # one byte more, for the parser to say that it is too large
            return Input(name, _key(path), file.read(limits.bytes + 1))
    except OSError as error:
        return Input(name, _key(path), problem=Problem("(document)", f"can't be read: {error.strerror}"))


def _folder(folder: Path, limits: Limits) -> Iterator[Input]:
    """The specs that the daemon would find in a folder."""
    scan = source.scan(folder, {}, limits=limits, now_ns=time.time_ns())
    for problem in scan.incomplete:
        yield Input(str(folder), _key(folder), problem=problem)
    for seen in sorted(scan.files, key=lambda seen: seen.path):
        if seen.problem is not None:
            yield Input(str(folder / seen.path), _key(folder / seen.path), problem=seen.problem)
        else:
            yield _file(str(folder / seen.path), folder / seen.path, limits)
    if not any(is_spec_name(Path(seen.path).name) for seen in scan.files) and not scan.incomplete:
        yield Input(str(folder), _key(folder), problem=Problem("", "holds no specs"), level="warning")


def _policies(spec: Path, top: Path) -> Iterator[str]:
    """The policy files beside a spec and in the folders above it, up to `top`."""
    for folder in Path(os.path.abspath(spec)).parents:  # noqa: PTH100 - links stay
        if not _is_below(folder, top):
            return
        yield from _policies_in(folder if spec.is_absolute() else Path(os.path.relpath(folder)))


def _policies_in(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):  # the scan says so
        yield from sorted(str(path) for path in folder.iterdir() if is_policy_name(path.name))


def _key(path: Path) -> str:
    return os.path.abspath(path).lstrip("/")  # noqa: PTH100 - a link is a file of its own
