from __future__ import annotations

import pytest
from timewright.core.errors import Reason
from timewright.core.replays import (
    Kind,
    Replayed,
    ReplayReport,
    Step,
    does,
    had,
    mode_of,
    outcome_of,
    outcome_view,
    refusal,
    report_view,
    sentence,
    span,
)

BROKEN = Replayed(
    "order-1",
    "r1",
    ok=False,
    kind=Kind.DETERMINISM,
    message="Timer machine does not handle this event",
    event=5,
    old=Step("activity", "charge"),
    new=Step("timer", ms=5000),
    source="src/workflow.ts:12",
    events=17,
    running=True,
)
FINE = Replayed("order-2", "r2")
SETUP = Replayed("order-3", "r3", ok=False, kind=Kind.SETUP, message="no such workflow type")
STUCK = Replayed("order-4", "r4", ok=False, kind=Kind.DETERMINISM, stuck="oops", old=Step("patch", "x"))


def report(mode: str, *replayed: Replayed, warnings: tuple[str, ...] = ()) -> ReplayReport:
    return ReplayReport(mode, replayed, warnings)


def test_a_mismatch_is_told_with_event_old_new_and_line() -> None:
    assert sentence(BROKEN) == (
        "event 5: history has activity charge, the new code starts a timer of 5 s (src/workflow.ts:12)"
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (Step("patch", "fast"), None, "history has patch fast, the new code has no patched('fast')"),
        (Step("timer", ms=50), None, "history has a timer of 50 ms, the new code does nothing"),
        (None, Step("child", "bill"), "history has nothing there, the new code starts child workflow bill"),
        (Step("complete"), Step("fail"), "history has the workflow's end, the new code fails the workflow"),
    ],
)
def test_every_kind_of_mismatch_has_words(old: Step | None, new: Step | None, told: str) -> None:
    assert sentence(Replayed("w", "r", ok=False, kind=Kind.DETERMINISM, old=old, new=new)) == told


def test_a_mismatch_that_could_not_be_found_is_told_in_temporals_words() -> None:
    assert (
        sentence(Replayed("w", "r", ok=False, kind=Kind.DETERMINISM, message="odd", event=3))
        == "event 3: odd"
    )


def test_a_kind_of_command_that_is_new_to_us_is_told_by_its_name() -> None:
    assert (had(Step("teleport")), does(Step("teleport"))) == ("teleport", "teleport")


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (5000, "5 s"),
        (1500, "1500 ms"),
        (3_600_000, "1 h"),
        (90_000, "90 s"),
        (30 * 86_400_000, "30 d"),
        (0, "0 ms"),
    ],
)
def test_a_timers_time_is_told_in_its_largest_whole_unit(ms: float, text: str) -> None:
    assert span(ms) == text


@pytest.mark.parametrize("kind", [Kind.DETERMINISM, Kind.FAILURE, Kind.TIMEOUT])
def test_what_the_code_breaks_blocks_under_enforce_and_warns_under_warn(kind: Kind) -> None:
    bad = Replayed("w", "r", ok=False, kind=kind, message="why")
    assert report("enforce", FINE, bad).blocks
    assert report("enforce", FINE, bad).notes == ()
    assert not report("warn", FINE, bad).blocks
    assert report("warn", FINE, bad).notes[0].startswith("the new code breaks 1 of 2 executions: w: ")


def test_what_is_not_the_codes_fault_never_blocks_and_is_told() -> None:
    found = report("enforce", FINE, SETUP, warnings=("big-1 was left out: it has more than 20000 events",))
    assert not found.blocks
    assert found.because == ""
    assert found.notes == (
        "1 execution could not be judged by a replay: order-3: no such workflow type",
        "big-1 was left out: it has more than 20000 events",
    )


def test_what_fails_on_the_live_code_already_does_not_hold_its_mending_back() -> None:
    found = report("enforce", STUCK, FINE)
    assert not found.blocks
    assert found.notes == ("1 execution could not be judged by a replay: order-4: it fails already (oops)",)


def test_nothing_to_replay_passes_in_silence() -> None:
    found = report("enforce")
    assert (found.blocks, found.because, found.hint, found.notes) == (False, "", "", ())


def test_many_failures_are_told_by_the_first_three() -> None:
    found = report("enforce", *[Replayed(f"w{n}", "r", ok=False, kind=Kind.TIMEOUT) for n in range(5)])
    assert found.because.startswith("the new code breaks 5 of 5 executions: w0: ")
    assert found.because.endswith("; and 2 more")
    assert "patched()" in found.hint


@pytest.mark.parametrize(
    ("said", "configured", "pinned", "mode"),
    [
        ("", "auto", False, "enforce"),
        ("", "auto", True, "off"),
        ("", "warn", True, "warn"),
        ("enforce", "off", True, "enforce"),
        ("off", "enforce", False, "off"),
    ],
)
def test_a_specs_word_goes_before_the_hosts_and_auto_asks_whether_executions_get_new_code(
    said: str, configured: str, pinned: bool, mode: str
) -> None:
    assert mode_of(said, configured, pinned=pinned) == mode


def test_an_outcome_survives_the_cache() -> None:
    again = outcome_of(outcome_view(BROKEN))
    assert (again.kind, again.event, again.old, again.new) == ("determinism", 5, BROKEN.old, BROKEN.new)
    assert (again.source, again.message) == (BROKEN.source, BROKEN.message)


@pytest.mark.parametrize(
    "value", [{}, {"workflowId": "w"}, {"workflowId": "w", "runId": "r", "ok": 1, "old": {"a": 1}}]
)
def test_what_is_no_outcome_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not an outcome"):
        outcome_of(value)


def test_the_view_has_the_sentence_of_each_failure() -> None:
    view = report_view(report("enforce", FINE, BROKEN))
    assert (view["replayed"], view["broken"], view["blocks"]) == (2, 1, True)
    fine, broken = view["executions"]
    assert "because" not in fine
    assert broken["because"] == sentence(BROKEN)


def test_a_refused_deploy_names_each_execution_with_its_line_in_the_spec() -> None:
    error = refusal(report("enforce", FINE, BROKEN, Replayed("w", "r", ok=False, kind=Kind.TIMEOUT)))
    assert error.reason is Reason.REPLAY_FAILED
    assert error.message.startswith("the new code breaks 2 of 3 executions: order-1: event 5: ")
    assert str(error.problems[0]) == (
        "src/workflow.ts:12: execution order-1: event 5: history has activity charge, the new code starts a"
        " timer of 5 s"
    )
    assert (error.problems[1].where, error.problems[1].line) == ("", None)
    assert "patched()" in error.hint
