"""What runs and the source no longer has: when it may be undeployed, and what holds it back."""

from __future__ import annotations

from collections.abc import Iterator, Set

from timewright.core.actions import Action, Hold, Undeploy
from timewright.core.errors import Reason
from timewright.core.ordering import dependents
from timewright.core.state import Record, Status
from timewright.core.worlds import Desired, Live, Observed, Policy


def for_missing(
    desired: Desired,
    present: Set[str | None],
    pinned: Set[str],
    observed: Observed,
    policy: Policy,
    now: float,
) -> Iterator[Action]:
    """What becomes of workflows that nothing in the source speaks for. `present`: those it does; `pinned`:
    those that are taken care of."""
    known = {record.workflow_id for record in observed.records.values() if _is_up(record)}
    rewritten = {r.workflow_id for r in observed.records.values() if r.source in desired.settling}
    missing = sorted((known | observed.live.keys()) - present - pinned - observed.busy.keys() - rewritten)
    if not missing:
        return
    blocked = _why_blocked(desired, present, missing, observed, policy)
    for workflow_id in missing:
        yield _for_one(workflow_id, blocked, missing, desired, observed, policy, now)


def _for_one(
    workflow_id: str,
    blocked: str,
    missing: list[str],
    desired: Desired,
    observed: Observed,
    policy: Policy,
    now: float,
) -> Action:
    record = observed.records.get(workflow_id) or Record(workflow_id)
    what = record.source or "its spec"
    if not desired.complete:
        return Hold(workflow_id, Reason.PRUNE_BLOCKED, f"{what} is gone, but {blocked}")
    if workflow_id not in observed.live:
        return Undeploy(workflow_id, f"{what} is gone and nothing of it was live")
    users = dependents(workflow_id, missing, observed)
    if record.prune_by and not users:
        return Undeploy(
            workflow_id, f"{what} is gone from the source; {record.prune_by} confirmed the removal"
        )
    if users:
        return Hold(workflow_id, Reason.PRUNE_BLOCKED, f"{what} is gone, but {users}")
    if not _prunes(observed.live[workflow_id], policy):
        confirm = f"`timewright prune {workflow_id} --confirm` undeploys it"
        return Hold(
            workflow_id, Reason.PRUNE_BLOCKED, f"{what} is gone; kept because prune is off ({confirm})"
        )
    if policy.vanish and now < (record.missing_since or now) + policy.vanish:
        wait = f"it is undeployed unless it comes back within {policy.vanish:g} s"
        return Hold(workflow_id, Reason.VANISHED, f"{what} is gone; {wait}")
    if blocked:
        return Hold(workflow_id, Reason.PRUNE_BLOCKED, f"{what} is gone, but {blocked}")
    return Undeploy(workflow_id, f"{what} is gone from the source and prune is on")


def _prunes(live: Live, policy: Policy) -> bool:
    return live.prune if live.prune is not None else policy.prune


def _is_up(record: Record) -> bool:
    return record.status is not Status.UNDEPLOYED


def _why_blocked(
    desired: Desired, present: Set[str | None], missing: list[str], observed: Observed, policy: Policy
) -> str:
    """Why nothing may be undeployed in this pass; '' when it may. Removals that a person confirmed don't
    count."""
    if not desired.complete:
        return f"the source could not be read completely: {desired.problem}"
    confirmed = {record.workflow_id for record in observed.records.values() if record.prune_by}
    gone = [observed.live[item] for item in missing if item in observed.live and item not in confirmed]
    doomed = [live for live in gone if _prunes(live, policy)]
    allowed = max(1, int(len(observed.live) * policy.max_deletes))
    confirm = "if it is meant: `timewright prune --confirm`"
    if not present and not desired.settling and len(observed.live) > 1 and not policy.allow_empty:
        return f"the source is empty, which looks like an accident ({confirm})"
    if len(doomed) > allowed and not policy.allow_empty:
        share = f"{len(doomed)} of {len(observed.live)} at once is more than max_deletes allows ({allowed})"
        return f"{share}; {confirm}"
    return ""
