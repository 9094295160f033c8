"""The programs of the workflows that were compiled last, kept open in the warm compiler.

Who works on a workflow saves it again and again. Most of a check's time goes into finding which files belong
to its program, and that is rarely what a change is about. So the next release of a workflow is told to the
compiler as changes of files, at a place of its own where the last one lies.

Only a good verdict counts: whatever is said against a release is left to a program that reads all anew. What
lies behind node_modules is content by its name and never changes in place; another one that took its name is
noticed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from timewright.edge.tschild import Child
from timewright.edge.tsjob import Checked, Early, Job
from timewright.edge.tstree import inputs

#: Programs that stay open, some 7 MiB each.
_KEPT: Final = 8
_CONFIG: Final = "tsconfig.json"

#: Whose program it is: the folder of the workflow's releases, where its code lies in one, its packages.
_Key = tuple[Path, str, tuple[str, ...]]


@dataclass(frozen=True)
class _Edition:
    """What the compiler has open of a workflow. `files`: as they were told. `packages`: which folders lay
    behind node_modules."""

    place: Path
    snapshot: int
    files: Mapping[str, bytes]
    packages: tuple[tuple[int, int, int], ...]


class Editions:
    """Those of one child. `home`: a folder for nobody else, that the child may read."""

    def __init__(self, child: Child, home: Path) -> None:
        self._child, self._home = child, home
        self._open: OrderedDict[_Key, _Edition] = OrderedDict()
        self._made = 0

    async def compile(self, job: Job, lane: str, early: Early, *, fresh: bool) -> Checked | None:
        """As `Job.warm`, if it is good; else None, with nothing written. `fresh`: also where nothing is open
        of the workflow, which then is. Raises ChildGoneError, OSError."""
        start = time.perf_counter()
        key = (job.directory.parent, job.root, job.modules)
        last = self._open.pop(key, None)
        packages = _identities(job.modules)
        if last is not None and last.packages != packages:
            self._forget(last)
            last = None
        if last is None and not fresh:
            return None
        place, files = last.place if last else self._new_place(job), inputs(job.directory)
        child, config = self._child, str(place / _CONFIG)
        if last is None:
            _write(place, {}, files)
            changes: dict[str, Any] = {"openProjects": [config]}
        else:
            changes = {"fileNotifications": _write(place, last.files, files)}
        base = last.snapshot if last else child.anchor
        answer = await child.ask(
            "updateSnapshot", {"snapshot": base, "changes": {**changes, "ensurePrograms": [config]}}
        )
        snapshot = answer["snapshot"]
        project = next((item for item in answer["projects"] if item.get("configFileName") == config), None)
        checked = None
        if project is not None:
            there = replace(job, directory=place)
            checked = await there.judge(child, snapshot, project, lane, start, job, early)
        if checked is not None and not checked.problems:
            self._open[key] = _Edition(place, snapshot, files, packages)
            while len(self._open) > _KEPT:
                self._forget(self._open.popitem(last=False)[1])
        else:
            shutil.rmtree(place, ignore_errors=True)
            checked = None
        child.keep(self._snapshots())
        await child.release()
        return checked

    def close(self) -> None:
        """The child has ended."""
        self._open.clear()
        shutil.rmtree(self._home, ignore_errors=True)

    def _snapshots(self) -> frozenset[int]:
        return frozenset(one.snapshot for one in self._open.values())

    def _forget(self, edition: _Edition) -> None:
        shutil.rmtree(edition.place, ignore_errors=True)
        self._child.keep(self._snapshots())

    def _new_place(self, job: Job) -> Path:
        """Never one that was there before: of that the compiler may remember something."""
        self._made += 1
        place = self._home / str(self._made)
        place.mkdir(parents=True)
        (place / "node_modules").symlink_to(job.modules[0])
        return place


def _identities(modules: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """Raises OSError where they are gone."""
    stats = [os.stat(path) for path in modules]  # noqa: PTH116 - three of them, on the hot path
    return tuple((one.st_dev, one.st_ino, one.st_mtime_ns) for one in stats)


def _write(place: Path, before: Mapping[str, bytes], files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Make what lies there these files; what the compiler is to be told of it."""
    created = [name for name in files if name not in before]
    changed = [name for name in files if name in before and files[name] != before[name]]
    deleted = [name for name in before if name not in files]
    for name in deleted:
        (place / name).unlink()
    for name in (*created, *changed):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    said = {"changed": changed, "created": created, "deleted": deleted}
    return {kind: [str(place / name) for name in names] for kind, names in said.items()}
