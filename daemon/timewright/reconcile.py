"""ONE PASS, read top to bottom: observe → plan → apply → record.

A pass starts work on what the plan says and does not wait for it: what is still busy is part of
the next pass's observation. So one slow spec holds up no other, and a newer digest of a spec
cancels the work on the older one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from timewright import log
from timewright.apply import Applier
from timewright.config import Config, Followed
from timewright.core.actions import Action, Clear, Deploy, Hold, Refuse, Revert, Rollback, Settle, Undeploy
from timewright.core.errors import Reason
from timewright.core.nearby import AtRest, plan_again, plan_nearby
from timewright.core.plan import plan, plan_all
from timewright.core.state import Pinned, Record, Status
from timewright.core.worlds import Desired, Executions, Observed, Policy, Wanted
from timewright.desired import SourceReader
from timewright.edge.statefile import storage_trouble
from timewright.health import HealthWatch
from timewright.landings import Landings
from timewright.notes import Notes
from timewright.operations import Operations
from timewright.rollouts import Rollouts
from timewright.sourcing import Sources
from timewright.waking import Named
from timewright.world import Change, World

_AT_ONCE = 16  # tasks that a pass starts in one turn of the loop
_LONGEST_S = 3.0  # seconds: what a pass has not started then is the next one's, which reads the source anew
_UNFINISHED = (Status.DEPLOYING, Status.UNDEPLOYING, Status.ROLLING_BACK)


@dataclass(frozen=True)
class PassReport:
    """What one pass saw and started. `settling`: a file is being written, look again soon. `vanishing`: a
    spec is away, and may come back. `cut`: it did not start all that there is to do."""

    desired: Desired
    actions: tuple[Action, ...]
    settling: bool
    vanishing: bool = False
    cut: bool = False


@dataclass(frozen=True)
class _Calm:
    """A plan that had nothing to start, and what it was made of. It holds from `at` until `until`, in seconds
    since the epoch: a clock that goes back ends it, too."""

    config: Config
    at_rest: AtRest
    actions: tuple[Action, ...]
    at: float
    until: float


@dataclass
class Passes:
    """How the passes go: how many, the last one's end (seconds since the epoch) and length in seconds, the
    last end of one that read the whole source. `problem`: why the last one failed, '' when it did not."""

    count: int = 0
    last: float = 0.0
    last_seconds: float = 0.0
    last_complete: float = 0.0
    problem: str = ""

    def done(self, now: float, seconds: float, desired: Desired) -> None:
        self.count += 1
        self.last, self.last_seconds, self.problem = now, seconds, ""
        if desired.complete:
            self.last_complete = now


class Reconciler:
    """Brings the host to what the source asks for, pass by pass."""

    def __init__(self, world: World, wake: Callable[[], None] = lambda: None) -> None:
        self.world = world
        self.source = SourceReader(world)
        self.health = HealthWatch(world, wake)
        self.rollouts = Rollouts(world, wake)
        self._applier = Applier(world, self.rollouts)
        self._notes = Notes(world)
        self._wake = wake
        self._busy: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._cut = False
        self._calm: _Calm | None = None
        self._whole = False  # whether all that a pass was made for, since the last whole one, is known to us
        self._standing: dict[str, Wanted] = {}  # specs that the last whole plan held nothing against, by id
        self._clock = 0.0  # when the last pass began, also one that failed
        self.wake_for: Callable[[str], None] | None = None  # the same, for one workflow
        self.stopping: Callable[[], bool] = lambda: False  # whether no more work is to be started
        self.operations = Operations(world)
        self.landings = Landings(world, self)
        self.desired: Desired | None = None  # what the last pass read
        self.executions: Mapping[str, Executions] = {}  # of what may be undeployed, when last asked
        self.rollouts.wished = self._wished
        self.passes = Passes()
        world.listeners.append(self._on_change)

    @property
    def sources(self) -> Sources:
        return self.world.sources

    def wake(self, workflow_id: str = "") -> None:
        """Have a pass soon; over this workflow alone, if that will do."""
        if workflow_id and self.wake_for is not None:
            self.wake_for(workflow_id)
        else:
            self._wake()

    async def run_pass(self) -> PassReport:
        """One pass. Raises only what stops the daemon: an I/O error of the tree or the state file."""
        started = time.monotonic()
        self._whole = False
        pending = self.operations.begin_pass()
        self.world.follow_clock(self._clock or (self.world.state.fact("last_pass") or {}).get("at"))
        self._clock = self.world.clock()
        self.world.expire()
        desired = await self.source.read()
        self.executions = await self.rollouts.executions(self._leaving(desired))
        actions = self._plan_again(desired)
        self._whole = True
        begun, tasks = await self._start_all(actions, desired)
        self.desired = desired
        if self._cut:
            self._wake()
        else:
            self.operations.seen(pending)
        self.operations.settle(self._busy)
        self._summarise(desired, begun, tasks, started)
        self.landings.poke()
        self.passes.done(self.world.clock(), time.monotonic() - started, desired)
        vanishing = any(isinstance(a, Hold) and a.reason is Reason.VANISHED for a in actions)
        return PassReport(desired, actions, bool(desired.settling), vanishing, self._cut)

    async def run_nearby(self, named: Named) -> bool:
        """A pass over what was named alone, where that comes to the same as one over all; False where it does
        not, and nothing was done: then, and after one that fails, the next is to be a whole one. It is told
        from what the last whole pass read and found, so one has to follow soon in any case; what it does not
        see until then is what nobody named."""
        started = time.monotonic()
        known, self._whole = self._whole, False
        specs = await self._named_specs(named) if known else []
        if not specs:
            return False
        now, desired = self.world.clock(), self.source.desired
        if desired is None or now < self._clock:
            return False
        names = [spec.workflow_id for spec in specs]
        self.world.expire(names)
        observed = self._observe_few(names)
        actions = plan_nearby(specs, self._standing, desired, observed, self._policy(), now)
        if actions is None:
            return False
        self._standing = {**self._standing, **{spec.workflow_id: spec for spec in specs}}
        self.desired = desired
        tasks = [await self._start(action, self._revision(action, desired)) for action in actions]
        self._whole = True
        self._say_when_done(len(specs), actions, [task for task in tasks if task is not None], started)
        return True

    async def _named_specs(self, named: Named) -> list[Wanted]:
        """The specs that were named, as they are now; none where one of them can't be told alone. Of a
        workflow its file is read, too: what a person asks for is about what the source says now."""
        asked = [self._standing.get(name) for name in named.workflows]
        standing = [spec for spec in asked if spec is not None]
        files = {*named.files, *(spec.source for spec in standing if self.sources.home(spec.source))}
        read = await self.source.read_named(files) if files else {}
        followed = [spec for spec in standing if spec.source not in files]
        still = all(self.sources.adopted(spec.source) == spec.content for spec in followed)
        if read is None or None in asked or not still:
            return []
        specs = [*read.values(), *followed]
        # Twins may have become so in this very moment.
        return specs if len({spec.workflow_id for spec in specs}) == len(specs) else []

    def _observe_few(self, workflow_ids: Sequence[str]) -> Observed:
        """No more of the world than these workflows."""
        world = self.world
        records = {name: world.records[name] for name in workflow_ids if name in world.records}
        lives = {
            name: world.live(name) if name in self._busy else world.look_at(name) for name in workflow_ids
        }
        return Observed(
            records=records,
            live={name: live for name, live in lives.items() if live is not None},
            busy={name: self._busy[name][0] for name in workflow_ids if name in self._busy},
            bad=world.bad,
            suspension=world.suspension,
        )

    def plan(self, desired: Desired, *, patient: bool = True) -> tuple[Action, ...]:
        """What a pass would do now. Reads the tree, changes nothing. Not `patient`: as if what is away had
        been away for long."""
        return self._planned(desired, self._observe(), patient=patient)

    def _plan_again(self, desired: Desired) -> tuple[Action, ...]:
        """The plan. Where all that it depends on is as it was, so is it; where few workflows have changed
        since there was nothing to do, it is theirs: ten thousand at rest cost a comparison. Besides, only
        time may have passed, and `next_retry` knows when that counts."""
        observed, policy = self._observe(), self._policy()
        now, calm = self.world.clock(), self._calm
        if calm is not None and calm.at <= now < calm.until and calm.config is self.world.config:
            if calm.at_rest.desired is desired and calm.at_rest.observed == observed:
                return calm.actions
            again = None if calm.actions else plan_again(calm.at_rest, desired, observed, policy, now)
            if again is not None:
                specs = {
                    name: spec for name, spec in _by_id(desired).items() if name in calm.at_rest.standing
                }
                self._standing = specs
                self._rest(desired, observed, policy, again, now)
                return again
        actions, self._standing = plan_all(desired, observed, policy, now)
        self._rest(desired, observed, policy, actions, now)
        return actions

    def _rest(
        self, desired: Desired, observed: Observed, policy: Policy, actions: tuple[Action, ...], now: float
    ) -> None:
        """Keep a plan that has nothing to start, and what it was made of. One that has something leaves the
        last such plan as it is: what it was made of is still what to compare with."""
        waits = all(isinstance(action, Hold) for action in actions) and not observed.busy
        if not waits or desired.settling or observed.earlier:
            return
        due = self.next_retry()
        until = due if due is not None else math.inf
        kept = replace(observed, records=dict(observed.records), bad=dict(observed.bad))
        at_rest = AtRest(desired, kept, policy, self._standing)
        self._calm = _Calm(self.world.config, at_rest, actions, now, until)

    def _observe(self) -> Observed:
        world = self.world
        return Observed(
            records=world.records,
            live=world.look(self._busy),
            busy={workflow_id: digest for workflow_id, (digest, _) in self._busy.items()},
            bad=world.bad,
            earlier={r.workflow_id: world.earlier(r) for r in world.records.values() if r.condemned},
            suspension=world.suspension,
            executions=self.executions,
        )

    def _planned(self, desired: Desired, observed: Observed, *, patient: bool = True) -> tuple[Action, ...]:
        return plan(desired, observed, self._policy(patient=patient), self.world.clock())

    def _policy(self, *, patient: bool = True) -> Policy:
        settings, world = self.world.config.source, self.world
        named = world.config.sources
        policies = [_policy(one, world.config, patient=patient) for one in world.config.followed]
        policy = policies[0]
        if named:
            safe = replace(policy, prune=False, max_deletes=settings.max_deletes)
            by_name = {one.name: own for one, own in zip(world.config.followed, policies, strict=True)}
            policy = replace(safe, sources=by_name)
        return policy

    def _leaving(self, desired: Desired) -> list[str]:
        """What may be undeployed: its spec is gone, or a person said so."""
        there = {item.workflow_id for item in desired.items}
        return [
            name
            for name, record in self.world.records.items()
            if (name not in there or (record.pin is not None and record.pin.kind is Pinned.UNDEPLOY))
            and name in self.world.receipts
            and name not in self._busy
        ]

    def _revision(self, action: Action, desired: Desired) -> str:
        """The revision that asks for an action: the commit that last changed its file, where there is one."""
        wanted = getattr(action, "wanted", None)
        path = wanted.source if wanted is not None else getattr(action, "source", "")
        if wanted is None and action.workflow_id is not None and not path:
            path = self.world.record(action.workflow_id).source
        own: str = wanted.revision if wanted is not None else ""
        if not own and isinstance(action, Refuse):
            own = next((item.revision for item in desired.items if item.source == path), "")
        return own or desired.part(path).revision

    async def settled(self) -> None:
        """Wait until nothing is being worked on."""
        while self._busy:
            await asyncio.wait([task for _, task in self._busy.values()])
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop what is being worked on; each step is one that the next start can take up."""
        for _, task in list(self._busy.values()):
            task.cancel()
        await self.settled()
        await self.rollouts.close()

    def _wished(self) -> Mapping[str, str]:
        desired = self.desired
        return {spec.workflow_id: spec.rollout for spec in desired.wanted} if desired else {}

    def busy(self) -> frozenset[str]:
        return frozenset(self._busy)

    def busy_with(self, workflow_id: str) -> str | None:
        """The digest that work under way is for; '' for an undeploy, None for no work."""
        return self._busy[workflow_id][0] if workflow_id in self._busy else None

    def next_retry(self) -> float | None:
        """When a pass is due by itself, in seconds since the epoch: a retry, the end of a pin, of a
        suspension, of a spec's time to come back."""
        due = [
            moment
            for record in self.world.records.values()
            if record.workflow_id not in self._busy
            for moment in _moments(record, self._vanish)
        ]
        if self.world.suspension is not None and self.world.suspension.until is not None:
            due.append(self.world.suspension.until)
        return min(due, default=None)

    def _vanish(self, record: Record) -> float:
        one, _ = self.world.sources.find(record.source)
        return one.vanish if one is not None else 0.0

    # starting work -----------------------------------------------------------------------------

    async def _start_all(
        self, actions: tuple[Action, ...], desired: Desired
    ) -> tuple[list[Action], list[asyncio.Task[None]]]:
        """Start what the plan says. Of thousands each has its turn of the loop, so that signals and the API
        have theirs; after a while the rest is left for the next pass, which sees what changed meanwhile."""
        begun: list[Action] = []
        tasks: list[asyncio.Task[None]] = []
        planned, end = dict(self.world.records), time.monotonic() + _LONGEST_S
        self._cut = False
        for action in actions:
            if len(tasks) > _AT_ONCE:
                await asyncio.sleep(0)
                if self.stopping() or time.monotonic() > end:
                    self._cut = True
                    break
                about = action.workflow_id or ""
                if self.world.records.get(about) is not planned.get(about):
                    self._cut = True  # a person or a look at its health changed it: to be planned on that
                    continue
            begun.append(action)
            task = await self._start(action, self._revision(action, desired))
            tasks += [task] if task is not None else []
        return begun, tasks

    async def _start(self, action: Action, revision: str) -> asyncio.Task[None] | None:
        if isinstance(action, Settle | Refuse | Hold | Clear):
            if action.workflow_id is not None:
                await self._cancel(action.workflow_id)
            self._notes.note(action, revision)
            return None
        workflow_id = action.workflow_id
        await self._cancel(workflow_id)
        task = asyncio.create_task(self._applier.apply(action, revision), name=f"apply {workflow_id}")
        self._busy[workflow_id] = (_digest_of(action), task)
        task.add_done_callback(lambda done: self._finished(workflow_id, done))
        return task

    async def _cancel(self, workflow_id: str) -> None:
        """A newer wish for this workflow ends the work on the older one."""
        if workflow_id in self._busy:
            _, task = self._busy[workflow_id]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])

    def _finished(self, workflow_id: str, task: asyncio.Task[None]) -> None:
        if self._busy.get(workflow_id, ("", None))[1] is task:
            del self._busy[workflow_id]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and (trouble := storage_trouble(error)):
            log.get().error("not recorded", workflow=workflow_id, because=trouble)
        elif error is not None:
            log.get().error("internal error", workflow=workflow_id, exc_info=error)
        record = self.world.records.get(workflow_id)
        if (record is not None and record.status in _UNFINISHED) or self._somebody_waits():
            self._wake()  # superseded or cancelled, or others waited for it: look again
        self.operations.settle(self._busy)
        self.landings.poke()

    def _somebody_waits(self) -> bool:
        waiting = (Reason.WAITING_FOR_DEPENDS_ON, Reason.PRUNE_BLOCKED)
        return any(record.held_reason in waiting for record in self.world.records.values())

    def _on_change(self, change: Change) -> None:
        """Health decides for those that depend on it."""
        if change.kind == "health" and self._somebody_waits():
            self._wake()

    # saying so ---------------------------------------------------------------------------------

    def _summarise(
        self, desired: Desired, actions: Sequence[Action], tasks: list[asyncio.Task[None]], started: float
    ) -> None:
        with self.world.state.jotting():
            said = {"at": self.world.clock(), "problem": desired.problem}
            self.world.state.set_fact("last_pass", said)
        self._say_when_done(len(desired.wanted), actions, tasks, started)

    def _say_when_done(
        self, specs: int, actions: Sequence[Action], tasks: list[asyncio.Task[None]], started: float
    ) -> None:
        """One line for a pass that did something, when it is done. `specs`: how many it was over."""
        work = [action for action in actions if not isinstance(action, Hold)]
        if not work:
            return

        async def say() -> None:
            if tasks:
                await asyncio.wait(tasks)
            statuses = Counter(
                self.world.record(action.workflow_id).status
                if action.workflow_id
                else Status.DEPLOYMENT_FAILED
                for action in work
            )
            took = round((time.monotonic() - started) * 1000)
            log.get().info("pass", specs=specs, **_counts(statuses), took_ms=took)

        self._saying = asyncio.create_task(say())


def _by_id(desired: Desired) -> dict[str, Wanted]:
    return {spec.workflow_id: spec for spec in desired.wanted}


def _policy(one: Followed, config: Config, *, patient: bool) -> Policy:
    settings = one.settings
    return Policy(
        one.prunes,
        settings.max_deletes,
        settings.allow_empty,
        one.vanish if patient else 0.0,
        config.drift.heal,
    )


def _moments(record: Record, vanish: Callable[[Record], float]) -> Iterator[float]:
    """When something is due for a workflow."""
    if record.retry_at is not None and not record.held:  # else the pass that lets go of it tries again
        yield record.retry_at
    if record.missing_since is not None and record.held_reason == Reason.VANISHED:
        yield record.missing_since + vanish(record)
    for held in (record.pin, record.suspension):
        if held is not None and held.until is not None:
            yield held.until


def _digest_of(action: Deploy | Rollback | Revert | Undeploy) -> str:
    """What work under way is for; '' for an undeploy."""
    if isinstance(action, Deploy):
        return action.wanted.digest
    return "" if isinstance(action, Undeploy) else action.digest


def _counts(statuses: Counter[Status]) -> dict[str, int]:
    return {str(status).lower(): count for status, count in sorted(statuses.items())}
