"""ONE PASS, read top to bottom: observe → plan → apply → record.

A pass starts work on what the plan says and does not wait for it: what is still busy is part of
the next pass's observation. So one slow spec holds up no other, and a newer digest of a spec
cancels the work on the older one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from timewright import log
from timewright.apply import Applier
from timewright.core.plan import Action, Deploy, Desired, Hold, Observed, Policy, Settle, plan
from timewright.core.state import Status
from timewright.desired import SourceReader
from timewright.health import HealthWatch
from timewright.world import World


@dataclass(frozen=True)
class PassReport:
    """What one pass saw and started. `settling`: a file is being written, look again soon."""

    desired: Desired
    actions: tuple[Action, ...]
    settling: bool


class Reconciler:
    """Brings the host to what the source asks for, pass by pass."""

    def __init__(self, world: World, wake: Callable[[], None] = lambda: None) -> None:
        self.world = world
        self.source = SourceReader(world)
        self.health = HealthWatch(world)
        self._applier = Applier(world)
        self._wake = wake
        self._busy: dict[str, tuple[str, asyncio.Task[None]]] = {}

    async def run_pass(self) -> PassReport:
        """One pass. Raises only what stops the daemon: an I/O error of the tree or the state file."""
        started = time.monotonic()
        desired = await self.source.read()
        actions = self.plan(desired)
        tasks = [await self._start(action, desired.revision) for action in actions]
        self._summarise(desired, actions, [task for task in tasks if task], started)
        return PassReport(desired, actions, bool(desired.settling))

    def plan(self, desired: Desired) -> tuple[Action, ...]:
        """What a pass would do now. Reads the tree, changes nothing."""
        settings = self.world.config.source
        observed = Observed(
            records=self.world.records,
            live=self.world.look(self._busy),
            busy={workflow_id: digest for workflow_id, (digest, _) in self._busy.items()},
        )
        policy = Policy(settings.prune, settings.max_deletes)
        return plan(desired, observed, policy, self.world.clock())

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

    def busy(self) -> frozenset[str]:
        return frozenset(self._busy)

    def next_retry(self) -> float | None:
        """When the earliest retry is due, in seconds since the epoch."""
        due = [
            record.retry_at
            for record in self.world.records.values()
            if record.retry_at is not None and record.workflow_id not in self._busy
        ]
        return min(due, default=None)

    # starting work -----------------------------------------------------------------------------

    async def _start(self, action: Action, revision: str) -> asyncio.Task[None] | None:
        if action.workflow_id is None:
            await self._applier.apply(action, revision)
            return None
        workflow_id = action.workflow_id
        await self._cancel(workflow_id)
        task = asyncio.create_task(self._applier.apply(action, revision), name=f"apply {workflow_id}")
        digest = action.wanted.digest if isinstance(action, Deploy | Settle) else ""
        self._busy[workflow_id] = (digest, task)
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
        if error is not None:
            log.get().error("internal error", workflow=workflow_id, exc_info=error)
        record = self.world.records.get(workflow_id)
        if record is not None and record.status in (Status.DEPLOYING, Status.UNDEPLOYING):
            self._wake()  # superseded or cancelled: look again

    # saying so ---------------------------------------------------------------------------------

    def _summarise(
        self, desired: Desired, actions: tuple[Action, ...], tasks: list[asyncio.Task[None]], started: float
    ) -> None:
        """One line for a pass that did something, when it is done."""
        self.world.state.set_fact("last_pass", {"at": self.world.clock(), "problem": desired.problem})
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
            log.get().info("pass", specs=len(desired.wanted), **_counts(statuses), took_ms=took)

        self._saying = asyncio.create_task(say())


def _counts(statuses: Counter[Status]) -> dict[str, int]:
    return {str(status).lower(): count for status, count in sorted(statuses.items())}
