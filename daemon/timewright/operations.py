"""What people asked for, until it is done: each is told by where its workflow stands, so that it survives a
restart of the daemon."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection

from timewright.core.errors import Reason
from timewright.core.state import Record, Status
from timewright.edge.desk import Operation
from timewright.world import World

_GONE = (Status.UNDEPLOYED,)
_LIVE = (Status.DEPLOYED, Status.ROLLED_BACK)
#: Where a workflow stands when an operation of this kind has succeeded.
_WISHED = {
    "deploy": (Status.DEPLOYED,),
    "redeploy": _LIVE,
    "put": (Status.DEPLOYED,),
    "rollback": (Status.ROLLED_BACK,),
    "pin": _LIVE,
    "unpin": (*_LIVE, *_GONE),
    "undeploy": _GONE,
    "delete": _GONE,
    "prune": _GONE,
}
_UNFINISHED = (Status.DEPLOYING, Status.UNDEPLOYING, Status.ROLLING_BACK)
#: What holds a workflow back for a while only.
_PASSING = (Reason.WAITING_FOR_DEPENDS_ON, Reason.VANISHED)


class Operations:
    """Follows the operations of one state file."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._unseen: set[str] = set()  # asked for after the last pass looked
        self._done = asyncio.Condition()

    def start(self, kind: str, workflow_id: str, actor: str, reason: str) -> Operation:
        """Keep a new operation; a pass has to look before it can be done."""
        operation = Operation(uuid.uuid4().hex, kind, workflow_id, actor, reason, self.world.clock())
        with self.world.state.jotting():  # what was asked for is on disk already
            self.world.state.desk.add_operation(operation)
        self._unseen.add(operation.id)
        return operation

    def immediate(self, kind: str, workflow_id: str, actor: str, reason: str, because: str) -> Operation:
        """Keep one that was done by asking."""
        now = self.world.clock()
        operation = Operation(
            uuid.uuid4().hex, kind, workflow_id, actor, reason, now, "succeeded", now, because
        )
        self.world.state.desk.add_operation(operation)
        return operation

    def begin_pass(self) -> frozenset[str]:
        """What a pass that begins now will have looked at."""
        return frozenset(self._unseen)

    def seen(self, pending: Collection[str]) -> None:
        self._unseen.difference_update(pending)

    def settle(self, busy: Collection[str]) -> None:
        """Finish those whose workflows stand still."""
        finished = False
        for operation in self.world.state.desk.operations(state="running", last=1000):
            if operation.id in self._unseen or operation.workflow_id in busy:
                continue
            verdict = _verdict(operation, self.world.record(operation.workflow_id))
            if verdict is not None:
                state, because = verdict
                self.world.state.desk.finish_operation(operation.id, state, because, self.world.clock())
                finished = True
        if finished:
            self._notifying = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._done:
            self._done.notify_all()

    async def finished(self, operation_id: str, seconds: float) -> Operation | None:
        """The operation when it is done, or as it is after so many seconds; None for none of that id."""

        def done() -> bool:
            operation = self.world.state.desk.operation(operation_id)
            return operation is None or operation.state != "running"

        try:
            async with asyncio.timeout(seconds), self._done:
                await self._done.wait_for(done)
        except TimeoutError:
            pass
        return self.world.state.desk.operation(operation_id)


def _verdict(operation: Operation, record: Record) -> tuple[str, str] | None:
    """How an operation ended, and why; None while it goes on."""
    if record.status in _UNFINISHED or record.held_reason in _PASSING:
        return None
    if operation.kind == "pin" and record.pin is not None and record.applied == record.pin.digest:
        return "succeeded", record.held or record.because
    if record.status in _WISHED.get(operation.kind, ()):
        if record.held and record.held_reason != Reason.PINNED and operation.kind != "unpin":
            return "failed", record.held
        return "succeeded", record.because
    return "failed", record.held or record.because
