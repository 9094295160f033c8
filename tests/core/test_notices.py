"""Which rows of the history are told to whom, and in which words."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from timewright.core import telling
from timewright.core.errors import Reason
from timewright.core.notices import (
    NAMES,
    Kind,
    body,
    concerns,
    news_of,
    summary,
    template_problem,
    title,
    what,
)
from timewright.core.state import Failure
from timewright.core.telling import Book, Ledger, Notice, Route

ALL = Route("all", frozenset(Kind), ("*",), (), settle_s=60, repeat_s=3600, per_minute=10)


@dataclass(frozen=True)
class Row:
    """A row of the history, right as it is."""

    id: int
    at: float
    kind: str
    old: str | None
    new: str
    workflow_id: str = "hello"
    because: str = "why"
    revision: str = "r1"
    failure: Failure | None = None


class Story:
    """What happens, and what is told of it. `now` is the time of the last row, or what a test sets."""

    def __init__(self, *routes: Route) -> None:
        self.routes = routes or (ALL,)
        self.ledger = telling.followed(Ledger(0), self.routes)
        self.now, self.count = 1000.0, 0
        self.later: float | None = None
        self.owner = ""
        self.rows: dict[int, Row] = {}

    def row(self, kind: str, old: str | None, new: str, **more: Any) -> Row:
        self.count += 1
        return Row(self.count, self.now, kind, old, new, **more)

    def look(self, *rows: Row) -> list[str]:
        """Read rows; what is told, as `route kind`, or `kind` for the only route."""
        self.rows.update({row.id: row for row in rows})
        self.ledger, first = telling.read(self.ledger, rows, self.routes, self.now, lambda _: self.owner)
        self.ledger, second, self.later = telling.due(
            self.ledger, self.routes, self.now, lambda _: self.owner
        )
        self.ledger = Ledger.of(json.loads(json.dumps(self.ledger.as_json())))  # as after a restart
        return [self._said(notice) for notice in (*first, *second)]

    def _said(self, notice: Notice) -> str:
        return str(notice.kind) if len(self.routes) == 1 else f"{notice.route} {notice.kind}"

    def status(self, old: str, new: str, **more: Any) -> list[str]:
        return self.look(self.row("status", old, new, **more))

    def fail(self, message: str = "TS1: no", **more: Any) -> list[str]:
        failure = Failure(Reason.TYPE_CHECK_FAILED, message)
        return self.status("DEPLOYING", "DEPLOYMENT_FAILED", failure=failure, **more)

    def health(self, old: str, new: str, **more: Any) -> list[str]:
        return self.look(self.row("health", old, new, **more))

    def wait(self, seconds: float) -> list[str]:
        self.now += seconds
        return self.look()


def only(*kinds: str, **changes: Any) -> Route:
    return replace(ALL, on=frozenset(kinds), **changes)


# What simply happens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "old", "new", "told"),
    [
        ("status", "DEPLOYING", "DEPLOYED", ["deployed"]),
        ("status", "DEPLOYMENT_FAILED", "DEPLOYED", []),  # the source asks again for what is live
        ("status", None, "DEPLOYED", []),  # found in the tree
        ("status", "UNDEPLOYED", "DEPLOYING", []),
        ("status", "UNDEPLOYING", "UNDEPLOYED", []),
        ("status", "ROLLING_BACK", "ROLLED_BACK", ["rolled-back"]),
        ("status", "DEPLOYING", "DEPLOYMENT_FAILED", ["failed"]),
        ("health", "Unknown", "Healthy", []),
        ("health", "Healthy", "Progressing", []),
        ("drift", "as built", "drifted", ["drift"]),
        ("drift", "drifted", "as built", []),
        ("suspension", "", "suspended", ["suspended"]),
        ("suspension", "suspended", "", ["resumed"]),
        ("source", "Synced", "Refused", ["source"]),
        ("source", "Synced", "Unreachable", ["source"]),
        ("source", "Synced", "Synced", []),
        ("pin", "", "pinned", []),
    ],
)
def test_a_row_of_the_history_is_told_as_what_it_means(
    kind: str, old: str | None, new: str, told: list[str]
) -> None:
    story = Story()
    assert story.look(story.row(kind, old, new, because="source main: why")) == told
    assert story.wait(100_000) == []


def test_what_happened_longer_than_a_day_ago_is_no_news() -> None:
    story = Story()
    old = story.row("status", "DEPLOYING", "DEPLOYED")
    story.now += 90_000
    assert story.look(old) == []


# What holds ------------------------------------------------------------------------------------


def test_a_bad_health_is_told_only_when_it_lasts() -> None:
    story = Story()
    assert story.health("Healthy", "Degraded") == []
    assert story.later == story.now + 60
    assert story.wait(59) == []
    assert story.wait(1) == ["degraded"]
    assert story.wait(100_000) == []


def test_a_brief_degraded_after_a_deploy_wakes_nobody_and_nor_does_its_end() -> None:
    story = Story()
    assert story.status("DEPLOYING", "DEPLOYED") == ["deployed"]
    story.health("Unknown", "Degraded")
    story.now += 30
    assert story.health("Degraded", "Healthy") == []
    assert story.wait(1000) == []


def test_recovered_is_told_after_what_was_told() -> None:
    story = Story()
    story.health("Healthy", "Missing")
    assert story.wait(60) == ["degraded"]
    assert story.health("Missing", "Progressing") == []
    assert story.health("Progressing", "Healthy") == ["recovered"]
    assert story.health("Progressing", "Healthy") == []


def test_recovered_is_not_told_to_who_heard_of_nothing() -> None:
    story = Story(only("recovered"))
    story.health("Healthy", "Degraded")
    story.wait(60)
    assert story.health("Degraded", "Healthy") == []


def test_a_flapping_health_is_told_once_in_the_repeat_window_and_again_if_it_holds_after_it() -> None:
    story = Story()
    told = []
    for _ in range(20):
        story.health("Healthy", "Degraded")
        told += story.wait(61)
        told += story.health("Degraded", "Healthy")
        story.now += 1
    assert told == ["degraded", "recovered"]
    story.health("Healthy", "Degraded")
    assert story.wait(61) == []
    assert story.wait(3600) == ["degraded"]
    assert story.health("Degraded", "Healthy") == ["recovered"]


def test_the_same_failure_is_told_once_however_often_it_is_tried() -> None:
    story = Story()
    assert story.fail("registry down; next try in 5 s") == ["failed"]
    assert story.status("DEPLOYMENT_FAILED", "DEPLOYING") == []
    assert story.fail("registry down; next try in 10.5 s") == []
    assert story.fail("another error") == ["failed"]
    assert story.fail("another error", revision="r2") == ["failed"]
    story.now += 3600
    assert story.fail("another error", revision="r2") == ["failed"]


def test_a_failure_that_comes_back_after_a_good_deploy_is_told_again() -> None:
    story = Story()
    assert story.fail() == ["failed"]
    assert story.status("DEPLOYING", "DEPLOYED") == ["deployed"]
    assert story.fail() == ["failed"]


def test_who_hears_of_no_deploys_hears_that_it_recovered() -> None:
    story = Story(only("failed", "recovered"))
    assert story.fail() == ["failed"]
    assert story.status("DEPLOYING", "DEPLOYED") == ["recovered"]
    assert story.status("DEPLOYING", "DEPLOYED") == []
    assert story.fail() == ["failed"]
    assert story.status("DEPLOYMENT_FAILED", "DEPLOYED") == ["recovered"]


def test_what_was_undeployed_is_not_told_any_more() -> None:
    story = Story()
    story.health("Healthy", "Degraded")
    story.status("UNDEPLOYING", "UNDEPLOYED")
    assert story.wait(1000) == []
    story.fail()
    story.status("DEPLOYMENT_FAILED", "UNDEPLOYED")
    assert story.status("DEPLOYING", "DEPLOYED") == ["deployed"]


def test_another_drift_is_told_and_the_same_one_is_not() -> None:
    story = Story()
    for because, told in [("a", ["drift"]), ("a", []), ("b", ["drift"])]:
        assert story.look(story.row("drift", "as built", "drifted", because=because)) == told


def test_a_source_that_is_away_is_told_once_and_so_is_its_return() -> None:
    story = Story()

    def source(old: str, new: str, because: str) -> list[str]:
        return story.look(story.row("source", old, new, workflow_id="", because=f"source ops: {because}"))

    assert source("Synced", "Unreachable", "timed out") == ["source"]
    assert source("Unreachable", "Unreachable", "refused") == []
    assert source("Unreachable", "Synced", "abc") == ["source"]
    assert source("Synced", "Refused", "abc is not signed") == ["source"]
    assert source("Refused", "Refused", "def is not signed") == ["source"]
    assert source("Refused", "Synced", "fed: 1 changed") == ["source"]
    assert source("Synced", "Synced", "fee: 1 changed") == []


def test_a_condition_that_came_and_went_unseen_is_not_told() -> None:
    story = Story(only("failed", "recovered"))
    failed = story.row("status", "DEPLOYING", "DEPLOYMENT_FAILED")
    assert story.look(failed, story.row("status", "DEPLOYING", "DEPLOYED")) == []


# To whom ---------------------------------------------------------------------------------------


def test_each_route_hears_of_what_it_asks_for() -> None:
    story = Story(replace(only("deployed"), name="a"), replace(only("failed"), name="b"))
    assert story.status("DEPLOYING", "DEPLOYED") == ["a deployed"]
    assert story.fail() == ["b failed"]


@pytest.mark.parametrize(
    ("workflow", "owner", "workflows", "owners", "told"),
    [
        ("billing-eu", "", ["billing-*"], [], True),
        ("hello", "", ["billing-*"], [], False),
        ("hello", "team-a", ["*"], ["team-a"], True),
        ("hello", "team-b", ["*"], ["team-a"], False),
        ("hello", "", ["*"], ["team-a"], False),
        ("hello", "team-a", ["bill*"], ["team-a"], False),
        ("", "", ["*"], [], True),
        ("", "", ["billing-*"], [], False),
        ("", "team-a", ["*"], ["team-a"], True),
    ],
)
def test_a_route_takes_its_workflows_and_owners(
    workflow: str, owner: str, workflows: list[str], owners: list[str], told: bool
) -> None:
    assert concerns(workflow, owner, workflows, owners) is told


def test_a_new_route_hears_nothing_of_what_was_before_it() -> None:
    story = Story(only("failed"))
    story.fail()
    story.routes = (replace(only("failed"), name="new"),)
    story.ledger = telling.followed(story.ledger, story.routes)
    assert story.wait(10_000) == []
    assert story.fail("another") == ["failed"]


def test_what_is_too_much_is_held_for_a_summary() -> None:
    book = Book(0)
    for _ in range(10):
        assert telling.room(book, ALL, 100.0)
        book = telling.sent(book, 100.0)
    assert not telling.room(book, ALL, 100.0)
    for number in range(30):
        book = telling.held(book, Notice("all", Kind.FAILED, number), f"w{number}")
    assert telling.flush_at(book, ALL, 100.0) == 160.0
    assert telling.flush_at(book, ALL, 160.0) == 160.0
    assert telling.flush_at(Book(0), ALL, 100.0) is None
    head, text = summary(book.held, "prod")
    assert head == "and 30 more (prod)"
    assert text.startswith("failed: 30 (w0, w1, ")
    assert text.endswith("w19, …)")


# In words --------------------------------------------------------------------------------------

FACTS = {**dict.fromkeys(NAMES, ""), "workflow": "hello", "because": "TS1: no\nline 2", "what": "failed"}


def test_a_line_of_which_nothing_is_there_is_left_out() -> None:
    text = "$because\ncommit $commit by $author\nowner $owner\nwhat: $what\nplain"
    assert body(text, FACTS) == "TS1: no\nline 2\nwhat: failed\nplain"
    assert "commit abc by" in body(text, {**FACTS, "commit": "abc"})


def test_a_title_is_one_short_line_whatever_is_in_it() -> None:
    assert title("$workflow\r\nBcc: x $because", FACTS) == "hello Bcc: x TS1: no line 2"
    assert len(title("$because", {**FACTS, "because": "x" * 999})) == 200
    assert "\x1b" not in body("$because", {**FACTS, "because": "\x1b[31mred"})


def test_what_a_text_names_is_not_read_as_a_text() -> None:
    assert body("$because", {**FACTS, "because": "costs $owner $$"}) == "costs $owner $$"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("$workflow ${because} $$5", ""),
        ("$workflw", "has no $workflw; it may have $kind, "),
        ("100 $", "has a '$' without a name after it"),
    ],
)
def test_a_text_that_names_what_isnt_there_is_wrong(text: str, wrong: str) -> None:
    found = template_problem(text)
    assert found.startswith(wrong)
    assert bool(found) is bool(wrong)


def test_kinds_are_said_as_a_person_would() -> None:
    story = Story()
    assert what(Kind.ROLLED_BACK, story.row("status", "", "ROLLED_BACK")) == "rolled back"
    assert what(Kind.SOURCE, story.row("source", "", "Refused")) == "refused"
    assert what(Kind.SOURCE, story.row("source", "", "Synced")) == "in sync again"
    assert news_of(story.row("nobody knows", "", "x")).kind is None
