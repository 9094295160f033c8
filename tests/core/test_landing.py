"""What became of a commit: applied and healthy, on its way, or failed, and with which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from timewright.core.errors import Problem, Reason
from timewright.core.landing import Landing, Outcome, judge
from timewright.core.state import Failure, Health, Record, Status
from timewright.core.worlds import Broken, Desired, Wanted

from tests.support import make_wanted

SPEC = make_wanted("hello")
GOOD = Record(
    "hello",
    Status.DEPLOYED,
    source="hello.json",
    attempted=SPEC.digest,
    applied=SPEC.digest,
    health=Health.HEALTHY,
)


def outcome(
    *records: Record,
    wanted: tuple[Wanted, ...] = (SPEC,),
    broken: tuple[Broken, ...] = (),
    changed: tuple[str, ...] = ("hello.json",),
    **more: Any,
) -> Outcome:
    values: dict[str, Any] = {"refused": {}, "busy": set(), "prunes": True, "tries": 5, **more}
    busy, refused = values.pop("busy"), values.pop("refused")
    desired = Desired(True, wanted=wanted, broken=broken)
    return judge(changed, desired, {r.workflow_id: r for r in records}, refused, busy, **values)


def test_what_is_applied_and_healthy_is_a_success() -> None:
    assert outcome(GOOD) == Outcome(Landing.SUCCESS, "1 workflow applied and healthy", ("hello",), (), True)


def test_a_commit_that_changes_no_spec_is_a_success() -> None:
    assert outcome(GOOD, changed=("README.md",)).description == "no workflow changed"


def test_a_release_on_trial_is_a_success_that_may_change() -> None:
    found = outcome(replace(GOOD, trial_until=5.0))
    assert (found.state, found.final) == (Landing.SUCCESS, False)


@pytest.mark.parametrize(
    "record",
    [
        replace(GOOD, status=Status.DEPLOYING),
        replace(GOOD, health=Health.DEGRADED, health_reason="WaitingForWorker: it is away"),
        replace(GOOD, applied="old", held="needs x", held_reason=Reason.WAITING_FOR_DEPENDS_ON),
        replace(GOOD, applied="old"),
        replace(
            GOOD,
            status=Status.DEPLOYMENT_FAILED,
            attempts=2,
            failure=Failure(Reason.STORAGE_FAILED, "full", transient=True),
        ),
    ],
)
def test_what_may_still_come_is_pending(record: Record) -> None:
    found = outcome(record)
    assert (found.state, found.final) == (Landing.PENDING, False)
    assert found.description.startswith("0 of 1 applied; hello: ")


def test_what_is_worked_on_is_pending_and_so_is_what_nobody_has_looked_at() -> None:
    assert outcome(GOOD, busy={"hello"}).state is Landing.PENDING
    assert outcome().state is Landing.PENDING


@pytest.mark.parametrize(
    ("record", "final"),
    [
        (
            replace(GOOD, status=Status.DEPLOYMENT_FAILED, failure=Failure(Reason.TYPE_CHECK_FAILED, "x")),
            True,
        ),
        (
            replace(
                GOOD,
                status=Status.DEPLOYMENT_FAILED,
                attempts=5,
                failure=Failure(Reason.STORAGE_FAILED, "full", transient=True),
            ),
            False,
        ),
        (replace(GOOD, applied="old", held="pinned by ada", held_reason=Reason.PINNED), True),
    ],
)
def test_what_fails_is_a_failure_with_the_first_error(record: Record, final: bool) -> None:
    found = outcome(record)
    assert (found.state, found.failed, found.final) == (Landing.FAILURE, ("hello",), final)
    assert found.description.startswith("hello: ")


def test_a_file_that_is_no_spec_is_a_failure_that_names_it() -> None:
    broken = Broken("bad.json", "x", Reason.INVALID_SPEC, (Problem("workflowId", "is missing"),))
    found = outcome(GOOD, broken=(broken,), changed=("hello.json", "bad.json"))
    assert (found.state, found.failed) == (Landing.FAILURE, ("bad.json",))
    assert found.description == "bad.json: InvalidSpec: workflowId: is missing"


def test_a_file_that_is_still_being_read_is_pending() -> None:
    desired = Desired(True, settling=frozenset({"hello.json"}))
    found = judge({"hello.json"}, desired, {"hello": GOOD}, {}, set(), prunes=True, tries=5)
    assert (found.state, found.final) == (Landing.PENDING, False)


def test_what_other_commits_broke_does_not_count() -> None:
    other = replace(GOOD, workflow_id="other", source="other.json", status=Status.DEPLOYMENT_FAILED)
    both = (SPEC, make_wanted("other"))
    assert outcome(GOOD, other, wanted=both).state is Landing.SUCCESS


def test_a_changed_policy_counts_for_the_specs_below_it() -> None:
    spec = make_wanted("hello", source="team/hello.json")
    found = outcome(GOOD, wanted=(spec,), changed=("team/all.policy.yaml",))
    assert found.workflows == ("hello",)
    assert outcome(GOOD, wanted=(spec,), changed=("else/all.policy.yaml",)).workflows == ()


@pytest.mark.parametrize(
    ("changes", "prunes", "state"),
    [
        ({"status": Status.UNDEPLOYED}, True, Landing.SUCCESS),
        ({"status": Status.UNDEPLOYING}, True, Landing.PENDING),
        ({"held": "away", "held_reason": Reason.VANISHED}, True, Landing.PENDING),
        ({"held": "too many", "held_reason": Reason.PRUNE_BLOCKED}, True, Landing.FAILURE),
        ({"held": "prune is off", "held_reason": Reason.PRUNE_BLOCKED}, False, Landing.SUCCESS),
        ({"held": "off", "held_reason": Reason.PRUNE_BLOCKED, "prune": False}, True, Landing.SUCCESS),
    ],
)
def test_what_a_commit_removes_is_to_be_undeployed(changes: Any, prunes: bool, state: Landing) -> None:
    assert outcome(replace(GOOD, **changes), wanted=(), prunes=prunes).state is state


def test_a_workflow_that_moved_is_judged_once_where_it_is_now() -> None:
    moved = make_wanted("hello", source="sub/hello.json")
    found = outcome(GOOD, wanted=(moved,), changed=("hello.json", "sub/hello.json"))
    assert (found.state, found.workflows) == (Landing.SUCCESS, ("hello",))


def test_a_second_file_for_a_workflow_of_another_source_is_a_failure_of_its_commit() -> None:
    twin = make_wanted("hello", source="theirs/hello.json")
    failure = Failure(Reason.DUPLICATE_WORKFLOW_ID, "it is that of hello.json")
    found = outcome(
        GOOD, wanted=(SPEC, twin), changed=("theirs/hello.json",), refused={"theirs/hello.json": failure}
    )
    assert (found.state, found.failed) == (Landing.FAILURE, ("theirs/hello.json",))
