"""The TypeScript compiler, kept warm: `tsc --api --async` as a supervised child.

The protocol (`tschild.py`) is TypeScript 7.1's own and not a promise of its makers, so a self-test
gates it at start, and a cold `tsc -p` stands behind it with the same answers (`tsjob.py`).

A lane is one child that works on one release at a time. A second lane starts when the first has
been busy for a while, so that one spec that hangs the compiler doesn't hold up the others.
Every job opens a snapshot of its own: it reads the disk as it is now (an updated snapshot would be
stale unless told of each change), while the parsed SDK types are shared through the anchor project,
which stays open. The child never writes: it returns what it would emit and we write it to `dist/`.

Releases that wait for a lane are checked in one program where that changes no verdict (`tstogether.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from timewright.core.errors import DeployError, Problem, Reason
from timewright.edge import files, process
from timewright.edge.lines import Lines
from timewright.edge.toolchain import readable
from timewright.edge.tschild import MIB, Child, ChildGoneError, Limits, tsc_binary
from timewright.edge.tsedition import Editions
from timewright.edge.tsjob import Checked, Early, Job
from timewright.edge.tstogether import Together

__all__ = ["Checked", "Limits", "TypeScriptService", "tsc_binary"]

_START_TIMEOUT: Final = 30.0
_AGAIN: Final = (1.0, 10.0, 60.0, 600.0)  # seconds between a self-test that failed and the next
_SETTLE: Final = 5.0
_WAITING: Final = 8  # jobs that watch for a free lane; of a thousand, the others wait in line without a look
#: Releases in one program: with more, the last of them waits longer and nothing is gained. With less than the
#: few, each is as fast alone.
_MOST, _FEW = 50, 3
_TOGETHER_TIMEOUT: Final = 10.0  # seconds; one of them may be a type bomb, and all others wait for it


@dataclass
class _Lane:
    """One child and whether it works. `since`: when it got busy, None when free."""

    name: str
    child: Child | None = None
    editions: Editions | None = None
    since: float | None = None
    closer: asyncio.TimerHandle | None = None


class TypeScriptService:
    """Checks releases and emits their JavaScript; see the module's text for how."""

    def __init__(
        self, toolchain: Path, cache: Path, limits: Limits | None = None, trees: Sequence[Path] = ()
    ) -> None:
        """`toolchain`: where node_modules is. `cache`: a directory of ours for the anchor project. `trees`:
        where releases and their packages lie, all that the warm compiler may read; none: no cage."""
        self.toolchain = toolchain.resolve()
        self.binary = tsc_binary(self.toolchain)
        self.limits = limits or Limits()
        self.fallback = ""  # why the cold compiler is used, '' when the warm one is
        self._home = cache.resolve() / files.unique("tsc-")
        here = (*readable(toolchain), *trees)
        self._confine = process.Confine(here, write=(self._home,)) if trees else None
        self._lanes = [_Lane("warm-1"), _Lane("warm-2")]
        self._changed = asyncio.Condition()
        self._cold = asyncio.Semaphore(2)
        self._line = asyncio.Semaphore(_WAITING)
        self._lines = Lines(self._lane, self._judge, most=_MOST, few=_FEW)
        self._background: set[asyncio.Task[None]] = set()
        self._jobs = 0  # under way, or waiting
        self.crashes = 0  # children that were lost in the middle of a job
        self._started = False
        self._starting = asyncio.Lock()

    # --- life ---

    async def start(self) -> None:
        """Start the first child and test it. An odd answer, or none: cold until `recover` says otherwise.

        Raises DeployError(COMPILER_UNAVAILABLE) when there is no compiler at all.
        """
        async with self._starting:
            if not self._started:
                await self._start()
                self._started = True

    async def _start(self) -> None:
        if not os.access(self.binary, os.X_OK):
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE,
                f"TypeScript's compiler for this machine is missing: {self.binary.parent.parent.name}",
                hint=f"run `npm ci` in {self.toolchain}",
            )
        self._write_anchor()
        await self._test()

    async def recover(self) -> None:
        """Test it again and again while the cold compiler is in use. Returns when it isn't: what failed for
        want of time, memory or processes, on a host that boots, goes well a little later."""
        for wait in itertools.chain(_AGAIN, itertools.repeat(_AGAIN[-1])):
            if not self.fallback:
                return
            await asyncio.sleep(wait)
            async with self._starting:
                await self._test()

    async def _test(self) -> None:
        lane = self._lanes[0]
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                child = await self._ready(lane)
                await self._self_test(child)
        except (ChildGoneError, TimeoutError, KeyError, TypeError, OSError) as error:
            self.fallback = f"the warm compiler failed its self-test: {str(error) or type(error).__name__}"
            await self._drop(lane)
        else:
            self.fallback = ""

    async def close(self) -> None:
        """End every child. No job may be running."""
        await self._lines.close()
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

    async def compile(
        self,
        directory: Path,
        root: str = "src",
        company: Callable[[], str] = lambda: "",
        early: Early | None = None,
    ) -> Checked:
        """Check the release in `directory` (tsconfig.json, node_modules, code below `root`), emit `dist/`.

        `company`: which others may be in its program (`core.company`), '' for none. `early`:
        who may begin with dist/ before the verdict, where that comes later. With problems nothing is written.
        Raises DeployError: COMPILE_TIMEOUT, COMPILER_UNAVAILABLE, or
        TYPE_CHECK_FAILED for a release that needs more memory than it may have.
        """
        job = Job(directory.resolve(), self.toolchain, self.limits, root)
        if not self.fallback:
            await self.start()  # once: a toolchain that was missing may have been installed since
        if self.fallback:
            return await self._compile_cold(job)
        if self._lanes[0].since is not None and (key := company()):
            checked = await self._lines.wait((key, job.modules[0]), job)
            if checked is not None:
                return checked
        self._jobs += 1
        try:
            async with self._lane() as lane:
                for attempt in (1, 2):
                    try:
                        return await self._attempt(lane, job, early or Early(), company)
                    except ChildGoneError as error:
                        await self._after_crash(lane, error, last=attempt == 2)
        finally:
            self._jobs -= 1
        raise AssertionError("unreachable")

    async def _judge(self, lane: _Lane, jobs: Sequence[Job]) -> Sequence[Checked | None]:
        """In one program. What goes wrong is nobody's fault before each was judged alone."""
        guard: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                child = await self._ready(lane)
            guard = asyncio.create_task(self._guard(child))
            async with asyncio.timeout(min(self.limits.timeout, _TOGETHER_TIMEOUT)):
                return await Together(jobs, self._home).warm(child, lane.name)
        except (ChildGoneError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            await self._drop(lane)
            return ()
        finally:
            if guard is not None:
                guard.cancel()

    async def unreached(self, job: Job, names: Sequence[str]) -> tuple[Problem, ...]:
        """What is wrong when these files are checked as well. Nothing is emitted.

        Raises ChildGoneError, with no second try: nothing depends on it. May be given up at any time.
        """
        if self.fallback:
            return await job.cold_more([self.binary], names)
        async with self._lane() as lane:
            return await job.warm_more(await self._ready(lane), names)

    async def _attempt(self, lane: _Lane, job: Job, early: Early, company: Callable[[], str]) -> Checked:
        # The start of a child has its own limit: a machine that is slow to start it is not the spec's fault.
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                child = await self._ready(lane)
        except TimeoutError:
            raise ChildGoneError("the compiler didn't start") from None
        guard = asyncio.create_task(self._guard(child))
        try:
            async with asyncio.timeout(self.limits.timeout):
                return await self._warm(lane, child, job, early, company)
        except TimeoutError:
            await self._drop(lane)
            raise DeployError(
                Reason.COMPILE_TIMEOUT,
                f"the type check took longer than {self.limits.timeout:g} s",
                hint="simplify the types, or raise compiler.timeout",
            ) from None
        finally:
            guard.cancel()

    async def _warm(
        self, lane: _Lane, child: Child, job: Job, early: Early, company: Callable[[], str]
    ) -> Checked:
        """By what is open of its workflow, if that is good; else by itself. Where others wait nothing is kept
        open of it: they are many, and what is open is for who saves again and again. What could be told apart
        in company could be told apart by its place, too."""
        await early.undo()  # of an attempt whose child was lost behind the verdict
        if lane.editions is not None and company():
            with contextlib.suppress(OSError):
                checked = await lane.editions.compile(job, lane.name, early, fresh=self._jobs == 1)
                if checked is not None:
                    return checked
            await early.undo()
        return await job.warm(child, lane.name, early)

    async def _after_crash(self, lane: _Lane, error: ChildGoneError, *, last: bool) -> None:
        """Replace a dead child. The same release gets one more try, unless memory was what it wanted."""
        self.crashes += 1
        hungry = lane.child is not None and lane.child.out_of_memory
        await self._drop(lane)
        if hungry:
            limit = self.limits.ceiling // MIB
            raise DeployError(
                Reason.TYPE_CHECK_FAILED,
                f"the type check needs more than {limit} MiB of memory",
                hint="simplify the types, or raise compiler.memory",
            )
        if last:
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE, "the TypeScript compiler crashed twice on this release"
            ) from error

    async def _guard(self, child: Child) -> None:
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
        async with self._line:
            lane = await self._acquire()
        try:
            yield lane
        except BaseException:
            # Cancelled in the middle of a request: the child is not free before it has answered.
            self._later(self._settle(lane))
            raise
        child = lane.child
        if child is None or child.memory() > self.limits.memory or not child.is_tidy:
            self._later(self._settle(lane))
        else:
            await self._free(lane)

    async def _acquire(self) -> _Lane:
        """A free lane: the first, or the second when the first has been busy for `grace` seconds, or many
        wait: a folder that is deployed for the first time."""
        first, second = self._lanes
        loop = asyncio.get_running_loop()
        async with self._changed:
            while True:
                now = loop.time()
                busy = now - first.since if first.since is not None else 0.0
                lane = None
                if first.since is None:
                    lane = first
                elif second.since is None and (
                    second.child is not None or busy >= self.limits.grace or self._line.locked()
                ):
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
                except (TimeoutError, ChildGoneError):
                    await self._drop(lane)
                else:
                    if child.memory() > self.limits.memory:
                        await self._drop(lane)
            if lane.child is None and lane is self._lanes[0]:
                async with asyncio.timeout(_START_TIMEOUT):
                    await self._ready(lane)
        except (TimeoutError, ChildGoneError, OSError):
            await self._drop(lane)  # the next job starts it, and reports it when that fails too
        finally:
            await self._free(lane)

    async def _ready(self, lane: _Lane) -> Child:
        """The lane's child, started, greeted and with the anchor open."""
        if lane.child is not None and lane.child.process.returncode is None and self._sees(lane.child):
            return lane.child
        await self._drop(lane)
        try:
            child = await Child.start(self.binary, self._home, self.limits, self._confine)
        except OSError as error:
            raise ChildGoneError(f"can't start {self.binary.name}: {error.strerror}") from error
        lane.child = child
        await child.ask("initialize")
        child.anchor, _ = await child.open(self._home / "anchor" / "tsconfig.json")
        if lane is self._lanes[0]:
            lane.editions = Editions(child, self._home / f"editions-{child.process.pid}")
        return child

    def _sees(self, child: Child) -> bool:
        """Whether the trees are still those that it was let into, and not others of their names."""
        return self._confine is None or child.places == self._confine.places()

    async def _drop(self, lane: _Lane) -> None:
        child, lane.child = lane.child, None
        editions, lane.editions = lane.editions, None
        if child is not None:
            await child.close()
        if editions is not None:
            editions.close()

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
        """Tiny releases: one that holds the SDK's types in memory, one that is right, one that is not."""
        for name, text in (("anchor", _GOOD), ("good", _GOOD), ("bad", _BAD)):
            home = self._home / name
            (home / "src").mkdir(parents=True, exist_ok=True)
            (home / "src" / "workflow.ts").write_text(text)
            config = {"compilerOptions": _ANCHOR, "files": ["src/workflow.ts"]}
            (home / "tsconfig.json").write_text(json.dumps(config))
            (home / "package.json").write_text("{}")
            if not (home / "node_modules").is_symlink():
                (home / "node_modules").symlink_to(self.toolchain / "node_modules")

    async def _self_test(self, child: Child) -> None:
        """Raises ChildGoneError unless the child passes what is right and refuses what is wrong."""
        good = await Job(self._home / "good", self.toolchain, self.limits).warm(child, "")
        bad = await Job(self._home / "bad", self.toolchain, self.limits).warm(child, "")
        if good.problems:
            raise ChildGoneError(f"a release without errors was refused: {good.problems[0]}")
        if not (self._home / "good" / "dist" / "workflow.js").is_file():
            raise ChildGoneError("nothing was emitted")
        said = [(item.where, item.line, item.column, item.code) for item in bad.problems]
        if said != [("src/workflow.ts", 2, 14, "TS2322")]:
            raise ChildGoneError(f"a wrong release gave {said}")

    # --- cold ---

    async def _compile_cold(self, job: Job) -> Checked:
        async with self._cold:
            try:
                async with asyncio.timeout(self.limits.timeout):
                    return await job.cold([self.binary])
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
