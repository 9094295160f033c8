"""The worker tree: immutable releases, the links that make them live, and their receipts.

    workflows/{id}  ->  ../releases/{id}/{digest12}

A reader sees a whole release or none: a release is built under a temporary name beside its final
one, made durable, and renamed; the link is swapped by a rename (design §4).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from timewright.core.digest import SHORT, Placement, sha256
from timewright.core.errors import DeployError, Reason
from timewright.edge import files

RECEIPT = "release.toml"


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
    env: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def release(self) -> str:
        return self.digest[:SHORT]

    @property
    def placement(self) -> Placement:
        return Placement(self.namespace, self.task_queue, self.isolation)

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


class Releases:
    """The releases of one data directory."""

    def __init__(self, data: Path, workflows: Path | None = None, twin: Path | None = None) -> None:
        """`workflows`: the worker tree. `twin`: a second tree of the same links, if somebody wants one."""
        self.data = data
        self.root = data / "releases"
        self.links = workflows or data / "workflows"
        self._trees = [self.links, *([twin] if twin else [])]

    def prepare(self) -> int:
        """Make the directories and sweep what a crash left; returns how many leftovers there were."""
        for directory in (self.root, *self._trees):
            directory.mkdir(parents=True, exist_ok=True)
        swept = sum(files.sweep(directory) for directory in (self.root, *self._trees))
        return swept + sum(
            files.sweep(Path(entry.path))
            for entry in os.scandir(self.root)
            if entry.is_dir(follow_symlinks=False)
        )

    def path(self, workflow_id: str, release: str) -> Path:
        return self.root / workflow_id / release

    def begin(self, workflow_id: str) -> Path:
        """A new, empty directory to build a release in, at the depth that it will have."""
        directory = self.root / workflow_id / files.unique()
        directory.mkdir(parents=True)
        return directory

    def publish(self, build: Path, receipt: Receipt) -> Path:
        """Seal a built release: receipt, fsync, rename to its final name. Returns that name.

        A release of that name that is damaged is replaced; one that is whole is kept.
        """
        listed = dict(_digests(build))
        sealed = Receipt(**{**receipt.__dict__, "files": listed})
        (build / RECEIPT).write_bytes(sealed.to_toml())
        files.sync_tree(build)
        final = self.path(receipt.workflow_id, receipt.release)
        if os.path.lexists(final):
            if self.damage(receipt.workflow_id, receipt.release) == "":
                files.remove(build)
                return final
            files.remove(final)
        build.rename(final)
        files.sync_directory(final.parent)
        return final

    def receipt(self, workflow_id: str, release: str) -> Receipt | None:
        """A release's receipt; None when there is no whole release of that name."""
        try:
            found = Receipt.from_toml((self.path(workflow_id, release) / RECEIPT).read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.workflow_id == workflow_id and found.release == release else None

    def damage(self, workflow_id: str, release: str) -> str:
        """What differs from the receipt, '' when nothing does: every file is read."""
        receipt = self.receipt(workflow_id, release)
        if receipt is None:
            return "its receipt is missing or unreadable"
        found = dict(_digests(self.path(workflow_id, release)))
        for name, digest in receipt.files.items():
            if name not in found:
                return f"{name} is missing"
            if found[name] != digest:
                return f"{name} was changed"
        return ""

    def make_live(self, workflow_id: str, release: str) -> None:
        """Swap the workflow's link to a release, by one rename."""
        for tree in reversed(self._trees):  # the tree that counts comes last
            tree.mkdir(parents=True, exist_ok=True)
            link, home = tree / workflow_id, os.path.relpath(self.root.resolve(), tree.resolve())
            if link.is_dir() and not link.is_symlink():
                raise DeployError(
                    Reason.STORAGE_FAILED,
                    f"{link} is a directory that timewright did not make",
                    hint="move it away: the link to the live release belongs there",
                )
            files.point(link, f"{home}/{workflow_id}/{release}")

    def take_down(self, workflow_id: str) -> None:
        """Remove the workflow's link; its releases stay until retention collects them."""
        for tree in reversed(self._trees):
            if files.read_link(tree / workflow_id) is not None:
                (tree / workflow_id).unlink(missing_ok=True)
                files.sync_directory(tree)

    def current(self, workflow_id: str) -> str | None:
        """The release that a workflow's link names, if the link is one of ours."""
        target = files.read_link(self.links / workflow_id)
        if target is None:
            return None
        owner, release = Path(target).parent.name, Path(target).name
        return release if owner == workflow_id else None

    def live(self) -> Iterator[Receipt]:
        """The receipt of each workflow's current release, where both link and release are whole."""
        for entry in os.scandir(self.links):
            if entry.is_symlink() and not entry.name.startswith(".tmp-"):
                release = self.current(entry.name)
                receipt = self.receipt(entry.name, release) if release else None
                if receipt is not None:
                    yield receipt

    def collect(self, workflow_id: str, keep: Iterable[str], *, most: int, older_than: float) -> list[str]:
        """Remove old releases; returns which. Kept: the live one, those in `keep`, the newest `most`, and all
        created after `older_than` (seconds since the epoch, by their receipts)."""
        home, wanted = self.root / workflow_id, {*keep, self.current(workflow_id)}
        dated: list[tuple[float, str]] = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(home):
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".tmp-"):
                    receipt = self.receipt(workflow_id, entry.name)
                    dated.append((receipt.created if receipt else 0.0, entry.name))
        dated.sort(reverse=True)
        doomed = [name for created, name in dated[most:] if name not in wanted and created < older_than]
        for name in doomed:
            files.remove(home / name)
        return doomed

    def kept(self, workflow_id: str) -> list[Receipt]:
        """The receipts of the releases that the tree holds, newest first."""
        found: list[Receipt] = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.root / workflow_id):
                if not entry.name.startswith(".tmp-"):
                    receipt = self.receipt(workflow_id, entry.name)
                    if receipt is not None:
                        found.append(receipt)
        return sorted(found, key=lambda receipt: receipt.created, reverse=True)

    def packages(self) -> set[str]:
        """The sets of packages that any release, or one being built, links to."""
        links = (files.read_link(path) for path in self.root.glob("*/*/node_modules"))
        return {Path(link).parent.name for link in links if link is not None}

    def discard(self, build: Path) -> None:
        """Throw away what was being built."""
        shutil.rmtree(build, ignore_errors=True)


def _digests(root: Path) -> Iterator[tuple[str, str]]:
    """(relative path, SHA-256) of every file but the receipt; links by their target. What is neither
    (a FIFO would keep its reader waiting) counts as changed: its digest is no file's."""
    for directory, folders, names in os.walk(root):
        for name in sorted([*names, *(f for f in folders if Path(directory, f).is_symlink())]):
            path = Path(directory, name)
            relative = path.relative_to(root).as_posix()
            if relative == RECEIPT:
                continue
            if path.is_symlink():
                yield relative, sha256(str(path.readlink()).encode())
            else:
                yield relative, sha256(path.read_bytes()) if path.is_file() else "special"
