"""What runs and the source no longer has: when it may be undeployed, and what holds it back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set

from timewright.core.actions import Action, Hold, Undeploy
from timewright.core.errors import Reason
from timewright.core.ordering import dependents
from timewright.core.state import Record, Status
from timewright.core.worlds import Desired, Live, Observed, Part, Policy


def for_missing(
    desired: Desired,
    present: Set[str | None],
    pinned: Set[str],
    observed: Observed,
    policy: Policy,
    now: float,
    nameless: Sequence[str] = (),
) -> Iterator[Action]:
    """What becomes of workflows that nothing in the source speaks for. `present`: those it does; `pinned`:
    those that are taken care of; `nameless`: files that may speak for anybody, for they can't be read."""
    known = {record.workflow_id for record in observed.records.values() if _is_up(record)}
    rewritten = {r.workflow_id for r in observed.records.values() if r.source in desired.settling}
    missing = sorted((known | observed.live.keys()) - present - pinned - observed.busy.keys() - rewritten)
    if not missing:
        return
    by_source: dict[str, list[str]] = defaultdict(list)
    for workflow_id in missing:
        by_source[desired.part(_source_of(workflow_id, observed)).name].append(workflow_id)
    for name, gone in by_source.items():
        part = desired.part(f"{name}/")
        own = policy.of(name)
        unread = [path for path in nameless if desired.part(path).name == name]
        blocked = _why_blocked(desired, part, present, gone, observed, own)
        if unread and not blocked:
            blocked = f"{min(unread)} can't be read, and may be its spec: mend it, or take it away"
        for workflow_id in gone:
            yield _for_one(workflow_id, part, blocked, missing, observed, own, now)


def _source_of(workflow_id: str, observed: Observed) -> str:
    record = observed.records.get(workflow_id)
    return record.source if record is not None else ""


def _for_one(
    workflow_id: str,
    part: Part,
    blocked: str,
    missing: list[str],
    observed: Observed,
    policy: Policy,
    now: float,
) -> Action:
    record = observed.records.get(workflow_id) or Record(workflow_id)
    what = record.source or "its spec"
    if not part.complete:
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
    desired: Desired,
    part: Part,
    present: Set[str | None],
    missing: list[str],
    observed: Observed,
    policy: Policy,
) -> str:
    """Why nothing of a source may be undeployed in this pass; '' when it may. Removals that a person
    confirmed don't count."""
    if not part.complete:
        return f"the source could not be read completely: {part.problem}"
    confirmed = {record.workflow_id for record in observed.records.values() if record.prune_by}
    gone = [observed.live[item] for item in missing if item in observed.live and item not in confirmed]
    doomed = [live for live in gone if _prunes(live, policy)]
    live = [item for item in observed.live if desired.part(_source_of(item, observed)).name == part.name]
    speaks = (
        present if not desired.parts else {i.source for i in desired.items if desired.part(i.source) == part}
    )
    settling = any(desired.part(path).name == part.name for path in desired.settling)
    allowed = max(1, int(len(live) * policy.max_deletes))
    confirm = "if it is meant: `timewright prune --confirm`"
    if not speaks and not settling and live and not policy.allow_empty:
        return f"the source is empty, which looks like an accident ({confirm})"
    if len(doomed) > allowed and not policy.allow_empty:
        share = f"{len(doomed)} of {len(live)} at once is more than max_deletes allows ({allowed})"
        return f"{share}; {confirm}"
    return ""
