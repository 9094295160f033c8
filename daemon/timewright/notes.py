"""Carries out the actions that only change what is known: a record is behind, a spec is refused, something
is held back."""

from __future__ import annotations

from typing import Any, Final

from timewright import log
from timewright.core.actions import Clear, Hold, Refuse, Settle
from timewright.core.errors import Reason
from timewright.core.state import Failure, Status
from timewright.core.worlds import Wanted
from timewright.world import World

#: What a record no longer says once its workflow is as it should be.
FORGOTTEN: Final[dict[str, Any]] = {
    "failure": None,
    "attempts": 0,
    "retry_at": None,
    "held": "",
    "held_reason": "",
}


class Notes:
    """Keeps records, with one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def note(self, action: Settle | Refuse | Hold | Clear, revision: str) -> None:
        """Carry out one of these actions."""
        if isinstance(action, Settle):
            self._settle(action, revision)
        elif isinstance(action, Refuse):
            self._refuse(action, revision)
        elif isinstance(action, Hold):
            self._hold(action)
        else:
            self.world.note(self.world.record(action.workflow_id), held="", held_reason="")

    def _settle(self, action: Settle, revision: str) -> None:
        world, wanted = self.world, action.wanted
        actor = world.author(revision)
        record = world.record(wanted.workflow_id)
        pin = record.pin
        changes: dict[str, Any] = {
            **seen(wanted, revision, world.clock()),
            **FORGOTTEN,
            "applied": wanted.digest,
            "live_revision": revision,
            "pool": wanted.placement.pool,
            "warnings": (*wanted.warnings, *_warnings_of(world, wanted)),
            "pin": None,
        }
        if record.status is Status.DEPLOYED:
            world.note(record, **changes)
        elif record.status in (Status.DEPLOYMENT_FAILED, Status.DEPLOYING, Status.ROLLED_BACK):
            world.move(record, Status.DEPLOYED, action.because, digest=wanted.digest, actor=actor, **changes)
        else:
            record = world.move(
                record, Status.DEPLOYING, action.because, digest=wanted.digest, actor=actor, **changes
            )
            world.move(record, Status.DEPLOYED, action.because, digest=wanted.digest)
        if pin is not None:
            world.keep(wanted.workflow_id)  # that it has ended

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
            world.note(record, held="", held_reason="", missing_since=None, request=None)
            return
        world.move(
            record,
            Status.DEPLOYMENT_FAILED,
            action.because,
            actor=world.author(revision),
            failure=failure,
            attempted=action.content,
            asked=action.content,
            source=record.source or action.source,
            revision=revision,
            attempts=0,
            retry_at=None,
            held="",
            held_reason="",
            missing_since=None,
            request=None,
        )

    def _hold(self, action: Hold) -> None:
        record = self.world.record(action.workflow_id)
        receipt = self.world.receipts.get(action.workflow_id)
        if record.status is Status.DEPLOYING and receipt is not None:  # its spec vanished in mid-deploy
            because = f"release {receipt.release} goes on"
            record = self.world.move(record, Status.DEPLOYED, because, applied=receipt.digest, failure=None)
        gone = action.reason in (Reason.PRUNE_BLOCKED, Reason.VANISHED)
        since = (record.missing_since or self.world.clock()) if gone else None
        if record.held != action.because and action.reason is not Reason.VANISHED:
            log.get().warning(
                "held back", workflow=action.workflow_id, reason=action.reason, because=action.because
            )
        known = _known(action.wanted) if action.wanted is not None and not record.source else {}
        self.world.note(
            record,
            held=action.because,
            held_reason=action.reason,
            missing_since=since,
            request=None,
            **known,
        )


def seen(wanted: Wanted, revision: str, now: float) -> dict[str, Any]:
    """What a record takes from a spec that was read."""
    return {
        **_known(wanted),
        "revision": revision,
        "read_at": now,
        "attempted": wanted.digest,
        "asked": wanted.asked,
        "warnings": wanted.warnings,
        "held": "",
        "held_reason": "",
        "missing_since": None,
        "prune_by": "",
    }


def _known(wanted: Wanted) -> dict[str, Any]:
    """What a spec says of a workflow besides its release."""
    return {
        "name": wanted.name,
        "source": wanted.source,
        "owner": wanted.owner,
        "depends_on": wanted.depends_on,
        "prune": wanted.prune,
        "auto_revert": wanted.auto_revert,
    }


def _warnings_of(world: World, wanted: Wanted) -> tuple[str, ...]:
    """What the compile of the live release had to say."""
    receipt = world.receipts.get(wanted.workflow_id)
    return receipt.warnings if receipt is not None and receipt.digest == wanted.digest else ()
