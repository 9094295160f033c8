"""Receipts: what a release is, in its release.toml."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from timewright.core.digest import SHORT, Placement
from timewright.edge import files

RECEIPT = "release.toml"
_MOST_RECEIPT = 16 * 1024 * 1024  # bytes; 500 files make 60 KB


@dataclass(frozen=True)
class Receipt:
    """What release.toml says: enough to rebuild the state file, and to check the release.

    `created`: seconds since the epoch. `files`: path → SHA-256 of everything but the receipt.
    """

    workflow_id: str
    digest: str
    name: str
    source: str
    revision: str
    created: float
    namespace: str
    task_queue: str
    isolation: str
    compiler: str
    sdk: str
    workflow_types: tuple[str, ...] = ()
    activity_names: tuple[str, ...] = ()
    workflows: str | None = None  # src/workflow.ts
    activities: str | None = None
    worker: str | None = None
    root: str = "src"  # what dist/ mirrors
    dependencies: str = ""  # the key of its packages
    typescript: str = ""  # the version that judged it
    bundle: str | None = None  # SHA-256 of bundle/workflow.js
    prune: bool | None = None
    owner: str = ""
    depends_on: tuple[str, ...] = ()
    author: str = ""  # of the commit that `revision` is, and its subject
    subject: str = ""
    rollout: str = ""  # core/rollout.py's text, as the spec said when this was built
    env: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def release(self) -> str:
        return self.digest[:SHORT]

    @property
    def placement(self) -> Placement:
        return Placement(self.namespace, self.task_queue, self.isolation)

    def is_of(self, workflow_id: str, release: str) -> bool:
        return (self.workflow_id, self.release) == (workflow_id, release)

    def to_toml(self) -> bytes:
        known = {key: value for key, value in asdict(self).items() if value is not None}
        return tomli_w.dumps({"format": 1, **known}).encode()

    @classmethod
    def from_toml(cls, data: bytes) -> Receipt:
        """Raises ValueError when the text is no receipt of a format we know."""
        values: dict[str, Any] = tomllib.loads(data.decode())
        if values.pop("format", None) != 1:
            raise ValueError("not a receipt of format 1")
        for key, value in values.items():
            if not _KINDS.get(key, _is_text)(value):
                raise ValueError(f"{key} has the wrong type")
        for key in ("workflow_types", "activity_names", "warnings", "depends_on"):
            values[key] = tuple(values.get(key, ()))
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


#: What a receipt's fields hold, where that isn't text.
_KINDS: Mapping[str, Callable[[object], bool]] = {
    "created": lambda value: isinstance(value, int | float),
    "prune": lambda value: isinstance(value, bool),
    "workflow_types": _are_texts,
    "activity_names": _are_texts,
    "warnings": _are_texts,
    "depends_on": _are_texts,
    "env": _is_text_by_name,
    "files": _is_text_by_name,
}


def read_receipt(root: Path) -> bytes:
    """The receipt's bytes. Raises OSError for what is no file, or is too big for a receipt."""
    with os.fdopen(files.open_beneath(root, RECEIPT), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{RECEIPT} is no file")
        data = file.read(_MOST_RECEIPT + 1)
    if len(data) > _MOST_RECEIPT:
        raise OSError(f"{RECEIPT} is too big")
    return data
