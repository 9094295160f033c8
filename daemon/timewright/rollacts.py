"""What a rollout touches: the activities of `rollflow.py`, over Temporal's own API and the checks of the
config.

Each looks, decides with what it sees, and changes at most one thing; done twice it does nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.common import PinnedVersioningOverride, WorkerDeploymentVersion, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from timewright.core.deployments import Deployment, hosts_of
from timewright.core.orders import Ask, Closed, Look, Order, missing_hosts, why_bad
from timewright.core.visibility import RUNNING, of_version, quoted
from timewright.edge.checks import Checks
from timewright.edge.deployments import (
    ACTIVITIES,
    WORKFLOWS,
    ChangedError,
    Deployments,
    ManagedError,
)
from timewright.rollflow import NAME, Found, GateRun, Route, Watching
from timewright.rollhandle import handle_of, tell

_LOOK_S = 2.0  # between two looks at a rollout
_STUCK_EVERY = 3  # looks: it asks for single executions
_STUCK_ATTEMPTS = 3
_STUCK_MOST = 20  # executions that are asked for
_ARRIVALS_S = 20.0
_PRESENT_S = 1.5
_ACTIVITIES_S = 10.0  # the longest wait for Temporal to hear of activities
_TRIES = 5
_BAD_CHECKS = 3  # in a row: one lost answer is no reason to go back
#: Executions of gates are judged by their gate, and not by the watch.
GATES = "timewright-gate/"


class RolloutActs:
    """The activities, for one server."""

    def __init__(self, deployments: Deployments, checks: Checks) -> None:
        self.deployments, self.checks = deployments, checks

    @property
    def all(self) -> Sequence[Callable[..., Any]]:
        return (self.claim, self.present, self.arrivals, self.gate, self.route, self.undo, self.watch)

    @activity.defn(name="claim")
    async def claim(self, order: Order) -> Found:
        """Make the Deployment ours, and end older rollouts of it. `current`: the Build ID that is current.
        A Deployment that Temporal doesn't know yet is nobody's."""

        async def take(seen: Deployment) -> Found:
            if seen.version(order.build_id) is not None:
                await self.deployments.claim(order.namespace, seen)
            for version in seen.versions:
                if version.build_id not in (order.build_id, seen.current):
                    await self._supersede(order, version.build_id)
            return Found(current=seen.current)

        return await self._changing(order, take)

    async def _changing(self, order: Order, change: Callable[[Deployment], Awaitable[Found]]) -> Found:
        """Change the Deployment as it is now; where it was changed meanwhile, as it is then."""
        for attempt in range(_TRIES):
            seen = await self.deployments.describe(order.namespace, order.deployment)
            try:
                return await change(seen)
            except ManagedError:
                return Found(False, "somebody else manages it", manager=seen.manager or "somebody else")
            except ChangedError as error:
                because = str(error)
            await asyncio.sleep(0.1 * 2**attempt)
        raise RuntimeError(f"deployment {order.deployment} was changed again and again: {because}")

    async def _supersede(self, order: Order, build_id: str) -> None:
        client = await self.deployments.client(order.namespace)
        ask = Ask("supersede", reason=f"version {order.build_id}")
        with suppress(Exception):  # it is over, or never was
            await tell(handle_of(client, order.deployment, build_id), ask)

    @activity.defn(name="present")
    async def present(self, order: Order) -> Found:
        """Which hosts serve the Version, mostly at once: as `arrivals`, for a moment only."""
        return await self._arrived(order, _PRESENT_S)

    @activity.defn(name="arrivals")
    async def arrivals(self, order: Order) -> Found:
        """Wait a while for hosts that serve the Version, on a queue that Temporal knows for it."""
        return await self._arrived(order, _ARRIVALS_S)

    async def _arrived(self, order: Order, seconds: float) -> Found:
        begun = time.monotonic()
        end = begun + seconds
        pause = 0.05
        found = Found()
        while True:
            if not activity.info().is_local:  # one of those has nobody who would hear it
                activity.heartbeat()
            patient = time.monotonic() < begun + _ACTIVITIES_S
            found = Found(hosts=tuple(sorted(await self._hosts(order, patient=patient))))
            if not missing_hosts(order, found.hosts) or time.monotonic() > end:
                return found
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    async def _hosts(self, order: Order, *, patient: bool) -> set[str]:
        queues = await self.deployments.queues(order.namespace, order.deployment, order.build_id)
        if not _taken(order, {kind for name, kind in queues if name == order.task_queue}, patient=patient):
            return set()
        polls = await self.deployments.polls(
            order.namespace, order.task_queue, order.deployment, order.build_id
        )
        return set(hosts_of(polls, ""))

    @activity.defn(name="route")
    async def route(self, route: Route) -> Found:
        """Give the Version its share. Not ok: another one has taken its place, or somebody else manages."""
        order, deployments = route.order, self.deployments

        async def give(seen: Deployment) -> Found:
            if seen.current == order.build_id:
                return Found()
            if seen.manager != deployments.identity:
                await deployments.claim(order.namespace, seen)
                raise ChangedError("claimed")  # which has changed the token
            if route.percent >= 100:
                await deployments.set_current(order.namespace, seen, order.build_id)
            elif (seen.ramping, seen.percent) != (order.build_id, route.percent):
                await deployments.set_ramp(order.namespace, seen, order.build_id, route.percent)
            return Found()

        return await self._changing(order, give)

    @activity.defn(name="undo")
    async def undo(self, route: Route, previous: str) -> Found:
        """Take back what was given to the Version. Not ok: somebody else manages, and was left alone."""
        order = route.order

        async def take_back(seen: Deployment) -> Found:
            if seen.ramping == order.build_id:
                await self.deployments.set_ramp(order.namespace, seen, "", 0.0)
            elif seen.current == order.build_id and previous != order.build_id:
                await self.deployments.set_current(order.namespace, seen, previous)
            return Found()

        return await self._changing(order, take_back)

    @activity.defn(name="gate")
    async def gate(self, run: GateRun) -> Found:
        """Run a gate on the new Version. A retry of the activity waits for the same execution."""
        order, gate = run.order, run.gate
        client = await self.deployments.client(order.namespace)
        start = (activity.info().workflow_run_id or "")[:8]  # another try of the rollout is another run
        name = f"{GATES}{order.deployment}/{order.build_id}/{run.number}-{start}"
        try:
            handle = await client.start_workflow(
                gate.workflow,
                args=[] if gate.argument is None else [gate.argument],
                id=name,
                task_queue=order.task_queue,
                execution_timeout=timedelta(seconds=gate.timeout),
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                versioning_override=PinnedVersioningOverride(
                    WorkerDeploymentVersion(order.deployment, order.build_id)
                ),
            )
        except WorkflowAlreadyStartedError:
            handle = client.get_workflow_handle(name)
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:  # no retry makes that right
                return Found(False, f"it can't be started: {error.message}")
            raise
        try:
            await _beating(handle.result())
        except WorkflowFailureError as error:
            return Found(False, f"{_root(error)} (workflow {name})")
        return Found()

    @activity.defn(name="watch")
    async def watch(self, watching: Watching) -> Found:
        """Look again and again; ends at the first look that is bad, or after `seconds`."""
        end = time.monotonic() + watching.seconds
        number, checks_failed = 0, 0
        while True:
            activity.heartbeat()
            look, check_failed = await self._look(watching, stuck=number % _STUCK_EVERY == 0)
            checks_failed = checks_failed + 1 if check_failed else 0
            if checks_failed >= _BAD_CHECKS:
                look = Look(look.new, look.old, look.stuck, look.metric, check_failed)
            if because := why_bad(watching.order.watch, look):
                return Found(False, because, await self._guilty(watching))
            number += 1
            left = end - time.monotonic()
            if left <= 0 and not checks_failed:
                return Found()
            await asyncio.sleep(_LOOK_S if checks_failed else min(_LOOK_S, max(0.05, left)))

    async def _look(self, watching: Watching, *, stuck: bool) -> tuple[Look, str]:
        order, watch = watching.order, watching.order.watch
        new = await self._closed(order, order.build_id, watching.since)
        old = Closed()
        if new.failed and watching.previous:
            old = await self._closed(order, watching.previous, watching.since - 3600)
        metric, failed = None, ""
        if watch.query:
            metric, failed = await self.checks.query(watch.query)
        if watch.check and not failed:
            failed = await self.checks.check(watch.check)
        return Look(new, old, await self._stuck(order) if stuck else 0, metric), failed

    async def _closed(self, order: Order, build_id: str, since: float, more: str = "") -> Closed:
        mine = f"{of_version(order.deployment, build_id)} AND CloseTime >= '{_time(since)}'{more}"
        mine += f" AND WorkflowId NOT STARTS_WITH '{GATES}'"
        bad = f"{mine} AND ExecutionStatus IN ('Failed', 'TimedOut')"
        failed = await self.deployments.count(order.namespace, bad)
        completed = await self.deployments.count(order.namespace, f"{mine} AND ExecutionStatus = 'Completed'")
        return Closed(completed, failed)

    async def _stuck(self, order: Order) -> int:
        """Open executions of the Version whose workflow task has failed several times."""
        client = await self.deployments.client(order.namespace)
        query = f"{of_version(order.deployment, order.build_id)} AND {RUNNING}"
        count = 0
        async for one in client.list_workflows(query, limit=_STUCK_MOST):
            if one.id.startswith(GATES):
                continue
            about = await client.get_workflow_handle(one.id, run_id=one.run_id).describe()
            if about.raw_description.pending_workflow_task.attempt >= _STUCK_ATTEMPTS:
                count += 1
        return count

    async def _guilty(self, watching: Watching) -> tuple[str, ...]:
        """Whose executions failed, of the workflows that this rollout changes; all where that can't be
        told."""
        order = watching.order
        found = set()
        for workflow_type, workflow_id in order.types.items():
            more = f" AND WorkflowType = {quoted(workflow_type)}"
            if (await self._closed(order, order.build_id, watching.since, more)).failed:
                found.add(workflow_id)
        return tuple(sorted(found))


def _taken(order: Order, kinds: Set[str], *, patient: bool) -> bool:
    """Whether Temporal knows that the Version takes what it is for.

    Until it knows of activities, those of its executions go to the Version before: a gate would pass by old
    code. A worker.ts may take none at all, though, so that is waited for only while we are `patient`.
    """
    if order.types and WORKFLOWS not in kinds:
        return False
    return ACTIVITIES in kinds or (bool(kinds) and not (order.activities and patient))


async def _beating(work: Awaitable[Any]) -> Any:
    """Wait for something long; a daemon that dies meanwhile is noticed."""
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait([task], timeout=2.0)
            if done:
                return task.result()
            activity.heartbeat()
    finally:
        task.cancel()


def _root(error: BaseException) -> str:
    """The innermost words of a failed workflow: what its author wrote."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = error.message if isinstance(error, FailureError) else str(error)
    return text.splitlines()[0][:500] if text else type(error).__name__


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(max(0.0, seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["NAME", "RolloutActs"]
