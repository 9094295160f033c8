"""Carries out one action of the plan. Every step can be done twice, so that a crash anywhere in
it is mended by doing the action again.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from timewright import log
from timewright.build import Builder, SupersededError, timed
from timewright.core.actions import Deploy, Revert, Rollback, Undeploy
from timewright.core.differences import Kind
from timewright.core.digest import SHORT
from timewright.core.errors import DeployError, Reason
from timewright.core.pins import why_pinned
from timewright.core.replays import AUTO, ENFORCE, WARN, mode_of, refusal
from timewright.core.retry import Backoff
from timewright.core.rollout import rollout_of
from timewright.core.state import Failure, Health, Pin, Pinned, Record, Status
from timewright.edge.failpoint import failpoint
from timewright.edge.pools import versioning_of
from timewright.edge.releases import Receipt
from timewright.edge.statefile import Bad
from timewright.golive import GoLive
from timewright.notes import FORGOTTEN, seen
from timewright.replaying import ReplayGate
from timewright.retention import Retention
from timewright.rollouts import Rollouts
from timewright.world import World

#: Who is named where neither a person nor the source asked: our own judgement.
OURSELVES = "timewright"


class Applier:
    """Does what the plan says, with the world's tools."""

    def __init__(self, world: World, rollouts: Rollouts) -> None:
        self.world = world
        self.rollouts = rollouts
        self.live = GoLive(world, rollouts)
        self.replays = ReplayGate(world)
        self.builder = Builder(world)
        self._retention = Retention(world)

    async def apply(self, action: Deploy | Rollback | Revert | Undeploy, revision: str) -> None:
        """Carry out one action. Only cancellation comes out of it: every failure is recorded."""
        if isinstance(action, Deploy):
            await self._deploy(action, revision)
        elif isinstance(action, Undeploy):
            await self._undeploy(action, revision)
        else:
            if isinstance(action, Revert):
                self._condemn(action)
            await self._roll_back(action.workflow_id, action.digest, action.because)

    # deploy ------------------------------------------------------------------------------------

    async def _deploy(self, action: Deploy, revision: str) -> None:
        wanted, world = action.wanted, self.world
        before = world.record(wanted.workflow_id)
        forced = before.request is not None and before.request.force
        if forced:
            world.forgive(wanted.workflow_id, wanted.digest, wanted.asked)
        world.move(
            before,
            Status.DEPLOYING,
            action.because,
            digest=wanted.digest,
            actor=before.request.actor if before.request else world.author(revision),
            **seen(wanted, revision, world.clock()),
            request=None,
            pin=None,
            condemned="",
        )
        timings: dict[str, float] = {}
        previous = self._before(before, wanted.digest)
        pool = (wanted.placement.namespace, wanted.placement.task_queue)
        try:
            world.coming[pool].add(wanted.workflow_id)
            receipt = await self.builder.release(wanted, revision, timings, self.live.pooling.ahead)
            again = previous is not None and previous.digest == receipt.digest
            replayed = () if again or forced else await self._replay(receipt, previous, timings)
            health, reason = await self.live.switch(
                receipt, previous, timings, fresh=forced and again, forced=forced
            )
        except SupersededError:
            return  # the record stays DEPLOYING: the next pass goes on with the newer spec
        except Exception as error:
            failed = as_deploy_error(error)
            record = world.record(wanted.workflow_id)
            self._fail(record, failed, wanted.digest, timings, transient=failed.transient)
            return
        finally:
            world.coming[pool].discard(wanted.workflow_id)
            self.live.pooling.give_up(pool)
            if before.pin is not None:
                world.keep(wanted.workflow_id)  # that it has ended
        failpoint("before-record")
        record = world.record(wanted.workflow_id)
        world.move(
            record,
            Status.DEPLOYED,
            _why_deployed(receipt, reason),
            digest=receipt.digest,
            timings=timings,
            **_live(record, receipt),
            **FORGOTTEN,
            live_revision=revision,
            warnings=(*wanted.warnings, *receipt.warnings, *replayed),
        )
        failpoint("after-record")
        world.set_health(wanted.workflow_id, health, reason)
        self._retention.releases(receipt, wanted.keep_releases)
        await self._retention.packages()

    def _before(self, record: Record, digest: str) -> Receipt | None:
        """What was live before the deploy of a release. The link may name that already, where an earlier try
        was cut short behind it: what is to be put back, when it turns out bad, is what the record names."""
        world = self.world
        live = world.receipts.get(record.workflow_id)
        ahead = live is not None and live.digest == digest != record.applied
        if not ahead or record.status not in (Status.DEPLOYING, Status.DEPLOYMENT_FAILED):
            return live
        if not record.applied:
            return None
        before = world.releases.receipt(record.workflow_id, record.applied[:SHORT])
        return before if before is not None and before.digest == record.applied else live

    async def _replay(
        self, receipt: Receipt, previous: Receipt | None, timings: dict[str, float]
    ) -> tuple[str, ...]:
        """Replay recent executions on new workflow code; what is worth a warning. Raises DeployError where
        the code breaks them, and that was to be enforced."""
        world = self.world
        if previous is not None and (previous.bundle, previous.sdk) == (receipt.bundle, receipt.sdk):
            return ()
        await self.rollouts.learn(receipt.namespace)
        said = rollout_of(receipt.rollout).replay
        versioned = bool(world.deployment((receipt.namespace, receipt.task_queue), [receipt]))
        pinned = versioned and versioning_of(receipt, world.config.rollout.versioning) == "PINNED"
        mode = mode_of(said, world.config.replay.mode, pinned=pinned)
        if previous is None and not said and mode == ENFORCE and world.config.replay.mode == AUTO:
            mode = WARN  # what ran before us ran other code, perhaps: nothing of ours is at stake
        with timed(timings, "replay"):
            report = await self.replays.check(receipt, mode)
        if report.blocks:
            raise refusal(report)
        if report.problem and said == ENFORCE:
            raise DeployError(Reason.REPLAY_UNAVAILABLE, f"nothing was replayed: {report.problem}")
        return report.notes

    def _fail(
        self,
        record: Record,
        error: DeployError,
        digest: str,
        timings: dict[str, float],
        *,
        transient: bool,
        **changes: Any,
    ) -> None:
        """Record a failure, with a next try where one may help."""
        attempts = record.attempts + 1 if transient else 0
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
            failure=Failure(error.reason, error.message, error.problems, transient),
            attempts=attempts,
            retry_at=self.world.clock() + wait if wait else None,
            **changes,
        )

    # rollback ----------------------------------------------------------------------------------

    def _condemn(self, action: Revert) -> None:
        """Remember the live release as bad and pin the earlier one, in that order: a crash in between is
        no way back to the bad one."""
        world = self.world
        record = world.record(action.workflow_id)
        bad = Bad(record.workflow_id, record.applied, record.asked, world.clock(), record.condemned)
        world.remember_bad(bad)
        failpoint("before-revert-pin")
        pin = Pin(Pinned.REVERT, action.digest, OURSELVES, world.clock(), record.condemned, record.asked)
        word = record.condemned.partition(":")[0]
        rolled = word in (Reason.GATE_FAILED, Reason.ROLLOUT_FAILED)
        failure = Failure(Reason(word) if rolled else Reason.HEALTH_CHECK_FAILED, action.because)
        world.set_pin(
            record.workflow_id,
            pin,
            OURSELVES,
            record.condemned,
            condemned="",
            failure=failure,
            trial_until=None,
        )

    async def _roll_back(self, workflow_id: str, digest: str, because: str) -> None:
        """Make an earlier release live. It is in the tree as it was built, so nothing is compiled."""
        world = self.world
        record = world.record(workflow_id)
        pin = record.pin
        reverted = pin is not None and pin.kind is Pinned.REVERT
        asked = record.request
        record = world.move(
            record,
            Status.ROLLING_BACK,
            because,
            digest=digest,
            about=self._revision_of(workflow_id, digest),
            actor=asked.actor if asked else pin.actor if pin else OURSELVES,
            held="",
            held_reason="",
            request=None,
            condemned="",
            attempted=record.attempted if reverted else digest,
        )
        failpoint("before-rollback")
        timings: dict[str, float] = {}
        previous = world.receipts.get(workflow_id)
        try:
            with timed(timings, "verify"):
                receipt = await self._kept(workflow_id, digest)
            again = asked is not None and previous is not None and previous.digest == digest
            health, reason = await self.live.switch(receipt, previous, timings, fresh=again, back=True)
        except Exception as error:
            failed = as_deploy_error(error)
            words = f"release {digest[:SHORT]} can't be made live: {failed.message}"
            wrapped = DeployError(Reason.ROLLBACK_FAILED, words, problems=failed.problems, hint=failed.hint)
            record = world.record(workflow_id)
            self._fail(record, wrapped, digest, timings, transient=failed.transient, attempted=digest)
            return
        failpoint("before-record")
        record = world.record(workflow_id)
        kept = {"failure": record.failure} if reverted else {}  # why it was reverted stays to be seen
        world.move(
            record,
            Status.ROLLED_BACK,
            _why_deployed(receipt, reason),
            digest=digest,
            about=receipt.revision,
            timings=timings,
            **{**_live(record, receipt), **FORGOTTEN, **kept, **_pinned(record)},
            live_revision=receipt.revision,
            warnings=receipt.warnings,
        )
        failpoint("after-record")
        world.set_health(workflow_id, health, reason)

    def _revision_of(self, workflow_id: str, digest: str) -> str:
        """The revision that a kept release was built of."""
        receipt = self.world.releases.receipt(workflow_id, digest[:SHORT])
        return receipt.revision if receipt is not None else ""

    async def _kept(self, workflow_id: str, digest: str) -> Receipt:
        """The receipt of a release that is in the tree, whole. Raises DeployError."""
        releases, short = self.world.releases, digest[:SHORT]
        receipt = releases.receipt(workflow_id, short)
        if receipt is None or receipt.digest != digest:
            raise DeployError(
                Reason.ROLLBACK_FAILED, "it is not kept any more", hint="choose another release"
            )
        found = await asyncio.to_thread(releases.differences, workflow_id, short)
        damage = [item for item in found if item.kind is not Kind.ADDED]  # what lies beside harms nothing
        if damage:
            raise DeployError(
                Reason.ROLLBACK_FAILED,
                f"it is not as it was built ({damage[0].line})",
                hint="choose another release, or deploy its spec again",
            )
        return receipt

    # undeploy ----------------------------------------------------------------------------------

    async def _undeploy(self, action: Undeploy, revision: str) -> None:
        world = self.world
        record = world.record(action.workflow_id)
        receipt = world.receipts.get(action.workflow_id)
        actor = _undeployer(record) or world.author(revision)
        nothing: dict[str, Any] = {
            **FORGOTTEN,
            "applied": "",
            "live_revision": "",
            "attempted": "",
            "pool": "",
            "drift": (),
            "trial_until": None,
            "condemned": "",
            "missing_since": None,
            "prune_by": "",
            "request": None,
        }
        if receipt is None and record.status is not Status.UNDEPLOYING:
            world.state.unrefuse(record.source)
            world.move(record, Status.UNDEPLOYED, action.because, actor=actor, **nothing)
            return
        record = world.move(
            record,
            Status.UNDEPLOYING,
            action.because,
            digest=record.applied,
            actor=actor,
            revision=revision,
            attempted="",
            held="",
            held_reason="",
        )
        try:
            failpoint("before-retire")
            if receipt is not None:
                untold = await self.live.retire(receipt)
            else:
                untold = await self.live.unlink(action.workflow_id)
        except Exception as error:
            log.get().error("undeploy failed", workflow=action.workflow_id, because=str(error))
            return
        because = "nothing of it is live any more"
        if untold:
            because += f"; the worker host was not told ({untold}) and will see it by itself"
        failpoint("before-record")
        world.move(record, Status.UNDEPLOYED, because, **nothing)
        failpoint("after-record")
        world.set_health(action.workflow_id, Health.UNKNOWN)


def _undeployer(record: Record) -> str:
    """The person who asked for it; '' for the source."""
    if record.pin is not None and record.pin.kind is Pinned.UNDEPLOY:
        return record.pin.actor
    return record.prune_by


def _live(record: Record, receipt: Receipt) -> dict[str, Any]:
    """What a record says of its live release, once it is that."""
    same = record.applied == receipt.digest
    return {
        "applied": receipt.digest,
        "previous": record.previous if same else record.applied,
        "trial_until": record.trial_until if same else None,
        "pool": receipt.placement.pool,
        "drift": (),
        "missing_since": None,
        "prune_by": "",
    }


def _pinned(record: Record) -> dict[str, Any]:
    """A rollback is never in sync: what it holds back is said with it, not one pass later."""
    if record.pin is None:
        return {}
    return {"held": why_pinned(record.workflow_id, record.pin), "held_reason": Reason.PINNED}


def _why_deployed(receipt: Receipt, waiting_for: str) -> str:
    served = f"release {receipt.release} is live in pool {receipt.placement.pool}"
    return f"{served}; {waiting_for}" if waiting_for else f"{served} and being served"


def as_deploy_error(error: Exception) -> DeployError:
    """Any failure, as one that can be recorded and shown."""
    if isinstance(error, DeployError):
        return error
    if isinstance(error, OSError):
        what = f"{error.strerror or type(error).__name__}"
        return DeployError(
            Reason.STORAGE_FAILED, f"the disk refused: {what}", hint="is it full or read-only?"
        )
    log.get().error("internal error", exc_info=error)
    return DeployError(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}", hint="please report this")
