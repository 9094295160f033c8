from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from timewright.core.actions import Action, Deploy, Hold, Refuse, Rollback, Undeploy
from timewright.core.errors import Reason
from timewright.core.plan import plan
from timewright.core.state import Asked, Failure, Pin, Pinned, Status, Suspension
from timewright.core.worlds import Observed, Policy

from tests.support import (
    KEEP,
    NOW,
    PRUNE,
    desired,
    digest,
    make_broken,
    make_live,
    make_record,
    make_wanted,
    observed,
)

OLD, NEW = digest("hello v1"), digest("hello v2")


def pin(kind: Pinned = Pinned.ROLLBACK, **changes: Any) -> Pin:
    """A rollback from v2 to v1, against what the source said then."""
    values: dict[str, Any] = {"digest": OLD, "actor": "ann", "at": NOW, "against": "word v2", **changes}
    return Pin(kind, **values)


def rolled_back(**changes: Any) -> Observed:
    """The world after that rollback."""
    values = {"status": Status.ROLLED_BACK, "pin": pin(), **changes}
    return observed(make_record(**values), make_live())


def the_plan(world: Observed, *items: Any, policy: Policy = KEEP, now: float = NOW) -> tuple[Action, ...]:
    return plan(desired(*items), world, policy, now)


def spec(version: str = "v2", **changes: Any) -> Any:
    return make_wanted(version=version, asked=f"word {version}", **changes)


def test_a_pin_holds_while_the_source_says_the_same() -> None:
    (action,) = the_plan(rolled_back(), spec())
    assert isinstance(action, Hold)
    assert action.reason is Reason.PINNED
    assert "ann" in action.because


def test_another_word_of_the_source_lifts_a_rollback_and_no_pin() -> None:
    assert isinstance(the_plan(rolled_back(), spec("v3"))[0], Deploy)
    held = rolled_back(pin=pin(Pinned.PIN, against=""))
    assert isinstance(the_plan(held, spec("v3"))[0], Hold)


def test_a_pin_ends_at_its_time_and_not_before() -> None:
    world = rolled_back(pin=pin(Pinned.PIN, against="", until=NOW + 5))
    assert isinstance(the_plan(world, spec(), now=NOW + 4)[0], Hold)
    assert isinstance(the_plan(world, spec(), now=NOW + 5)[0], Deploy)


@pytest.mark.parametrize(
    "world",
    [
        observed(make_record(version="v2", pin=pin()), make_live(version="v2")),
        observed(make_record(status=Status.ROLLING_BACK, pin=pin()), make_live()),
        observed(make_record(status=Status.ROLLED_BACK, pin=pin()), make_live(pooled=False)),
        observed(make_record(status=Status.UNDEPLOYED, applied="", pin=pin())),
        observed(make_record(status=Status.DEPLOYING, attempted=NEW, pin=pin()), make_live()),
    ],
    ids=["the bad one is live", "interrupted", "not in its pool", "nothing is live", "in mid-deploy"],
)
def test_what_a_pin_says_and_isnt_so_is_brought_about(world: Observed) -> None:
    (action,) = the_plan(world, spec())
    assert isinstance(action, Rollback)
    assert action.digest == OLD


def test_a_rollback_under_way_is_left_alone() -> None:
    world = observed(make_record(version="v2", pin=pin()), make_live(version="v2"), busy={"hello": OLD})
    assert the_plan(world, spec()) == ()


def test_a_rollback_that_failed_is_not_tried_again_until_it_makes_sense() -> None:
    failure = Failure(Reason.ROLLBACK_FAILED, "it is damaged")
    record = make_record(
        version="v2", status=Status.DEPLOYMENT_FAILED, attempted=OLD, failure=failure, pin=pin(), because="no"
    )
    live = make_live(version="v2")
    assert isinstance(the_plan(observed(record, live), spec())[0], Hold)
    passing = replace(record, failure=replace(failure, transient=True), retry_at=NOW)
    assert isinstance(the_plan(observed(passing, live), spec())[0], Rollback)


def test_a_spec_that_goes_away_lifts_a_rollback_and_no_pin() -> None:
    gone = rolled_back(missing_since=NOW - 100)
    other = make_wanted("other")
    assert isinstance(the_plan(gone, other, policy=PRUNE)[-1], Undeploy)
    held = rolled_back(pin=pin(Pinned.PIN, against=""))
    assert isinstance(the_plan(held, policy=PRUNE)[0], Hold)


def test_a_broken_spec_is_told_once_the_pin_is_carried_out_and_if_it_is_news() -> None:
    broken = make_broken(workflow_id="hello")
    assert isinstance(the_plan(rolled_back(), broken)[0], Refuse)
    old_news = rolled_back(pin=pin(against=broken.content))
    (action,) = the_plan(old_news, broken)
    assert isinstance(action, Hold)
    assert "besides, hello.json is refused" in action.because
    first = observed(make_record(version="v2", pin=pin()), make_live(version="v2"))
    assert isinstance(the_plan(first, broken)[0], Rollback)


def test_what_was_undeployed_by_hand_stays_so_whatever_the_source_says() -> None:
    out = pin(Pinned.UNDEPLOY, digest="", against="")
    assert isinstance(the_plan(observed(make_record(pin=out), make_live()), spec())[0], Undeploy)
    there = observed(make_record(status=Status.UNDEPLOYED, applied="", pin=out))
    for item in (spec(), spec("v3"), make_broken(workflow_id="hello")):
        (action,) = the_plan(there, item)
        assert isinstance(action, Hold)
        assert action.reason is Reason.UNDEPLOYED_BY_HAND
    assert the_plan(there) == ()


def test_what_is_suspended_is_left_alone_but_for_what_a_person_asks() -> None:
    away = Suspension("bob", NOW, "audit")
    live = make_live()
    (action,) = the_plan(observed(make_record(suspension=away), live), spec())
    assert isinstance(action, Hold)
    assert action.reason is Reason.SUSPENDED
    assert (
        action.because
        == f"suspended by bob: audit; waiting: hello.json changed: release {OLD[:12]} → {NEW[:12]}"
    )
    asked = make_record(suspension=away, request=Asked("ann", NOW))
    assert isinstance(the_plan(observed(asked, live), spec())[0], Deploy)
    over = make_record(suspension=replace(away, until=NOW))
    assert isinstance(the_plan(observed(over, live), spec())[0], Deploy)
    all_of_it = replace(observed(make_record(), live), suspension=away)
    assert isinstance(the_plan(all_of_it, spec())[0], Hold)


def test_a_hold_that_no_longer_holds_is_cleared() -> None:
    world = observed(make_record(version="v1", held="suspended", status=Status.UNDEPLOYED, applied=""))
    (action,) = the_plan(world)
    assert type(action).__name__ == "Clear"
