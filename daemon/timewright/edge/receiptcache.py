"""What the receipts of live releases said, kept over a restart.

A receipt that is the very same file as then (device, inode, size, times) is not read and parsed again: ten
thousand take seconds. Only a cache: what is lost, damaged or of another format is read where it lies.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from timewright.core.digest import sha256
from timewright.edge import files
from timewright.edge.receipts import Receipt
from timewright.edge.source import COARSE_RACY_NS, Stamp

_FORMAT = 1
_FIELDS = [field.name for field in fields(Receipt) if field.name != "files"]
_TUPLES = frozenset(field.name for field in fields(Receipt) if str(field.type).startswith("tuple"))


def stamp_of(path: str) -> Stamp | None:
    """A file's stamp; None where there is none."""
    try:
        return Stamp.of(os.lstat(path))
    except OSError:
        return None


class ReceiptCache:
    """Receipts without their lists of files, by `{workflow id}/{release}`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stored: dict[str, tuple[list[int], dict[str, Any]]] = {}  # as the file had them
        self._known: dict[str, tuple[Stamp, Receipt]] = {}
        self._fresh = 0  # how many the file doesn't have

    def load(self) -> None:
        """Take up what was kept."""
        with suppress(OSError, ValueError):
            head, _, body = self.path.read_bytes().partition(b"\n")
            if head.decode() == f"{_FORMAT} {sha256(body)}":
                self._stored = json.loads(body)

    def get(self, name: str, stamp: Stamp) -> Receipt | None:
        """What the receipt said, where it is the file with this stamp."""
        known = self._known.get(name)
        if known is None and name in self._stored:
            with suppress(TypeError, ValueError, LookupError):
                seen, row = self._stored.pop(name)
                known = self._known[name] = (Stamp(*seen), _receipt(row))
        return known[1] if known is not None and known[0] == stamp else None

    def note(self, name: str, stamp: Stamp, receipt: Receipt) -> None:
        """Keep what was read just now. What is so young that it may change once more under the same stamp is
        read again the next time."""
        if time.time_ns() - stamp.ctime_ns >= COARSE_RACY_NS:
            self._known[name] = (stamp, receipt)
            self._fresh += 1

    def forget(self, name: str) -> None:
        """It is gone from the tree."""
        self._known.pop(name, None)
        self._stored.pop(name, None)

    def write(self, live: Collection[str]) -> None:
        """Keep these for the next start, if any of them is new. What the disk has against it is no matter."""
        self._stored.clear()
        if not self._fresh:
            return
        known = dict(self._known)  # others may add to it meanwhile
        rows = {name: (known[name][0], _row(known[name][1])) for name in live if name in known}
        body = json.dumps(rows, separators=(",", ":")).encode("utf-8", "surrogatepass")
        aside = self.path.parent / files.unique()
        with suppress(OSError):  # not synced: what a power cut leaves half is known by its digest
            aside.write_bytes(f"{_FORMAT} {sha256(body)}\n".encode() + body)
            aside.replace(self.path)
            self._fresh = 0
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _row(receipt: Receipt) -> dict[str, Any]:
    values = {name: getattr(receipt, name) for name in _FIELDS}
    return {name: value for name, value in values.items() if value is not None and value != ()}


def _receipt(row: Mapping[str, Any]) -> Receipt:
    values: dict[str, Any] = {name: tuple(value) if name in _TUPLES else value for name, value in row.items()}
    return Receipt(**values)
