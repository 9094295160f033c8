"""Many releases in one program of the compiler: five times cheaper than a program for each.

A program costs what the SDK's types cost, however small the release; so those that wait for a compiler at the
same time share one, when `core.company` says that no verdict can change by it. Whoever has anything said
against it here is judged again alone: only good news is taken from a shared program.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from timewright.edge import files
from timewright.edge.threads import in_thread
from timewright.edge.tschild import Child
from timewright.edge.tsjob import Checked, Job, is_library

#: Pinned for a program of many, whatever their own: each is an ES module of its own, and is written beside
#: its source by its name only; `dist/` comes in here.
_SHARED: Final = {"rootDir": "/", "moduleDetection": "force"}
_LEFT_OUT: Final = ("outDir", "rootDir")


@dataclass(frozen=True)
class Together:
    """Releases of one company and one node_modules. `home`: a directory of ours for the shared project."""

    jobs: Sequence[Job]
    home: Path

    async def warm(self, child: Child, lane: str) -> Sequence[Checked | None]:
        """Check and emit all; None for each that is to be judged alone.

        Raises ChildGoneError, OSError and ValueError: then all are.
        """
        start = time.perf_counter()
        with self._project() as (config, owners):
            snapshot, project = await child.open(config)
            if project is None:
                return ()
            try:
                return await self._judge(_Program(child, snapshot, project["id"]), owners, lane, start)
            finally:
                await child.release()

    async def _judge(
        self, program: _Program, owners: Mapping[str, Job], lane: str, start: float
    ) -> Sequence[Checked | None]:
        for name in await program.ask("getSourceFileNames"):
            if name not in owners and not (name.startswith(self._modules) and is_library(name)):
                return ()
        blamed = await program.blamed(owners)
        if blamed is None:
            return ()
        checked = time.perf_counter()
        answer = await program.ask("emitToString")
        if answer.get("emitSkipped") or answer.get("diagnostics"):
            return ()
        emitted: dict[Path, dict[str, str]] = {job.directory: {} for job in self.jobs}
        for item in answer["outputFiles"]:
            self._sort(item["fileName"], item["text"], emitted)
        good = [job for job in self.jobs if job.directory not in blamed]
        await in_thread(_write, [(job, emitted[job.directory]) for job in good])
        verdict = Checked((), lane, _ms(start, checked), _ms(checked, time.perf_counter()))
        return [verdict if job in good else None for job in self.jobs]

    @property
    def _modules(self) -> tuple[str, ...]:
        return tuple(f"{path}/" for path in self.jobs[0].modules)

    @contextlib.contextmanager
    def _project(self) -> Iterator[tuple[Path, Mapping[str, Job]]]:
        """The shared tsconfig.json, and whose each of its files is. Raises OSError, ValueError, KeyError."""
        place = self.home / files.unique("together-")
        place.mkdir()
        try:
            owners: dict[str, Job] = {}
            options: dict[str, Any] = {}
            for job in self.jobs:
                document = json.loads(job.config.read_bytes())
                options = document["compilerOptions"]
                owners |= {str(job.directory / name): job for name in document["files"]}
            for name in _LEFT_OUT:
                options.pop(name, None)
            (place / "node_modules").symlink_to(self.jobs[0].modules[0])
            (place / "package.json").write_text("{}")
            config = place / "tsconfig.json"
            config.write_text(
                json.dumps({"compilerOptions": {**options, **_SHARED}, "files": sorted(owners)})
            )
            yield config, owners
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _sort(self, name: str, text: str, emitted: Mapping[Path, dict[str, str]]) -> None:
        """Put what was emitted beside its source where it belongs. Raises ValueError for a stray."""
        for parent in Path(name).parents:
            if parent in emitted:
                source = Path(name).relative_to(parent / "src")
                target = parent / "dist" / source
                emitted[parent][str(target)] = _moved(text, source) if name.endswith(".map") else text
                return
        raise ValueError(f"{name} belongs to nobody")


@dataclass(frozen=True)
class _Program:
    """A shared program in one of the compiler's snapshots."""

    child: Child
    snapshot: int
    project: Any

    async def ask(self, method: str) -> Any:
        return await self.child.ask(method, {"snapshot": self.snapshot, "project": self.project})

    async def blamed(self, owners: Mapping[str, Job]) -> set[Path] | None:
        """The releases that something is said about; None for something that isn't about one of them."""
        for method in ("getConfigFileParsingDiagnostics", "getProgramDiagnostics", "getGlobalDiagnostics"):
            if await self.ask(method):
                return None
        found: set[Path] = set()
        for method in ("getSyntacticDiagnostics", "getSemanticDiagnostics"):
            for item in await self.ask(method) or ():
                owner = owners.get(item.get("fileName") or "")
                if owner is None:
                    return None
                found.add(owner.directory)
        return found


def _write(outputs: Iterable[tuple[Job, Mapping[str, str]]]) -> None:
    for job, texts in outputs:
        if job.directory.is_dir():  # else it was given up meanwhile
            job.write(texts)


def _moved(text: str, source: Path) -> str:
    """A source map as it is when dist/ mirrors src/: its one source lies elsewhere, by the way from here."""
    map_ = json.loads(text)
    if len(map_["sources"]) != 1:
        raise ValueError(f"the map of {source} has {len(map_['sources'])} sources")
    above = os.path.relpath(Path("src") / source.parent, Path("dist") / source.parent)
    map_["sources"] = [f"{above}/{map_['sources'][0]}"]
    return json.dumps(map_, ensure_ascii=False, separators=(",", ":"))


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
