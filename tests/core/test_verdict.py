from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from timewright.core.errors import Reason
from timewright.core.state import Health
from timewright.core.verdict import SLOT_AGES, Poller, Serving, Slot, Verdict, coarse, culprit, verdict

KEY = ("default", "q")
CRASH = """Uncaught Error: boom
    at Timeout._onTimeout (/srv/data/releases/a/aaaaaaaaaaaa/src/activities.ts:3:40)
    at /srv/data/releases/b/bbbbbbbbbbbb/dist/util.js:1:1
"""


def slot(state: str = "polling", **changes: Any) -> Slot:
    """A worker process that serves a at aaaaaaaaaaaa and b at bbbbbbbbbbbb, started long ago."""
    releases = {"a": "aaaaaaaaaaaa", "b": "bbbbbbbbbbbb"}
    return Slot(KEY, changes.pop("version", "v1"), state, releases, **{"pid": 7, "age": 999.0, **changes})


def of(
    workflow_id: str,
    *slots: Slot,
    pollers: Collection[Poller] | None = None,
    youngest: str = "",
    release: str = "",
    **serving: Any,
) -> Verdict:
    return verdict(
        workflow_id,
        release or workflow_id * 12,
        KEY,
        Serving(**{"reachable": True, "slots": slots, **serving}),
        address="t:7233",
        pollers=pollers,
        youngest={"v1": youngest} if youngest else {},
    )


def test_what_is_polled_is_healthy() -> None:
    assert of("a", slot()) == Verdict(Health.HEALTHY)


@pytest.mark.parametrize("state", ["draining", "starting", "backoff"])
def test_a_release_that_an_older_process_still_polls_is_healthy_while_a_neighbour_is_swapped(
    state: str,
) -> None:
    assert of("a", slot(state, version="v2", age=1), slot(current=False)).health is Health.HEALTHY


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"reachable": False, "error": "nobody answers there"}, "nobody answers there"),
        ({"temporal": "Temporal at t:7233 does not answer"}, "Temporal at t:7233 does not answer"),
        ({}, "does not serve it yet"),
    ],
)
def test_the_surroundings_are_nobodys_fault(serving: dict[str, Any], words: str) -> None:
    found = of("a", **serving)
    assert found.health is Health.DEGRADED
    assert words in found.reason
    assert not found.fault


def test_another_release_that_is_still_served_is_named() -> None:
    assert "still serves release aaaaaaaaaaaa" in of("a", slot(), release="cccccccccccc").reason


@pytest.mark.parametrize("state", ["starting", "connecting"])
def test_a_process_that_has_just_started_is_on_its_way(state: str) -> None:
    assert of("a", slot(state, age=3)).health is Health.PROGRESSING
    late = of("a", slot(state, age=31))
    assert (late.health, late.fault) == (Health.DEGRADED, False)


def test_a_process_that_can_not_connect_yet_is_no_crash_of_who_is_on_trial() -> None:
    """Temporal is back, and answers the host already; this process waits until its next try."""
    found = of("a", slot("connecting", error="tcp connect error", unreachable=True), youngest="a")
    assert (found.health, found.fault) == (Health.DEGRADED, False)
    assert "can't connect to Temporal at t:7233: tcp connect error" in found.reason
    assert of("a", slot("connecting", error="it died", restarts=1), youngest="a").fault


def test_a_release_that_can_not_be_loaded_is_at_fault_and_its_neighbour_is_not() -> None:
    process = slot(failed={"a": "no such export"})
    assert of("a", process).fault
    assert of("a", process).reason == f"{Reason.RELOAD_FAILED}: it can't be loaded: no such export"
    assert of("b", process) == Verdict(Health.HEALTHY)


def test_a_crash_blames_whom_its_stack_names_first() -> None:
    process = slot("backoff", error=CRASH, restarts=2)
    assert culprit(process) == "a"
    assert of("a", process, youngest="b").fault
    neighbour = of("b", process, youngest="b")
    assert (neighbour.health, neighbour.fault) == (Health.DEGRADED, False)
    assert "(because of a)" in neighbour.reason
    assert "Uncaught Error: boom" in neighbour.reason


def test_a_crash_that_names_nobody_blames_who_is_on_trial_and_else_nobody() -> None:
    process = slot("backoff", error="the worker process ended with signal SIGKILL")
    assert of("a", process, youngest="a").fault
    assert not of("b", process, youngest="a").fault
    assert not of("a", process).fault


def test_a_stack_that_names_a_release_of_another_time_blames_nobody_of_today() -> None:
    process = slot("backoff", error="at /srv/releases/a/cccccccccccc/dist/x.js:1:1")
    assert culprit(process) == ""


@pytest.mark.parametrize(
    ("poller", "health"),
    [
        (Poller("9@host/timewright/v1", 3), Health.HEALTHY),
        (Poller("7@host", 3), Health.HEALTHY),
        (Poller("9@host/timewright/v1", 300), Health.DEGRADED),
        (Poller("9@host/timewright/v0", 3), Health.DEGRADED),
        (Poller("77@host", 3), Health.DEGRADED),
    ],
)
def test_healthy_needs_a_fresh_poller_of_this_very_process(poller: Poller, health: Health) -> None:
    found = of("a", slot(), pollers=[poller])
    assert found.health is health
    assert not found.fault


def test_where_temporal_was_not_asked_the_hosts_word_counts_and_a_new_process_gets_time() -> None:
    assert of("a", slot(), pollers=None).health is Health.HEALTHY
    assert of("a", slot(age=2), pollers=[]).health is Health.HEALTHY
    assert of("a", slot(), pollers=[]).health is Health.DEGRADED


@pytest.mark.parametrize(
    ("age", "other", "same"), [(12.0, 29.0, True), (31.0, 9e9, True), (9.0, 11.0, False)]
)
def test_ages_that_no_verdict_tells_apart_are_the_same(age: float, other: float, same: bool) -> None:
    assert (coarse(age, SLOT_AGES) == coarse(other, SLOT_AGES)) is same
