"""The compiler that the daemon uses: a release's sources in, dist/ and bundle/ out.

    check (TypeScript) ─► emit dist/ ─► bundle/ (esbuild, when there are workflows)

Nothing here runs a spec's code. A stage that fails leaves no `dist/` that could be taken for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from timewright.core import diagnostics
from timewright.core.errors import DeployError, Reason
from timewright.core.spec import emitted
from timewright.edge import esbuild, files, tstree
from timewright.edge.bundle import Bundler, Part
from timewright.edge.sdkbase import SdkBases, package_version
from timewright.edge.threads import in_thread
from timewright.edge.tschild import Limits
from timewright.edge.tsjob import Early
from timewright.edge.tsjudge import Judges

__all__ = ["CompileJob", "CompileResult", "Compiler", "Mode", "emitted"]

Mode = Literal["check", "transpile", "off"]

#: Raised by hand whenever the same sources and tools would give other output.
PIPELINE: Final = 2


@dataclass(frozen=True)
class CompileJob:
    """One release to compile. `directory` holds the spec's files, package.json, tsconfig.json (ours,
    from `core.tsconfig.render`) and the link node_modules. Entry points are paths in it, None when
    absent.

    `root`: `src` or `.`; what lies below it goes to dist/, compiled or, when it isn't TypeScript, as
    it is. `bundle`: `serve` makes the workflows' part of a pool's bundle, or fails; with `check` a
    part that can't be made is a warning (the spec's own worker bundles it); `off` makes none.
    `unreached`: code that no entry point reaches; errors in it are warnings. `typescript`: directory
    of the `typescript` package that judges, None for ours. `company`: says which others may be checked in
    one program with it, '' for none (`core.company`).
    """

    directory: Path
    workflows: str | None = None
    activities: str | None = None
    worker: str | None = None
    root: str = "src"
    bundle: Literal["serve", "check", "off"] = "serve"
    unreached: tuple[str, ...] = ()
    typescript: Path | None = None
    company: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class CompileResult:
    """What a compile took. `timings_ms`: by stage. `lane`: who checked (warm-1, cold, transpile, off)."""

    timings_ms: dict[str, float]
    lane: str
    warnings: tuple[str, ...] = ()


class Compiler:
    """One for the daemon. `start` before, `close` after; jobs may run at the same time."""

    def __init__(
        self,
        toolchain: Path,
        cache: Path,
        *,
        mode: Mode = "check",
        timeout_s: float = 60.0,
        memory: int = 1024 * 1024 * 1024,
        node: str = "node",
        trees: Sequence[Path] = (),
    ) -> None:
        """`toolchain`: where package.json and node_modules of the worker package are. `cache`: a
        directory of ours. `timeout_s`: seconds for each stage. `memory`: bytes for the compiler.
        `trees`: where releases and their packages lie; the warm compilers read nothing else of this host.

        Raises DeployError(COMPILER_UNAVAILABLE) when the toolchain isn't installed (not in mode off).
        """
        self.mode: Mode = mode
        self.trees = tuple(path.resolve() for path in trees)
        self.toolchain = toolchain
        self.cache = cache
        self.limits = Limits(timeout=timeout_s, memory=memory)
        self.typescript_version = self.sdk_version = self.esbuild_version = "off"
        self._judges: Judges | None = None
        self._bundler: Bundler | None = None
        if mode != "off":
            self._find_tools(node)

    def _find_tools(self, node: str) -> None:
        self.typescript_version = package_version(self.toolchain, "typescript")
        self.esbuild_version = package_version(self.toolchain, "esbuild")
        bases = SdkBases(self.toolchain, self.cache, node)
        self.sdk_version = bases.sdk_version
        self._bundler = Bundler(self.toolchain, bases, self.limits)
        if self.mode == "check":
            self._judges = Judges(self.toolchain, self.cache, node, self.limits, self.trees)

    @property
    def restarts(self) -> int:
        """How often a compiler process was lost in the middle of a job, and started again."""
        return self._judges.service.crashes if self._judges is not None else 0

    @property
    def identity(self) -> str:
        """Everything about the tools that decides the output; part of every release's digest."""
        return self.identity_for(None)

    def identity_for(self, typescript_version: str | None) -> str:
        """The same for a release that this version of TypeScript judges; None is ours."""
        checks = self.mode == "check" and typescript_version is not None
        parts = {
            "pipeline": PIPELINE,
            "mode": self.mode,
            "typescript": typescript_version if checks else self.typescript_version,
            "esbuild": self.esbuild_version,
            "sdk": self.sdk_version,
        }
        return " ".join(f"{name}={value}" for name, value in parts.items())

    @property
    def fallback(self) -> str:
        """Why the slow, cold compiler is in use; '' when all is well."""
        return self._judges.service.fallback if self._judges is not None else ""

    async def start(self) -> None:
        """Warm up. Raises DeployError(COMPILER_UNAVAILABLE)."""
        self.cache.mkdir(parents=True, exist_ok=True)
        files.sweep(self.cache)
        service = [self._judges.start()] if self._judges is not None else []
        if self._bundler is not None:
            self._bundler.start()
        await asyncio.gather(self._make_base(), *service)

    async def recover(self) -> None:
        """Returns when the warm compiler is in use; until then it is tried again and again."""
        if self._judges is not None:
            await self._judges.service.recover()

    async def _make_base(self) -> None:
        """The first base takes seconds: have it ready before the first release asks for it."""
        if self._bundler is not None:
            # A toolchain that can't make one is reported by each release that needs it.
            with contextlib.suppress(DeployError):
                await self._bundler.bases.get()

    async def close(self) -> None:
        """End every child."""
        if self._judges is not None:
            await self._judges.close()
        if self._bundler is not None:
            await self._bundler.close()

    async def compile(self, job: CompileJob) -> CompileResult:
        """Check, emit and bundle one release.

        Raises DeployError: TYPE_CHECK_FAILED or DEPENDENCY_FAILED with the compiler's problems,
        BUNDLE_FAILED, COMPILE_TIMEOUT, COMPILER_UNAVAILABLE. Nothing is left running, also when
        cancelled; dist/ and bundle/ of a job that failed or was cancelled mean nothing.
        """
        for name in ("dist", "bundle"):  # what an earlier try left proves nothing (faults.md finding 3)
            files.remove(job.directory / name)
        if self.mode == "off":
            # In a thread, as all work on disk: thousands that are ready in the same turn of the loop would
            # have signals and the API wait for the last of them.
            return await asyncio.to_thread(_mock, job)
        timings: dict[str, float] = {}
        ahead = _Ahead(lambda: self._complete(job, timings))
        try:
            if self.mode == "check":
                lane = await self._check(job, timings, ahead)
            else:
                lane = "transpile"
                start = time.perf_counter()
                await self._transpile(job)
                timings["emit"] = _since(start)
            warnings = [self.fallback] if self.fallback and lane == "cold" else []
            ahead.begin()
            # Beside the bundle, which takes no less: so that it delays nothing.
            looking = asyncio.create_task(self._unreached(job))
            try:
                warnings += await ahead.end()
                warnings += await looking
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        except BaseException:
            await ahead.undo()
            files.remove(job.directory / "bundle")  # begun before the verdict
            raise
        return CompileResult(timings, lane, tuple(warnings))

    async def _complete(self, job: CompileJob, timings: dict[str, float]) -> list[str]:
        """What comes behind the compiler's own output."""
        await in_thread(tstree.finish, job.directory.resolve(), job.root)
        return await self._bundle(job, timings)

    async def _unreached(self, job: CompileJob) -> Sequence[str]:
        if self._judges is None or not job.unreached:
            return ()
        return await self._judges.unreached(job.directory, job.unreached, job.root, job.typescript)

    async def _bundle(self, job: CompileJob, timings: dict[str, float]) -> list[str]:
        """The workflows' part, as the job wants it; a warning when it can't be made and needn't be."""
        if job.workflows is None or self._bundler is None or job.bundle == "off":
            return []
        start = time.perf_counter()
        directory = job.directory.resolve()
        try:
            await self._bundler.part(directory, emitted(job.workflows, job.root), job.root, job.company)
        except DeployError as error:
            files.remove(directory / "bundle")
            if job.bundle == "serve":
                raise
            return [f"the workflows can't be bundled as a shared pool would: {error.message}"]
        timings["bundle"] = _since(start)
        return []

    async def join(self, parts: Iterable[Part], out_dir: Path) -> None:
        """Join parts into `out_dir`/workflows.js; see Bundler.join for what it raises."""
        if self._bundler is None:
            names = sorted(part.workflow_id for part in parts)
            out_dir.mkdir(parents=True, exist_ok=True)
            (out_dir / "workflows.js").write_text(f"// compiler.mode is off\n// {json.dumps(names)}\n")
            return
        await self._bundler.join(parts, out_dir)

    # --- stages ---

    async def _check(self, job: CompileJob, timings: dict[str, float], early: Early) -> str:
        assert self._judges is not None  # noqa: S101 - mode check has them
        checked = await self._judges.compile(job.directory, job.root, job.typescript, job.company, early)
        if checked.problems:
            raise DeployError(
                diagnostics.reason(checked.problems),
                diagnostics.headline(checked.problems),
                problems=diagnostics.bounded(checked.problems),
            )
        timings["check"], timings["emit"] = checked.check_ms, checked.emit_ms
        return checked.lane

    async def _transpile(self, job: CompileJob) -> None:
        """To dist/ without types: every file, since there is no program to say which are used."""
        directory = job.directory.resolve()
        files.remove(directory / "dist")
        (directory / "dist").mkdir()
        names = tstree.sources(directory, job.root)
        scripts = [name for name in names if tstree.is_code(name) or name.endswith((".js", ".mjs", ".cjs"))]
        usual = tstree.module_format(directory)
        for suffix, kind in ((".js", usual), (".mjs", "esm"), (".cjs", "cjs")):
            code = [name for name in scripts if emitted(name, job.root).endswith(suffix)]
            if code:
                await self._transpile_as(job, code, suffix, kind)

    async def _transpile_as(self, job: CompileJob, code: list[str], suffix: str, kind: str) -> None:
        command: list[str | Path] = [
            esbuild.binary(self.toolchain.resolve()),
            *(f"./{name}" for name in code),
            "--outdir=dist",
            f"--outbase={job.root}",
            f"--out-extension:.js={suffix}",
            f"--format={kind}",
            "--platform=node",
            "--sourcemap",
            "--log-level=error",
            "--color=false",
        ]
        finished = await esbuild.run(command, job.directory.resolve(), self.limits)
        if finished.code != 0:
            said = finished.stderr.decode("utf-8", errors="replace")
            raise esbuild.refused(job.directory.resolve(), said, Reason.TYPE_CHECK_FAILED, job.root)


class _Ahead(Early):
    """The work behind the compiler, begun as soon as there is something to work on."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, list[str]]]) -> None:
        self._work = work
        self._task: asyncio.Task[list[str]] | None = None

    def begin(self) -> None:
        """Once is enough."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    async def end(self) -> list[str]:
        """What came of it."""
        assert self._task is not None  # noqa: S101 - it was begun
        return await asyncio.shield(self._task)  # ended by `undo`, which waits for it

    async def undo(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _mock(job: CompileJob) -> CompileResult:
    """Mode off: small files where a compile would put some, for other people's CI. No process at all."""
    named = {"workflow": job.workflows, "activities": job.activities, "worker": job.worker}
    for role, source in named.items():
        if source is not None:
            target = job.directory / emitted(source, job.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(f"// {role}: compiler.mode is off, {source} was not compiled\n")
    if job.workflows is not None:
        (job.directory / "bundle").mkdir(exist_ok=True)
        (job.directory / "bundle" / "workflow.js").write_text("// compiler.mode is off\n")
    return CompileResult({}, "off")


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
