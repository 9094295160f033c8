"""Makes a release the live one and gets it served, or puts back what was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from timewright.build import timed
from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.state import Health, Status
from timewright.core.verdict import named
from timewright.edge.failpoint import failpoint
from timewright.edge.pools import Key
from timewright.edge.releases import Receipt
from timewright.edge.worker import Reloaded
from timewright.pooling import Pooling
from timewright.rollouts import Rollouts
from timewright.world import World

#: How long a deploy waits for the pool's other newcomers to be sorted out before it says so.
_RELOAD_ROUNDS = 5


class GoLive:
    """The last steps of a deploy and of a rollback: link, pool, worker host. Each can be done twice."""

    def __init__(self, world: World, rollouts: Rollouts) -> None:
        self.world, self.rollouts = world, rollouts
        self.pooling = Pooling(world)

    async def switch(
        self,
        receipt: Receipt,
        previous: Receipt | None,
        timings: dict[str, float],
        *,
        fresh: bool = False,
        back: bool = False,
        forced: bool = False,
    ) -> tuple[Health, str]:
        """Make a release live, bring its pool up to date, tell the worker host, and have Temporal send
        executions; its health, and why.

        `previous`: what is live now. `fresh`: serve it from a new process, even if it is served. `back`: it
        was served before; `forced`: a rollout of it that failed is tried again. Raises DeployError when the
        host can't load the release, or its rollout has failed by now: then `previous` is live again. A host
        that can't be reached fails nothing (design §6).
        """
        if not back:  # the way back needs no further Version, and is not to wait for Temporal
            await self.rollouts.room((receipt.namespace, receipt.task_queue))
        with timed(timings, "publish"):
            failpoint("before-link")
            self._link(receipt)
            failpoint("after-link")
        key = (receipt.namespace, receipt.task_queue)
        self.world.coming[key].discard(receipt.workflow_id)  # it is here: whoever refreshes takes it along
        with timed(timings, "pool"):
            with self._taken_back(receipt, previous):
                await self.pooling.gather(key)
                await self.pooling.refresh(key)
            if previous is not None and (previous.namespace, previous.task_queue) != key:
                await self._leave(previous)
        with timed(timings, "reload"):
            await self.rollouts.quiet(key)
            health, reason = await self._reload(receipt, previous, "redeploy" if fresh else "deploy")
        if health is not Health.HEALTHY:
            self.rollouts.later(key, back=back, about=receipt.workflow_id)
            return health, reason
        with timed(timings, "rollout"):
            return await self.rollouts.go(key, receipt.workflow_id, back=back, forced=forced)

    async def retire(self, receipt: Receipt) -> str:
        """Take a live release out of service; '' or why the worker host could not be told."""
        self.world.receipts.pop(receipt.workflow_id, None)
        await self._refresh((receipt.namespace, receipt.task_queue))
        return await self.unlink(receipt.workflow_id)

    async def unlink(self, workflow_id: str) -> str:
        """Remove a workflow's link; '' or why the worker host could not be told."""
        failpoint("before-unlink")
        self.world.releases.take_down(workflow_id)
        failpoint("after-unlink")
        answer = await self.world.worker.reload(workflow_id, action="undeploy")
        return "" if answer.ok else answer.reason

    def _link(self, receipt: Receipt) -> None:
        self.world.releases.make_live(receipt.workflow_id, receipt.release)
        self.world.receipts[receipt.workflow_id] = receipt

    @contextmanager
    def _taken_back(self, receipt: Receipt, previous: Receipt | None) -> Iterator[None]:
        """Until its pool holds it, a release that is cancelled or fails leaves its link as it was: the pool's
        next version would serve it, and no record would name it."""
        world = self.world
        try:
            yield
        except BaseException:
            version = world.pool_versions.get((receipt.namespace, receipt.task_queue))
            held = version is not None and version.members.get(receipt.workflow_id) == receipt.release
            if world.receipts.get(receipt.workflow_id) is receipt and not held:
                with suppress(OSError):  # a full disk: that is what failed, most likely
                    if previous is not None:
                        self._link(previous)
                    else:
                        world.releases.take_down(receipt.workflow_id)
                        del world.receipts[receipt.workflow_id]
            raise

    async def _leave(self, previous: Receipt) -> None:
        """The workflow moved to another task queue: its old pool goes on without it."""
        await self._refresh((previous.namespace, previous.task_queue))
        await self.world.worker.sync()

    async def _refresh(self, key: Key) -> None:
        """Bring a pool up to date for what is no longer in it: with Versions, the others go on in a new one,
        which needs a rollout as any other does."""
        await self.pooling.refresh(key)
        self.rollouts.later(key, back=False)

    async def _reload(self, receipt: Receipt, previous: Receipt | None, action: str) -> tuple[Health, str]:
        worker = self.world.worker
        for _ in range(_RELOAD_ROUNDS):
            failpoint("before-reload")
            answer = await worker.reload(receipt.workflow_id, action=action, release=receipt.release)
            failpoint("after-reload")
            if answer.ok:
                return Health.HEALTHY, ""
            if answer.reason != "LoadFailed":
                break
            guilty = self._guilty(receipt, answer)
            if guilty == receipt.workflow_id:
                await self._put_back(receipt, previous)
                text = answer.failed.get(receipt.workflow_id) or answer.error
                raise DeployError(
                    Reason.LOAD_FAILED,
                    f"the worker can't load it: {text}",
                    problems=[Problem(receipt.workflows or "", f"the worker can't load it: {text}")],
                    hint="it compiles, but fails when it is loaded; the release before goes on",
                )
            if not guilty:
                await self._put_back(receipt, previous)
                raise DeployError(
                    Reason.RELOAD_FAILED,
                    "its pool's worker process ends, and which of its new releases is to blame can't be"
                    f" told: {answer.error}",
                )
            await asyncio.sleep(0.3)  # another newcomer of the pool is at fault: its own deploy takes it out
        return Health.DEGRADED, waiting(answer.reason, answer.error, self.world)

    def _guilty(self, receipt: Receipt, answer: Reloaded) -> str:
        """Who is to blame that the pool can't be loaded: the workflow itself where nobody else is new in the
        pool, another one, or '' where that can't be told."""
        if receipt.workflow_id in answer.failed:
            return receipt.workflow_id
        if answer.failed:
            return next(iter(answer.failed))
        world = self.world
        pool = [r for r in world.receipts.values() if r.placement.pool == receipt.placement.pool]
        if found := named(answer.error, {r.workflow_id: r.release for r in pool}):
            return found
        others = [r.workflow_id for r in pool if r.workflow_id != receipt.workflow_id]
        new = [
            name for name in others if world.record(name).status in (Status.DEPLOYING, Status.ROLLING_BACK)
        ]
        return "" if new else receipt.workflow_id

    async def _put_back(self, receipt: Receipt, previous: Receipt | None) -> None:
        """Make live again what was, after the host refused the new release."""
        if self.world.receipts.get(receipt.workflow_id) is not receipt:
            return
        if previous is not None and previous.release == receipt.release:
            return  # a redeploy: what was served before is served still
        failpoint("before-put-back")
        if previous is None:
            self.world.releases.take_down(receipt.workflow_id)
            del self.world.receipts[receipt.workflow_id]
        else:
            self._link(previous)
            await self._refresh((previous.namespace, previous.task_queue))
        failpoint("after-put-back")
        await self._refresh((receipt.namespace, receipt.task_queue))
        await self.world.worker.sync()


def waiting(reason: str, error: str, world: World) -> str:
    """The health reason of a workflow that is deployed and not (known to be) served."""
    if reason == "Unreachable":
        return f"{Reason.WAITING_FOR_WORKER}: the worker host does not answer ({error})"
    if reason == "TemporalUnreachable":
        return f"{Reason.WAITING_FOR_WORKER}: Temporal at {world.config.temporal.address} does not answer"
    return f"{Reason.WAITING_FOR_WORKER}: {reason}" + (f": {error}" if error else "")
