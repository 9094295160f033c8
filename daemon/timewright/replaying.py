"""The replay gate: would the executions that there are go on with a release's workflow code?

Looks only. A release that isn't live yet is joined with the SDK's base into a bundle of its own, recent
executions are fetched from Temporal, and each is replayed on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from timewright.core.errors import DeployError
from timewright.core.replays import AUTO, ENFORCE, OFF, ReplayReport
from timewright.core.visibility import on_queue
from timewright.edge import files
from timewright.edge.bundle import Part
from timewright.edge.deployments import TemporalAwayError
from timewright.edge.histories import Bounds, Fetched, fetch, read_file
from timewright.edge.pools import Key
from timewright.edge.receipts import Receipt
from timewright.edge.replayer import Replayer
from timewright.world import World

_MIB: Final = 1024 * 1024
_AT_ONCE: Final = 2  # a replayer takes 130 MiB and a core; a commit may change a hundred workflows
_LEFTOVER_S: Final = 3600.0
_EMPTY_S: Final = 2.0  # not longer than Temporal's own lists are late


class ReplayGate:
    """Judges releases by replay, by the settings of [replay]."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.home = world.config.data_path / "cache" / "replays"
        config = world.config
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._asking: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Task queue → whether it has no executions, and until when that holds (monotonic seconds).
        self._asked: dict[Key, tuple[bool, float]] = {}
        self.replayer = Replayer(config.toolchain_path, config.node_command, self.home)

    async def check(self, receipt: Receipt, mode: str) -> ReplayReport:
        """Replay recent executions on a release that is built. `mode`: off, warn or enforce. Never raises for
        what Temporal or the replayer can't do: the report's `warnings` say it."""
        mode = ENFORCE if mode == AUTO else mode
        types = [name for name in receipt.workflow_types if name != "default"]
        if mode == OFF or not types:
            return ReplayReport(mode)
        if receipt.bundle is None:
            return ReplayReport(mode, warnings=(_unbundled(receipt),))
        if await self._never_ran(receipt):
            return ReplayReport(mode)
        async with self._few:
            until = time.monotonic() + self.world.config.replay.timeout_s
            try:
                with self._folder() as folder:
                    fetched = await self._fetch(receipt, types, folder)
                    return await self._judge(receipt, mode, fetched, folder, until)
            except (DeployError, OSError) as error:
                said = _said(error)
                return ReplayReport(mode, warnings=(f"nothing was replayed: {said}",), problem=said)

    async def _never_ran(self, receipt: Receipt) -> bool:
        """Whether Temporal knows of no execution on the release's task queue: then there is nothing to
        replay, and the thousand others of a first deploy needn't ask. False where it can't say."""
        key = (receipt.namespace, receipt.task_queue)
        async with self._asking[key]:
            empty, until = self._asked.get(key, (False, 0.0))
            if time.monotonic() < until:
                return empty
            count: int | None = None
            with contextlib.suppress(TemporalAwayError, TimeoutError):
                async with asyncio.timeout(self.world.config.replay.timeout_s):
                    count = await self.world.deployments.count(
                        receipt.namespace, on_queue(receipt.task_queue)
                    )
            self._asked[key] = (count == 0, time.monotonic() + _EMPTY_S)
            return count == 0

    async def check_files(self, receipt: Receipt, paths: Sequence[Path]) -> ReplayReport:
        """Replay histories that somebody kept. Raises NoHistoryError, DeployError and OSError."""
        if receipt.bundle is None:
            return ReplayReport(ENFORCE, warnings=(_unbundled(receipt),))
        with self._folder() as folder:
            histories = tuple(read_file(path, at, folder) for at, path in enumerate(paths))
            until = time.monotonic() + self.world.config.replay.timeout_s
            return await self._judge(receipt, ENFORCE, Fetched(histories), folder, until)

    async def _fetch(self, receipt: Receipt, types: Sequence[str], folder: Path) -> Fetched:
        settings = self.world.config.replay
        client = await self.world.temporal.client(receipt.namespace)
        if client is None:
            address = self.world.config.temporal.address
            return Fetched(problem=f"Temporal at {address} does not answer")
        bounds = Bounds(settings.open, settings.closed, settings.most_mib * _MIB, settings.timeout_s / 2)
        return await fetch(client, types, receipt.task_queue, bounds, folder)

    async def _judge(
        self, receipt: Receipt, mode: str, fetched: Fetched, folder: Path, until: float
    ) -> ReplayReport:
        warnings = [*fetched.left_out]
        if fetched.problem:
            few = f"only {len(fetched.histories)} executions were" if fetched.histories else "nothing was"
            warnings.append(f"{few} replayed: {fetched.problem}")
        if not fetched.histories:
            return ReplayReport(mode, warnings=tuple(warnings), problem=fetched.problem)
        await self.world.compiler.join([self._part(receipt)], folder)
        ran = await self.replayer.run(folder / "workflows.js", fetched.histories, until - time.monotonic())
        if ran.problem:
            warnings.append(ran.problem)
        elif ran.unfinished:
            warnings.append(
                f"{ran.unfinished} of {len(fetched.histories)} executions were not replayed: it takes longer"
                f" than {self.world.config.replay.timeout_s:g} s (replay.timeout_s)"
            )
        return ReplayReport(mode, ran.outcomes, tuple(warnings), ran.known, fetched.problem or ran.problem)

    def _part(self, receipt: Receipt) -> Part:
        directory = self.world.releases.path(receipt.workflow_id, receipt.release) / "bundle"
        return Part(receipt.workflow_id, receipt.workflow_types, directory / "workflow.js")

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        """A directory for one replay: histories hold what people's workflows were given."""
        self.home.mkdir(parents=True, exist_ok=True)
        _sweep(self.home)
        folder = self.home / files.unique()
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            files.remove(folder)


def _sweep(home: Path) -> None:
    """Remove what a crash left. Not what is in use: `timewright replay` works beside the daemon."""
    before = time.time() - _LEFTOVER_S
    with contextlib.suppress(OSError):
        for entry in os.scandir(home):
            if entry.name.startswith(".tmp-") and entry.stat(follow_symlinks=False).st_mtime < before:
                files.remove(Path(entry.path))


def _unbundled(receipt: Receipt) -> str:
    why = (
        f"{receipt.worker or 'its own worker'} bundles its workflows itself"
        if receipt.isolation == "process"
        else "it has no workflow bundle"
    )
    return f"its executions can't be replayed: {why}"


def _said(error: DeployError | OSError) -> str:
    if isinstance(error, DeployError):
        return error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
