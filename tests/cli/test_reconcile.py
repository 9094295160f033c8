"""`timewright reconcile`: what it asks for, what it waits for, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from timewright.core.commits import Commit
from timewright.core.landing import Landing, Outcome
from timewright.core.sourcestate import SourceState
from timewright.views import source_view

from tests.cli.conftest import Shell
from tests.cli.fake import FakeDaemon

COMMIT = Commit("3e46aed914066144f3e54fae2528db3f367b67d0", "Ada", "ada@x", "Greet in the morning", 1e9)
DONE = Outcome(Landing.SUCCESS, "1 workflow applied and healthy", ("hello",), (), True)


def source(contains: bool | None = None, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"commit": COMMIT, "fetches": 1, "outcome": DONE, "behind": 0, **changes}
    view = source_view(SourceState("main", "git", "/srv/flows.git", values.pop("state", "Synced"), **values))
    return {**view, "contains": contains}


def test_it_asks_for_a_fetch_and_goes(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.sources = [source()]
    done = shell.run("reconcile", "--reason", "a new release")
    assert (done.code, daemon.posts()) == (
        0,
        [("/sources/main/reconcile", {"allowRewind": False, "reason": "a new release"})],
    )
    assert "Asked for" in done.out


def test_it_waits_until_the_commit_is_applied(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.sources = [source(contains=True)]
    done = shell.run("reconcile", "main", "--wait", "--revision", COMMIT.sha)
    assert done.code == 0, done.err
    assert "3e46aed914 Greet in the morning (Ada" in done.out
    assert "1 workflow applied and healthy" in done.out


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (source(state="Refused", problem="branch main was rewound", behind=1), "branch main was rewound"),
        (
            source(outcome=Outcome(Landing.FAILURE, "hello: TypeCheckFailed: x", ("hello",), ("hello",))),
            "hello: TypeCheckFailed: x",
        ),
    ],
)
def test_what_fails_for_good_is_said_at_once(
    shell: Shell, daemon: FakeDaemon, view: dict[str, Any], says: str
) -> None:
    daemon.sources = [view]
    done = shell.run("reconcile", "--wait", "--timeout", "60s")
    assert (done.code, done.out) == (1, "")
    assert says in done.err
    assert "not done after" not in done.err


@pytest.mark.parametrize(
    ("view", "more", "says"),
    [
        (source(fetches=0), (), "it is being fetched"),
        (source(state="Unreachable", problem="the host can't be found"), (), "the host can't be found"),
        (source(outcome=Outcome(Landing.PENDING, "0 of 1 applied")), (), "0 of 1 applied"),
        (
            source(contains=False),
            ("--revision", "abcdef0123"),
            "does not have commit abcdef0123 in its history",
        ),
        (source(commit=None, outcome=None), (), "nothing was fetched yet"),
    ],
)
def test_what_may_still_come_is_waited_for(
    shell: Shell, daemon: FakeDaemon, view: dict[str, Any], more: tuple[str, ...], says: str
) -> None:
    daemon.sources = [view]
    done = shell.run("reconcile", "--wait", "--timeout", "0.3s", *more)
    assert (done.code, done.out) == (1, "")
    assert "not done after 0s; " in done.err
    assert says in done.err


def test_a_rewind_is_allowed_for_one_commit_only(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.sources = [source()]
    assert shell.run("reconcile", "--allow-rewind", "--revision", COMMIT.sha).code == 0
    assert daemon.posts()[0][1]["revision"] == COMMIT.sha


def test_one_of_several_sources_has_to_be_named(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.sources = [source(), {**source(), "name": "other"}]
    done = shell.run("reconcile")
    assert done.code == 2
    assert "main, other" in done.err


def test_a_source_that_is_not_as_it_should_be_is_seen_in_status(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.sources = [source(state="Refused", problem="it was rewound", hint="look at it", behind=2)]
    out = shell.run("status").out
    assert "source main  /srv/flows.git at 3e46aed914 Greet in the morning (Ada" in out
    assert "Refused, 2 commits behind: it was rewound → look at it" in out
    assert "source main refused" in shell.run("status", "--oneline").out
