"""The process: wiring, wake, signals, and the loop around the passes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

from timewright import log
from timewright.config import Config, Followed
from timewright.core.dependencies import Rules
from timewright.core.document import Limits
from timewright.core.errors import DeployError, TimewrightError
from timewright.core.prepare import Host
from timewright.core.worlds import Desired
from timewright.delivery import Delivery
from timewright.drift import DriftWatch
from timewright.edge import memory, process
from timewright.edge import toolchain as toolchain_of
from timewright.edge.cache import CompileCache
from timewright.edge.compiler import Compiler, Mode
from timewright.edge.dependencies import Dependencies, Settings
from timewright.edge.holds import Holds
from timewright.edge.lock import DataLock
from timewright.edge.pools import Pools
from timewright.edge.releases import Releases
from timewright.edge.source import is_ignored_name
from timewright.edge.statefile import StateFile, storage_trouble
from timewright.edge.systemd import Systemd
from timewright.edge.tsbases import tsconfig_bases
from timewright.edge.watch import Watcher
from timewright.edge.worker import WorkerHost
from timewright.looking import is_shown
from timewright.notify import Notifier
from timewright.reconcile import PassReport, Reconciler
from timewright.statuses import Statuses
from timewright.waking import Named, Wake
from timewright.world import World

Helpers = Callable[[Config], AbstractAsyncContextManager[None]]
Faces = Callable[[World, Reconciler], AbstractAsyncContextManager[None]]

#: Folders of the data directory that the worker host has no business in, nor the code of specs that it runs:
#: where it is another user, of a group that may read the rest.
_OURS = ("cache", "holds", "sources")
#: Seconds between looks while a release on trial isn't healthy: a bad one goes sooner.
_TRIAL_S = 1.0
#: Seconds that passes over a few may go on without one over all.
_WHOLE_S = 2.0
#: Seconds in which the compiler's processes are started, before reading the state takes all of our time: they
#: warm up beside it.
_HEAD_START_S = 0.05
#: Seconds before the next try when a pass itself fails (the tree or the state file can't be used).
_PASS_RETRY = (1.0, 60.0)


def make_world(config: Config, state: StateFile) -> World:
    """The tools of one data directory, opened but not started."""
    data = config.data_path
    compiler = make_compiler(config, data / "cache", data / "releases", data / "dependencies")
    return World(
        config=config,
        state=state,
        holds=Holds(config.data_path / "holds"),
        releases=Releases(config.data_path, config.workflows_path, config.activities_path),
        pools=Pools(config.data_path),
        compiler=compiler,
        host=make_host(config, compiler),
        dependencies=make_dependencies(config, config.data_path / "dependencies"),
        cache=CompileCache(config.data_path / "cache" / "compiled", config.compiler.cache_mib * 1024 * 1024),
        worker=WorkerHost(
            config.worker_url, token=config.worker_token(), timeout=config.worker.reload_timeout_s
        ),
    )


def make_compiler(config: Config, cache: Path, *trees: Path) -> Compiler:
    """The compiler by the settings, not started. `trees`: where what it compiles lies, with its packages.

    Raises DeployError when it isn't installed.
    """
    settings = config.compiler
    return Compiler(
        config.toolchain_path,
        cache,
        mode=cast("Mode", settings.mode),
        timeout_s=settings.timeout_s,
        memory=settings.memory_mib * 1024 * 1024,
        node=config.node_command,
        trees=trees,
    )


def make_host(config: Config, compiler: Compiler) -> Host:
    """What this host gives to every spec, by the settings and by what its toolchain holds."""
    toolchain = config.toolchain_path
    return Host(
        namespace=config.temporal.namespace,
        task_queue=config.temporal.task_queue,
        provided=toolchain_of.provided(toolchain),
        typescripts=tuple(version for version, _ in toolchain_of.typescripts(toolchain)) or ("off",),
        identity=compiler.identity_for,
        limits=Limits(bytes=config.source.max_spec_bytes, files=config.source.max_files),
        rules=_rules(config),
        bases=tsconfig_bases(toolchain),
        judge=config.compiler.typescript,
    )


def make_dependencies(config: Config, root: Path) -> Dependencies:
    """The packages of specs below `root`, by the settings."""
    settings = config.dependencies
    return Dependencies(
        root,
        config.toolchain_path,
        Settings(settings.timeout_s, settings.max_mib, settings.offline, _rules(config)),
        node=config.node_command,
        cache=config.data_path / "cache" / "npm",
    )


def _rules(config: Config) -> Rules:
    return Rules(tuple(config.dependencies.allow), tuple(config.dependencies.deny))


@contextmanager
def locked(config: Config) -> Iterator[None]:
    """Make the data directory and hold its lock. Raises TimewrightError when another holds it, or when it
    lies where specs are looked for."""
    _check_apart(config)
    try:
        config.data_path.mkdir(parents=True, exist_ok=True)
        for folder in config.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for name in _OURS:
            (config.data_path / name).mkdir(exist_ok=True)
            (config.data_path / name).chmod(0o700)
    except OSError as error:
        raise TimewrightError(
            f"{error.filename} can't be made: {error.strerror}", hint="check the path and who owns it"
        ) from None
    lock = DataLock(config.data_path / "timewright.lock")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_apart(config: Config) -> None:
    """What we write must be no source: each release would be read as specs, and wake the next pass."""
    ours = {"data.directory": config.data_path, "data.workflows_dir": config.workflows_path}
    if config.activities_path is not None:
        ours["data.activities_dir"] = config.activities_path
    for folder in config.folders:
        for name, path in ours.items():
            if not path.resolve().is_relative_to(folder.resolve()):
                continue
            below = path.resolve().relative_to(folder.resolve()).parts
            if not any(map(is_ignored_name, below)):
                raise TimewrightError(
                    f"{name} {path} lies in the source {folder}",
                    hint="give it, or the source, a folder of its own: --data, --source, or the settings",
                )


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[World]:
    """A world ready for passes: swept, its state read or rebuilt, its compiler starting."""
    state = StateFile(config.state_path)
    world = make_world(config, state)
    compiler: asyncio.Task[None] | None = None
    try:
        for tree in world.compiler.trees:  # it is let into what is there when it starts
            tree.mkdir(parents=True, exist_ok=True)
        compiler = asyncio.create_task(_start_compiler(world), name="compiler")
        await asyncio.wait([compiler], timeout=_HEAD_START_S)
        _prepare(world)
        await compiler
        compiler = asyncio.create_task(_recover(world), name="compiler")
        yield world
    finally:
        if compiler is not None:
            compiler.cancel()
            await asyncio.wait([compiler])
        world.releases.remembered.write(world.live_names())
        await world.sources.close()
        await world.compiler.close()
        await world.worker.close()
        with suppress(sqlite3.Error):
            state.close()


async def _start_compiler(world: World) -> None:
    """A compiler that can't start fails each deploy that needs it, with retries; not the daemon."""
    try:
        await world.compiler.start()
    except DeployError as error:
        log.get().error("compiler", reason=error.reason, because=error.message)
    if open_wide := process.confinement():
        log.get().warning("not confined", because=open_wide)
    if world.compiler.fallback:
        log.get().warning("compiler", because=world.compiler.fallback)


async def _recover(world: World) -> None:
    """A host that boots may have been too busy for the compiler's start; no reason to be slow for ever."""
    if world.compiler.fallback:
        await world.compiler.recover()
        log.get().info("compiler", because="the warm compiler has passed its self-test now")


def _prepare(world: World) -> None:
    swept = world.releases.prepare()
    world.releases.remembered.load()
    world.pools.prepare()
    world.dependencies.prepare()
    world.records = world.state.first_records()
    world.holds.prepare()
    world.load_decisions()
    world.sources.start()
    if world.state.rebuilt:
        log.get().info("state file made", because=world.state.rebuilt)
    adopted = world.adopt_tree()
    if world.state.rebuilt and (decided := world.restore_decisions()):
        log.get().warning(
            "decisions taken up", workflows=decided, because="pins and suspensions are kept apart"
        )
    elif world.is_behind:
        decided = world.restore_decisions()
        because = "the state file is older than they are: a copy of it was restored"
        log.get().warning("decisions taken up", workflows=decided, because=because)
    if adopted:
        log.get().warning(
            "rebuilt from the tree", workflows=adopted, because="the state file did not know them"
        )
    if swept:
        log.get().info("swept", leftovers=swept, because="an earlier run was interrupted")


async def apply_once(
    config: Config, progress: Callable[[int, int], None] = lambda done, of: None
) -> list[str]:
    """One pass to its end: everything that the source asks for is done or has failed. Returns the
    ids (or files) that failed. `progress` hears now and then how many of how many are done."""
    with locked(config):
        async with opened(config) as world:
            reconciler = Reconciler(world)
            await asyncio.gather(reconciler.health.check(), world.sources.update())
            while True:
                report = await reconciler.run_pass()
                await _follow(reconciler, progress)
                if not (report.settling or report.vanishing or report.cut):
                    break
                await asyncio.sleep(0.1)
            await reconciler.health.check()
            reconciler.landings.look()
            await reconciler.close()
            return failures(world)


async def _follow(reconciler: Reconciler, progress: Callable[[int, int], None]) -> None:
    total = len(reconciler.busy())
    settled = asyncio.create_task(reconciler.settled())
    while not settled.done():
        await asyncio.wait([settled], timeout=0.1)
        progress(total - len(reconciler.busy()), total)
    await settled


def failures(world: World) -> list[str]:
    """What is in a failed state now."""
    failed = [record.workflow_id for record in world.records.values() if record.failure is not None]
    behind = [f"source {follower.name}" for follower in world.sources.followers.values() if follower.problem]
    return [*failed, *world.state.refused(), *behind]


class Pace:
    """How many scan intervals lie between two scans: one, while things happen; up to a minute's worth while
    all is quiet. A scan that finds what no event told ends that for good: there, events get lost."""

    _MOST_S = 60.0

    def __init__(self, interval: float) -> None:
        self._most = max(1, int(self._MOST_S / interval))
        self._rest = 1
        self._deaf = False
        self._heard = True  # the last pass was one that somebody asked for
        self._last: Desired | None = None

    def heard(self) -> None:
        """Something woke us: an event, a person, work that ended."""
        self._heard = True

    def after(self, desired: Desired, *, sound: bool) -> int:
        """Scan intervals to rest after a pass that read this. `sound`: file events can be had."""
        changed = self._last is not None and desired != self._last
        self._deaf = self._deaf or (changed and not self._heard)
        quiet = sound and not self._deaf and not self._heard and not changed
        self._rest = min(self._rest * 2, self._most) if quiet else 1
        self._last, self._heard = desired, False
        return self._rest


class Service:
    """The daemon. `run` returns after a signal, when all is put away."""

    def __init__(
        self,
        config: Config,
        helpers: Helpers | None = None,
        faces: Faces | None = None,
        again: Callable[[], Config] | None = None,
    ) -> None:
        """`helpers`: what runs beside us, once the data directory is ours (see embedded.py). `faces`: what
        shows us to others, once there is something to show (see api/server.py). `again`: reads the settings
        anew, on SIGHUP."""
        self.config = config
        self.systemd = Systemd()
        self._again = again or (lambda: config)
        self._helpers: Helpers = helpers or (lambda _: nullcontext())
        self._faces: Faces = faces or (lambda *_: nullcontext())
        self._wake = Wake()
        self._stop = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._pace = Pace(config.source.scan_interval_s)
        self._owed: float | None = None  # until when a pass over a few may stand for a whole one (monotonic)

    async def run(self) -> bool:
        """True when the settings have changed: the caller has a new process take this one's place."""
        changed = False
        memory.bound()
        memory.build_up()
        with locked(self.config):
            self._listen()
            async with self._helpers(self.config), opened(self.config) as world:
                world.pulse = self.systemd.feed
                reconciler = Reconciler(world, self._wake.set)
                reconciler.stopping = self._stop.is_set
                reconciler.wake_for = self._wake.workflow
                watchers = [self._watcher(one) for one in self.config.followed if not one.settings.git]
                for watcher in watchers:
                    await watcher.start()
                async with self._beside(world, reconciler):
                    _announce(self.config, world, watchers)
                    try:
                        changed = await self._loop(reconciler, watchers)
                    finally:
                        self.systemd.stopping() if not changed else self.systemd.reloading()
                        for watcher in watchers:
                            await watcher.stop()
                        await reconciler.close()
        log.get().info("stopped")
        return changed

    @asynccontextmanager
    async def _beside(self, world: World, reconciler: Reconciler) -> AsyncIterator[None]:
        """What runs beside the passes: the looks at health and drift, and the API."""
        drift = DriftWatch(world, self._wake.set)
        watches = [
            asyncio.create_task(self._watch_health(reconciler), name="health"),
            asyncio.create_task(drift.run(reconciler.busy), name="drift"),
            asyncio.create_task(reconciler.rollouts.run(), name="rollouts"),
            asyncio.create_task(reconciler.landings.run(), name="landings"),
            *(
                asyncio.create_task(follower.run(self._wake.set), name=f"source {follower.name}")
                for follower in world.sources.followers.values()
            ),
        ]
        watches += [asyncio.create_task(work, name=name) for name, work in _tellers(world, reconciler)]
        try:
            async with self._faces(world, reconciler):
                yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.wait(watches)

    def _watcher(self, one: Followed) -> Watcher:
        def wake(names: frozenset[str]) -> None:
            self._wake.files([one.prefix + name for name in names])

        return Watcher(self.config.path(one.settings.path), wake)

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def _on_signal(self) -> None:
        """The first signal lets the current step finish; the second stops at once."""
        if self._stop.is_set():
            os._exit(130)
        log.get().info("stopping", because="asked by a signal; once more stops at once")
        self.stop()

    def _on_hangup(self) -> None:
        """Read the settings again, and look now."""
        self._hung_up.set()
        self._wake.set()

    async def _loop(self, reconciler: Reconciler, watchers: Sequence[Watcher]) -> bool:
        """Passes, until a signal. True when it was the one for other settings."""
        wait, worked, first = _PASS_RETRY[0], True, True
        while not self._stop.is_set():
            named = self._wake.take()
            self.systemd.feed()
            try:
                if self._hung_up.is_set():
                    self._hung_up.clear()
                    self.systemd.reloading()
                    if self._has_other_settings(reconciler.world):
                        return True
                    reconciler.world.sources.wake_all("SIGHUP")
                elif named and await self._passed_nearby(reconciler, named):
                    wait = _PASS_RETRY[0]
                    continue
                self._owed = None
                for watcher in watchers:
                    await watcher.refresh()
                try:
                    report = await reconciler.run_pass()
                finally:
                    if first:
                        memory.keep()
                        first = False
                        world = reconciler.world
                        await asyncio.to_thread(world.releases.remembered.write, world.live_names())
                wait = _PASS_RETRY[0]
                self.systemd.ready()
                self.systemd.status(_one_line(reconciler.world))
                busy = reconciler.busy()
                if not busy:
                    reconciler.world.ready.clear()
                if worked and not report.actions and not busy:
                    memory.give_back()
                worked = bool(report.actions or busy)
                await self._until_due(reconciler, watchers, report)
            except Exception as error:
                trouble = storage_trouble(error)
                reconciler.passes.problem = trouble or f"{type(error).__name__}: {error}"
                log.get().error(
                    "pass failed",
                    because=reconciler.passes.problem,
                    next_try_s=wait,
                    exc_info=None if trouble else error,
                )
                self.systemd.status(f"passes fail: {reconciler.passes.problem}")
                if trouble or isinstance(error, TimewrightError):
                    self.systemd.ready()  # the API is up and tells it: nothing gets better by another start
                await self._rest(wait)
                wait = min(wait * 2, _PASS_RETRY[1])
        return False

    async def _passed_nearby(self, reconciler: Reconciler, named: Named) -> bool:
        """A pass over the few that were named, if that will do. The whole one, which costs more the more
        there is, follows when they are done, or after a while."""
        now = time.monotonic()
        owed = now + _WHOLE_S if self._owed is None else self._owed
        if now >= owed or not await reconciler.run_nearby(named):
            return False
        self._owed = owed
        self._pace.heard()
        waits = [asyncio.ensure_future(wait) for wait in (self._wake.wait(), reconciler.settled())]
        await asyncio.wait(waits, timeout=owed - now, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return True

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end: also while it was putting all away for something else."""
        return self._stop.is_set()

    async def _until_due(
        self, reconciler: Reconciler, watchers: Sequence[Watcher], report: PassReport
    ) -> None:
        """Rest until the next pass. While file events can be believed and nothing happens, scans become rare;
        the watchers themselves are looked at as often as ever."""
        sound = all(watcher.mode == "inotify" for watcher in watchers)
        for _ in range(self._pace.after(report.desired, sound=sound)):
            pause = self._pause(reconciler, watchers, report.settling)
            await self._sleep(pause)
            if self._wake.is_set():
                self._pace.heard()
                return
            if pause < self.config.source.scan_interval_s:
                return
            if any([await watcher.refresh() for watcher in watchers]):
                self._pace.heard()  # events were lost until now
                return

    def _has_other_settings(self, world: World) -> bool:
        """Whether the settings say something else now. Wrong ones change nothing, and are told."""
        try:
            other = self._again()
        except TimewrightError as error:
            world.settings_problem = error.message
            log.get().error("settings", because=f"{error.message}; what was read before goes on")
            return False
        world.settings_problem = ""
        if other == self.config:
            log.get().info("settings", because="read again: nothing has changed")
            return False
        log.get().info("settings", because="they have changed: starting anew with them, in this process")
        return True

    def _pause(self, reconciler: Reconciler, watchers: Sequence[Watcher], settling: bool) -> float:
        """Seconds until the next pass when nothing wakes us."""
        pause = self.config.source.scan_interval_s
        if any(watcher.mode == "polling" for watcher in watchers):
            pause = min(pause, 1.0)
        if settling:
            pause = min(pause, 0.1)
        due = reconciler.next_retry()
        if due is not None:
            pause = min(pause, max(0.05, due - time.time()))
        return pause

    async def _sleep(self, seconds: float) -> None:
        """Until woken, or so long."""
        await self._wait(self._wake, seconds)

    async def _rest(self, seconds: float) -> None:
        """As _sleep, and only a signal ends it: what a full disk cuts short wakes us, again and again."""
        await self._wait(self._stop, seconds)

    async def _wait(self, event: asyncio.Event | Wake, seconds: float) -> None:
        """With signs of life meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not event.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(left, self.systemd.watchdog_s or left))
            self.systemd.feed()

    async def _watch_health(self, reconciler: Reconciler) -> None:
        """Looks at the worker host beside the passes: a host that hangs holds up no deploy."""
        told = ""
        while True:
            try:
                await reconciler.health.check(reconciler.busy)
                told = ""
            except Exception as error:
                trouble = storage_trouble(error)
                if not trouble or trouble != told:  # a disk stays full for hours
                    log.get().error(
                        "health check failed", because=str(error), exc_info=None if trouble else error
                    )
                told = trouble
            interval = self.config.worker.check_interval_s
            await asyncio.sleep(min(interval, _TRIAL_S) if reconciler.health.trying else interval)


def _tellers(world: World, reconciler: Reconciler) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    """What tells people and forges of what happened: both write letters, which are delivered when they can
    be."""
    host = socket.gethostname()
    delivery = Delivery(world.state.outbox)
    notifier = Notifier(world, delivery, host)
    statuses = Statuses(world.config, host, delivery)
    statuses.register()
    reconciler.landings.listeners.append(statuses.on_landing)
    yield "notifications", notifier.run()
    yield "delivery", delivery.run()


def _one_line(world: World) -> str:
    """How things stand, for `systemctl status`."""
    counts = Counter(str(record.status) for record in world.records.values() if is_shown(record))
    failed = sum(record.failure is not None for record in world.records.values())
    words = [f"{count} {status}" for status, count in sorted(counts.items())] or ["nothing deployed"]
    return ", ".join(words) + (f"; {failed} failed: timewright status" if failed else "")


def _announce(config: Config, world: World, watchers: Sequence[Watcher]) -> None:
    log.get().info(
        "timewright is up",
        specs=", ".join(
            [str(folder) for folder in config.folders] + [f.url for f in world.sources.followers.values()]
        ),
        tree=str(config.workflows_path),
        api=config.api.listen or str(config.api_socket),
        worker=config.worker_url,
        temporal=config.temporal.address,
        watching=", ".join({watcher.mode: None for watcher in watchers}) or "git",
    )
    for watcher in watchers:
        if watcher.problem:
            log.get().warning("watching is limited", because=watcher.problem)
