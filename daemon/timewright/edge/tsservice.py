"""The TypeScript compiler, kept warm: `tsc --api --async` as a supervised child.

The protocol is TypeScript 7.1's own and not a promise of its makers, so nothing outside of this
module knows it, a self-test gates it at start, and a cold `tsc -p` stands behind it with the same
answers (compile.md §3).

A lane is one child that works on one release at a time. A second lane starts when the first has
been busy for a while, so that one spec that hangs the compiler doesn't hold up the others.
Every job opens a snapshot of its own: it reads the disk as it is now (an updated snapshot would be
stale unless told of each change), while the parsed SDK types are shared through the anchor project,
which stays open. The child never writes: it returns what it would emit and we write it to `dist/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from timewright.core import diagnostics
from timewright.core.diagnostics import Places
from timewright.core.errors import DeployError, Problem, Reason
from timewright.edge import files, process

_MIB: Final = 1024 * 1024
_START_TIMEOUT: Final = 30.0
_SETTLE: Final = 5.0
_MAX_MESSAGE: Final = 256 * _MIB
_DECLARATION = re.compile(r"\.d(\.[^./]+)?\.[cm]?ts$")


def tsc_binary(toolchain: Path) -> Path:
    """The native compiler for this machine, as npm installs it below `toolchain`."""
    system = {"win32": "win32"}.get(sys.platform, sys.platform)
    package = f"typescript-{system}-{machine()}"
    return toolchain / "node_modules" / "@typescript" / package / "lib" / "tsc"


def machine() -> str:
    """This processor, as Node names it: x64, arm64, …"""
    name = platform.machine().lower()
    return {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(name, name)


@dataclass(frozen=True)
class Limits:
    """`timeout`: seconds for one release. `memory`: bytes above which an idle child is replaced.
    `grace`: seconds that the first lane may be busy before a second starts; `idle`: seconds after
    which an unused second lane is closed."""

    timeout: float = 60.0
    memory: int = 1024 * _MIB
    grace: float = 2.0
    idle: float = 60.0

    @property
    def ceiling(self) -> int:
        """Bytes at which a child is killed in the middle of a job: a type bomb (faults.md E14)."""
        return self.memory * 2


@dataclass(frozen=True)
class Checked:
    """What became of one release. `problems` empty: `dist/` is written. `lane`: who did it."""

    problems: tuple[Problem, ...]
    lane: str
    check_ms: float
    emit_ms: float = 0.0


class _ChildGoneError(Exception):
    """The child died, or answered what it never should."""


@dataclass
class _Child:
    """One running `tsc --api`: requests by number, answers as they come."""

    process: asyncio.subprocess.Process
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    snapshots: set[int] = field(default_factory=set)
    anchor: int | None = None
    said: bytearray = field(default_factory=bytearray)
    number: int = 0
    verdict: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(cls, binary: Path, cwd: Path, limits: Limits) -> _Child:
        # GOMEMLIMIT makes the collector work harder near the limit; the rest of our environment is
        # none of the compiler's business, so that no message can quote it.
        env = {"GOMEMLIMIT": str(limits.memory), "TMPDIR": str(cwd)}
        running = await process.start(
            [binary, "--api", "--async", "--cwd", cwd],
            cwd=cwd,
            env=env,
            memory=limits.ceiling + 512 * _MIB,
        )
        child = cls(running)
        child.tasks = [asyncio.create_task(child._read()), asyncio.create_task(child._listen())]
        return child

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """One request. Raises _ChildGoneError when the child can't answer it."""
        if self.process.returncode is not None or self.process.stdin is None:
            raise _ChildGoneError("the compiler has ended")
        self.number += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[self.number] = answer
        body = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}).encode()
        try:
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await self.process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise _ChildGoneError(str(error)) from error
        # Not cancelled with its caller: an answer that comes later still names a snapshot to release.
        return await asyncio.shield(answer)

    async def open(self, config: Path) -> tuple[int, Mapping[str, Any] | None]:
        """Open a project in a new snapshot: (snapshot, project), no project when there is no such file."""
        answer = await self.ask("createSnapshot", {"openProjects": [str(config)], "ensurePrograms": True})
        mine = (item for item in answer["projects"] if item.get("configFileName") == str(config))
        return answer["snapshot"], next(mine, None)

    async def release(self) -> None:
        """Let go of every snapshot but the anchor's."""
        for snapshot in sorted(self.snapshots - {self.anchor}):
            self.snapshots.discard(snapshot)
            await self.ask("release", {"snapshot": snapshot})

    def memory(self) -> int:
        """Resident bytes now; 0 where the system doesn't say."""
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - polled
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        process.kill(self.process)

    async def close(self) -> None:
        self.kill()
        await self.process.wait()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Hand each answer to whom it belongs, until the child ends."""
        stream = self.process.stdout
        try:
            while stream is not None:
                self._answer(json.loads(await _frame(stream)))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError) as error:
            self.kill()  # a stream that makes no sense can't be read on
            self._fail(error)

    def _answer(self, message: Mapping[str, Any]) -> None:
        answer = self.waiting.pop(message.get("id", -1), None)
        result = message.get("result")
        if isinstance(result, dict) and isinstance(result.get("snapshot"), int):
            self.snapshots.add(result["snapshot"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(_ChildGoneError(str(message["error"].get("message", "error"))))
            answer.exception()  # looked at: nobody may wait any more
        else:
            answer.set_result(result)

    def _fail(self, error: Exception) -> None:
        waiting, self.waiting = self.waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(_ChildGoneError(self.verdict or f"the compiler ended: {error}"))
                answer.exception()

    async def _listen(self) -> None:
        """Keep the last words: a Go crash says much, and a full pipe would stop the child."""
        stream = self.process.stderr
        while stream is not None and (data := await stream.read(65536)):
            self.said += data
            del self.said[:-65536]

    @property
    def out_of_memory(self) -> bool:
        return self.verdict == "memory" or b"out of memory" in self.said or b"cannot allocate" in self.said


async def _frame(stream: asyncio.StreamReader) -> bytes:
    """One message: headers, an empty line, Content-Length bytes. Raises ValueError on anything else."""
    head = await stream.readuntil(b"\r\n\r\n")
    match = re.search(rb"(?i)content-length:\s*(\d+)", head)
    if match is None or int(match[1]) > _MAX_MESSAGE:
        raise ValueError("not a message of the compiler")
    return await stream.readexactly(int(match[1]))


@dataclass
class _Lane:
    """One child and whether it works. `since`: when it got busy, None when free."""

    name: str
    child: _Child | None = None
    since: float | None = None
    closer: asyncio.TimerHandle | None = None


class TypeScriptService:
    """Checks releases and emits their JavaScript; see the module's text for how."""

    def __init__(self, toolchain: Path, cache: Path, limits: Limits | None = None) -> None:
        """`toolchain`: where node_modules is. `cache`: a directory of ours for the anchor project."""
        self.toolchain = toolchain.resolve()
        self.binary = tsc_binary(self.toolchain)
        self.limits = limits or Limits()
        self.fallback = ""  # why the cold compiler is used, '' when the warm one is
        self._home = cache.resolve() / files.unique("tsc-")
        self._lanes = [_Lane("warm-1"), _Lane("warm-2")]
        self._changed = asyncio.Condition()
        self._cold = asyncio.Semaphore(2)
        self._background: set[asyncio.Task[None]] = set()

    # --- life ---

    async def start(self) -> None:
        """Start the first child and test it. An odd answer means: cold from now on.

        Raises DeployError(COMPILER_UNAVAILABLE) when there is no compiler at all.
        """
        if not os.access(self.binary, os.X_OK):
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE,
                f"TypeScript's compiler for this machine is missing: {self.binary.parent.parent.name}",
                hint=f"run `npm ci` in {self.toolchain}",
            )
        self._write_anchor()
        lane = self._lanes[0]
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                child = await self._ready(lane)
                await self._self_test(child)
        except (_ChildGoneError, TimeoutError, KeyError, TypeError, OSError) as error:
            self.fallback = f"the warm compiler failed its self-test: {error or type(error).__name__}"
            await self._drop(lane)

    async def close(self) -> None:
        """End every child. No job may be running."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for lane in self._lanes:
            self._keep(lane)
            await self._drop(lane)
        shutil.rmtree(self._home, ignore_errors=True)

    def pids(self) -> tuple[int, ...]:
        """The children that run now."""
        return tuple(lane.child.process.pid for lane in self._lanes if lane.child is not None)

    # --- one release ---

    async def compile(self, directory: Path) -> Checked:
        """Check the release in `directory` (tsconfig.json, src/, node_modules) and emit `dist/`.

        With problems nothing is written. Raises DeployError: COMPILE_TIMEOUT, COMPILER_UNAVAILABLE,
        or TYPE_CHECK_FAILED for a release that needs more memory than it may have.
        """
        job = _Job(directory.resolve(), self.toolchain, self.limits)
        if self.fallback:
            return await self._compile_cold(job)
        async with self._lane() as lane:
            for attempt in (1, 2):
                try:
                    return await self._attempt(lane, job)
                except _ChildGoneError as error:
                    await self._after_crash(lane, error, last=attempt == 2)
        raise AssertionError("unreachable")

    async def _attempt(self, lane: _Lane, job: _Job) -> Checked:
        # The start of a child has its own limit: a machine that is slow to start it is not the spec's fault.
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                child = await self._ready(lane)
        except TimeoutError:
            raise _ChildGoneError("the compiler didn't start") from None
        guard = asyncio.create_task(self._guard(child))
        try:
            async with asyncio.timeout(self.limits.timeout):
                return await job.warm(child, lane.name)
        except TimeoutError:
            await self._drop(lane)
            raise DeployError(
                Reason.COMPILE_TIMEOUT,
                f"the type check took longer than {self.limits.timeout:g} s",
                hint="simplify the types, or raise compiler.timeout",
            ) from None
        finally:
            guard.cancel()

    async def _after_crash(self, lane: _Lane, error: _ChildGoneError, *, last: bool) -> None:
        """Replace a dead child. The same release gets one more try, unless memory was what it wanted."""
        hungry = lane.child is not None and lane.child.out_of_memory
        await self._drop(lane)
        if hungry:
            limit = self.limits.ceiling // _MIB
            raise DeployError(
                Reason.TYPE_CHECK_FAILED,
                f"the type check needs more than {limit} MiB of memory",
                hint="simplify the types, or raise compiler.memory",
            )
        if last:
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE, "the TypeScript compiler crashed twice on this release"
            ) from error

    async def _guard(self, child: _Child) -> None:
        """Kill a child that grows over the ceiling in the middle of a job."""
        while True:
            await asyncio.sleep(0.1)
            if child.memory() > self.limits.ceiling:
                child.verdict = "memory"
                child.kill()
                return

    # --- lanes ---

    @contextlib.asynccontextmanager
    async def _lane(self) -> AsyncIterator[_Lane]:
        lane = await self._acquire()
        try:
            yield lane
        except BaseException:
            # Cancelled in the middle of a request: the child is not free before it has answered.
            self._later(self._settle(lane))
            raise
        child = lane.child
        if child is None or child.memory() > self.limits.memory or child.snapshots != {child.anchor}:
            self._later(self._settle(lane))
        else:
            await self._free(lane)

    async def _acquire(self) -> _Lane:
        """A free lane: the first, or the second when the first has been busy for `grace` seconds."""
        first, second = self._lanes
        loop = asyncio.get_running_loop()
        async with self._changed:
            while True:
                now = loop.time()
                busy = now - first.since if first.since is not None else 0.0
                lane = None
                if first.since is None:
                    lane = first
                elif second.since is None and (second.child is not None or busy >= self.limits.grace):
                    lane = second
                if lane is not None:
                    lane.since = now
                    self._keep(lane)
                    return lane
                patience = max(self.limits.grace - busy, 0.01) if second.since is None else None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), patience)

    async def _free(self, lane: _Lane) -> None:
        async with self._changed:
            lane.since = None
            if lane is self._lanes[1]:
                self._close_when_idle(lane)
            self._changed.notify_all()

    async def _settle(self, lane: _Lane) -> None:
        """After a job that was dropped, or a child that grew: make the lane fit for the next one."""
        try:
            child = lane.child
            if child is not None:
                try:
                    async with asyncio.timeout(_SETTLE):
                        await asyncio.gather(*child.waiting.values(), return_exceptions=True)
                        await child.release()
                except (TimeoutError, _ChildGoneError):
                    await self._drop(lane)
                else:
                    if child.memory() > self.limits.memory:
                        await self._drop(lane)
            if lane.child is None and lane is self._lanes[0]:
                async with asyncio.timeout(_START_TIMEOUT):
                    await self._ready(lane)
        except (TimeoutError, _ChildGoneError, OSError):
            await self._drop(lane)  # the next job starts it, and reports it when that fails too
        finally:
            await self._free(lane)

    async def _ready(self, lane: _Lane) -> _Child:
        """The lane's child, started, greeted and with the anchor open."""
        if lane.child is not None and lane.child.process.returncode is None:
            return lane.child
        await self._drop(lane)
        try:
            child = await _Child.start(self.binary, self._home, self.limits)
        except OSError as error:
            raise _ChildGoneError(f"can't start {self.binary.name}: {error.strerror}") from error
        lane.child = child
        await child.ask("initialize")
        child.anchor, _ = await child.open(self._home / "good" / "tsconfig.json")
        return child

    async def _drop(self, lane: _Lane) -> None:
        child, lane.child = lane.child, None
        if child is not None:
            await child.close()

    def _keep(self, lane: _Lane) -> None:
        if lane.closer is not None:
            lane.closer.cancel()
            lane.closer = None

    def _close_when_idle(self, lane: _Lane) -> None:
        def close() -> None:
            if lane.since is None:
                self._later(self._drop(lane))

        lane.closer = asyncio.get_running_loop().call_later(self.limits.idle, close)

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- the self-test ---

    def _write_anchor(self) -> None:
        """Two tiny releases: one that is right (and holds the SDK's types in memory), one that is not."""
        for name, text in (("good", _GOOD), ("bad", _BAD)):
            home = self._home / name
            (home / "src").mkdir(parents=True, exist_ok=True)
            (home / "src" / "workflow.ts").write_text(text)
            config = {"compilerOptions": _ANCHOR, "files": ["src/workflow.ts"]}
            (home / "tsconfig.json").write_text(json.dumps(config))
            (home / "package.json").write_text("{}")
            if not (home / "node_modules").is_symlink():
                (home / "node_modules").symlink_to(self.toolchain / "node_modules")

    async def _self_test(self, child: _Child) -> None:
        """Raises _ChildGoneError unless the child passes what is right and refuses what is wrong."""
        good = await _Job(self._home / "good", self.toolchain, self.limits).warm(child, "")
        bad = await _Job(self._home / "bad", self.toolchain, self.limits).warm(child, "")
        if good.problems:
            raise _ChildGoneError(f"a release without errors was refused: {good.problems[0]}")
        if not (self._home / "good" / "dist" / "workflow.js").is_file():
            raise _ChildGoneError("nothing was emitted")
        said = [(item.where, item.line, item.column, item.code) for item in bad.problems]
        if said != [("src/workflow.ts", 2, 14, "TS2322")]:
            raise _ChildGoneError(f"a wrong release gave {said}")

    # --- cold ---

    async def _compile_cold(self, job: _Job) -> Checked:
        async with self._cold:
            try:
                async with asyncio.timeout(self.limits.timeout):
                    return await job.cold(self.binary)
            except TimeoutError:
                raise DeployError(
                    Reason.COMPILE_TIMEOUT,
                    f"the type check took longer than {self.limits.timeout:g} s",
                    hint="simplify the types, or raise compiler.timeout",
                ) from None


_ANCHOR: Final[Mapping[str, object]] = {
    "strict": True,
    "target": "es2022",
    "module": "commonjs",
    "moduleResolution": "bundler",
    "types": ["node"],
    "rootDir": "src",
    "outDir": "dist",
    "sourceMap": True,
    "skipLibCheck": True,
}
_GOOD: Final = """\
import * as workflow from '@temporalio/workflow';
import * as activity from '@temporalio/activity';
import * as client from '@temporalio/client';
import * as worker from '@temporalio/worker';
export const parts: object[] = [workflow, activity, client, worker];
"""
_BAD: Final = """\
export const fine: number = 1;
export const wrong: number = 'text';
"""


@dataclass
class _Job:
    """One release on its way through a compiler."""

    directory: Path
    toolchain: Path
    limits: Limits

    def __post_init__(self) -> None:
        modules = (self.directory / "node_modules").resolve()
        shared = (self.toolchain / "node_modules").resolve()
        self.modules = (str(modules), str(shared))
        self.places = Places(
            str(self.directory),
            tuple((path, "node_modules") for path in dict.fromkeys(self.modules)),
        )

    # --- warm ---

    async def warm(self, child: _Child, lane: str) -> Checked:
        start = time.perf_counter()
        snapshot, project = await child.open(self.directory / "tsconfig.json")
        if project is None:
            raise DeployError(Reason.INTERNAL_ERROR, "the release has no tsconfig.json")
        about = {"snapshot": snapshot, "project": project["id"]}

        async def ask(method: str) -> Any:
            return await child.ask(method, about)

        problems = self.outside(await ask("getSourceFileNames")) or await self._diagnose(ask)
        checked = time.perf_counter()
        if not problems:
            problems = await self._emit(ask, bool(project["parsedCommandLine"]["options"].get("declaration")))
        await child.release()
        return Checked(problems, lane, _ms(start, checked), _ms(checked, time.perf_counter()))

    async def _diagnose(self, ask: Callable[[str], Awaitable[Any]]) -> tuple[Problem, ...]:
        """In the order of `tsc`: a program that can't be parsed is not checked for meaning."""
        config = await ask("getConfigFileParsingDiagnostics") or []
        syntax = await ask("getSyntacticDiagnostics") or []
        if syntax:
            return self._tidy(config + syntax)
        general = (await ask("getProgramDiagnostics") or []) + (await ask("getGlobalDiagnostics") or [])
        if any(item.get("category") == 1 for item in general):
            return self._tidy(config + general)
        return self._tidy(config + (await ask("getSemanticDiagnostics") or []))

    async def _emit(self, ask: Callable[[str], Awaitable[Any]], declaration: bool) -> tuple[Problem, ...]:
        if declaration and (found := await ask("getDeclarationDiagnostics")):
            return self._tidy(found)
        answer = await ask("emitToString")
        problems = self._tidy(answer.get("diagnostics") or [])
        if problems:
            return problems
        if answer.get("emitSkipped"):
            raise _ChildGoneError("emit was skipped without a reason")
        emitted = {item["fileName"]: item["text"] for item in answer["outputFiles"]}
        home = str(self.directory / "dist") + "/"
        strays = [name for name in emitted if not _below(name, home)]
        if strays:
            return tuple(
                Problem("", f"would be written outside of dist: {Path(name).name}") for name in strays
            )
        self._write(emitted)
        return ()

    def _write(self, emitted: Mapping[str, str]) -> None:
        """Write dist/ anew: what an earlier run left there proves nothing."""
        files.remove(self.directory / "dist")
        for name, text in emitted.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")

    def _tidy(self, answers: Iterable[Mapping[str, Any]]) -> tuple[Problem, ...]:
        return diagnostics.tidy(diagnostics.from_service(answers, self.places))

    # --- what a program may read ---

    def outside(self, names: Sequence[str]) -> tuple[Problem, ...]:
        """Files of the program that a release may not use; each is a problem where it is imported.

        Code must lie in src/ (a JSON file elsewhere would be copied over itself, finding 2); types
        may also lie in the rest of the release and in its dependencies.
        """
        home, source = f"{self.directory}/", f"{self.directory}/src/"
        modules = tuple(f"{path}/" for path in self.modules)
        strays = []
        for name in names:
            in_modules = name.startswith(modules)
            if name.startswith(source) or (in_modules and _is_library(name)):
                continue
            if name.startswith(home) and _DECLARATION.search(name):
                continue
            if in_modules and not self._reached_by_path(name):
                continue
            strays.append(name)
        return diagnostics.tidy(self._stray(name) for name in strays)

    def _reached_by_path(self, name: str) -> bool:
        """Whether src/ names a file in node_modules by its path: it would be emitted beside itself."""
        needle = re.compile(r"""['"`][^'"`\n]*node_modules""")
        return any(needle.search(text) for _, text in self._sources())

    def _stray(self, name: str) -> Problem:
        stem = re.sub(r"(\.d)?\.[cm]?[jt]sx?$", "", Path(name).name)
        mention = re.compile(rf"""['"`][^'"`\n]*/{re.escape(stem)}(\.\w+)*['"`]""")
        message = f"{Path(name).name} is not a file of this release"
        hint = "a workflow can only use files below its own src/, and packages by their names"
        for where, text in self._sources():
            match = mention.search(text)
            if match is not None:
                line = text.count("\n", 0, match.start()) + 1
                column = match.start() - text.rfind("\n", 0, match.start())
                return Problem(where, message, hint, line, column)
        return Problem("", message, hint)

    def _sources(self) -> list[tuple[str, str]]:
        found = sorted((self.directory / "src").rglob("*"))
        return [
            (path.relative_to(self.directory).as_posix(), path.read_text("utf-8", errors="replace"))
            for path in found
            if path.is_file()
        ]

    # --- cold ---

    async def cold(self, binary: Path) -> Checked:
        """The same by `tsc -p`: first which files it would read, then check and emit in one run."""
        start = time.perf_counter()
        listed = await self._run(binary, "--listFilesOnly")
        problems = self.outside([line for line in listed.splitlines() if line.startswith("/")])
        if not problems:
            # With an old dist/ in the way nothing could be told from what lies there afterwards.
            files.remove(self.directory / "dist")
            printed = await self._run(binary, "--noEmitOnError")
            problems = diagnostics.tidy(diagnostics.from_printed(printed, self.places))
        if not problems and not (self.directory / "dist").is_dir():
            raise DeployError(Reason.COMPILER_UNAVAILABLE, "the TypeScript compiler wrote nothing")
        return Checked(problems, "cold", _ms(start, time.perf_counter()))

    async def _run(self, binary: Path, option: str) -> str:
        finished = await process.run(
            [binary, "-p", self.directory, "--pretty", "false", option],
            cwd=self.directory,
            env={"GOMEMLIMIT": str(self.limits.memory)},
            timeout=self.limits.timeout,
            memory=self.limits.ceiling + 512 * _MIB,
        )
        if finished.code not in (0, 1, 2):
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE, f"the TypeScript compiler ended with code {finished.code}"
            )
        return finished.stdout.decode("utf-8", errors="replace")


def _is_library(name: str) -> bool:
    return _DECLARATION.search(name) is not None


def _below(name: str, home: str) -> bool:
    return os.path.normpath(name) == name and name.startswith(home)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
