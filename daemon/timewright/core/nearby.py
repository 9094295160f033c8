"""A plan for a few workflows alone, where it is the same as for all.

What keeps one workflow from another (twin ids, names that clash on a queue, what one depends on) is settled
by a plan over all. As long as a spec says of itself what it said there, none of that can have changed by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from timewright.core.actions import Action, Deploy, Rollback
from timewright.core.plan import plan
from timewright.core.worlds import Desired, Observed, Policy, Wanted

#: With more than so many changes a plan over all is as quick.
_FEW = 200


def plan_nearby(
    specs: Sequence[Wanted],
    standing: Mapping[str, Wanted],
    desired: Desired,
    observed: Observed,
    policy: Policy,
    now: float,
) -> tuple[Action, ...] | None:
    """The actions of these workflows, as `plan` has them over all; None where that can't be told.

    `standing`: the specs that the last plan over all refused for no other's sake, by workflow id. `desired`:
    all that is asked for now. `observed`: no more of the world than these workflows.
    """
    if not all(_stands_alone(spec, standing.get(spec.workflow_id)) for spec in specs):
        return None
    few = Desired(desired.complete, desired.revision, desired.problem, tuple(specs), parts=desired.parts)
    actions = plan(few, observed, policy, now)
    # A revert, an undeploy: what they take to be decided reaches further than these workflows.
    return actions if all(isinstance(action, Deploy | Rollback) for action in actions) else None


@dataclass(frozen=True)
class AtRest:
    """All that a plan was made of in which there was nothing to do, nor to hold back. `standing`: as plan_all
    has it. Values that nothing changes any more: `observed` is a copy of the world."""

    desired: Desired
    observed: Observed
    policy: Policy
    standing: Mapping[str, Wanted]


def plan_again(
    last: AtRest, desired: Desired, observed: Observed, policy: Policy, now: float
) -> tuple[Action, ...] | None:
    """The plan over all, where few workflows are not as they were when there was nothing to do: theirs. None
    where that can't be told from these alone."""
    specs = _changed(last, desired, observed) if policy == last.policy else None
    if specs is None:
        return None
    names = [spec.workflow_id for spec in specs]
    few = replace(
        observed,
        records={name: observed.records[name] for name in names if name in observed.records},
        live={name: observed.live[name] for name in names if name in observed.live},
    )
    return plan_nearby(specs, last.standing, desired, few, policy, now)


def _changed(last: AtRest, desired: Desired, observed: Observed) -> list[Wanted] | None:
    """The specs of all workflows of which anything has changed, as they are now; None where more has."""
    before, old = last.observed, last.desired
    if observed.busy or observed.earlier or _rest(observed) != _rest(before):
        return None
    if desired.settling or len(desired.wanted) != len(old.wanted) or _frame(desired) != _frame(old):
        return None
    moved = [spec for was, spec in zip(old.wanted, desired.wanted, strict=True) if was is not spec]
    specs = {spec.workflow_id: spec for spec in moved}
    names = {*specs, *_differing(before.records, observed.records), *_differing(before.live, observed.live)}
    if len(specs) != len(moved) or len(names) > _FEW:
        return None
    found = [specs.get(name) or last.standing.get(name) for name in names]
    return None if None in found else [spec for spec in found if spec is not None]


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """The names of what is another object, or is there in one of them only."""
    return {name for name in old.keys() | new.keys() if old.get(name) is not new.get(name)}


def _rest(observed: Observed) -> tuple[object, ...]:
    return observed.bad, observed.suspension, observed.executions


def _frame(desired: Desired) -> tuple[object, ...]:
    """All but what its specs say, and which state of the source it is."""
    parts = [replace(part, revision="") for part in desired.parts]
    return desired.complete, desired.problem, desired.broken, parts


def _stands_alone(spec: Wanted, before: Wanted | None) -> bool:
    """Whether it keeps all that others could hold against it."""
    return before is not None and not spec.depends_on and _claims(spec) == _claims(before)


def _claims(spec: Wanted) -> tuple[object, ...]:
    return spec.source, spec.placement, spec.workflow_types, spec.activity_names, spec.depends_on
