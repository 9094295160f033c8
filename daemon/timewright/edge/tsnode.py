"""TypeScript 5 and 6, kept warm: one Node process for each version in use (worker/src/tshost.ts).

Started at its first release, ended after some idle minutes; two at most, the one used longest ago
goes. A release that takes it down gets one more try, then the cold `tsc.js -p` of that version.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from timewright.core.errors import DeployError, Problem, Reason
from timewright.edge import process
from timewright.edge.toolchain import readable, version_of
from timewright.edge.tschild import MIB, ChildGoneError, Limits
from timewright.edge.tsjob import Checked, Job

_MOST: Final = 2
_START_TIMEOUT: Final = 30.0
#: Seconds after which a host that nobody uses ends: it holds about 500 MB.
_IDLE: Final = 300.0
#: MiB of the heap; what a host needs for one release and the parsed library files is about 450.
_HEAP: Final = 1024


@dataclass
class _Host:
    """One Node process. `users`: jobs that run or wait; `active`: those that may have the process;
    `used`: when the last one came."""

    name: str
    package: Path
    child: asyncio.subprocess.Process | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    active: int = 0
    used: float = 0.0
    places: tuple[tuple[int, int], ...] = ()  # the trees that it may read
    number: int = 0
    said: bytearray = field(default_factory=bytearray)
    listener: asyncio.Task[None] | None = None
    closer: asyncio.TimerHandle | None = None


class NodeHosts:
    """Checks releases by the TypeScript 5 or 6 that they name."""

    def __init__(
        self, toolchain: Path, node: str, limits: Limits, *, idle: float = _IDLE, trees: Sequence[Path] = ()
    ) -> None:
        """`toolchain`: where our dist/tshost.js and node_modules are. `idle`: seconds. `trees` as in
        `TypeScriptService`."""
        self.toolchain = toolchain.resolve()
        self.node = node
        self.trees = tuple(trees)
        self.limits = limits
        self.idle = idle
        self._hosts: dict[str, _Host] = {}
        self._room = asyncio.Condition()
        self._background: set[asyncio.Task[None]] = set()

    def pids(self) -> tuple[int, ...]:
        """The processes that run now."""
        return tuple(host.child.pid for host in self._hosts.values() if host.child is not None)

    async def close(self) -> None:
        """End every process. No job may be running."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for host in self._hosts.values():
            self._keep(host)
            await self._drop(host)
        self._hosts.clear()

    async def compile(self, job: Job, package: Path, version: str) -> Checked:
        """Check and emit; raises and writes as `TypeScriptService.compile` does."""
        async with self._use(package, version) as host:
            for _ in (1, 2):
                try:
                    return await self._attempt(host, job)
                except ChildGoneError:
                    hungry = _out_of_memory(host)
                    await self._drop(host)
                    if hungry:
                        raise _too_big() from None
        async with in_time(self.limits.timeout):
            return await job.cold([self._node(), f"--max-old-space-size={_HEAP}", package / "lib" / "tsc.js"])

    async def unreached(
        self, job: Job, package: Path, version: str, names: Sequence[str]
    ) -> tuple[Problem, ...]:
        """What is wrong when these files are checked as well. Nothing is emitted.

        Raises ChildGoneError, with no second try: nothing depends on it. The process of a check that
        is given up is ended, since it can't be told to stop.
        """
        async with self._use(package, version) as host:
            try:
                return job.hosted(await self._ask(host, job, names), host.name).problems
            except BaseException:
                await self._drop(host)
                raise

    async def _attempt(self, host: _Host, job: Job) -> Checked:
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await self._ready(host)
        except TimeoutError:
            raise ChildGoneError("the compiler didn't start") from None
        start = time.perf_counter()
        try:
            async with in_time(self.limits.timeout):
                answer = await self._ask(host, job, ())
        except BaseException as error:
            if not isinstance(error, ChildGoneError):
                await self._drop(host)  # it is in the middle of something, and can't be told to stop
            raise
        checked = time.perf_counter()
        return job.hosted(answer, host.name, round((checked - start) * 1000, 1))

    # --- processes ---

    @contextlib.asynccontextmanager
    async def _use(self, package: Path, version: str) -> AsyncIterator[_Host]:
        """The host of a version, to oneself."""
        key = str(package.resolve())
        host = self._hosts.setdefault(key, _Host(f"node-{version}", package.resolve()))
        host.users += 1
        host.used = time.monotonic()
        self._keep(host)
        try:
            await self._enter(host)
            try:
                async with host.lock:
                    yield host
            finally:
                host.active -= 1
                self._later(self._wake())
        finally:
            host.users -= 1
            if host.users == 0:
                self._close_when_idle(key, host)

    async def _enter(self, wanted: _Host) -> None:
        """Wait until there is room for it among the busy ones, and end who was used longest ago."""
        async with self._room:
            await self._room.wait_for(lambda: len(self._others(wanted, busy=True)) < _MOST)
            wanted.active += 1
            idle = sorted(self._others(wanted, busy=False), key=lambda host: host.used)
            too_many = len(idle) + len(self._others(wanted, busy=True)) - (_MOST - 1)
            for host in idle[: max(0, too_many)]:
                await self._drop(host)

    def _others(self, wanted: _Host, *, busy: bool) -> list[_Host]:
        others = (host for host in self._hosts.values() if host is not wanted)
        return [host for host in others if (host.active if busy else host.child and not host.active)]

    async def _wake(self) -> None:
        async with self._room:
            self._room.notify_all()

    async def _ready(self, host: _Host) -> None:
        cage = self._cage(host)
        places = cage.places() if cage is not None else ()
        if host.child is not None and host.child.returncode is None and host.places == places:
            return
        await self._drop(host)
        script = self.toolchain / "dist" / "tshost.js"
        command: list[str | Path] = [
            self._node(),
            f"--max-old-space-size={_HEAP}",
            script,
            "--typescript",
            host.package,
        ]
        try:
            host.child = await process.start(
                command, cwd=self.toolchain, env={}, memory=4096 * MIB, confine=cage
            )
            host.places = places
        except OSError as error:
            raise DeployError(
                Reason.COMPILER_UNAVAILABLE,
                f"Node can't be started: {error.strerror}",
                hint="is Node installed? `timewright doctor` shows what is missing",
            ) from error
        host.said.clear()
        host.listener = asyncio.create_task(_listen(host.child, host.said))
        await self._read(host)

    def _cage(self, host: _Host) -> process.Confine | None:
        return process.Confine((*readable(self.toolchain), host.package, *self.trees)) if self.trees else None

    def _node(self) -> str:
        return shutil.which(self.node) or self.node

    async def _ask(self, host: _Host, job: Job, extra: Sequence[str]) -> Mapping[str, Any]:
        await self._ready(host)
        if host.child is None or host.child.stdin is None:
            raise ChildGoneError("the compiler has ended")
        host.number += 1
        request = {"id": host.number, "directory": str(job.directory), "extra": list(extra)}
        try:
            host.child.stdin.write(json.dumps(request).encode() + b"\n")
            await host.child.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise ChildGoneError(str(error)) from error
        answer = await self._read(host)
        if answer.get("id") != host.number or "error" in answer:
            raise ChildGoneError(str(answer.get("error", "not the answer to this question")))
        return answer

    async def _read(self, host: _Host) -> Mapping[str, Any]:
        stream = host.child.stdout if host.child is not None else None
        try:
            line = await stream.readline() if stream is not None else b""
            answer = json.loads(line)
        except (ValueError, OSError) as error:
            if host.listener is not None and host.child is not None and not host.child.returncode:
                # Its last words say whether memory was what it wanted.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2.0):
                        await asyncio.shield(host.listener)
            raise ChildGoneError("the compiler ended") from error
        if not isinstance(answer, dict):
            raise ChildGoneError("not a message of the compiler")
        return answer

    async def _drop(self, host: _Host) -> None:
        child, host.child = host.child, None
        if child is not None:
            process.kill(child)
            await child.wait()
        listener, host.listener = host.listener, None
        if listener is not None:
            await listener

    def _keep(self, host: _Host) -> None:
        if host.closer is not None:
            host.closer.cancel()
            host.closer = None

    def _close_when_idle(self, key: str, host: _Host) -> None:
        def close() -> None:
            if host.users == 0:
                self._hosts.pop(key, None)
                self._later(self._drop(host))

        host.closer = asyncio.get_running_loop().call_later(self.idle, close)

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


@contextlib.asynccontextmanager
async def in_time(seconds: float) -> AsyncIterator[None]:
    """A time limit for the type check of one release. Raises DeployError(COMPILE_TIMEOUT)."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeployError(
            Reason.COMPILE_TIMEOUT,
            f"the type check took longer than {seconds:g} s",
            hint="simplify the types, or raise compiler.timeout",
        ) from None


async def _listen(child: asyncio.subprocess.Process, said: bytearray) -> None:
    """Keep the last words; a full pipe would stop the child."""
    while child.stderr is not None and (data := await child.stderr.read(65536)):
        said += data
        del said[:-65536]


def _out_of_memory(host: _Host) -> bool:
    return b"heap out of memory" in host.said or b"Array buffer allocation failed" in host.said


def _too_big() -> DeployError:
    return DeployError(
        Reason.TYPE_CHECK_FAILED,
        f"the type check needs more than {_HEAP} MiB of memory",
        hint="simplify the types",
    )


def installed_version(package: Path) -> str:
    """The version of the `typescript` package in a directory. Raises DeployError(COMPILER_UNAVAILABLE)."""
    if version := version_of(package):
        return version
    raise DeployError(
        Reason.COMPILER_UNAVAILABLE,
        f"there is no TypeScript in {package.name}",
        hint="the one that package.json asks for was not installed whole",
    )
