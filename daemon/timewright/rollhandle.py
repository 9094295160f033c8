"""A rollout's own workflow in Temporal: where it is, how far it is, and a word to it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from timewright.core.deployments import rollout_id
from timewright.core.orders import Ask, Progress
from timewright.core.stored import is_moment, shaped
from timewright.edge.deployments import TemporalAwayError

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle


def handle_of(client: Client, deployment: str, build_id: str) -> WorkflowHandle[Any, Progress]:
    """The rollout of a Version: one in the namespace, whoever began it."""
    from timewright.rollflow import RolloutFlow

    return client.get_workflow_handle_for(RolloutFlow.run, rollout_id(deployment, build_id))


async def described(handle: WorkflowHandle[Any, Progress]) -> WorkflowExecutionDescription | None:
    """What Temporal says of a rollout's last run; None where there was none. Raises TemporalAwayError."""
    from temporalio.service import RPCError, RPCStatusCode

    try:
        return await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise TemporalAwayError(error.message) from error


async def progress_of(handle: WorkflowHandle[Any, Progress]) -> Progress | None:
    """How far a rollout is; None where there is none, or it says nothing. Raises TemporalAwayError."""
    found = await described(handle)
    return await progress_by(found) if found is not None else None


async def tell(handle: WorkflowHandle[Any, Progress], ask: Ask) -> bool:
    """Ask something of a rollout; whether it is under way. Raises TemporalAwayError."""
    from temporalio.service import RPCError, RPCStatusCode

    try:
        await handle.signal("ask", ask)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise TemporalAwayError(error.message) from error
    return True


async def progress_by(description: WorkflowExecutionDescription) -> Progress | None:
    """How far a rollout is, by its memo; what it ended with is there, too."""
    from timewright.rollflow import MEMO

    try:
        return progress_in(await description.memo_value(MEMO, default={}))
    except (LookupError, RuntimeError, TypeError, ValueError):  # the SDK's, for bytes that are no JSON
        return None


def progress_in(value: Any) -> Progress:
    """A memo of ours: whoever uses the same Temporal may have written it, or a newer version of us. Raises
    ValueError for what is none."""
    if not isinstance(value, dict):
        raise ValueError("it is no progress of a rollout")
    known = {item.name for item in fields(Progress)}
    found: Progress = shaped(Progress, {key: said for key, said in value.items() if key in known})
    if not all(map(is_moment, (found.next_at, found.started, found.ended))):
        raise ValueError("it is of no time that a clock could show")
    return found
