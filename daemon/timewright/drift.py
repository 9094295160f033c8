"""Drift: is what is live still what was built? Looks and tells; the plan does the mending.

Every live release, its links and its pool are held against what was published: on an interval, and soon
after a file event there. Nothing is written to the tree here, so that looking never wakes itself.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from timewright import log
from timewright.core.diff import MOST_FILES, Text, as_diff, proven, text_of
from timewright.core.differences import Difference, Kind, lines, ordered
from timewright.core.digest import SHORT
from timewright.core.errors import Code, DeployError, RequestError
from timewright.core.state import Record, Status
from timewright.diffing import Defaults, given_texts, prepare_read, read_release
from timewright.edge import source
from timewright.edge.inspection import PACKAGES
from timewright.edge.pools import Key
from timewright.edge.releases import Receipt
from timewright.edge.treewatch import ALL, TreeWatch
from timewright.views import View
from timewright.world import Change, World

#: Each release is read in full every so many rounds, the others by their stamps (edge/inspection.py).
FULL_EVERY: Final = 12
_FIRST_S: Final = 2.0  # the first pass comes first
_SETTLE_S: Final = 0.3  # who edits by hand does more than one thing
_REST: Final = 9.0  # times as long as a look took, until the next of a round
_GIVE_WAY_S: Final = 0.1  # to deploys, before the next look of a round
_SPREAD: Final = 0.5  # the part of an interval that a round may be spread over
_GAP_S: Final = 1.0  # a program that writes into its own release must not keep us busy
_AT_REST = (Status.DEPLOYED, Status.ROLLED_BACK, Status.DEPLOYMENT_FAILED)

Busy = Callable[[], Collection[str]]


@dataclass(frozen=True)
class _Mark:
    """What is live, and since when."""

    applied: str
    since: float
    receipt: Receipt | None

    def is_still(self, other: _Mark) -> bool:
        """No other release was made live since, nor the same one published again."""
        return (self.applied, self.since) == (other.applied, other.since) and self.receipt is other.receipt


class DriftWatch:
    """Keeps the records' `drift` true."""

    def __init__(self, world: World, wake: Callable[[], None] = lambda: None) -> None:
        """`wake`: have a pass, there may be something to mend."""
        self.world = world
        self.tree = TreeWatch(self._hint)
        self._wake = wake
        self._round = 0
        self._looked: dict[str, str] = {}  # workflow id → digest of the release that was looked at
        self._hints: set[str] = set()
        self._hinted = asyncio.Event()
        self._lost_track = asyncio.Event()  # anything may have changed: look at all
        self._looking = asyncio.Lock()  # an older look is never told after a newer one
        world.listeners.append(self._on_change)

    async def run(self, busy: Busy = tuple) -> None:
        """Look now and then, until cancelled."""
        self.tree.start()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._sweep(busy, self.world.config.drift.interval_s))
                both.create_task(self._follow_hints(busy))
        finally:
            self.tree.stop()

    async def _sweep(self, busy: Busy, interval: float) -> None:
        """Rounds of looks at all, a while apart, or when a hint says that any of them may have changed."""
        await asyncio.sleep(min(_FIRST_S, interval))
        while True:
            self._lost_track.clear()
            await self._try(self.check(busy, spread_s=interval * _SPREAD))
            self._say_problem()
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._lost_track.wait()

    async def check(self, busy: Busy = tuple, *, spread_s: float = 0.0) -> None:
        """Look at every live release that nothing is being done with. `spread_s`: seconds that it may take to
        leave the machine to others in between, and so many more to let deploys go first; thousands of
        releases in one go are felt by who deploys."""
        self._round += 1
        records = list(self._live())
        self.tree.watch_links(self.world.releases.trees)
        self.tree.keep(record.workflow_id for record in records)
        pools = await self._look_at_pools()
        longest, patience = spread_s / max(1, len(records)), spread_s
        for record in records:
            while patience > 0 and busy():
                await asyncio.sleep(_GIVE_WAY_S)
                patience -= _GIVE_WAY_S
            turn = zlib.crc32(record.workflow_id.encode()) % FULL_EVERY
            began = time.monotonic()
            await self._check_one(record, busy, pools, full=turn == self._round % FULL_EVERY)
            await asyncio.sleep(min(longest, _REST * (time.monotonic() - began)))

    # hints -------------------------------------------------------------------------------------

    def _on_change(self, change: Change) -> None:
        """A release that comes to rest is looked at, and watched from then on."""
        if change.kind == "status" and change.after.status in _AT_REST:
            self._hint(change.after.workflow_id)

    def _hint(self, workflow_id: str) -> None:
        self._hints.add(workflow_id)
        self._hinted.set()

    async def _follow_hints(self, busy: Busy) -> None:
        while True:
            await self._hinted.wait()
            await asyncio.sleep(_SETTLE_S)
            self._hinted.clear()
            hints, self._hints = self._hints, set()
            if ALL in hints:
                hints.discard(ALL)
                self._lost_track.set()
            later = hints & set(busy())
            await self._try(self._check_some(hints - later, busy))
            if later:  # what is being deployed is looked at when that is done
                for name in later:
                    self._hint(name)
            await asyncio.sleep(_GAP_S)

    async def _check_some(self, names: set[str], busy: Busy) -> None:
        records = [record for record in self._live() if record.workflow_id in names]
        pools = await self._look_at_pools() if records else {}
        for record in records:
            # The first look at a release reads it: what was changed before we watched it left no trace.
            new = self._looked.get(record.workflow_id) != record.applied
            await self._check_one(record, busy, pools, full=new)

    async def _try(self, work: Any) -> None:
        """A look that fails by our own fault is said and done again; the watch goes on."""
        try:
            await work
        except Exception as error:
            log.get().error("drift check failed", because=str(error), exc_info=error)

    def _say_problem(self) -> None:
        if self.tree.problem:
            interval = self.world.config.drift.interval_s
            because = f"{self.tree.problem}; until then drift is looked for every {interval:.0f} s only"
            log.get().warning("watching is limited", because=because)
            self.tree.problem = ""

    # looking -----------------------------------------------------------------------------------

    def _live(self) -> Iterator[Record]:
        for record in self.world.records.values():
            if record.applied and record.status in _AT_REST:
                yield record

    async def _check_one(
        self, record: Record, busy: Busy, pools: dict[Key, Difference], *, full: bool
    ) -> None:
        async with self._looking:
            await self._look(record, busy, pools, full=full)

    async def _look(self, record: Record, busy: Busy, pools: dict[Key, Difference], *, full: bool) -> None:
        workflow_id, release = record.workflow_id, record.applied[:SHORT]
        before = self._mark(workflow_id)
        if workflow_id in busy() or before.applied != record.applied:
            return
        found = await asyncio.to_thread(look, self.world, workflow_id, release, full=full)
        if workflow_id in busy() or not before.is_still(self._mark(workflow_id)):
            return  # it was replaced while we looked: the next look is at what is there now
        receipt = self.world.receipts.get(workflow_id)
        if receipt is not None and receipt.release == release:
            found += [*filter(None, [pools.get((receipt.namespace, receipt.task_queue))])]
        self.tree.watch(workflow_id, self.world.releases.folders(workflow_id, release))
        self._looked[workflow_id] = record.applied
        self._note(workflow_id, release, lines(found))

    def _mark(self, workflow_id: str) -> _Mark:
        record = self.world.record(workflow_id)
        return _Mark(record.applied, record.since, self.world.receipts.get(workflow_id))

    async def _look_at_pools(self) -> dict[Key, Difference]:
        """The pools whose current version isn't whole."""
        keys = {(receipt.namespace, receipt.task_queue) for receipt in self.world.receipts.values()}

        def lost() -> dict[Key, str]:
            return {key: self.world.pools.lost(key) for key in keys}

        found = await asyncio.to_thread(lost)
        return {key: _of_pool(key, name) for key, name in found.items() if name}

    def _note(self, workflow_id: str, release: str, drift: tuple[str, ...]) -> None:
        old = self.world.record(workflow_id).drift
        if drift == old:
            return
        more = f" (and {len(drift) - 1} more)" if len(drift) > 1 else ""
        because = f"{drift[0]}{more}" if drift else f"release {release} is as it was built again"
        words = ["drifted" if found else "as built" for found in (old, drift)]
        self.world.change(workflow_id, "drift", words[0], words[1], because, drift=drift)
        self._wake()


def look(world: World, workflow_id: str, release: str, *, full: bool = True) -> list[Difference]:
    """How what is live differs from `release` as it was built. Reads the tree. What somebody linked to
    instead is not looked into: the link says it all."""
    found = [*world.releases.link_differences(workflow_id, release)]
    if all(item.kind is Kind.MISSING for item in found):
        found += world.releases.differences(workflow_id, release, full=full)
    return found


def _of_pool(key: Key, name: str) -> Difference:
    return Difference("", Kind.MISSING, f"{name} of pool {key[0]}/{key[1]} is missing")


# As a view -------------------------------------------------------------------------------------


async def drift_view(world: World, workflow_id: str, defaults: Defaults = ()) -> View:
    """How what is live differs from what was built, with the texts of what was changed where those can be had
    again. Looks at the tree now. Raises RequestError(NOT_FOUND) when nothing is live."""
    record = world.record(workflow_id)
    if not record.applied:
        raise RequestError(Code.NOT_FOUND, f"nothing of {workflow_id} is live")
    try:
        spec = await world.sources.read(record.source, world.host.limits)
    except source.UnreadableError:
        spec = b""
    return await asyncio.to_thread(_drift, world, record, spec, tuple(defaults))


def _drift(world: World, record: Record, spec: bytes, defaults: Defaults) -> View:
    workflow_id, release = record.workflow_id, record.applied[:SHORT]
    differences = look(world, workflow_id, release)
    live = world.receipts.get(workflow_id)
    if live is not None:
        key = (live.namespace, live.task_queue)
        lost = world.pools.lost(key)
        differences += [_of_pool(key, lost)] if lost else []
    found = ordered(differences)
    receipt = world.releases.sealed(workflow_id, release)
    texts = _Built(world, receipt, (record.source, spec, defaults)) if receipt is not None else None
    shown = [_difference(item, texts, count) for count, item in enumerate(found[:1000])]
    return {
        "workflowId": workflow_id,
        "release": release,
        "drifted": bool(found),
        "drift": list(lines(found)),
        "differences": shown,
        "more": max(0, len(found) - len(shown)),
    }


def _difference(item: Difference, built: _Built | None, count: int) -> View:
    diff, note = None, ""
    if item.kind is Kind.CHANGED and built is not None:
        if count < MOST_FILES:
            diff, note = built.diff(item.path)
        else:
            note = f"only the first {MOST_FILES} files are shown as text"
    elif item.kind is Kind.ADDED:
        note = "nobody knows what it holds: not shown"
    return {
        "path": item.path or None,
        "kind": item.kind,
        "line": item.line,
        "diff": diff,
        "note": note or None,
    }


class _Built:
    """Gets again what a release was built with: from its spec, the compile cache, other releases. Its digest
    proves each text."""

    def __init__(self, world: World, receipt: Receipt, spec: tuple[str, bytes, Defaults]) -> None:
        """`spec`: its path, what it holds now, and its defaults."""
        self.world, self.receipt = world, receipt
        self.root = world.releases.path(receipt.workflow_id, receipt.release)
        self._spec = spec
        self._made: Mapping[str, str] | None = None

    def diff(self, path: str) -> tuple[str | None, str]:
        """(unified diff or None, note)."""
        digest = self.receipt.files.get(path)
        if digest is None or path == PACKAGES:
            return None, ""
        now = read_release(self.root, path)
        new = now if isinstance(now, Text) else text_of(now)
        if new.text is None:
            return None, new.why
        old = proven((self._texts().get(path), *self._elsewhere(path, digest)), digest)
        if old is None:
            return (
                None,
                "what was built can't be had again here: its spec has changed since, or the cache let it go",
            )
        return as_diff(path, text_of(old.encode("utf-8", "surrogatepass")), new, self.receipt.env.values())

    def _texts(self) -> Mapping[str, str]:
        if self._made is None:
            try:
                prepared = prepare_read(self.world, *self._spec)
                self._made = {**given_texts(prepared), **self.world.cache.texts(prepared.compile_key)}
            except DeployError:
                self._made = {}
        return self._made

    def _elsewhere(self, path: str, digest: str) -> Iterable[str | None]:
        """The same file in other releases that are kept."""
        releases = self.world.releases
        for other in releases.kept(self.receipt.workflow_id):
            if other.release != self.receipt.release and other.files.get(path) == digest:
                data = read_release(releases.path(other.workflow_id, other.release), path)
                yield None if isinstance(data, Text) else text_of(data).text
