"""`timewright rollout`, `promote`, `abort` and `gate retry`: what they show and ask for."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from rich.console import Console
from timewright.cli import drawing
from timewright.views import iso

from tests.cli.conftest import Shell
from tests.cli.fake import FakeDaemon

NOW = 1_700_000_000.0
View = dict[str, Any]


def version(build: str, status: str, percent: float, **changes: Any) -> View:
    row = {
        "buildId": build,
        "status": status,
        "percent": percent,
        "releases": {"hello": "7cc54c69e260"},
        "pollers": {"alpha": 2},
        "open": 3,
        "since": iso(NOW - 3600),
        "served": True,
    }
    return {**row, **changes}


def state(phase: str = "pausing", **changes: Any) -> View:
    rollout = {
        "id": "timewright-rollout/hello/bbbbbbbbbbbb",
        "buildId": "bbbbbbbbbbbb",
        "from": "aaaaaaaaaaaa",
        "phase": phase,
        "strategy": "Progressive",
        "step": 1,
        "steps": [
            {"rampPercentage": 5, "pauseS": 60, "gate": False},
            {"rampPercentage": 50, "pauseS": 3600, "gate": True},
        ],
        "percent": 50,
        "nextAt": iso(NOW + 1500),
        "startedAt": iso(NOW - 60),
        "endedAt": None,
        "because": "step 2 of 2: 50 % of new executions",
        "hosts": {"expected": ["alpha", "beta"], "arrived": ["alpha"]},
        "workflows": ["hello"],
        "guilty": [],
        **changes,
    }
    return {
        "workflowId": "hello",
        "namespace": "default",
        "taskQueue": "hello",
        "deployment": "hello",
        "versioned": True,
        "manager": "timewright",
        "problem": "",
        "rollout": rollout,
        "versions": [version("bbbbbbbbbbbb", "Ramping", 50), version("aaaaaaaaaaaa", "Current", 50)],
    }


def screen(view: View, width: int = 120) -> str:
    out = Console(width=width, force_terminal=False, color_system=None)
    return "\n".join(line.plain for line in drawing.drawn(out, view, NOW))


def test_the_screen_says_which_version_has_which_share_and_how_long_a_step_still_takes() -> None:
    text = screen(state())
    assert "version bbbbbbbbbbbb (before: aaaaaaaaaaaa): serves its share, and is watched" in text
    assert "✓ 5 % for 1m" in text
    assert "▶ 50 % for 1h, then its gate  25m 00s left" in text
    assert "not yet served by beta" in text
    assert "██████████░░░░░░░░░░" in text
    assert "alpha" in text


def test_only_a_pause_counts_down() -> None:
    assert "left" not in screen(state("paused"))
    assert "left" not in screen(state(nextAt=iso(NOW - 1)))
    assert "1m 30s left" in screen(state(nextAt=iso(NOW + 90)))


def test_who_holds_a_rollout_is_named() -> None:
    assert "it is managed by bob" in screen({**state("held"), "manager": "bob"})


def test_what_has_ended_says_how_and_for_whom() -> None:
    text = screen(
        state("rolledBack", because="gate smoke failed: no", guilty=["hello"], endedAt=iso(NOW - 60))
    )
    assert "was taken back" in text
    assert "gate smoke failed: no" in text
    assert "failed for hello" in text
    assert "✗ 50 %" in text


def test_of_hundreds_of_versions_the_newest_are_shown() -> None:
    view = state()
    view["versions"] += [version(f"{n:012d}", "Draining", 0, since=iso(NOW - n)) for n in range(90)]
    text = screen(view)
    assert text.count("Draining") == 8
    assert "and 82 older versions" in text


def test_a_workflow_without_versions_and_temporal_away_are_said() -> None:
    view = {**state(), "versioned": False, "rollout": None, "versions": []}
    assert "new code replaces the old in place" in screen(view)
    assert "Temporal can't be asked now: nobody answers" in screen({**state(), "problem": "nobody answers"})


def test_names_from_outside_are_no_markup() -> None:
    assert "[red]x" in screen(state(because="gate [red]x failed"))


def test_rollout_prints_the_screen_or_json(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.rollouts = [state()]
    done = shell.run("rollout", "hello")
    assert (done.code, "step 2 of 2" in done.out) == (0, True)
    assert shell.run("rollout", "hello", "--json").json["rollout"]["phase"] == "pausing"
    assert shell.run("rollout", "nobody").code == 1


@pytest.mark.parametrize(("end", "code"), [("promoted", 0), ("rolledBack", 1), ("superseded", 1)])
def test_watch_says_each_change_once_and_ends_with_the_rollout(
    shell: Shell, daemon: FakeDaemon, end: str, code: int
) -> None:
    daemon.rollouts = [state("gate", because="gate smoke"), state("gate", because="gate smoke"), state(end)]
    began = time.monotonic()
    done = shell.run("rollout", "hello", "--watch")
    assert done.code == code
    assert [line.split()[2] for line in done.out.splitlines()] == ["gate:", f"{end}:"]
    assert time.monotonic() - began < 30


def test_watch_takes_nothing_for_the_end_while_temporal_is_away(shell: Shell, daemon: FakeDaemon) -> None:
    """What is shown then may be the rollout before: a CI job would take it for its own."""
    away = {**state("promoted"), "problem": "nobody answers"}
    nothing = {**away, "rollout": None}
    daemon.rollouts = [nothing, away, state("rolledBack", because="gate smoke failed")]
    done = shell.run("rollout", "hello", "--watch")
    assert done.code == 1
    assert "Temporal can't be asked now: nobody answers" in done.out.splitlines()[0]
    assert "gate smoke failed" in done.out.splitlines()[-1]


def test_watch_with_json_is_a_line_a_change(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.rollouts = [state("gate"), state("promoted")]
    done = shell.run("rollout", "hello", "--watch", "--json")
    phases = [json.loads(line)["rollout"]["phase"] for line in done.out.splitlines()]
    assert (done.code, phases) == (0, ["gate", "promoted"])


def test_ctrl_c_ends_the_watching_and_says_that_it_ends_nothing_else(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    daemon.rollouts = [state()]
    monkeypatch.setattr(time, "sleep", interrupted)
    done = shell.run("rollout", "hello", "--watch")
    assert (done.code, daemon.posts()) == (130, [])
    assert "goes on without you" in done.err


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("promote", "hello"), {"action": "promote"}),
        (("promote", "hello", "--full", "-m", "go"), {"action": "promote", "full": True, "reason": "go"}),
        (("abort", "hello", "--yes"), {"action": "abort"}),
        (("gate", "retry", "hello"), {"action": "retry-gate"}),
    ],
)
def test_the_verbs_ask_for_what_they_say(
    shell: Shell, daemon: FakeDaemon, words: tuple[str, ...], body: View
) -> None:
    done = shell.run(*words)
    assert (done.code, daemon.posts()) == (0, [("/workflows/hello/rollout", body)])
