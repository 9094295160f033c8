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
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from timewright.core.digest import sha256
from timewright.edge.tschild import Child, ChildGoneError
from timewright.edge.tsjob import Checked, Early, Job
from timewright.edge.tstree import inputs

#: Programs that stay open, some 7 MiB each.
_KEPT: Final = 8
_CONFIG: Final = "tsconfig.json"

_Packages = tuple[tuple[int, int, int], ...]
#: Whose program it is: the folder of the workflow's releases, where its code lies in one, its packages.
_Key = tuple[Path, str, tuple[str, ...]]


@dataclass(frozen=True)
class _Edition:
    """What the compiler has open of a workflow. `project`: as it says what it is. `files`: their digests, as
    they were told. `packages`: which folders lay behind node_modules."""

    place: Path
    snapshot: int
    project: Mapping[str, Any]
    files: Mapping[str, str]
    packages: _Packages


class Editions:
    """Those of one child. `home`: a folder for nobody else, that the child may read."""

    def __init__(self, child: Child, home: Path) -> None:
        self._child, self._home = child, home
        self._open: OrderedDict[_Key, _Edition] = OrderedDict()
        self._made = 0

    async def compile(self, job: Job, lane: str, early: Early, *, fresh: bool) -> Checked | None:
        """As `Job.warm`, if it is good; else None, with nothing written. `fresh`: also where nothing is open
        of the workflow, which then is. Raises ChildGoneError, OSError.

        Not for a release that names files outside of it: what they are can't be seen from its place here.
        """
        start = time.perf_counter()
        key = (job.directory.parent, job.root, job.modules)
        packages = _identities(job.modules)
        last = self._open.pop(key, None)
        if last is not None and last.packages != packages:
            self._forget(last.place)
            last = None
        if last is None and not fresh:
            return None
        place = last.place if last else self._home / str(self._made)
        try:
            edition, checked = await self._update(job, last, place, packages, lane, early, start)
        except BaseException:
            self._forget(place)
            raise
        if checked.problems:
            self._forget(place)
        else:
            self._open[key] = edition
            while len(self._open) > _KEPT:
                self._forget(self._open.popitem(last=False)[1].place)
        self._keep()
        await self._child.release()
        return None if checked.problems else checked

    async def _update(
        self,
        job: Job,
        last: _Edition | None,
        place: Path,
        packages: _Packages,
        lane: str,
        early: Early,
        start: float,
    ) -> tuple[_Edition, Checked]:
        """Have the compiler look at what the release holds, and its verdict."""
        child, config = self._child, str(place / _CONFIG)
        texts = inputs(job.directory)
        files = {name: sha256(data) for name, data in texts.items()}
        if last is None:
            self._made += 1  # never a place that was there before: of that the compiler may know something
            place.mkdir(parents=True)
            (place / "node_modules").symlink_to(job.modules[0])
            _write(place, {}, files, texts)
            changes: dict[str, Any] = {"openProjects": [config]}
        else:
            changes = {"fileNotifications": _write(place, last.files, files, texts)}
        base = last.snapshot if last else child.anchor
        answer = await child.ask(
            "updateSnapshot", {"snapshot": base, "changes": {**changes, "ensurePrograms": [config]}}
        )
        mine = [item for item in answer["projects"] if item.get("configFileName") == config]
        if not mine and last is None:
            raise ChildGoneError("a project was opened, and is not there")
        project = mine[0] if mine else last.project if last else {}  # what has not changed is not listed
        there = replace(job, directory=place)
        checked = await there.judge(child, answer["snapshot"], project, lane, start, job, early)
        return _Edition(place, answer["snapshot"], project, files, packages), checked

    def close(self) -> None:
        """The child has ended."""
        self._open.clear()
        shutil.rmtree(self._home, ignore_errors=True)

    def _forget(self, place: Path) -> None:
        """Its snapshot is let go of with the next release of them."""
        shutil.rmtree(place, ignore_errors=True)
        self._keep()

    def _keep(self) -> None:
        self._child.keep(frozenset(one.snapshot for one in self._open.values()))


def _identities(modules: tuple[str, ...]) -> _Packages:
    """Nothing for those that are gone."""
    found = []
    for path in modules:
        with suppress(OSError):
            stat = os.stat(path)  # noqa: PTH116 - on the hot path
            found.append((stat.st_dev, stat.st_ino, stat.st_mtime_ns))
    return tuple(found)


def _write(
    place: Path, before: Mapping[str, str], files: Mapping[str, str], texts: Mapping[str, bytes]
) -> dict[str, list[str]]:
    """Make what lies there these files; what the compiler is to be told of it."""
    created = [name for name in files if name not in before]
    changed = [name for name in files if name in before and files[name] != before[name]]
    deleted = [name for name in before if name not in files]
    for name in deleted:
        (place / name).unlink()
    for name in (*created, *changed):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(texts[name])
    said = {"changed": changed, "created": created, "deleted": deleted}
    return {kind: [str(place / name) for name in names] for kind, names in said.items()}
