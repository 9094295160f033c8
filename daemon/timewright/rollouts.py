"""Has Temporal send executions where they should go: begins rollouts, follows them, and says how they stand.

A rollout itself is a workflow (`rollflow.py`), which any daemon of the fleet serves. What this module knows
is read from Temporal again and again; kept across restarts is only that a rollout was to begin (`_store`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from timewright import log
from timewright.core.deployments import FULL_VERSIONS, MOST_VERSIONS, ROOMY_VERSIONS, Deployment, Routing
from timewright.core.errors import DeployError, Reason
from timewright.core.orders import Ask, Order, Phase, Progress
from timewright.core.rollout import Rollout, Strategy, merge, rollout_of
from timewright.core.state import Health, Status
from timewright.core.visibility import RUNNING, on_queue
from timewright.core.worlds import Executions
from timewright.edge.deployments import ChangedError, ManagedError, TemporalAwayError
from timewright.edge.failpoint import failpoint
from timewright.edge.pools import Key, PoolVersion, versioning_of
from timewright.edge.releases import Receipt
from timewright.oldversions import OldVersions
from timewright.pooled import Pooled, Told
from timewright.pooling import Pooling
from timewright.rollhandle import described, handle_of, progress_by, progress_of, tell
from timewright.rollserve import RolloutServing
from timewright.world import World

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle

_FACT: Final = "rollout:"  # and the pool: a row for each rollout that is ours to follow
_ROOM_S = 1.0  # that a deploy waits to hear how many Versions there are: `tend` warns long before the limit
_BUSY_S = 0.5  # between two looks while a rollout is under way
_DESCRIBE_S = 2.0  # between two questions for the whole Deployment, then
_IDLE_S = 5.0  # where old versions are on their way out
_LONG_WAIT_S = 300.0  # for hosts, before that is worth a word
_ASTRAY_S = 15.0
_QUIET_S = 20.0  # where there is nothing but the current version
_ASK_S = 3.0
_TRIES = 5
_UP = (Status.DEPLOYED, Status.ROLLED_BACK)


class Rollouts:
    """The rollouts of one host's pools."""

    def __init__(self, world: World, wake: Callable[[], None] = lambda: None) -> None:
        self.world = world
        self.pools: dict[Key, Pooled] = {}
        self.wished: Callable[[], Mapping[str, str]] = dict  # workflow id → its spec's rollout, as last read
        self._wake = wake
        self._look = asyncio.Event()
        self._serving, self._old = RolloutServing(world), OldVersions(world)
        self._seen: dict[Key, tuple[str, float]] = {}
        self._failing: dict[Key, tuple[str, float]] = {}
        for name, row in world.state.facts(_FACT).items():
            namespace, _, queue = name.partition("/")
            self.pools[namespace, queue] = Pooled(row["build"], row["back"], set(row["workflows"]))
            for workflow_id in row["workflows"]:
                world.rolling[workflow_id] = (Health.PROGRESSING, "rollout: under way")

    # asked by a deploy ---------------------------------------------------------------------------

    async def room(self, key: Key) -> None:
        """Raises DeployError where Temporal has no room for one more Version: it is tried again later."""
        version = self.world.pool_versions.get(key)
        if version is None or not version.deployment:
            await self.learn(key[0])
            return
        pooled = self.pools.get(key)
        last = pooled.seen if pooled is not None else None
        if last is not None and last.name == version.deployment and len(last.versions) < ROOMY_VERSIONS:
            return  # each deploy adds one, and each rollout looks again
        with suppress(TemporalAwayError, TimeoutError):
            async with asyncio.timeout(_ROOM_S):
                seen = await self.world.deployments.describe(key[0], version.deployment)
            if len(seen.versions) >= FULL_VERSIONS:
                self._look.set()
                raise DeployError(
                    Reason.TOO_MANY_VERSIONS,
                    f"deployment {seen.name} has {len(seen.versions)} of {MOST_VERSIONS} Versions; old ones"
                    " are deleted as Temporal lets go of them",
                )

    async def quiet(self, key: Key) -> None:
        """Before a Version is served or made current: a moment in which Temporal can do that."""
        await self._old.quiet(key)

    async def learn(self, namespace: str) -> None:
        """Ask once what the server can do; one that is away is asked again later."""
        if self.world.versioning is None:
            supported = await self.world.deployments.supported(namespace)
            if supported is not None:
                self.world.learn_versioning(supported)

    def later(self, key: Key, *, back: bool, about: str = "") -> None:
        """Nobody waits for it, or the worker host has not answered: the rollout begins when the host serves
        the version. `about`: the workflow whose new code it brings; it is not healthy before."""
        version = self.world.pool_versions.get(key)
        if version is not None and version.deployment:
            self._wish(key, version.build_id, back, about)
            self._tell(key, version)

    async def go(self, key: Key, workflow_id: str, *, back: bool, forced: bool) -> tuple[Health, str]:
        """Begin the rollout of a pool's newest version, which is served; wait a little for its end. The
        health of the workflow, and why. Raises DeployError when it has failed."""
        version = self.world.pool_versions.get(key)
        if version is None or not version.deployment:
            if self.world.pools.kept(key):  # it had Versions before: executions have to be let go of
                with suppress(TemporalAwayError):
                    await self.tend(key)
            return Health.HEALTHY, ""
        self._wish(key, version.build_id, back, workflow_id)
        pooled = self.pools[key]
        try:
            handle = await self._begin(key, version, forced=forced)
            if handle is None:
                return Health.HEALTHY, ""
            if back or (pooled.order and pooled.order.strategy is Strategy.ALL_AT_ONCE):
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.world.config.rollout.wait_s):
                        pooled.progress = await handle.result()
            else:
                pooled.progress = await progress_of(handle)
        except TemporalAwayError as error:
            pooled.problem = str(error)
            self._tell(key, version)
            return Health.PROGRESSING, f"its rollout waits for Temporal: {error}"
        except Exception as error:
            log.get().error("rollout", pool="/".join(key), because=str(error), exc_info=error)
            self._tell(key, version)
            return Health.PROGRESSING, f"its rollout could not begin yet: {error}"
        finally:
            self._look.set()
        outcome = self._outcome(key, version, workflow_id)
        self._tell(key, version)  # a look at health comes before the next look at the rollout
        return outcome

    def _outcome(self, key: Key, version: PoolVersion, workflow_id: str) -> tuple[Health, str]:
        pooled = self.pools[key]
        progress = pooled.progress
        self._note_last(pooled, version)
        if progress is None or not progress.phase.over:
            return _health(progress, self.world.clock())
        if progress.phase is Phase.ROLLED_BACK:
            return (
                Health.DEGRADED,
                progress.because,
            )  # `tend` condemns, when the deploy that waits here is done
        if pooled.wish == version.build_id:
            self._settle(key, version, progress)
        return Health.HEALTHY, ""

    def _note_last(self, pooled: Pooled, version: PoolVersion) -> None:
        """Keep how far it is, and write it into the history of the workflows that it is about."""
        progress, last = pooled.progress, pooled.last
        if progress is None:
            return
        pooled.last = Told(version.build_id, pooled.order, progress)
        if last is None or last.progress.phase is not progress.phase:
            pooled.asked = pooled.looked = 0.0  # shares have changed: what is known of them is old
        same = last is not None and last.build_id == version.build_id
        before = str(last.progress.phase) if last is not None and same else ""
        if pooled.order is None or before == progress.phase or not progress.because:
            return
        quiet = pooled.order.strategy is Strategy.ALL_AT_ONCE and progress.phase is Phase.PROMOTED
        for workflow_id in () if quiet else pooled.order.workflows:
            if workflow_id in self.world.records:
                actor = progress.actor or "timewright"
                self.world.change(
                    workflow_id, "rollout", before, str(progress.phase), progress.because, actor=actor
                )

    async def _begin(
        self, key: Key, version: PoolVersion, *, forced: bool
    ) -> WorkflowHandle[Any, Progress] | None:
        """The rollout's workflow, started where it isn't under way; None when there is nothing to do."""
        from temporalio.client import WorkflowExecutionStatus
        from temporalio.common import WorkflowIDConflictPolicy

        from timewright.rollflow import NAME

        world, pooled = self.world, self.pools[key]
        await self._serving.serve(key[0])
        seen = pooled.seen = await world.deployments.describe(key[0], version.deployment)
        order = pooled.order = self._order(key, version, seen, back=pooled.back)
        self._store(key)
        client = await world.deployments.client(key[0])
        if seen.current == version.build_id:
            await self._unramp(key, seen, version.build_id)
            await self._end_others(key, seen, version.build_id)
            self._unwish(key, version.build_id)
            return None
        handle = handle_of(client, version.deployment, version.build_id)
        last = await described(handle)
        if last is not None and last.status is WorkflowExecutionStatus.RUNNING:
            return handle
        if last is not None and not forced and not pooled.back:
            progress = await progress_by(last)
            if progress is not None and progress.phase is Phase.ROLLED_BACK:
                return handle  # it has failed already, wherever it ran: once is enough
        failpoint("before-rollout")
        begun: WorkflowHandle[Any, Progress] = await client.start_workflow(
            NAME,
            order,
            id=handle.id,
            task_queue=world.config.rollout.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            result_type=Progress,
            static_summary=f"{order.strategy} of {', '.join(order.workflows[:5]) or version.build_id}",
        )
        failpoint("after-rollout")
        return begun

    async def _unramp(self, key: Key, seen: Deployment, build_id: str) -> None:
        """Nothing but what is current gets new executions, from now on: the rollout that ramped may be on
        another host, or slow."""
        for _ in range(_TRIES):
            if not seen.ramping or seen.current != build_id:
                return
            try:
                await self.world.deployments.set_ramp(key[0], seen, "", 0.0)
                return
            except ManagedError:
                return
            except ChangedError:
                await asyncio.sleep(0.1)
            seen = await self.world.deployments.describe(key[0], seen.name)

    async def _end_others(self, key: Key, seen: Deployment, build_id: str) -> None:
        """We go back to what is current: rollouts of other versions end, and give back what they have."""
        for one in seen.versions:
            if one.build_id != build_id and one.status in (Routing.RAMPING, Routing.INACTIVE):
                why = self._why_condemned(key)
                kind = "fail" if one.status is Routing.RAMPING else "supersede"
                await self._say(key[0], seen.name, one.build_id, Ask(kind, reason=why))

    def _why_condemned(self, key: Key) -> str:
        pool = "/".join(key)
        reasons = [r.pin.reason for r in self.world.records.values() if r.pool == pool and r.pin]
        return next((reason for reason in reasons if reason), "a return to the version before")

    def _order(self, key: Key, version: PoolVersion, seen: Deployment, *, back: bool) -> Order:
        """What is to be done, by the wishes of the workflows whose code this version changes."""
        config = self.world.config
        before = self._published(key, seen.current)
        changed = [name for name, code in version.bundles.items() if before.get(name) != code]
        wishes = {name: self._said(name) for name in changed}
        merged = merge(wishes, Strategy(config.rollout.strategy))
        receipts = {name: self.world.receipts[name] for name in changed if name in self.world.receipts}
        # Nobody has served these executions yet: there is nothing to compare with, and nobody to fall back
        # on.
        alone = all(one.build_id == version.build_id for one in seen.versions)
        first = not seen.current and alone and not self.world.pools.kept(key)
        less = bool(before) and not changed  # workflows have left, and nothing new is to be tried
        at_once = back or first or less
        return Order(
            namespace=key[0],
            deployment=version.deployment,
            build_id=version.build_id,
            task_queue=key[1],
            strategy=Strategy.ALL_AT_ONCE if at_once else merged.strategy or Strategy.ALL_AT_ONCE,
            steps=() if at_once else merged.steps,
            gates=() if back else merged.gates,
            watch=merged.watch,
            workflows=tuple(sorted(changed)),
            types={kind: name for name, r in receipts.items() for kind in r.workflow_types},
            hosts=tuple(config.fleet.hosts),
            min_hosts=config.fleet.min_hosts,
            back=back,
            activities=any(
                self.world.receipts[name].activity_names
                for name in version.members
                if name in self.world.receipts
            ),
            begun_by=config.host_name,
        )

    def _said(self, workflow_id: str) -> Rollout:
        """What a workflow's spec says of its rollout: as last read, else as its release was built."""
        receipt = self.world.receipts.get(workflow_id)
        text = self.wished().get(workflow_id, receipt.rollout if receipt else "")
        try:
            return rollout_of(text)
        except ValueError:
            return Rollout()

    def _published(self, key: Key, build_id: str) -> Mapping[str, str]:
        """The workflows' code in a Version that this host has had; empty where it hasn't."""
        found = self.world.pools.published(key).values() if build_id else ()
        return next((one.bundles for one in found if one.build_id == build_id and one.deployment), {})

    # asked by a pass -----------------------------------------------------------------------------

    async def executions(self, workflow_ids: Collection[str]) -> dict[str, Executions]:
        """The open executions of workflows that may be undeployed."""
        asked: dict[str, tuple[str, bool]] = {}
        for workflow_id in workflow_ids:
            receipt = self.world.receipts[workflow_id]
            version = self.world.pool_versions.get((receipt.namespace, receipt.task_queue))
            versioned = version is not None and bool(version.deployment)
            mode = self._said(workflow_id).on_undeploy or ("wait" if versioned else "force")
            if mode == "force" and not versioned:
                continue  # as without Temporal: nothing is asked of it
            pinned = versioning_of(receipt, self.world.config.rollout.versioning) == "PINNED"
            asked[workflow_id] = (mode, versioned and pinned)
        # At once: a Temporal that hangs costs a pass three seconds, whatever is asked.
        counts = await asyncio.gather(*(self._open(self.world.receipts[name]) for name in asked))
        return {
            name: Executions(mode, count, safe)
            for (name, (mode, safe)), count in zip(asked.items(), counts, strict=True)
        }

    async def _open(self, receipt: Receipt) -> int | None:
        if not receipt.workflow_types:
            return 0
        query = f"{on_queue(receipt.task_queue, receipt.workflow_types)} AND {RUNNING}"
        try:
            async with asyncio.timeout(_ASK_S):
                return await self.world.deployments.count(receipt.namespace, query)
        except (TemporalAwayError, TimeoutError):
            return None

    # what a rollout is told ----------------------------------------------------------------------

    async def ask(self, key: Key, ask: Ask) -> None:
        """Tell the rollout under way. Raises TemporalAwayError, LookupError when there is none."""
        pooled = self.pools.get(key)
        if pooled is None or not pooled.wish or pooled.seen is None:
            raise LookupError
        if not await self._say(key[0], pooled.seen.name, pooled.wish, ask):
            raise LookupError
        self._look.set()

    async def _say(self, namespace: str, deployment: str, build_id: str, ask: Ask) -> bool:
        """To whatever rollout of a Version is under way; whether there is one. Raises TemporalAwayError."""
        client = await self.world.deployments.client(namespace)
        return await tell(handle_of(client, deployment, build_id), ask)

    # following -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow what is under way, until cancelled."""
        unanswered = 0  # looks in a row that Temporal did not answer
        while True:
            busy, unanswered = False, unanswered + 1
            for key in list(self.world.pools.keys()):
                try:
                    if self._is_due(key):
                        busy = await self.tend(key) or busy
                        self._seen[key] = self._next_look(key)
                except TemporalAwayError as error:
                    self._away(key, str(error))
                    break  # the others would not be answered either, and each question takes its time
                except Exception as error:
                    self._fails(key, error)
            else:
                unanswered = 0
            self._look.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), _wait(busy=busy, unanswered=unanswered))

    def _is_due(self, key: Key) -> bool:
        """Not each pool at each look: a host may have thousands, and Temporal answers a few such
        questions."""
        if time.monotonic() < self._failing.get(key, ("", 0.0))[1]:
            return False
        pooled, version = self.pools.get(key), self.world.pool_versions.get(key)
        newest = version.version if version is not None else ""
        if (
            pooled is not None
            and pooled.wish
            and pooled.progress is None
            and newest not in self.world.polling
        ):
            return bool(self.world.pools.kept(key)) and time.monotonic() >= self._seen.get(key, ("", 0.0))[1]
        if (pooled is not None and pooled.wish) or self._seen.get(key, ("", 0.0))[0] != newest:
            return True
        return time.monotonic() >= self._seen.get(key, ("", 0.0))[1]

    def _fails(self, key: Key, error: Exception) -> None:
        """What we did not expect: said once, and tried again later."""
        if str(error) != self._failing.get(key, ("", 0.0))[0]:
            log.get().error("rollout", pool="/".join(key), because=str(error), exc_info=error)
        self._failing[key] = (str(error), time.monotonic() + _QUIET_S)

    def _next_look(self, key: Key) -> tuple[str, float]:
        """The pool version that was looked at, and when to look again by itself (monotonic seconds)."""
        pooled, version = self.pools.get(key), self.world.pool_versions.get(key)
        newest = version.version if version is not None else ""
        leaving = bool(self.world.pools.kept(key))
        leaving = leaving or (
            pooled is not None and pooled.seen is not None and len(pooled.seen.versions) > 1
        )
        return newest, time.monotonic() + (_IDLE_S if leaving else _QUIET_S)

    async def close(self) -> None:
        """Stop serving rollouts; whoever serves them next goes on."""
        await self._serving.close()

    async def tend(self, key: Key) -> bool:
        """One look at one pool; whether a rollout is under way."""
        world = self.world
        await self._upgrade(key, world.pool_versions.get(key))
        version, kept = world.pool_versions.get(key), world.pools.kept(key)
        name = version.deployment if version is not None else ""
        if not name:
            name = next((v.deployment for v in self._kept(key) if v.deployment), "")
        if not name:
            if kept and (version is None or not version.deployment):
                world.pools.keep(key, ())
            return False
        pooled = self.pools.setdefault(key, Pooled())
        await self._serving.serve(key[0])
        seen, now = pooled.seen, time.monotonic()
        fresh = seen is None or seen.name != name or not pooled.wish or now - pooled.asked >= _DESCRIBE_S
        if seen is None or fresh:
            seen = pooled.seen = await world.deployments.describe(key[0], name)
            pooled.asked = now
        pooled.problem = ""
        version = world.pool_versions.get(key)  # a deploy may have made another one meanwhile
        if version is None or not version.deployment:
            await self._let_go(key, seen)
        elif pooled.wish == version.build_id:
            await self._follow(key, version)
        elif pooled.wish:
            self._unwish(key, pooled.wish)
        elif not self._condemned(version) and await self._is_forgotten(key, seen, version):
            # New executions would wait for ever, or get code that was replaced.
            self._wish(key, version.build_id, back=False)
            await self._follow(key, version)
        if fresh:
            await self._old.tidy(key, pooled, seen, version)
        self._tell(key, version)
        return bool(pooled.wish)

    async def _is_forgotten(self, key: Key, seen: Deployment, version: PoolVersion) -> bool:
        """Whether Temporal does not know that this version was rolled out: its database is new, or an older
        copy. A person who sends executions elsewhere leaves traces: the version was current once, and its
        rollout is there."""
        if not seen.current and not seen.ramping:
            return True  # or somebody has unset it
        if seen.ramping or not self._astray(self.pools[key], version):
            return False
        if seen.status(version.build_id) not in (Routing.INACTIVE, Routing.UNKNOWN):
            return False
        client = await self.world.deployments.client(key[0])
        return await described(handle_of(client, version.deployment, version.build_id)) is None

    async def look(self, key: Key) -> Pooled:
        """What is known of a pool with Versions, asked anew. Raises TemporalAwayError."""
        version = self.world.pool_versions[key]
        pooled = self.pools.setdefault(key, Pooled())
        now = time.monotonic()
        if pooled.seen is not None and now - pooled.looked < _BUSY_S:
            return pooled  # Temporal answers few such questions at once, and a page may ask for many
        pooled.looked = now
        seen = pooled.seen = await self.world.deployments.describe(key[0], version.deployment)
        if pooled.last is None or pooled.wish:
            client = await self.world.deployments.client(key[0])
            progress = await progress_of(handle_of(client, version.deployment, version.build_id))
            last = pooled.last.progress.started if pooled.last is not None else 0.0
            if progress is not None and progress.started >= last:
                order = pooled.order or self._order(key, version, seen, back=pooled.back)
                pooled.last = Told(version.build_id, order, progress)
        await self._old.count(key, pooled, seen, all_of_them=True)
        return pooled

    async def _upgrade(self, key: Key, version: PoolVersion | None) -> None:
        """A pool that was made before we knew what server and worker host can do gets Versions now, or
        loses them."""
        if version is None or self.world.coming[key] or self.world.pool_locks[key].locked():
            return
        await self.learn(key[0])
        receipts = [self.world.receipts[name] for name in version.members if name in self.world.receipts]
        if version.deployment != self.world.deployment(key, receipts):
            await Pooling(self.world).refresh(key)
            self.later(key, back=False)
            await self.world.worker.sync()

    def _kept(self, key: Key) -> list[PoolVersion]:
        found = [self.world.pools.read(key, name) for name in self.world.pools.kept(key)]
        return [version for version in found if version is not None]

    async def _follow(self, key: Key, version: PoolVersion) -> None:
        """How far is the rollout that is ours to follow?"""
        pooled = self.pools[key]
        client = await self.world.deployments.client(key[0])
        handle = handle_of(client, version.deployment, version.build_id)
        progress = await progress_of(handle)
        if progress is None or (progress.phase.over and self._stale(pooled, progress)):
            if version.version not in self.world.polling:
                return  # it begins when it is served: not before, or it would wait for itself
            if await self._begin(key, version, forced=False) is None:
                if progress is not None:  # it has ended well since Temporal was asked
                    pooled.progress = progress
                    self._note_last(pooled, version)
                return
            progress = await progress_of(handle)
        if pooled.wish != version.build_id:
            return  # a newer one is wished for by now
        pooled.progress = progress
        if pooled.order is None and pooled.seen is not None:
            pooled.order = self._order(key, version, pooled.seen, back=pooled.back)
        self._note_last(pooled, version)
        if progress is not None and progress.phase.over:
            self._settle(key, version, progress)
        elif condemned := self._condemned(version):
            who, why = condemned
            await self._say(key[0], version.deployment, version.build_id, Ask("fail", reason=why, guilty=who))

    def _stale(self, pooled: Pooled, progress: Progress) -> bool:
        """Whether the last run is over and is not what was wished for: it was promoted before, or gave
        way."""
        current = pooled.seen is not None and pooled.seen.current == pooled.wish
        return progress.phase is not Phase.ROLLED_BACK and not current

    def _condemned(self, version: PoolVersion) -> tuple[tuple[str, ...], str] | None:
        """The releases of this version that this host has found to be bad."""
        records = [self.world.record(name) for name, release in version.members.items()]
        bad = [r for r in records if r.condemned and r.applied.startswith(version.members[r.workflow_id])]
        if not bad:
            return None
        return tuple(r.workflow_id for r in bad), bad[0].condemned

    def _settle(self, key: Key, version: PoolVersion, progress: Progress) -> None:
        """A rollout is over: its workflows are healthy, or those that it failed for are condemned. Not while
        a deploy of theirs is under way, whose record does not name the release yet."""
        moving = (Status.DEPLOYING, Status.ROLLING_BACK)
        if progress.phase is Phase.ROLLED_BACK and any(
            self.world.record(name).status in moving for name in progress.guilty
        ):
            return
        self._unwish(key, version.build_id)
        pool = "/".join(key)
        say = log.get().warning if progress.phase is Phase.ROLLED_BACK else log.get().info
        say(
            "rollout over",
            pool=pool,
            version=version.build_id,
            how=str(progress.phase),
            because=progress.because,
        )
        if progress.phase is not Phase.ROLLED_BACK:
            return
        for workflow_id in progress.guilty:
            record = self.world.record(workflow_id)
            mine = record.applied[:12] == version.members.get(workflow_id)
            if mine and not record.condemned and record.pin is None:
                gate = progress.because.startswith("gate ")
                reason = Reason.GATE_FAILED if gate else Reason.ROLLOUT_FAILED
                self.world.note(record, condemned=f"{reason}: {progress.because}")
        self._wake()

    async def _let_go(self, key: Key, seen: Deployment) -> None:
        """Nothing of this pool has Versions any more: new executions don't go to the last one."""
        deployments = self.world.deployments
        for _ in range(_TRIES):
            if not seen.current and not seen.ramping:
                return
            try:
                if seen.ramping:
                    await deployments.set_ramp(key[0], seen, "", 0.0)
                else:
                    await deployments.set_current(key[0], seen, "")
            except ManagedError:
                return
            except ChangedError:
                await asyncio.sleep(0.1)
            seen = await deployments.describe(key[0], seen.name)

    # saying so -----------------------------------------------------------------------------------

    def _tell(self, key: Key, version: PoolVersion | None) -> None:
        """The health of the workflows that a rollout is about."""
        pooled, world = self.pools[key], self.world
        concerned: set[str] = set()
        if version is not None and pooled.wish:
            if pooled.order is None:
                for name in pooled.waits & version.members.keys():
                    world.rolling[name] = _health(None, world.clock())
                return  # whom else it is about nobody knows yet
            # Activities alone are no version's code, but without a current one nobody gets their tasks.
            unserved = pooled.seen is None or not pooled.seen.current
            about = pooled.order.workflows or (version.members if unserved else ())
            concerned = {name for name in about if name in version.members}
            for name in concerned:
                world.rolling[name] = _health(pooled.progress, world.clock())
        astray = self._astray(pooled, version)
        for name in version.members if version is not None and astray else ():
            concerned.add(name)
            world.rolling[name] = (Health.DEGRADED, f"rollout: {astray}")
        for name in version.members if version is not None else ():
            if name not in concerned and world.rolling.pop(name, None) is not None:
                record = world.record(name)
                if record.health_reason.startswith("rollout: ") and record.status in _UP:
                    world.set_health(name, Health.HEALTHY)

    def _astray(self, pooled: Pooled, version: PoolVersion | None) -> str:
        """Why what is deployed here gets no new executions, though no rollout of it is under way; '' where it
        does, or where that may be over in a moment."""
        seen, now = pooled.seen, self.world.clock()
        mine = version is None or seen is None or seen.current in ("", version.build_id)
        if mine or pooled.wish or version is None or seen is None:
            pooled.astray = 0.0
            return ""
        pooled.astray = pooled.astray or now
        if now - pooled.astray < _ASTRAY_S:
            return ""
        here = f"{version.build_id}, which is deployed here"
        return f"new executions go to version {seen.current}, and not to {here}"

    def _away(self, key: Key, problem: str) -> None:
        pooled = self.pools.get(key)
        if pooled is not None:
            pooled.problem = problem

    # helpers -------------------------------------------------------------------------------------

    def _wish(self, key: Key, build_id: str, back: bool, about: str = "") -> None:
        """`about`: a workflow whose new code it brings. So it does for those that the one before was about,
        where that is not over."""
        pooled = self.pools.setdefault(key, Pooled())
        waits = pooled.waits | ({about} - {""})
        if (pooled.wish, pooled.back) != (build_id, back):
            if pooled.wish and pooled.order is not None:
                waits.update(pooled.order.workflows)
            pooled.wish, pooled.back, pooled.progress, pooled.order = build_id, back, None, None
        elif waits == pooled.waits:
            return
        pooled.waits = waits
        self._store(key)

    def _unwish(self, key: Key, build_id: str) -> None:
        """It is over; what was wished for since stays."""
        pooled = self.pools[key]
        if pooled.wish == build_id:
            about = {*pooled.waits, *(pooled.order.workflows if pooled.order is not None else ())}
            pooled.wish = ""
            pooled.waits.clear()
            self._store(key)
            for workflow_id in about:
                self.world.rolling.pop(workflow_id, None)

    def _store(self, key: Key) -> None:
        one, name = self.pools[key], f"{_FACT}{'/'.join(key)}"
        if not one.wish:
            self.world.state.drop_fact(name)
            return
        concerned = list(one.order.workflows) if one.order is not None else sorted(one.waits)
        self.world.state.set_fact(name, {"build": one.wish, "back": one.back, "workflows": concerned})


def _health(progress: Progress | None, now: float) -> tuple[Health, str]:
    """The health of a workflow whose rollout is under way. One that waits for a person is nobody's fault, and
    somebody has to be told."""
    if progress is None or not progress.because:
        return Health.PROGRESSING, "rollout: it begins"
    waits = progress.phase in (Phase.PAUSED, Phase.HELD)
    waits = waits or (progress.phase is Phase.WAITING and now - progress.started > _LONG_WAIT_S)
    return Health.DEGRADED if waits else Health.PROGRESSING, f"rollout: {progress.because}"


def _wait(*, busy: bool, unanswered: int) -> float:
    """Seconds until the next look. An answer that Temporal owes us may be a hiccup, for which nobody whose
    release is on its way is to wait long; or it is down, and asking does not help."""
    if unanswered:
        return min(_IDLE_S, _BUSY_S * 2.0 ** min(unanswered - 1, 8))
    return _BUSY_S if busy else _IDLE_S
