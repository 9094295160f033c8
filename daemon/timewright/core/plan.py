"""`plan(desired, observed, policy, now)`: what to do, and why. A pure function of values.

Level-based: it looks at the world as it is, never at what an event said.
"""

from __future__ import annotations

from collections.abc import Iterator

from timewright.core.actions import Action, Clear, Deploy, Hold, Refuse, Revert, Rollback, Settle
from timewright.core.arbitrate import arbitrate
from timewright.core.digest import SHORT
from timewright.core.errors import Problem, Reason
from timewright.core.leaving import unless_open
from timewright.core.missing import for_missing
from timewright.core.ordering import refuse_unordered, why_wait
from timewright.core.pins import for_pinned, for_refused, pins_in_force
from timewright.core.policy import is_policy_name
from timewright.core.state import Pinned, Record, Status, Suspension
from timewright.core.worlds import Desired, Live, Observed, Policy, Wanted


def plan(desired: Desired, observed: Observed, policy: Policy, now: float) -> tuple[Action, ...]:
    """The actions that bring the host to what the source asks for, one at most for each workflow.
    `now`: seconds since the epoch."""
    return plan_all(desired, observed, policy, now)[0]


def plan_all(
    desired: Desired, observed: Observed, policy: Policy, now: float
) -> tuple[tuple[Action, ...], dict[str, Wanted]]:
    """The same, and the specs that stand by themselves, by workflow id: nothing is held against them, and
    what they keep from others is theirs whatever is live."""
    wanted, refusals = arbitrate(desired, observed)
    wanted, unordered = refuse_unordered(wanted, refusals, desired)
    refusals += unordered
    pins = pins_in_force(observed.records.values(), wanted, refusals, now)
    actions: list[Action] = [action for item in refusals for action in for_refused(item, pins, observed, now)]
    by_id = {spec.workflow_id: spec for spec in wanted}
    for spec in wanted:
        pin = pins.get(spec.workflow_id)
        if pin is not None:
            actions += for_pinned(spec.workflow_id, pin, spec, observed, now)
        else:
            actions += _for_wanted(spec, by_id, observed, policy, now)
    present = {spec.workflow_id for spec in wanted} | {item.workflow_id for item in refusals}
    for workflow_id in sorted(pins.keys() - present):
        actions += for_pinned(workflow_id, pins[workflow_id], None, observed, now)
    nameless = [item.source for item in refusals if _is_nameless(item)]
    actions += for_missing(desired, present, pins.keys(), observed, policy, now, nameless)
    actions = [unless_open(action, observed.executions, observed.records) for action in actions]
    actions = [_unless_suspended(action, by_id, observed, now) for action in actions]
    return (*actions, *_no_longer_held(actions, observed)), _undisputed(by_id, refusals, desired)


def _is_nameless(item: Refuse) -> bool:
    """Whether nobody knows whose spec a file is. Another source's twin can be read, and a policy is none."""
    known = item.reason is Reason.DUPLICATE_WORKFLOW_ID or is_policy_name(item.source.rpartition("/")[2])
    return item.workflow_id is None and not known


def _undisputed(wanted: dict[str, Wanted], refusals: list[Refuse], desired: Desired) -> dict[str, Wanted]:
    """Without those on a queue where a name is disputed: who has it live keeps it, and that may change."""
    losers = {item.workflow_id for item in refusals if item.reason is Reason.NAME_CONFLICT}
    if not losers:
        return wanted
    queues = {spec.placement.pool for spec in desired.wanted if spec.workflow_id in losers}
    return {name: spec for name, spec in wanted.items() if spec.placement.pool not in queues}


def _no_longer_held(actions: list[Action], observed: Observed) -> Iterator[Action]:
    """What was held back before, and now there is nothing to hold back."""
    spoken = {action.workflow_id for action in actions} | observed.busy.keys()
    for record in observed.records.values():
        if record.held and record.workflow_id not in spoken:
            yield Clear(record.workflow_id, "nothing is held back any more")


# One wanted spec -------------------------------------------------------------------------------


def _for_wanted(
    spec: Wanted, wanted: dict[str, Wanted], observed: Observed, policy: Policy, now: float
) -> Iterator[Action]:
    workflow_id = spec.workflow_id
    if observed.busy.get(workflow_id) == spec.digest:
        return
    record = observed.records.get(workflow_id) or Record(workflow_id)
    live = observed.live.get(workflow_id)
    forced = record.request is not None and record.request.force
    if _is_condemned(record, live, spec) and not forced:
        yield _revert(record, observed)
        return
    bad = observed.bad.get((workflow_id, spec.digest)) or observed.bad.get((workflow_id, spec.asked))
    if bad and not forced and (live is None or live.digest != spec.digest):
        yield _refuse_bad(spec, bad)
        return
    because = _why_deploy(spec, record, live, policy, now)
    wait = why_wait(spec, wanted, observed) if because and record.request is None else ""
    if wait:
        yield Hold(workflow_id, Reason.WAITING_FOR_DEPENDS_ON, wait, spec)
    elif because:
        yield Deploy(spec, because)
    elif live is not None and _is_moved(spec, record, live):
        yield Hold(workflow_id, Reason.DRIFTED, _why_moved(record, live))
    elif live is not None and live.digest == spec.digest and live.pooled and _is_behind(spec, record):
        if record.failure is not None and record.attempted == spec.digest and record.retry_at is not None:
            return  # it was cut short where it went live: the worker host has not yet said a word of it
        yield Settle(spec, _why_settle(spec, record))


def _is_condemned(record: Record, live: Live | None, spec: Wanted) -> bool:
    """The live release failed its trial, and the source still asks for it."""
    return bool(record.condemned) and live is not None and live.digest == record.applied == spec.digest


def _revert(record: Record, observed: Observed) -> Action:
    earlier = observed.earlier.get(record.workflow_id, "")
    if not earlier:
        because = f"{record.condemned}; there is no earlier release to go back to"
        return Hold(record.workflow_id, Reason.HEALTH_CHECK_FAILED, because)
    rolled = record.condemned.startswith((f"{Reason.GATE_FAILED}:", f"{Reason.ROLLOUT_FAILED}:"))
    what = "is taken back" if rolled else "is not healthy"
    return Revert(record.workflow_id, earlier, f"release {record.applied[:SHORT]} {what}: {record.condemned}")


def _refuse_bad(spec: Wanted, why: str) -> Refuse:
    message = f"release {spec.digest[:SHORT]} was reverted before: {why}"
    hint = f"change the spec, or `timewright deploy {spec.workflow_id} --force`"
    problem = Problem("", message, hint)
    because = f"{spec.source} asks for a release that was reverted before: {why}"
    return Refuse(spec.workflow_id, spec.source, spec.content, Reason.KNOWN_BAD, (problem,), because)


def _why_deploy(spec: Wanted, record: Record, live: Live | None, policy: Policy, now: float) -> str:
    """Why this spec has to be deployed now; '' when it hasn't."""
    if record.request is not None:
        asked = record.request
        return f"{asked.actor} asked for it" + (f": {asked.reason}" if asked.reason else "")
    failed = record.failure is not None and record.attempted == spec.digest
    if failed and record.status is Status.DEPLOYMENT_FAILED:
        return _why_retry(spec, record, now)
    unfinished = record.status in (Status.DEPLOYING, Status.UNDEPLOYING)
    if unfinished and record.attempted == spec.digest:
        return f"the deploy of {spec.source} was interrupted and is taken up again"
    if live is None:
        return _why_absent(spec, record)
    if live.digest != spec.digest:
        if _is_moved(spec, record, live) and not policy.heal:
            return ""
        return _why_changed(spec, record, live)
    if not live.pooled:
        return f"release {live.release} is not yet in pool {spec.placement.pool}"
    return _why_heal(record, policy)


def _why_absent(spec: Wanted, record: Record) -> str:
    if record.applied:
        return f"the tree has lost the release of {spec.source}"
    return f"new spec {spec.source}"


def _why_changed(spec: Wanted, record: Record, live: Live) -> str:
    if _is_moved(spec, record, live):
        return f"{_why_moved(record, live)}; put back"
    ends = f"; that ends the {record.pin.kind} by {record.pin.actor}" if record.pin else ""
    return f"{spec.source} changed: release {live.release} → {spec.digest[:SHORT]}{ends}"


def _is_moved(spec: Wanted, record: Record, live: Live) -> bool:
    """Nothing new is asked for, nothing was under way, and yet another release is live: somebody moved
    the link by hand."""
    settled = record.status in (Status.DEPLOYED, Status.ROLLED_BACK)
    return settled and record.pin is None and live.digest != spec.digest == record.applied


def _why_moved(record: Record, live: Live) -> str:
    return f"the link was moved by hand: release {record.applied[:SHORT]} → {live.release}"


def _why_heal(record: Record, policy: Policy) -> str:
    """Why a release whose files differ from its receipt is restored. What is only missing always is:
    nobody's work is lost by that."""
    if not record.drift:
        return ""
    if not policy.heal and not all(line.endswith(" is missing") for line in record.drift):
        return ""
    more = f" (and {len(record.drift) - 1} more)" if len(record.drift) > 1 else ""
    return f"restored: {record.drift[0]}{more}"


def _why_retry(spec: Wanted, record: Record, now: float) -> str:
    failure = record.failure
    if failure is None or not failure.transient or record.retry_at is None or now < record.retry_at:
        return ""
    return f"retry {record.attempts} of {spec.source} after {failure.reason}"


def _is_behind(spec: Wanted, record: Record) -> bool:
    words = (record.owner, record.depends_on, record.prune, record.auto_revert)
    return (
        record.status is not Status.DEPLOYED
        or record.applied != spec.digest
        or record.source != spec.source
        or bool(record.held or record.missing_since or record.prune_by)
        or record.pin is not None
        or words != (spec.owner, spec.depends_on, spec.prune, spec.auto_revert)
    )


def _why_settle(spec: Wanted, record: Record) -> str:
    if record.status is Status.DEPLOYED and record.source and record.source != spec.source:
        return f"the spec moved from {record.source} to {spec.source}; nothing else changed"
    return f"{spec.source} asks for release {spec.digest[:SHORT]}, which is live"


# Suspended workflows ---------------------------------------------------------------------------


def _unless_suspended(action: Action, wanted: dict[str, Wanted], observed: Observed, now: float) -> Action:
    """The action, or why it is held back. What a person asked for goes on: a suspension stops what
    timewright does by itself."""
    if action.workflow_id is None or isinstance(action, Hold | Settle | Rollback | Clear):
        return action
    record = observed.records.get(action.workflow_id) or Record(action.workflow_id)
    undeployed = record.pin is not None and record.pin.kind is Pinned.UNDEPLOY
    asked = record.request is not None or undeployed or bool(record.prune_by)
    why = _why_suspended(record, wanted.get(action.workflow_id), observed, now)
    if asked or not why:
        return action
    spec = wanted.get(action.workflow_id)
    return Hold(action.workflow_id, Reason.SUSPENDED, f"{why}; waiting: {action.because}", spec)


def _why_suspended(record: Record, spec: Wanted | None, observed: Observed, now: float) -> str:
    suspension = suspension_of(record, observed.suspension, now)
    if suspension is not None:
        return f"suspended by {suspension.actor}" + (f": {suspension.reason}" if suspension.reason else "")
    if spec is not None and spec.suspend:
        return f"suspended by its spec ({spec.source}: deploy.suspend)"
    return ""


def suspension_of(record: Record, everything: Suspension | None, now: float) -> Suspension | None:
    """The suspension in force for a workflow: its own, else that of all."""
    for suspension in (record.suspension, everything):
        if suspension is not None and suspension.holds(now):
            return suspension
    return None
