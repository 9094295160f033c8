"""What was checked and compiled once, by the digest of all that decides it: one file each.

    {root}/{key}     64 hex digits of SHA-256, a line end, then zlib of JSON {"files": {path: text}, …}

A cache and no more: whatever of it is damaged, gone or unreadable is compiled again, and a disk that
refuses to take an entry fails nothing. Entries that were not used for the longest time go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from timewright.edge import files

_KEPT: Final = ("dist", "bundle")
_DIGEST: Final = 64


class CompileCache:
    """The compiled output of releases. `limit`: bytes on disk; 0 turns the cache off."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root = root
        self.limit = limit
        self._sizes: dict[str, int] | None = None  # by key, the least recently used first

    def take(self, key: str, release: Path) -> Mapping[str, Any] | None:
        """Put the output for `key` into `release` (dist/, bundle/); returns what `put` was told of it.
        None, with nothing written, when it isn't there or is damaged."""
        if not self.limit:
            return None
        path = self.root / key
        try:
            data = path.read_bytes()
            content = _opened(data)
        except (OSError, ValueError, KeyError, zlib.error):
            self._forget(key)
            return None
        for name, text in content["files"].items():
            target = release / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8", newline="")
        self._touch(key, len(data))
        about: Mapping[str, Any] = content["about"]
        return about

    def put(self, key: str, release: Path, about: Mapping[str, Any]) -> None:
        """Keep the output of `release`. `about`: JSON values that `take` gives back."""
        if not self.limit:
            return
        with contextlib.suppress(OSError, UnicodeDecodeError):  # output that is no text isn't kept
            data = _sealed({"files": _texts(release), "about": dict(about)})
            if len(data) <= self.limit:
                self.root.mkdir(parents=True, exist_ok=True)
                self._make_room(len(data), key)
                temporary = self.root / files.unique()
                try:
                    temporary.write_bytes(data)
                    temporary.replace(self.root / key)
                finally:
                    temporary.unlink(missing_ok=True)
                self._touch(key, len(data))

    def texts(self, key: str) -> Mapping[str, str]:
        """The output for `key`, path → text, to be looked at; nothing when it isn't there."""
        try:
            found: Mapping[str, str] = _opened((self.root / key).read_bytes())["files"]
        except (OSError, ValueError, KeyError, zlib.error):
            return {}
        return found

    # housekeeping

    def _index(self) -> dict[str, int]:
        if self._sizes is None:
            found: list[tuple[float, str, int]] = []
            with contextlib.suppress(OSError):
                files.sweep(self.root)
                for entry in os.scandir(self.root):
                    stat = entry.stat(follow_symlinks=False)
                    found.append((stat.st_mtime, entry.name, stat.st_size))
            self._sizes = {name: size for _, name, size in sorted(found)}
        return self._sizes

    def _touch(self, key: str, size: int) -> None:
        index = self._index()
        index.pop(key, None)
        index[key] = size
        with contextlib.suppress(OSError):
            os.utime(self.root / key)

    def _forget(self, key: str) -> None:
        self._index().pop(key, None)
        with contextlib.suppress(OSError):
            (self.root / key).unlink(missing_ok=True)

    def _make_room(self, size: int, key: str) -> None:
        index = self._index()
        total = sum(index.values()) + size - index.get(key, 0)
        for oldest in list(index):
            if total <= self.limit:
                break
            if oldest != key:
                total -= index[oldest]
                self._forget(oldest)


def _texts(release: Path) -> dict[str, str]:
    return {
        path.relative_to(release).as_posix(): path.read_bytes().decode("utf-8")
        for top in _KEPT
        for path in sorted((release / top).rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _sealed(content: Mapping[str, Any]) -> bytes:
    packed = zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 1)
    return hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed


def _opened(data: bytes) -> dict[str, Any]:
    """Raises ValueError for data that isn't what was written."""
    packed = data[_DIGEST + 1 :]
    if hashlib.sha256(packed).hexdigest().encode() != data[:_DIGEST]:
        raise ValueError("damaged")
    content: dict[str, Any] = json.loads(zlib.decompress(packed))
    return content
