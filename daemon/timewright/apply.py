"""Carries out one action of the plan. Every step can be done twice, so that a crash anywhere in
it is mended by doing the action again.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from timewright import log
from timewright.build import Builder, SupersededError, timed
from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.plan import Action, Deploy, Hold, Refuse, Settle, Undeploy, Wanted
from timewright.core.retry import Backoff
from timewright.core.state import Failure, Health, Record, Status
from timewright.edge.failpoint import failpoint
from timewright.edge.releases import Receipt
from timewright.pooling import Pooling
from timewright.world import World

#: How long a deploy waits for the pool's other newcomers to be sorted out before it says so.
_RELOAD_ROUNDS = 5
#: Seconds between two looks for packages that nobody needs, and how old those must be.
_COLLECT_S = 3600.0


class Applier:
    """Does what the plan says, with the world's tools."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pooling = Pooling(world)
        self.builder = Builder(world)
        self._collected = world.clock()

    async def apply(self, action: Action, revision: str) -> None:
        """Carry out one action. Only cancellation comes out of it: every failure is recorded."""
        if isinstance(action, Deploy):
            await self._deploy(action, revision)
        elif isinstance(action, Undeploy):
            await self._undeploy(action, revision)
        elif isinstance(action, Settle):
            self._settle(action, revision)
        elif isinstance(action, Refuse):
            self._refuse(action, revision)
        else:
            self._hold(action)

    # deploy ------------------------------------------------------------------------------------

    async def _deploy(self, action: Deploy, revision: str) -> None:
        wanted, world = action.wanted, self.world
        record = world.move(
            world.record(wanted.workflow_id),
            Status.DEPLOYING,
            action.because,
            digest=wanted.digest,
            **_seen(wanted, revision, world.clock()),
        )
        timings: dict[str, float] = {}
        previous = world.receipts.get(wanted.workflow_id)
        try:
            receipt = await self.builder.release(wanted, revision, timings)
            with timed(timings, "publish"):
                failpoint("before-link")
                self._make_live(receipt)
                failpoint("after-link")
            health, reason = await self._serve(receipt, previous, timings)
        except SupersededError:
            return  # the record stays DEPLOYING: the next pass goes on with the newer spec
        except Exception as error:
            self._fail(world.record(wanted.workflow_id), _as_deploy_error(error), wanted.digest, timings)
            return
        failpoint("before-record")
        record = world.record(wanted.workflow_id)
        world.move(
            record,
            Status.DEPLOYED,
            _why_deployed(record, receipt, reason),
            digest=receipt.digest,
            timings=timings,
            applied=receipt.digest,
            failure=None,
            attempts=0,
            retry_at=None,
            pool=receipt.placement.pool,
            warnings=(*wanted.warnings, *receipt.warnings),
        )
        world.set_health(wanted.workflow_id, health, reason)
        self._collect(receipt, wanted)
        await self._collect_packages()

    def _make_live(self, receipt: Receipt) -> None:
        self.world.releases.make_live(receipt.workflow_id, receipt.release)
        self.world.receipts[receipt.workflow_id] = receipt

    async def _serve(
        self, receipt: Receipt, previous: Receipt | None, timings: dict[str, float]
    ) -> tuple[Health, str]:
        """Bring the pool up to date and tell the worker host. Raises DeployError when the host
        can't load the release: then the previous one is live again. A host that can't be reached
        fails nothing (design §6)."""
        key = (receipt.namespace, receipt.task_queue)
        with timed(timings, "pool"):
            await self.pooling.refresh(key)
            if previous is not None and (previous.namespace, previous.task_queue) != key:
                await self._leave(previous)
        with timed(timings, "reload"):
            return await self._reload(receipt, previous)

    async def _leave(self, previous: Receipt) -> None:
        """The workflow moved to another task queue: its old pool goes on without it."""
        key = (previous.namespace, previous.task_queue)
        await self.pooling.refresh(key)
        await self.world.worker.sync()

    async def _reload(self, receipt: Receipt, previous: Receipt | None) -> tuple[Health, str]:
        worker = self.world.worker
        for _ in range(_RELOAD_ROUNDS):
            answer = await worker.reload(receipt.workflow_id, action="deploy", release=receipt.release)
            if answer.ok:
                return Health.HEALTHY, ""
            if answer.reason != "LoadFailed":
                break
            if receipt.workflow_id in answer.failed or not answer.failed:
                await self._revert(receipt, previous)
                text = answer.failed.get(receipt.workflow_id) or answer.error
                raise DeployError(
                    Reason.LOAD_FAILED,
                    f"the worker can't load it: {text}",
                    problems=[Problem(receipt.workflows or "", f"the worker can't load it: {text}")],
                    hint="it compiles, but fails when it is loaded; the release before goes on",
                )
            await asyncio.sleep(0.3)  # another newcomer of the pool is at fault: its own deploy takes it out
        return Health.DEGRADED, waiting(answer.reason, answer.error, self.world)

    async def _revert(self, receipt: Receipt, previous: Receipt | None) -> None:
        """Make live again what was, after the host refused the new release."""
        if self.world.receipts.get(receipt.workflow_id) is not receipt:
            return
        if previous is None:
            self.world.releases.take_down(receipt.workflow_id)
            del self.world.receipts[receipt.workflow_id]
        else:
            self._make_live(previous)
            await self.pooling.refresh((previous.namespace, previous.task_queue))
        await self.pooling.refresh((receipt.namespace, receipt.task_queue))
        await self.world.worker.sync()

    def _fail(self, record: Record, error: DeployError, digest: str, timings: dict[str, float]) -> None:
        attempts = record.attempts + 1 if error.transient else 0
        retry = self.world.config.retry
        backoff = Backoff(retry.tries, retry.first_s, retry.most_s)
        wait = backoff.wait(attempts, random.random()) if attempts else None  # noqa: S311 - jitter
        because = f"{error.reason}: {error.message}" + (f"; next try in {wait:.0f} s" if wait else "")
        self.world.move(
            record,
            Status.DEPLOYMENT_FAILED,
            because,
            digest=digest,
            timings=timings,
            failure=self.world.failure(error),
            attempts=attempts,
            retry_at=self.world.clock() + wait if wait else None,
        )

    async def _collect_packages(self) -> None:
        """Now and then: packages that no release needs any more."""
        world = self.world
        if world.clock() - self._collected < _COLLECT_S:
            return
        self._collected = world.clock()
        try:
            keep = await asyncio.to_thread(world.releases.packages)
            gone = world.dependencies.collect(keep, world.clock() - _COLLECT_S)
        except OSError as error:
            log.get().warning("packages not collected", because=str(error))
            return
        if gone:
            log.get().info("packages collected", sets=gone, because="no release needs them")

    def _collect(self, receipt: Receipt, wanted: Wanted) -> None:
        """Retention: what is old and not needed goes. It fails no deploy."""
        settings = self.world.config.releases
        try:
            gone = self.world.releases.collect(
                receipt.workflow_id,
                {receipt.release},
                most=(wanted.keep_releases or settings.keep) + 1,
                older_than=self.world.clock() - settings.min_age_h * 3600,
            )
            self.world.state.drop_releases(receipt.workflow_id, gone)
        except OSError as error:
            log.get().warning("retention failed", workflow=receipt.workflow_id, because=str(error))

    # the rest ----------------------------------------------------------------------------------

    async def _undeploy(self, action: Undeploy, revision: str) -> None:
        world = self.world
        record = world.record(action.workflow_id)
        receipt = world.receipts.get(action.workflow_id)
        if receipt is None and record.status is not Status.UNDEPLOYING:
            world.state.unrefuse(record.source)
            world.move(
                record, Status.UNDEPLOYED, action.because, applied="", attempted="", failure=None, held=""
            )
            return
        record = world.move(
            record, Status.UNDEPLOYING, action.because, revision=revision, attempted="", held=""
        )
        try:
            if receipt is not None:
                world.receipts.pop(action.workflow_id, None)
                await self.pooling.refresh((receipt.namespace, receipt.task_queue))
            failpoint("before-unlink")
            world.releases.take_down(action.workflow_id)
            failpoint("after-unlink")
            answer = await world.worker.reload(action.workflow_id, action="undeploy")
        except Exception as error:
            log.get().error("undeploy failed", workflow=action.workflow_id, because=str(error))
            return
        because = "nothing of it is live any more"
        if not answer.ok:
            because += f"; the worker host was not told ({answer.reason}) and will see it by itself"
        world.move(
            record, Status.UNDEPLOYED, because, applied="", failure=None, pool="", attempts=0, retry_at=None
        )
        world.set_health(action.workflow_id, Health.UNKNOWN)

    def _settle(self, action: Settle, revision: str) -> None:
        world, wanted = self.world, action.wanted
        record = world.record(wanted.workflow_id)
        changes: dict[str, Any] = {
            **_seen(wanted, revision, world.clock()),
            "applied": wanted.digest,
            "failure": None,
            "attempts": 0,
            "retry_at": None,
            "pool": wanted.placement.pool,
            "warnings": (*wanted.warnings, *_warnings_of(world, wanted)),
        }
        if record.status is Status.DEPLOYED:
            world.note(record, **changes)
        elif record.status in (Status.DEPLOYMENT_FAILED, Status.DEPLOYING):
            world.move(record, Status.DEPLOYED, action.because, digest=wanted.digest, **changes)
        else:
            record = world.move(record, Status.DEPLOYING, action.because, digest=wanted.digest, **changes)
            world.move(record, Status.DEPLOYED, action.because, digest=wanted.digest)

    def _refuse(self, action: Refuse, revision: str) -> None:
        world = self.world
        message = str(action.problems[0]) if action.problems else action.because
        failure = Failure(action.reason, message, action.problems)
        if action.workflow_id is None:
            if world.state.refused().get(action.source) != (action.content, failure):
                world.state.refuse(action.source, action.content, failure, now=world.clock())
                problems = [str(problem) for problem in action.problems[:20]]
                log.get().error(
                    "refused",
                    file=action.source,
                    reason=action.reason,
                    because=action.because,
                    problems=problems,
                )
            return
        record = world.record(action.workflow_id)
        if record.status is Status.DEPLOYMENT_FAILED and record.failure == failure:
            return
        world.move(
            record,
            Status.DEPLOYMENT_FAILED,
            action.because,
            failure=failure,
            attempted=action.content,
            source=record.source or action.source,
            revision=revision,
            attempts=0,
            retry_at=None,
            held="",
        )

    def _hold(self, action: Hold) -> None:
        record = self.world.record(action.workflow_id)
        receipt = self.world.receipts.get(action.workflow_id)
        if record.status is Status.DEPLOYING and receipt is not None:  # its spec vanished in mid-deploy
            because = f"release {receipt.release} goes on"
            record = self.world.move(record, Status.DEPLOYED, because, applied=receipt.digest, failure=None)
        if record.held != action.because:
            log.get().warning(
                "held back", workflow=action.workflow_id, reason=action.reason, because=action.because
            )
            self.world.note(record, held=action.because)


def _warnings_of(world: World, wanted: Wanted) -> tuple[str, ...]:
    """What the compile of the live release had to say."""
    receipt = world.receipts.get(wanted.workflow_id)
    return receipt.warnings if receipt is not None and receipt.digest == wanted.digest else ()


def waiting(reason: str, error: str, world: World) -> str:
    """The health reason of a workflow that is deployed and not (known to be) served."""
    if reason == "Unreachable":
        return f"{Reason.WAITING_FOR_WORKER}: the worker host does not answer ({error})"
    if reason == "TemporalUnreachable":
        return f"{Reason.WAITING_FOR_WORKER}: Temporal at {world.config.temporal.address} does not answer"
    return f"{Reason.WAITING_FOR_WORKER}: {reason}" + (f": {error}" if error else "")


def _seen(wanted: Wanted, revision: str, now: float) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "source": wanted.source,
        "revision": revision,
        "read_at": now,
        "attempted": wanted.digest,
        "warnings": wanted.warnings,
        "held": "",
    }


def _why_deployed(record: Record, receipt: Receipt, waiting_for: str) -> str:
    served = f"release {receipt.release} is live in pool {receipt.placement.pool}"
    return f"{served}; {waiting_for}" if waiting_for else f"{served} and being served"


def _as_deploy_error(error: Exception) -> DeployError:
    if isinstance(error, DeployError):
        return error
    if isinstance(error, OSError):
        what = f"{error.strerror or type(error).__name__}"
        return DeployError(
            Reason.STORAGE_FAILED, f"the disk refused: {what}", hint="is it full or read-only?"
        )
    log.get().error("internal error", exc_info=error)
    return DeployError(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}", hint="please report this")
