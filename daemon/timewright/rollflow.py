"""The rollout of a Version, as a durable workflow: it outlives the daemon, its host and the network.

Any daemon of the fleet serves it, on timewright's own task queue. It decides with `core/orders.py` and
touches nothing but through the activities of `rollacts.py`. Its history may be older than this code: change
what it does only behind `workflow.patched`; tests/rollouts replays the histories of earlier releases.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, cast

from temporalio import workflow
from temporalio.common import RetryPolicy

from timewright.core.orders import Ask, Order, Phase, Progress, missing_hosts
from timewright.core.rollout import Gate, Step, Strategy

NAME = "timewright.rollout"
#: Where the progress is kept: a memo can be read without a worker.
MEMO = "timewright"
#: Short looks and changes run where the workflow does, in its own task: on the way through a task queue and
#: back each took as long again, and a task that the queue held up was a rollout held up.
_LOCAL = "local-activities"
_SLICE_S = 300.0  # of watching, for one activity
_HELD_S = 15.0
_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10))


@dataclass(frozen=True)
class Route:
    """Activity `route`: have `percent` of new executions go to `order`'s Version; 100: all, as the current
    one."""

    order: Order
    percent: float


@dataclass(frozen=True)
class GateRun:
    """Activity `gate`: run one gate. `number`: of all runs of gates in this rollout."""

    order: Order
    gate: Gate
    number: int


@dataclass(frozen=True)
class Watching:
    """Activity `watch`: look for so many seconds, or until it goes badly."""

    order: Order
    previous: str
    since: float
    seconds: float


@dataclass(frozen=True)
class Found:
    """What an activity tells. `ok` False: `because`, and which workflows. `manager`: who else manages the
    Deployment. `hosts`: that serve the Version."""

    ok: bool = True
    because: str = ""
    guilty: tuple[str, ...] = ()
    manager: str = ""
    current: str = ""
    hosts: tuple[str, ...] = ()


class _OverError(Exception):
    """It ends: how, and why."""

    def __init__(self, phase: Phase, because: str, guilty: tuple[str, ...] = (), actor: str = "") -> None:
        super().__init__(because)
        self.phase, self.because, self.guilty, self.actor = phase, because, guilty, actor


@workflow.defn(name=NAME)
class RolloutFlow:
    """One for each Deployment and Build ID."""

    @workflow.init
    def __init__(self, order: Order) -> None:
        self.order = order
        self.progress = order.resume or Progress(started=workflow.now().timestamp())
        self.asks: list[Ask] = []
        self.full = False  # a person has said: past all that is left

    # what people and daemons say

    @workflow.signal
    def ask(self, ask: Ask) -> None:
        self.asks.append(ask)

    @workflow.query(name="progress")
    def show(self) -> Progress:
        return self.progress

    # the rollout

    @workflow.run
    async def run(self, order: Order) -> Progress:
        try:
            await self._prepare()
            await self._steps()
            await self._route(100.0, f"all new executions go to {self._name}")
            self._tell(Phase.PROMOTED, self._done_words(), ended=self._now(), percent=100.0, next_at=0.0)
        except _OverError as over:
            await self._undo(over)
        return self.progress

    async def _prepare(self) -> None:
        """Before any traffic: it is ours to route, enough hosts serve it, its gates pass."""
        if self.progress.step >= 0:
            return
        found = await self._claim()
        self.progress = replace(self.progress, previous=found.current)
        if found.current == self.order.build_id:
            raise _OverError(Phase.PROMOTED, "all new executions go to it already")
        await self._arrive()
        if not self.order.back:
            await self._gates(self.order.gates)

    async def _claim(self) -> Found:
        while True:
            found = await self._do("claim", self.order)
            if not found.manager:
                return found
            await self._held(found.manager)

    async def _held(self, manager: str) -> None:
        """Somebody else routes: we wait until they say that they don't any more."""
        self._tell(Phase.HELD, f"{manager} manages the deployment: nothing is routed until that ends")
        await self._wait(_HELD_S)
        self._next()

    async def _arrive(self) -> None:
        if workflow.patched(_LOCAL):
            found = await self._do("present", self.order)
            self.progress = replace(self.progress, arrived=found.hosts or self.progress.arrived)
            if not missing_hosts(self.order, self.progress.arrived):
                return
        while True:
            found = await self._do("arrivals", self.order, breakable=True)
            self.progress = replace(self.progress, arrived=found.hosts or self.progress.arrived)
            absent = missing_hosts(self.order, self.progress.arrived)
            if not absent:
                return
            self._tell(Phase.WAITING, f"waiting for {absent} to serve it")
            if self._next().kind == "promote" and self.progress.arrived:
                return

    async def _steps(self) -> None:
        order = self.order
        if order.back or order.strategy in (Strategy.ALL_AT_ONCE, Strategy.OFF):
            return
        steps = order.steps
        if order.strategy is Strategy.MANUAL and self.progress.step < 0:
            first = f"{steps[0].percent:g} %" if steps else "all"
            await self._person(Phase.MANUAL, f"ready: `promote` gives it {first} of new executions")
        for number, step in enumerate(steps):
            if number >= self.progress.step and not self.full:
                await self._step(number, step)

    async def _step(self, number: int, step: Step) -> None:
        """One share, for its time."""
        if number != self.progress.step:
            words = f"step {number + 1} of {len(self.order.steps)}: {step.percent:g} % of new executions"
            self._tell(Phase.RAMPING, words, step=number)
            await self._route(step.percent, words)
            until = self._now() + step.pause
            self._tell(Phase.PAUSING, words, percent=step.percent, next_at=until)
        await self._pause()
        if self.order.strategy is Strategy.MANUAL and not self.full:
            last = number + 1 == len(self.order.steps)
            more = "all" if last else f"{self.order.steps[number + 1].percent:g} %"
            await self._person(Phase.MANUAL, f"{step.percent:g} % served: `promote` gives it {more}")
        await self._gates(step.gates)

    async def _pause(self) -> None:
        """Watch until the pause is over, or a person ends it."""
        while True:
            left = max(0.0, self.progress.next_at - self._now())
            look = Watching(self.order, self.progress.previous, self.progress.started, min(left, _SLICE_S))
            found = await self._do("watch", look, seconds=_SLICE_S + 60, breakable=True)
            if found is not _INTERRUPTED and not found.ok:
                raise _OverError(Phase.ROLLED_BACK, found.because, found.guilty or self.order.workflows)
            if self._next().kind == "promote":
                return
            if found is not _INTERRUPTED and self._now() >= self.progress.next_at:
                return
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(replace(self.order, resume=self.progress))

    async def _person(self, phase: Phase, because: str) -> None:
        """Wait for `promote`, and watch where there is traffic."""
        self._tell(phase, because, next_at=0.0)
        while True:
            if self.progress.percent:
                look = Watching(self.order, self.progress.previous, self.progress.started, _SLICE_S)
                found = await self._do("watch", look, seconds=_SLICE_S + 60, breakable=True)
                if found is not _INTERRUPTED and not found.ok:
                    raise _OverError(Phase.ROLLED_BACK, found.because, found.guilty or self.order.workflows)
            else:
                await self._wait(None)
            if self._next().kind == "promote":
                return

    async def _gates(self, gates: tuple[Gate, ...]) -> None:
        for gate in gates:
            while not self.full and not await self._gate(gate):
                pass

    async def _gate(self, gate: Gate) -> bool:
        """Run one gate; False: again. A person may say that it counts as passed."""
        number = self.progress.gates_run + 1
        self._tell(Phase.GATE, f"gate {gate.workflow} runs on the new version", gates_run=number)
        run = GateRun(self.order, gate, number)
        found = await self._do("gate", run, seconds=gate.timeout + 60, breakable=True)
        if found is _INTERRUPTED:
            return self._next().kind == "promote"
        if found.ok:
            return True
        because = f"gate {gate.workflow} failed: {found.because}"
        guilty = (gate.of,) if gate.of else self.order.workflows
        if gate.on_failure != "pause":
            raise _OverError(Phase.ROLLED_BACK, because, guilty)
        self._tell(Phase.PAUSED, f"{because}; `gate retry`, `promote` or `abort`", guilty=guilty)
        while True:
            await self._wait(None)
            ask = self._next()
            if ask.kind in ("promote", "retry"):
                self.progress = replace(self.progress, guilty=())
                return ask.kind == "promote"

    async def _route(self, percent: float, because: str) -> None:
        while True:
            found = await self._do("route", Route(self.order, percent))
            if found.ok:
                return
            if not found.manager:
                raise _OverError(Phase.SUPERSEDED, found.because)
            await self._held(found.manager)
            self._tell(Phase.RAMPING, because)

    async def _undo(self, over: _OverError) -> None:
        """Give back what was routed, then say how it ended. What gives way, too: a share that nobody watches
        any more is no rollout."""
        words = over.because
        if over.phase is not Phase.PROMOTED:
            # What gave way says nothing of who is current: the newer rollout does.
            mine = over.phase is Phase.ROLLED_BACK
            previous = self.progress.previous if mine else self.order.build_id
            found = await self._do("undo", Route(self.order, 0.0), previous=previous)
            words += "" if found.ok else f"; not taken back: {found.because}"
        self._tell(
            over.phase,
            words,
            guilty=over.guilty,
            percent=100.0 if over.phase is Phase.PROMOTED else 0.0,
            ended=self._now(),
            actor=over.actor,
        )

    # helpers

    @property
    def _name(self) -> str:
        return f"version {self.order.build_id}"

    def _done_words(self) -> str:
        return "all new executions go to it"

    def _now(self) -> float:
        return workflow.now().timestamp()

    def _tell(self, phase: Phase, because: str, **changes: Any) -> None:
        if phase is not Phase.PAUSING:
            changes.setdefault("next_at", 0.0)
        said = replace(self.progress, phase=phase, because=because, **changes)
        if said != self.progress or not self.progress.because:
            self.progress = said
            workflow.upsert_memo({MEMO: asdict(said)})

    def _next(self) -> Ask:
        """The oldest ask, taken: one that means nothing here must not be met again. What ends the rollout is
        obeyed before any other."""
        self._obey()
        ask = self.asks.pop(0) if self.asks else Ask("")
        self.full = self.full or (ask.kind == "promote" and ask.full)
        return ask

    def _obey(self) -> None:
        for ask in self.asks:
            if ask.kind == "abort":
                raise _OverError(
                    Phase.ROLLED_BACK, f"aborted by {ask.words}", self.order.workflows, ask.actor
                )
            if ask.kind == "fail":
                raise _OverError(Phase.ROLLED_BACK, ask.reason, ask.guilty or self.order.workflows)
            if ask.kind == "supersede":
                raise _OverError(Phase.SUPERSEDED, f"superseded by {ask.reason}")

    async def _wait(self, seconds: float | None) -> None:
        """Until somebody asks for something, or for so long."""
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: bool(self.asks), timeout=seconds)
        self._obey()

    async def _do(
        self,
        name: str,
        arg: Any,
        *,
        seconds: float = 60.0,
        breakable: bool = False,
        previous: str | None = None,
    ) -> Found:
        """An activity, tried until it gives an answer. `breakable`: what somebody asks ends the wait for
        it; it may take its time."""
        args = [arg] if previous is None else [arg, previous]
        if not breakable and workflow.patched(_LOCAL):
            local: Found = await workflow.execute_local_activity(
                name,
                args=args,
                result_type=Found,
                start_to_close_timeout=timedelta(seconds=seconds),
                retry_policy=_RETRY,
            )
            return local
        handle = workflow.start_activity(
            name,
            args=args,
            result_type=Found,
            start_to_close_timeout=timedelta(seconds=seconds),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=_RETRY,
            cancellation_type=workflow.ActivityCancellationType.ABANDON,
        )
        if not breakable:
            return cast(Found, await handle)
        await workflow.wait_condition(lambda: handle.done() or bool(self.asks))
        if handle.done():
            self._obey()
            return cast(Found, handle.result())
        handle.cancel()
        self._obey()
        return _INTERRUPTED


_INTERRUPTED = Found(because="interrupted")
