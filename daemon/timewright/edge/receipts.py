"""Receipts: what a release is, in its release.toml."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tomli_w

from timewright.core.digest import SHORT, Placement
from timewright.core.names import id_problem, name_problem
from timewright.core.rollout import rollout_of
from timewright.core.stored import is_inside, is_moment, is_part, receipt_of
from timewright.edge import files

RECEIPT = "release.toml"
_MOST_RECEIPT = 16 * 1024 * 1024  # bytes; 500 files make 60 KB
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
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
        """Raises ValueError when the text is no receipt of a format we know, or says what none of ours says:
        what a path in it leads to is run, and what it is called is shown."""
        values = receipt_of(data)
        if values.pop("format", None) != 1:
            raise ValueError("not a receipt of format 1")
        for key, value in values.items():
            if not _KINDS.get(key, _is_text)(value):
                raise ValueError(f"{key} has the wrong type")
        for key in ("workflow_types", "activity_names", "warnings", "depends_on"):
            values[key] = tuple(values.get(key, ()))
        try:
            found = cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from None
        rollout_of(found.rollout)
        for key, right in _sense(found):
            if not right:
                raise ValueError(f"{key} makes no sense")
        return found


def _sense(found: Receipt) -> Iterator[tuple[str, bool]]:
    """What a receipt says, beyond its types: (key, whether it can be)."""
    yield "workflow_id", not id_problem(found.workflow_id)
    yield "digest", _DIGEST.fullmatch(found.digest) is not None
    yield "namespace", not name_problem(found.namespace)
    yield "task_queue", not name_problem(found.task_queue)
    yield "isolation", found.isolation in ("shared", "process")
    for key in ("workflows", "activities", "worker"):
        entry = getattr(found, key)
        yield key, entry is None or (is_inside(entry) and _is_below(entry, found.root))
    yield "root", found.root == "." or is_inside(found.root)
    yield "dependencies", found.dependencies == "" or is_part(found.dependencies)
    yield "files", all(is_inside(path) for path in found.files)


def _is_below(path: str, root: str) -> bool:
    return root == "." or path.startswith(f"{root}/")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


#: What a receipt's fields hold, where that isn't text.
_KINDS: Mapping[str, Callable[[object], bool]] = {
    "created": is_moment,
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
