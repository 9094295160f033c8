"""The story that rows of history tell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.errors import Reason
from timewright.core.history import Attempt, Outcome, Rollout, rollouts
from timewright.core.state import TRANSITIONS, Failure, Record, Status
from timewright.edge.statefile import Event
from timewright.views import history_view

from tests.support import NOW, digest

S = Status
A, B, C = digest("a"), digest("b"), digest("c")
FAILURE = Failure(Reason.TYPE_CHECK_FAILED, "src/x.ts:1: no")


class Story:
    """Rows, a second apart."""

    def __init__(self) -> None:
        self.rows: list[Event] = []

    def __call__(self, new: str, release: str = "", because: str = "", **changes: Any) -> Story:
        number = len(self.rows) + 1
        before = [row.new for row in self.rows if row.kind == "status"]
        values: dict[str, Any] = {
            "old": before[-1] if before else S.UNDEPLOYED,
            "revision": "r1",
            "source": "hello.json",
            "failure": FAILURE if new == S.DEPLOYMENT_FAILED else None,
            "timings": {},
            **changes,
        }
        because = because or f"row {number}"
        row = Event(number, NOW + number, "hello", new=new, because=because, digest=release, **values)
        self.rows.append(row)
        return self

    def deployed(self, release: str, **changes: Any) -> Story:
        return self(S.DEPLOYING, release, **changes)(S.DEPLOYED, release)

    def told(self) -> list[tuple[str, str, str]]:
        return [(one.kind, one.release, one.outcome) for one in rollouts(self.rows)]


def told(story: Story) -> list[tuple[str, str, str]]:
    return story.told()


def one(story: Story) -> Rollout:
    (found,) = rollouts(story.rows)
    return found


def test_a_deploy_is_told_with_who_and_when_and_how_long() -> None:
    story = Story()(S.DEPLOYING, A, "new spec hello.json", actor="ann")
    story(S.DEPLOYED, A, "it is live", timings={"check": 12.0})
    found = one(story)
    assert (found.kind, found.digest, found.outcome) == (Attempt.DEPLOY, A, Outcome.LIVE)
    assert (found.actor, found.because, found.result) == ("ann", "new spec hello.json", "it is live")
    assert (found.started, found.finished) == (NOW + 1, NOW + 2)
    assert found.stages == {"check": 12.0}


def test_a_deploy_under_way_is_running() -> None:
    assert told(Story()(S.DEPLOYING, A)) == [("deploy", A[:12], "running")]


def test_a_release_is_replaced_by_the_next_and_says_by_which_and_when() -> None:
    story = Story().deployed(A).deployed(B)
    first, second = rollouts(story.rows)
    assert (first.outcome, first.ended, first.ended_by) == (Outcome.REPLACED, NOW + 4, B)
    assert second.outcome is Outcome.LIVE


def test_a_deploy_that_fails_leaves_live_what_was() -> None:
    story = Story().deployed(A)(S.DEPLOYING, B)(S.DEPLOYMENT_FAILED, B, timings={"check": 3.0})
    assert told(story) == [("deploy", A[:12], "live"), ("deploy", B[:12], "failed")]
    failed = rollouts(story.rows)[1]
    assert failed.failure == FAILURE
    assert failed.stages == {"check": 3.0}
    assert failed.ended is None


def test_each_retry_is_an_attempt_of_its_own() -> None:
    story = Story()
    for _ in range(3):
        story(S.DEPLOYING, A)(S.DEPLOYMENT_FAILED, A)
    assert [outcome for _, _, outcome in told(story)] == ["failed"] * 3


def test_a_spec_that_cannot_be_read_is_a_failed_attempt_without_a_release() -> None:
    story = Story().deployed(A)(S.DEPLOYMENT_FAILED)
    assert told(story)[1] == ("deploy", "", "failed")


def test_a_crash_in_mid_deploy_makes_one_attempt_of_two_tries() -> None:
    story = Story()(S.DEPLOYING, A)(S.DEPLOYING, A)(S.DEPLOYED, A)
    assert told(story) == [("deploy", A[:12], "live")]
    assert one(story).tries == 2
    assert one(story).started == NOW + 1


def test_a_newer_spec_supersedes_what_was_under_way() -> None:
    story = Story()(S.DEPLOYING, A)(S.DEPLOYING, B, "hello.json changed")(S.DEPLOYED, B)
    assert told(story) == [("deploy", A[:12], "superseded"), ("deploy", B[:12], "live")]
    assert rollouts(story.rows)[0].result == "hello.json changed"


def test_a_rollback_says_of_the_release_that_it_went_back_from_it_and_why() -> None:
    story = Story().deployed(A).deployed(B)
    story(S.ROLLING_BACK, A, "rolled back by root: it is bad", actor="root")(S.ROLLED_BACK, A)
    first, bad, back = rollouts(story.rows)
    assert first.outcome is Outcome.REPLACED
    assert (bad.outcome, bad.ended_because) == (Outcome.ROLLED_BACK, "rolled back by root: it is bad")
    assert (back.kind, back.actor, back.outcome) == (Attempt.ROLLBACK, "root", Outcome.LIVE)


def test_a_rollback_that_fails_changes_nothing_of_what_is_live() -> None:
    story = Story().deployed(A).deployed(B)(S.ROLLING_BACK, A)(S.DEPLOYMENT_FAILED, A)
    assert told(story)[1:] == [("deploy", B[:12], "live"), ("rollback", A[:12], "failed")]


def test_an_undeploy_ends_what_was_live() -> None:
    story = Story().deployed(A)(S.UNDEPLOYING, A, "the spec went away")(S.UNDEPLOYED)
    first, last = rollouts(story.rows)
    assert (first.outcome, first.ended_because) == (Outcome.UNDEPLOYED, "the spec went away")
    assert (last.kind, last.outcome) == (Attempt.UNDEPLOY, Outcome.UNDEPLOYED)


def test_what_went_away_outside_of_us_is_an_undeploy_too() -> None:
    story = Story().deployed(A)(S.UNDEPLOYED)
    assert told(story) == [("deploy", A[:12], "undeployed"), ("undeploy", "", "undeployed")]


def test_a_spec_that_comes_back_supersedes_its_undeploy() -> None:
    story = Story().deployed(A)(S.UNDEPLOYING, A).deployed(A)
    assert told(story) == [
        ("deploy", A[:12], "replaced"),
        ("undeploy", A[:12], "superseded"),
        ("deploy", A[:12], "live"),
    ]


def test_a_spec_that_vanishes_in_mid_deploy_leaves_live_what_was() -> None:
    story = Story().deployed(A)(S.DEPLOYING, B)(S.DEPLOYED, "", "release a goes on")
    assert told(story) == [("deploy", A[:12], "live"), ("deploy", B[:12], "superseded")]


def test_a_spec_that_vanishes_before_anything_was_live_is_superseded() -> None:
    assert told(Story()(S.DEPLOYING, A)(S.UNDEPLOYED)) == [("deploy", A[:12], "superseded")]


def test_a_release_found_in_the_tree_starts_a_history() -> None:
    story = Story()(S.DEPLOYED, A, "found in the tree", old=None).deployed(B)
    assert told(story) == [("deploy", A[:12], "replaced"), ("deploy", B[:12], "live")]


def test_asking_again_for_what_is_live_is_no_new_attempt() -> None:
    story = Story().deployed(A)(S.DEPLOYMENT_FAILED)(S.DEPLOYED, A)
    assert told(story) == [("deploy", A[:12], "live"), ("deploy", "", "failed")]
    back = Story().deployed(A).deployed(B)(S.ROLLING_BACK, A)(S.ROLLED_BACK, A)(S.DEPLOYED, A)
    assert told(back)[-1] == ("rollback", A[:12], "live")


def test_settling_on_another_release_than_the_one_under_way_is_an_attempt() -> None:
    story = Story().deployed(A)(S.DEPLOYING, B)(S.DEPLOYED, C)
    assert told(story) == [
        ("deploy", A[:12], "replaced"),
        ("deploy", B[:12], "superseded"),
        ("deploy", C[:12], "live"),
    ]


@pytest.mark.parametrize("kind", ["health", "pin", "drift", "suspension", "of a newer version"])
def test_rows_of_other_kinds_change_nothing(kind: str) -> None:
    story = Story()(S.DEPLOYING, A)("Degraded", A, kind=kind)(S.DEPLOYED, A)("x", kind=kind)
    assert told(story) == [("deploy", A[:12], "live")]


def test_a_word_of_a_newer_version_is_passed_over() -> None:
    assert told(Story().deployed(A)("PROMOTING", B)) == [("deploy", A[:12], "live")]


def test_a_history_that_was_cut_off_starts_in_the_middle() -> None:
    assert told(Story()(S.DEPLOYED, A, old=S.DEPLOYING)) == [("deploy", A[:12], "live")]
    assert told(Story()(S.UNDEPLOYED, old=S.UNDEPLOYING)) == []


def test_people_see_it_newest_first_with_what_can_be_gone_back_to() -> None:
    story = Story().deployed(A).deployed(B)
    shown = history_view(story.rows, Record("hello", S.DEPLOYED, applied=B), {A})
    assert [(one["release"], one["live"], one["kept"]) for one in shown] == [
        (B[:12], True, False),
        (A[:12], False, True),
    ]
    assert shown[1]["replacedBy"] == B[:12]
    assert shown[0]["finishedAt"] == "2023-11-14T22:13:24.000Z"


@st.composite
def walks(draw: st.DrawFn) -> list[Event]:
    """Any walk along the table of transitions, begun anywhere, with rows of other kinds in between."""
    story = Story()
    now = draw(st.sampled_from(Status))
    for _ in range(draw(st.integers(0, 25))):
        if draw(st.booleans()) and draw(st.booleans()):
            story("Healthy", kind="health")
        new = draw(st.sampled_from(sorted(TRANSITIONS[now])))
        story(new, draw(st.sampled_from(["", A, B, C])), old=draw(st.sampled_from([now, now, None])))
        now = new
    return story.rows


@given(walks())
def test_whatever_happened_the_story_is_in_order_and_has_one_live_release_at_most(rows: list[Event]) -> None:
    found = rollouts(rows)
    assert [one.id for one in found] == sorted({one.id for one in found})
    assert sum(one.outcome is Outcome.LIVE for one in found) <= 1
    assert sum(one.outcome is Outcome.RUNNING for one in found) <= 1
    for item in found:
        assert item.finished is None or item.finished >= item.started
        assert (item.finished is None) == (item.outcome is Outcome.RUNNING)
        assert item.ended is None or (item.finished is not None and item.ended >= item.finished)
        was_live = item.outcome in (Outcome.REPLACED, Outcome.ROLLED_BACK)
        assert not was_live or item.ended is not None
    last = [row.new for row in rows if row.kind == "status"][-1:]
    if last and last[0] in (S.DEPLOYING, S.UNDEPLOYING, S.ROLLING_BACK):
        assert any(item.outcome is Outcome.RUNNING for item in found)
    elif last == [S.UNDEPLOYED]:
        assert not any(item.outcome in (Outcome.LIVE, Outcome.RUNNING) for item in found)
