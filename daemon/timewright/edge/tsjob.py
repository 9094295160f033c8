"""One release on its way through a TypeScript compiler, warm or cold: the same rules, the same answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from timewright.core import diagnostics
from timewright.core.diagnostics import Places
from timewright.core.errors import DeployError, Problem, Reason
from timewright.edge import files, process, tstree
from timewright.edge.toolchain import readable
from timewright.edge.tschild import MIB, Child, ChildGoneError, Limits

_DECLARATION: Final = re.compile(r"\.d(\.[^./]+)?\.[cm]?ts$")

_UNWRITTEN: Final = "TS5033"  # "Could not write file": no fault of the code
_DECLARED: Final = re.compile(r"(\.d)?\.[cm]?[jt]sx?$")
_REFERENCE: Final = re.compile(r"""^\s*///\s*<reference\s+(?:path|types)\s*=\s*(['"])(.+?)\1""", re.MULTILINE)


@dataclass(frozen=True)
class Checked:
    """What became of one release. `problems` empty: `dist/` is written. `lane`: who did it."""

    problems: tuple[Problem, ...]
    lane: str
    check_ms: float
    emit_ms: float = 0.0


class Early:
    """Who begins with what was emitted before the verdict on it: mostly it is good, and then time is won. For
    one that has nothing to begin."""

    def begin(self) -> None:
        """dist/ is written, and what it was made of is no syntax error."""

    async def undo(self) -> None:
        """It was wrong. Returns when nothing of it goes on; dist/ is removed then."""


@dataclass
class Job:
    """One release on its way through a compiler. `root`: where its code lies, `src` or `.`. `library`:
    where the compiler has its own types, when that is not in the toolchain."""

    directory: Path
    toolchain: Path
    limits: Limits
    root: str = "src"
    library: Path | None = None

    def __post_init__(self) -> None:
        modules = (self.directory / "node_modules").resolve()
        shared = (self.toolchain / "node_modules").resolve()
        own = (str(self.library.resolve()),) if self.library is not None else ()
        self.modules = (str(modules), str(shared), *own)
        self.places = Places(
            str(self.directory),
            tuple((path, "node_modules") for path in dict.fromkeys(self.modules)),
        )

    @property
    def _packages(self) -> tuple[Path, ...]:
        """What lies behind its node_modules, and around the compiler."""
        beside = (self.library.resolve().parents[1],) if self.library is not None else ()
        return ((self.directory / "node_modules").resolve(), *beside)

    @property
    def config(self) -> Path:
        return self.directory / "tsconfig.json"

    # --- besides what the entry points reach ---

    @contextlib.contextmanager
    def more(self, names: Iterable[str]) -> Iterator[Path]:
        """A second tsconfig.json beside ours, with these files as well, for a check that emits nothing."""
        document = json.loads(self.config.read_bytes())
        document["compilerOptions"]["noEmit"] = True
        document["files"] = sorted({*document["files"], *names})
        path = self.directory / files.unique("tsconfig-")
        path.write_text(json.dumps(document), "utf-8")
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def warm_more(self, child: Child, names: Sequence[str]) -> tuple[Problem, ...]:
        """What is wrong with the release and these files of it together."""
        with self.more(names) as config:
            snapshot, project = await child.open(config)
            if project is None:
                return ()
            about = {"snapshot": snapshot, "project": project["id"]}

            async def ask(method: str) -> Any:
                return await child.ask(method, about)

            problems = self.outside(await ask("getSourceFileNames")) or await self._diagnose(ask)
        await child.release()
        return problems

    async def cold_more(self, command: Sequence[str | Path], names: Sequence[str]) -> tuple[Problem, ...]:
        """The same by a cold compiler."""
        with self.more(names) as config:
            listed = await self._run(command, config, "--listFilesOnly")
            problems = self.outside([line for line in listed.splitlines() if line.startswith("/")])
            if problems:
                return problems
            printed = await self._run(command, config, "--noEmit")
        return diagnostics.tidy(diagnostics.from_printed(printed, self.places))

    # --- warm ---

    async def warm(self, child: Child, lane: str, early: Early | None = None) -> Checked:
        start = time.perf_counter()
        snapshot, project = await child.open(self.config)
        if project is None:
            raise DeployError(Reason.INTERNAL_ERROR, "the release has no tsconfig.json")
        checked = await self.judge(child, snapshot, project, lane, start, self, early or Early())
        await child.release()
        return checked

    async def judge(
        self,
        child: Child,
        snapshot: int,
        project: Mapping[str, Any],
        lane: str,
        start: float,
        target: Job,
        early: Early,
    ) -> Checked:
        """Check what the child has open, and write what it emits for `target`: the same release, where it is
        built. In the order of `tsc`: a program that can't be parsed is not checked for meaning.

        Emitted is first, as soon as there is something that can be: who goes on with it need not wait for the
        verdict. With problems nothing stays written.
        """
        about = {"snapshot": snapshot, "project": project["id"]}

        async def ask(method: str) -> Any:
            return await child.ask(method, about)

        spent = 0.0

        def verdict(problems: tuple[Problem, ...]) -> Checked:
            return Checked(problems, lane, _ms(start, time.perf_counter()) - spent, spent)

        if problems := self.outside(await ask("getSourceFileNames")):
            return verdict(problems)
        config = await ask("getConfigFileParsingDiagnostics") or []
        if syntax := await ask("getSyntacticDiagnostics") or []:
            return verdict(self._tidy(config + syntax))
        options = project["parsedCommandLine"]["options"]
        wait = bool(config or options.get("declaration") or options.get("noEmitOnError"))
        if not wait:
            emitting = time.perf_counter()
            if problems := await self._emit(ask, False, target):
                return verdict(problems)
            spent = _ms(emitting, time.perf_counter())
            early.begin()
        try:
            problems = self._tidy(config + await self._meaning(ask))
        except BaseException:
            await target.take_back(early)
            raise
        if not wait:
            if problems:
                await target.take_back(early)
        elif not problems:
            emitting = time.perf_counter()
            problems = await self._emit(ask, bool(options.get("declaration")), target)
            spent = _ms(emitting, time.perf_counter())
        return verdict(problems)

    async def take_back(self, early: Early) -> None:
        """What was emitted was wrong, or nobody waits for the verdict any more."""
        await early.undo()
        files.remove(self.directory / "dist")

    async def _diagnose(self, ask: Callable[[str], Awaitable[Any]]) -> tuple[Problem, ...]:
        """All that is wrong with a program, in the order of `tsc`."""
        config = await ask("getConfigFileParsingDiagnostics") or []
        syntax = await ask("getSyntacticDiagnostics") or []
        return self._tidy(config + (syntax or await self._meaning(ask)))

    async def _meaning(self, ask: Callable[[str], Awaitable[Any]]) -> list[Any]:
        """What is wrong with a program that can be parsed."""
        general: list[Any] = (await ask("getProgramDiagnostics") or []) + (
            await ask("getGlobalDiagnostics") or []
        )
        if any(item.get("category") == 1 for item in general):
            return general
        return list(await ask("getSemanticDiagnostics") or [])

    async def _emit(
        self, ask: Callable[[str], Awaitable[Any]], declaration: bool, target: Job
    ) -> tuple[Problem, ...]:
        if declaration and (found := await ask("getDeclarationDiagnostics")):
            return self._tidy(found)
        answer = await ask("emitToString")
        problems = self._tidy(answer.get("diagnostics") or [])
        if problems:
            return problems
        if answer.get("emitSkipped"):
            raise ChildGoneError("emit was skipped without a reason")
        emitted = {item["fileName"]: item["text"] for item in answer["outputFiles"]}
        here, there = f"{self.directory}/", f"{target.directory}/"
        if here != there:
            emitted = {
                there + name.removeprefix(here) if name.startswith(here) else name: text
                for name, text in emitted.items()
            }
        return target._keep(emitted)

    def _keep(self, emitted: Mapping[str, str]) -> tuple[Problem, ...]:
        """Write what the compiler would, if it is all in dist/."""
        home = str(self.directory / "dist") + "/"
        strays = [name for name in emitted if not _below(name, home)]
        if strays:
            return tuple(
                Problem("", f"would be written outside of dist: {Path(name).name}") for name in strays
            )
        self.write(emitted)
        return ()

    def write(self, emitted: Mapping[str, str]) -> None:
        """Write dist/ anew: what an earlier run left there proves nothing."""
        files.remove(self.directory / "dist")
        for name, text in emitted.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")

    # --- by a Node host ---

    def hosted(self, answer: Mapping[str, Any], lane: str, took: float = 0.0) -> Checked:
        """The verdict of a host that has checked and emitted in one go; writes dist/ when it is good."""
        problems = self.outside([str(name) for name in answer["files"]])
        if not problems:
            problems = diagnostics.tidy(diagnostics.from_host(answer["diagnostics"], self.places))
        start = time.perf_counter()
        if not problems and answer["outputs"]:
            problems = self._keep({item["fileName"]: item["text"] for item in answer["outputs"]})
        return Checked(problems, lane, took, _ms(start, time.perf_counter()))

    def _tidy(self, answers: Iterable[Mapping[str, Any]]) -> tuple[Problem, ...]:
        return diagnostics.tidy(diagnostics.from_service(answers, self.places))

    # --- what a program may read ---

    def outside(self, names: Sequence[str]) -> tuple[Problem, ...]:
        """Files of the program that a release may not use; each is a problem where it is imported.

        Code must lie below the root (a JSON file elsewhere would be copied over itself, finding 2);
        types may also lie in the rest of the release and in its dependencies. What we make ourselves
        is no input, whatever the root.
        """
        home, source = f"{self.directory}/", os.path.normpath(self.directory / self.root) + "/"
        made = tuple(f"{self.directory}/{name}/" for name in ("dist", "bundle", "node_modules"))
        modules = tuple(f"{path}/" for path in self.modules)
        strays = []
        for name in names:
            in_modules = name.startswith(modules)
            if (name.startswith(source) and not name.startswith(made)) or (in_modules and is_library(name)):
                continue
            if name.startswith(home) and _DECLARATION.search(name):
                continue
            if in_modules and not self._reached_by_path(name):
                continue
            strays.append(name)
        stems = {_DECLARED.sub("", name) for name in strays}
        strays += [name for name in self._referenced() if _DECLARED.sub("", name) not in stems]
        return diagnostics.tidy(self._stray(name) for name in strays)

    def _referenced(self) -> Iterator[str]:
        """What `/// <reference` names outside of the release: a compiler in a cage passes it over."""
        for file, text in self._sources():
            for _, name in _REFERENCE.findall(text):
                target = os.path.normpath(self.directory / os.path.dirname(file) / name)  # noqa: PTH120 - as text
                if not target.startswith(f"{self.directory}/"):
                    yield target

    def _reached_by_path(self, name: str) -> bool:
        """Whether the code names a file in node_modules by its path: it would be emitted beside itself."""
        needle = re.compile(r"""['"`][^'"`\n]*node_modules""")
        return any(needle.search(text) for _, text in self._sources())

    def _stray(self, name: str) -> Problem:
        stem = _DECLARED.sub("", Path(name).name)
        mention = re.compile(rf"""['"`][^'"`\n]*/{re.escape(stem)}(\.\w+)*['"`]""")
        message = f"{Path(name).name} is not a file of this release"
        own = "its own files" if self.root == "." else f"files below its own {self.root}/"
        hint = f"a workflow can only use {own}, and packages by their names"
        for where, text in self._sources():
            match = mention.search(text)
            if match is not None:
                line = text.count("\n", 0, match.start()) + 1
                column = match.start() - text.rfind("\n", 0, match.start())
                return Problem(where, message, hint, line, column)
        return Problem("", message, hint)

    def _sources(self) -> list[tuple[str, str]]:
        return [
            (name, tstree.read(self.directory, name)) for name in tstree.sources(self.directory, self.root)
        ]

    # --- cold ---

    async def cold(self, command: Sequence[str | Path]) -> Checked:
        """The same by `tsc -p`, `command` without its arguments: first which files it would read, then
        check and emit in one run."""
        start = time.perf_counter()
        listed = await self._run(command, self.config, "--listFilesOnly")
        problems = self.outside([line for line in listed.splitlines() if line.startswith("/")])
        if not problems:
            # With an old dist/ in the way nothing could be told from what lies there afterwards.
            files.remove(self.directory / "dist")
            printed = await self._run(command, self.config, "--noEmitOnError")
            problems = diagnostics.tidy(diagnostics.from_printed(printed, self.places))
            if unwritten := [problem for problem in problems if problem.code == _UNWRITTEN]:
                raise DeployError(Reason.STORAGE_FAILED, unwritten[0].message, hint="is the disk full?")
        if not problems and not (self.directory / "dist").is_dir():
            raise DeployError(Reason.COMPILER_UNAVAILABLE, "the TypeScript compiler wrote nothing")
        return Checked(problems, "cold", _ms(start, time.perf_counter()))

    async def _run(self, command: Sequence[str | Path], config: Path, option: str) -> str:
        finished = await process.run(
            [*command, "-p", config, "--pretty", "false", option],
            cwd=self.directory,
            env={"GOMEMLIMIT": str(self.limits.memory)},
            timeout=self.limits.timeout,
            memory=self.limits.ceiling + 512 * MIB,
            confine=process.Confine((*readable(self.toolchain), *self._packages), write=(self.directory,)),
        )
        if finished.code not in (0, 1, 2):
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE, f"the TypeScript compiler ended with code {finished.code}"
            )
        return finished.stdout.decode("utf-8", errors="replace")


def is_library(name: str) -> bool:
    # Hundreds at each check, and nearly all of them so.
    return name.endswith((".d.ts", ".d.mts", ".d.cts")) or _DECLARATION.search(name) is not None


def _below(name: str, home: str) -> bool:
    return os.path.normpath(name) == name and name.startswith(home)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
