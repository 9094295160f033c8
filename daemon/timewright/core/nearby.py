"""A plan for a few workflows alone, where it is the same as for all.

What keeps one workflow from another (twin ids, names that clash on a queue, what one depends on) is settled
by a plan over all. As long as a spec says of itself what it said there, none of that can have changed by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timewright.core.actions import Action, Deploy, Rollback
from timewright.core.plan import plan
from timewright.core.worlds import Desired, Observed, Policy, Wanted


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


def _stands_alone(spec: Wanted, before: Wanted | None) -> bool:
    """Whether it keeps all that others could hold against it."""
    return before is not None and not spec.depends_on and _claims(spec) == _claims(before)


def _claims(spec: Wanted) -> tuple[object, ...]:
    return spec.source, spec.placement, spec.workflow_types, spec.activity_names, spec.depends_on
