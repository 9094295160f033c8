"""Pins: workflows that don't follow their spec for a while, and what has to be done about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timewright.core.actions import Action, Hold, Refuse, Rollback, Undeploy
from timewright.core.digest import SHORT
from timewright.core.errors import Reason
from timewright.core.state import Pin, Pinned, Record, Status
from timewright.core.worlds import Live, Observed, Wanted


def pins_in_force(
    records: Iterable[Record], wanted: Iterable[Wanted], refusals: Iterable[Refuse], now: float
) -> dict[str, Pin]:
    """The pins that hold now: not at their end, and with the source's word still the one that they are
    against. A pin against a word is lifted by another word, and by the spec's removal."""
    words = {spec.workflow_id: spec.asked for spec in wanted}
    words |= {item.workflow_id: item.content for item in refusals if item.workflow_id is not None}
    pins: dict[str, Pin] = {}
    for record in records:
        pin = record.pin
        if pin is None or (pin.until is not None and now >= pin.until):
            continue
        # A spec that can't be read lifts nothing: what it asks for isn't known.
        broken = any(item.workflow_id == record.workflow_id for item in refusals)
        if not pin.against or broken or words.get(record.workflow_id) == pin.against:
            pins[record.workflow_id] = pin
    return pins


def for_pinned(
    workflow_id: str, pin: Pin, spec: Wanted | None, observed: Observed, now: float
) -> Iterator[Action]:
    record = observed.records.get(workflow_id) or Record(workflow_id)
    live = observed.live.get(workflow_id)
    busy = observed.busy.get(workflow_id)
    if busy == pin.digest:
        return
    if pin.kind is Pinned.UNDEPLOY:
        if live is not None or record.status is not Status.UNDEPLOYED:
            yield Undeploy(workflow_id, _who(pin, "undeployed"))
        elif spec is not None:
            hint = f"`timewright deploy {workflow_id}` brings it back"
            yield Hold(workflow_id, Reason.UNDEPLOYED_BY_HAND, f"{_who(pin, 'undeployed')}; {hint}")
        return
    there = live is not None and live.digest == pin.digest and live.pooled
    moving = record.status in (Status.DEPLOYING, Status.ROLLING_BACK, Status.UNDEPLOYING, Status.UNDEPLOYED)
    if record.request is not None:
        asked = record.request
        why = f"{asked.actor} asked for it again" + (f": {asked.reason}" if asked.reason else "")
        yield Rollback(workflow_id, pin.digest, why)
    elif there and not moving and record.applied == pin.digest:
        yield Hold(workflow_id, Reason.PINNED, why_pinned(workflow_id, pin))
    elif _may_roll_back(record, pin, now):
        yield Rollback(workflow_id, pin.digest, _why_rollback(record, live, pin))
    else:
        yield Hold(workflow_id, Reason.ROLLBACK_FAILED, record.because)


def _may_roll_back(record: Record, pin: Pin, now: float) -> bool:
    """Not again after a failure, but when a retry is due."""
    failure = record.failure
    if failure is None or failure.reason is not Reason.ROLLBACK_FAILED or record.attempted != pin.digest:
        return True
    return failure.transient and record.retry_at is not None and now >= record.retry_at


def _who(pin: Pin, did: str) -> str:
    return f"{did} by {pin.actor}" + (f": {pin.reason}" if pin.reason else "")


def why_pinned(workflow_id: str, pin: Pin) -> str:
    """The explanation of a pin that holds, with its way out."""
    short = pin.digest[:SHORT]
    if pin.kind is Pinned.PIN:
        way_out = f"`timewright unpin {workflow_id}` follows the source again"
        return f"{_who(pin, f'pinned at release {short}')}; {way_out}"
    did = "reverted" if pin.kind is Pinned.REVERT else "rolled back"
    way_out = f"a change of its spec, or `timewright unpin {workflow_id}`, ends that"
    return f"{_who(pin, f'{did} to release {short}')}; {way_out}"


def _why_rollback(record: Record, live: Live | None, pin: Pin) -> str:
    short = pin.digest[:SHORT]
    if record.status is Status.ROLLING_BACK:
        return f"the rollback to release {short} was interrupted and is taken up again"
    came = f"release {live.release} → {short}" if live is not None else f"release {short}"
    did = {Pinned.PIN: "pinned", Pinned.REVERT: "reverted"}.get(pin.kind, "rolled back")
    return f"{_who(pin, did)}: {came}"


def for_refused(item: Refuse, pins: dict[str, Pin], observed: Observed, now: float) -> Iterator[Action]:
    """A refusal; but where a pin holds and isn't carried out yet, that comes first."""
    pin = pins.get(item.workflow_id or "")
    if pin is None or item.workflow_id is None:
        yield item
        return
    for action in for_pinned(item.workflow_id, pin, None, observed, now):
        if isinstance(action, Hold) and action.reason is Reason.PINNED and item.content != pin.against:
            yield item  # something new was said since, and it is wrong
        elif isinstance(action, Hold):
            yield Hold(action.workflow_id, action.reason, f"{action.because}; besides, {item.because}")
        else:
            yield action
        return
    if pin.kind is Pinned.UNDEPLOY and observed.busy.get(item.workflow_id) is None:
        yield Hold(
            item.workflow_id, Reason.UNDEPLOYED_BY_HAND, f"{_who(pin, 'undeployed')}; besides, {item.because}"
        )
