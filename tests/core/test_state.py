from __future__ import annotations

import itertools

import pytest
from timewright.core.errors import TRANSIENT, DeployError, Problem, Reason, SpecError
from timewright.core.state import TRANSITIONS, IllegalTransitionError, Record, Status, Sync, check_transition

PAIRS = list(itertools.product(Status, Status))


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair[1] not in TRANSITIONS[pair[0]]])
def test_a_transition_that_is_not_in_the_table_is_refused(old: Status, new: Status) -> None:
    with pytest.raises(IllegalTransitionError):
        check_transition(old, new)


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair[1] in TRANSITIONS[pair[0]]])
def test_a_transition_of_the_table_passes_and_says_why(old: Status, new: Status) -> None:
    check_transition(old, new)
    assert TRANSITIONS[old][new]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Status.UNDEPLOYED, Status.DEPLOYED),
        (Status.UNDEPLOYED, Status.UNDEPLOYING),
        (Status.DEPLOYED, Status.DEPLOYED),
        (Status.DEPLOYED, Status.ROLLED_BACK),
        (Status.ROLLING_BACK, Status.DEPLOYED),
        (Status.DEPLOYING, Status.ROLLED_BACK),
        (Status.UNDEPLOYING, Status.DEPLOYED),
    ],
)
def test_no_step_is_left_out_and_no_rollback_is_called_deployed(old: Status, new: Status) -> None:
    assert new not in TRANSITIONS[old]


def test_every_status_has_a_row_and_is_reachable_from_the_beginning() -> None:
    seen, queue = {Status.UNDEPLOYED}, [Status.UNDEPLOYED]
    while queue:
        fresh = TRANSITIONS[queue.pop()].keys() - seen
        seen |= fresh
        queue += fresh
    assert seen == set(Status) == TRANSITIONS.keys()


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.ROLLING_BACK])
def test_what_the_planner_asks_for_is_possible_from_everywhere(status: Status) -> None:
    """Deploy, refuse and undeploy of what is not live: from each status in which a pass can find it."""
    check_transition(status, Status.DEPLOYING)
    check_transition(status, Status.DEPLOYMENT_FAILED)
    if status is not Status.UNDEPLOYED:
        check_transition(status, Status.UNDEPLOYED)
        check_transition(status, Status.UNDEPLOYING)


@pytest.mark.parametrize(
    ("record", "sync"),
    [
        (Record("x", Status.DEPLOYED), Sync.SYNCED),
        (Record("x", Status.UNDEPLOYED), Sync.SYNCED),
        (Record("x", Status.DEPLOYED, held="prune is off"), Sync.OUT_OF_SYNC),
        (Record("x", Status.DEPLOYING), Sync.OUT_OF_SYNC),
        (Record("x", Status.DEPLOYMENT_FAILED), Sync.OUT_OF_SYNC),
        (Record("x", Status.ROLLED_BACK), Sync.OUT_OF_SYNC),
    ],
)
def test_synced_means_that_the_last_wish_is_what_is_live(record: Record, sync: Sync) -> None:
    assert record.sync() is sync


@pytest.mark.parametrize("reason", Reason)
def test_an_error_is_transient_only_when_the_same_input_may_pass_later(reason: Reason) -> None:
    assert DeployError(reason, "no").transient is (reason in TRANSIENT)
    assert not SpecError([], reason=Reason.INVALID_SPEC).transient


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("", "is wrong"), "is wrong"),
        (Problem("a", "is wrong", "mend it"), "a: is wrong (mend it)"),
        (Problem("src/a.ts", "no", line=3), "src/a.ts:3: no"),
        (Problem("src/a.ts", "no", line=3, column=7, code="TS1"), "src/a.ts:3:7: TS1: no"),
    ],
)
def test_a_problem_reads_place_first_then_what_then_what_to_do(problem: Problem, text: str) -> None:
    assert str(problem) == text
    assert str(SpecError([problem, problem])) == f"{text} (and 1 more)"
