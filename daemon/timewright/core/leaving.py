"""An undeploy while executions are open: does it wait, is it refused, or does it go on?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from timewright.core.actions import Action, Hold, Undeploy
from timewright.core.errors import Reason
from timewright.core.state import Record
from timewright.core.worlds import Executions


def unless_open(
    action: Action, executions: Mapping[str, Executions], records: Mapping[str, Record]
) -> Action:
    """The action, or why an undeploy is held back. A person who forces it is obeyed."""
    if not isinstance(action, Undeploy) or action.workflow_id not in executions:
        return action
    found = executions[action.workflow_id]
    record = records.get(action.workflow_id)
    forced = record is not None and record.request is not None and record.request.force
    what = _words(found.count)
    if forced or found.mode == "force" or found.count == 0:
        return replace(action, because=f"{action.because}; {what}") if found.count else action
    if found.mode == "wait" and found.safe:
        said = f"{what}, which end on the version where they began" if found.count else ""
        return replace(action, because=f"{action.because}; {said}") if said else action
    force = f"`timewright undeploy {action.workflow_id} --force` does not wait"
    if found.count is None:
        why = f"Temporal can't say whether executions are open ({force})"
    elif found.mode == "block":
        why = f"deploy.onUndeploy is block, and there are {what} ({force})"
    else:
        why = f"it waits for the end of {what} ({force})"
    return Hold(action.workflow_id, Reason.OPEN_EXECUTIONS, f"{action.because}, but {why}")


def _words(count: int | None) -> str:
    if count is None:
        return "an unknown number of open executions"
    return f"{count} open execution{'' if count == 1 else 's'}"
