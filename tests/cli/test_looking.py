"""Verbs that look: by the daemon when there is one, else by its state file; for people and for programs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from timewright.core.errors import Problem, Reason
from timewright.core.state import Failure, Health, Pin, Pinned, Record, Status, Suspension
from timewright.edge.desk import Operation
from timewright.edge.statefile import StateFile

from tests.cli.conftest import Done, Shell
from tests.cli.fake import DIGEST, OLDER, FakeDaemon, event, serving, workflow

NOW = time.time()
FAILURE = Failure(
    Reason.TYPE_CHECK_FAILED, "src/workflow.ts:3:1: TS2345", (Problem("src/workflow.ts", "no"),)
)

#: What is not as usual with a workflow → what `status` says of it, and the command that helps.
STATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "suspended": (
        {"suspension": Suspension("alice", NOW, "holidays", NOW + 7500)},
        "suspended by alice: holidays (2h left)",
        "timewright resume hello",
    ),
    "pinned": (
        {"pin": Pin(Pinned.PIN, OLDER, "bob", NOW, "audit day")},
        "pinned at release 302632518e67 by bob: audit day",
        "timewright unpin hello",
    ),
    "rolled back": (
        {"status": Status.ROLLED_BACK, "pin": Pin(Pinned.ROLLBACK, OLDER, "bob", NOW, against="x")},
        "rolled back to release 302632518e67 until its spec changes by bob",
        "timewright unpin hello",
    ),
    "reverted": (
        {"status": Status.ROLLED_BACK, "pin": Pin(Pinned.REVERT, OLDER, "timewright", NOW, "no pollers")},
        "reverted to release 302632518e67 by timewright: no pollers",
        "timewright unpin hello",
    ),
    "taken out": (
        {
            "status": Status.UNDEPLOYED,
            "held": "taken out of service",
            "held_reason": "UndeployedByHand",
            "pin": Pin(Pinned.UNDEPLOY, "", "eve", NOW),
        },
        "taken out of service",
        "timewright deploy hello",
    ),
    "drifted": (
        {"drift": ("dist/workflow.js was changed", "a", "b", "c")},
        "changed by hand: dist/workflow.js was changed, a, b and 1 more",
        "timewright diff hello --drift",
    ),
    "held back": (
        {
            "held": "hello.json is gone; kept because prune is off",
            "held_reason": "PruneBlocked",
            "missing_since": NOW,
        },
        "hello.json is gone; kept because prune is off",
        "timewright prune hello",
    ),
    "failed": (
        {"status": Status.DEPLOYMENT_FAILED, "failure": FAILURE, "retry_at": NOW + 7500},
        "TypeCheckFailed: src/workflow.ts:3:1: TS2345; tried again in 2h",
        "timewright show hello",
    ),
    "unhealthy": (
        {"health": Health.DEGRADED, "health_reason": "WaitingForWorker: nobody answers there"},
        "WaitingForWorker: nobody answers there",
        "",
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_what_is_not_as_usual_is_seen_at_a_glance_with_its_reason_and_what_helps(
    state: str, shell: Shell, daemon: FakeDaemon
) -> None:
    changes, text, helps = STATES[state]
    daemon.workflows = {"hello": workflow(**changes)}
    done = shell.run("status")
    line = next(line for line in done.out.splitlines() if text in line)
    assert line.startswith(("! hello:", "✗ hello:", "· hello:"))
    assert line.endswith(f"→ {helps}" if helps else text)
    row = done.out.splitlines()[1]
    assert state in ("failed", "unhealthy") or row.endswith(state)
    assert helps in shell.run("status", "hello").out


def test_an_explanation_that_names_its_way_out_gets_no_other_one(shell: Shell, daemon: FakeDaemon) -> None:
    held = "pinned at release x by bob; `timewright unpin hello` follows the source again"
    pin = Pin(Pinned.PIN, OLDER, "bob", NOW)
    daemon.workflows = {"hello": workflow(pin=pin, held=held, held_reason="Pinned")}
    out = shell.run("status").out
    assert out.count("unpin hello") == 1
    assert out.count("pinned at release") == 1


def test_a_reason_that_many_share_is_told_once(shell: Shell, daemon: FakeDaemon) -> None:
    reason = "WaitingForWorker: nobody answers there"
    daemon.workflows = {
        f"w{number}": workflow(f"w{number}", health=Health.DEGRADED, health_reason=reason)
        for number in range(8)
    }
    out = shell.run("status").out
    assert out.count(reason) == 1
    assert "! w0, w1, w2, w3, w4 and 3 more: " in out


def test_a_reason_that_several_share_names_no_command_for_one_of_them(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.workflows = {name: workflow(name, drift=("dist/workflow.js was changed",)) for name in ("a", "b")}
    out = shell.run("status").out
    assert "! a, b: changed by hand: dist/workflow.js was changed\n" in out


def test_the_suspension_of_all_is_told_once_with_its_own_way_out(shell: Shell, daemon: FakeDaemon) -> None:
    from timewright.views import workflow_view

    everything = Suspension("alice", NOW, "fire")
    daemon.workflows = {
        name: workflow_view(Record(name, Status.DEPLOYED, applied=DIGEST), everything) for name in ("a", "b")
    }
    out = shell.run("status").out
    assert "! a, b: suspended with all others by alice: fire → timewright resume --all" in out


def test_status_exits_with_1_when_one_has_failed(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("status").code == 0
    daemon.workflows["bad"] = workflow("bad", status=Status.DEPLOYMENT_FAILED, failure=FAILURE)
    for line in (["status"], ["status", "bad"], ["status", "--json"], ["status", "--oneline"]):
        assert shell.run(*line).code == 1


def test_oneline_is_one_line_whatever_happens(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("status", "--oneline").out.startswith("1 DEPLOYED, last pass 0s ago")
    daemon.workflows["bad"] = workflow(
        "bad", status=Status.DEPLOYMENT_FAILED, failure=FAILURE, drift=("two\nlines",), health=Health.MISSING
    )
    daemon.source_problem = "it is gone"
    done = shell.run("status", "--oneline")
    assert done.out.count("\n") == 1
    assert "1 DEPLOYED, 1 DEPLOYMENT_FAILED, 1 drifted, 1 unhealthy (bad), 1 failed (bad)" in done.out
    assert "the source can't be read" in done.out
    one = shell.run("status", "bad", "--oneline").out
    assert one.startswith("bad DEPLOYMENT_FAILED OutOfSync Missing 7cc54c69e260: TypeCheckFailed")


def test_that_nothing_can_be_changed_is_told_first_and_is_exit_code_1(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.pass_problem = "the state file can't be used: database or disk is full"
    done = shell.run("status")
    assert done.code == 1
    assert done.out.startswith("Nothing can be changed now, what runs goes on: the state file can't be used")
    assert "passes fail" in shell.run("status", "--oneline").out


def test_the_json_of_status_is_what_the_daemon_says(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("status", "--json").json["workflows"] == [daemon.workflows["hello"]]
    assert shell.run("status", "hello", "--json").json == daemon.workflows["hello"]
    assert shell.run("list", "--json").json == [daemon.workflows["hello"]]


def test_a_view_of_a_newer_daemon_with_words_we_do_not_know_is_shown_all_the_same(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.workflows["hello"] |= {"status": "TELEPORTING", "health": "Excited", "new": {"key": 1}}
    for line in (["status"], ["status", "hello"], ["status", "--oneline"], ["list"]):
        done = shell.run(*line)
        assert done.code == 0, done.err
        assert "TELEPORTING" in done.out


HOSTILE = "\x1b[31mred\x07[bold]:bug:\u202e\nforged line\r"


def test_text_from_outside_reaches_no_terminal_and_no_markup(shell: Shell, daemon: FakeDaemon) -> None:
    failure = Failure(Reason.INVALID_SPEC, HOSTILE, (Problem(HOSTILE, HOSTILE),))
    daemon.workflows = {
        "hello": workflow(
            name=HOSTILE,
            because=HOSTILE,
            held=HOSTILE,
            held_reason="KnownBad",
            failure=failure,
            health=Health.DEGRADED,
            health_reason=HOSTILE,
            drift=(HOSTILE,),
            owner=HOSTILE,
            actor=HOSTILE,
            pin=Pin(Pinned.PIN, OLDER, HOSTILE, NOW, HOSTILE),
            warnings=(HOSTILE,),
            suspension=Suspension(HOSTILE, NOW, HOSTILE),
            pool=HOSTILE,
        )
    }
    daemon.events = [event(1, because=HOSTILE, failure=failure, actor=HOSTILE, new=HOSTILE)]
    daemon.operations = {"x": {**operation(), "because": HOSTILE, "by": HOSTILE, "reason": HOSTILE}}
    audited = {"id": 1, "at": None, "by": HOSTILE, "role": HOSTILE, "verb": HOSTILE, "workflowId": HOSTILE}
    daemon.answers["/audit"] = [{**audited, "outcome": HOSTILE, "detail": HOSTILE}]
    daemon.answers["/plan"] = {
        "complete": False,
        "problem": HOSTILE,
        "actions": [{"action": HOSTILE, "workflowId": HOSTILE, "because": HOSTILE}],
    }
    lines = (
        "status",
        "status hello",
        "status --oneline",
        "status hello --oneline",
        "list",
        "show hello",
        "logs",
        "operations",
        "audit",
        "plan",
    )
    for line in lines:
        done = shell.run(*line.split())
        assert not set("\x1b\x07\u202e\r") & set(done.out + done.err), line
        assert "\nforged" not in done.out + done.err, line
        assert "🐛" not in done.out, line
        if line not in ("list", "status --oneline"):
            assert "[bold]" in done.out, line


def operation(**changes: Any) -> dict[str, Any]:
    from timewright.views import operation_view

    return operation_view(
        Operation(
            **{
                "id": "op1",
                "kind": "deploy",
                "workflow_id": "hello",
                "actor": "alice",
                "reason": "",
                "at": NOW,
                **changes,
            }
        )
    )


# logs ------------------------------------------------------------------------------------------


def test_logs_tells_each_kind_of_event_in_words(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.events = [
        event(1, old="DEPLOYED", new="DEPLOYING", because="hello.json changed"),
        event(2, because="live", timings={"check": 100.4, "publish": 9.9}, actor="source"),
        event(3, kind="health", old="Progressing", new="Healthy", because="served"),
        event(4, kind="pin", old="", new="pin to 302632518e67", because="pinned", actor="bob"),
        event(5, kind="suspension", old="suspended", new="", because="resumed by bob", actor="bob"),
        event(6, "", kind="suspension", old="", new="suspended", because="all"),
        event(7, old=None, new="DEPLOYED", because="found in the tree"),
    ]
    lines = [line[21:] for line in shell.run("logs").out.splitlines()]
    pad = "hello" + " " * 21
    assert lines[0] == f"{pad}DEPLOYED → DEPLOYING  hello.json changed"
    assert lines[1] == f"{pad}DEPLOYING → DEPLOYED  live (110 ms)"
    assert lines[2] == f"{pad}health Progressing → Healthy  served"
    assert lines[3] == f"{pad}pin pin to 302632518e67  pinned by bob"
    assert lines[4] == f"{pad}suspension suspended ended  resumed by bob"
    assert lines[5] == f"{'(all)':26}suspension suspended  all"
    assert lines[6] == f"{pad}new here → DEPLOYED  found in the tree"


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1s"), (59, "1m"), (119.9, "2m"), (7190, "2h"), (86_399, "1d"), (-5, "0s")]
)
def test_what_was_just_set_for_a_time_has_all_of_it_left(seconds: float, text: str) -> None:
    from timewright.cli.common import left

    assert left(NOW + seconds, NOW) == text


def test_logs_json_is_a_line_an_event(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.events = [event(1), event(2)]
    lines = shell.run("logs", "hello", "--json", "-n", "1").out.splitlines()
    assert [json.loads(line) for line in lines] == [event(2)]


def follow(shell: Shell, until: int, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Done:
    """`logs -f`, stopped as Ctrl-C does after so many events."""
    from timewright.cli import events

    original = events.follow

    def stopped(*given: Any) -> Iterator[Any]:
        for count, item in enumerate(original(*given), 1):
            yield item
            if count == until:
                raise KeyboardInterrupt

    monkeypatch.setattr(events, "follow", stopped)
    return shell.run("logs", "-f", "--json", *arguments)


def ids(done: Done) -> list[int]:
    return [json.loads(line)["id"] for line in done.out.splitlines()]


def test_follow_shows_the_last_events_and_then_those_that_happen(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.events = [event(number) for number in range(1, 6)]

    def happen() -> None:
        while not daemon.streams:
            time.sleep(0.01)
        for number in range(6, 9):
            daemon.events.append(event(number))
            time.sleep(0.03)

    thread = threading.Thread(target=happen)
    thread.start()
    done = follow(shell, 5, monkeypatch, "-n", "2")
    thread.join()
    assert (done.code, ids(done)) == (0, [4, 5, 6, 7, 8])
    assert daemon.streams == ["5"]


def test_follow_takes_up_a_stream_that_broke_where_it_ended(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.events = [event(1)]

    def happen() -> None:
        for number in (2, 3):
            while len(daemon.streams) < number - 1:
                time.sleep(0.01)
            time.sleep(0.1)
            daemon.events.append(event(number))
            time.sleep(0.1)
            daemon.cut.set()

    thread = threading.Thread(target=happen)
    thread.start()
    done = follow(shell, 3, monkeypatch)
    thread.join()
    assert ids(done) == [1, 2, 3]
    assert daemon.streams[:2] == ["1", "2"]


def test_follow_shows_no_event_twice(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.events = [event(1), event(2), event(3)]
    daemon.forgets = True
    timer = threading.Timer(0.3, lambda: daemon.events.append(event(4)))
    timer.start()
    assert ids(follow(shell, 4, monkeypatch)) == [1, 2, 3, 4]
    timer.join()


def test_follow_goes_on_when_the_daemon_was_restarted(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDaemon(workflows={"hello": workflow()}, events=[event(1)])
    path = shell.data / "api.sock"
    ready, over = threading.Event(), threading.Event()

    def happen() -> None:
        with serving(fake, path):
            ready.set()
            while not fake.streams:
                time.sleep(0.01)
        time.sleep(0.4)
        fake.events += [event(2), event(3)]  # while nobody listens
        with serving(fake, path):
            over.wait(20)

    thread = threading.Thread(target=happen)
    thread.start()
    ready.wait(10)
    done = follow(shell, 3, monkeypatch)
    over.set()
    thread.join()
    assert ids(done) == [1, 2, 3]
    assert done.err.count("waiting until it is back") == 1


# without a daemon ------------------------------------------------------------------------------


@pytest.fixture
def left(shell: Shell) -> StateFile:
    """A state file that a daemon has left: one workflow, two events, one operation."""
    state = StateFile(shell.data / "state.db")
    record = state.transition(Record("hello", source="hello.json"), Status.DEPLOYING, because="new", now=NOW)
    record = state.transition(
        record, Status.DEPLOYED, because="live", now=NOW, digest=DIGEST, applied=DIGEST, attempted=DIGEST
    )
    state.save(Record("old", Status.UNDEPLOYED))
    state.desk.add_operation(Operation("op1", "deploy", "hello", "alice", "why not", NOW))
    state.desk.audit(
        at=NOW, actor="alice", role="admin", verb="deploy", workflow_id="hello", outcome="ok", detail=""
    )
    return state


READING = {
    "status": "hello     DEPLOYED",
    "status hello": "live release    7cc54c69e260",
    "status --oneline": "1 DEPLOYED",
    "list": "hello\tDEPLOYED\t7cc54c69e260",
    "logs": "DEPLOYING → DEPLOYED",
    "logs hello": "DEPLOYING → DEPLOYED",
    "operations": "why not",
    "audit": "alice",
}


@pytest.mark.parametrize("line", READING)
def test_while_the_daemon_is_down_its_state_file_is_read_and_that_is_said_once(
    line: str, shell: Shell, left: StateFile
) -> None:
    done = shell.run(*line.split())
    assert done.code == 0, done.err
    assert READING[line] in done.out
    quiet = "--oneline" in line
    assert done.err.count("Note: the daemon isn't running") == (0 if quiet else 1)


@pytest.mark.parametrize("line", [line for line in READING if "--oneline" not in line])
def test_json_of_the_state_file_says_no_word_besides(line: str, shell: Shell, left: StateFile) -> None:
    done = shell.run(*line.split(), "--json")
    assert done.err == ""
    assert done.out


def test_state_file_and_daemon_are_shown_in_the_same_shape(
    shell: Shell, left: StateFile, tmp_path: Path
) -> None:
    aside = shell.run("status", "--json").json
    fake = FakeDaemon(workflows={view["workflowId"]: view for view in aside["workflows"]})
    with serving(fake, shell.data / "api.sock"):
        daemon = shell.run("status", "--json").json
    assert aside.keys() == daemon.keys()


def test_the_suspension_of_all_is_seen_without_a_daemon(shell: Shell, left: StateFile) -> None:
    left.set_fact("suspension", {"actor": "alice", "at": NOW, "reason": "fire", "until": None})
    view = shell.run("status", "--json").json
    assert view["suspended"]["scope"] == "all"
    assert view["workflows"][0]["suspended"]["by"] == "alice"
    left.set_fact("suspension", {"actor": "alice", "at": NOW, "reason": "fire", "until": NOW - 1})
    assert shell.run("status", "--json").json["suspended"] is None


def test_follow_reads_the_state_file_while_the_daemon_is_down(
    shell: Shell, left: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timewright.cli import events

    def nap(seconds: float) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(events, "_POLL", 0)
        left.record_change(
            Record(""), kind="suspension", old="", new="suspended", because="b", actor="", now=NOW
        )

    monkeypatch.setattr("timewright.cli.events.time.sleep", nap)
    stopping = pytest.MonkeyPatch()
    done = follow(shell, 3, stopping)
    stopping.undo()
    assert ids(done) == [1, 2, 3]


def test_a_state_file_is_not_touched_by_who_reads_it(shell: Shell, left: StateFile) -> None:
    left.close()
    before = (shell.data / "state.db").read_bytes()
    for line in READING:
        shell.run(*line.split())
    assert (shell.data / "state.db").read_bytes() == before


# history ---------------------------------------------------------------------------------------

ROLLOUT = {
    "kind": "deploy",
    "release": DIGEST[:12],
    "outcome": "rolled back",
    "kept": True,
    "by": "bob",
    "because": "hello.json changed",
    "startedAt": "2026-11-23T05:13:44.120Z",
    "finishedAt": "2026-11-23T05:13:46.120Z",
    "tries": 2,
    "stagesMs": {"check": 100.0, "publish": 30.2},
    "revision": "abc",
    "error": None,
    "endedBecause": "no pollers",
}


def test_history_tells_who_when_why_how_long_and_how_it_ended(shell: Shell, daemon: FakeDaemon) -> None:
    failed = {**ROLLOUT, "release": None, "outcome": "failed", "kept": False, "stagesMs": {}, "tries": 1}
    failed |= {"error": {"reason": "InvalidSpec", "message": "no"}, "endedBecause": None}
    daemon.history["hello"] = [failed, ROLLOUT]
    header, first, second = shell.run("history", "hello").out.splitlines()
    assert " ".join(header.split()) == "RELEASE WHAT OUTCOME WHEN TOOK BY REVISION KEPT BECAUSE"
    assert "deploy" in first
    assert " 2s " in first
    assert first.endswith("hello.json changed; InvalidSpec: no")
    assert second.startswith("7cc54c69e260  deploy  rolled back")
    assert " 130 ms " in second
    assert second.endswith("kept  hello.json changed; begun 2 times; until no pollers")
    assert shell.run("history", "hello", "--json", "-n", "1").json == [failed]
    shown = shell.run("show", "hello").out
    assert "until no pollers" in shown
    assert "live release    7cc54c69e260" in shown


def test_what_was_never_deployed_has_no_history(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("history", "hello").out == "It was never deployed.\n"


# plan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "complete", "code"),
    [
        ([], True, 0),
        (["hold"], True, 0),
        (["clear", "hold"], True, 0),
        (["deploy"], True, 3),
        (["deploy", "hold"], True, 3),
        (["rollback"], True, 3),
        (["deploy", "refuse"], True, 1),
        ([], False, 1),
    ],
)
def test_plan_has_an_exit_code_for_what_is_to_be_done(
    actions: list[str], complete: bool, code: int, shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.answers["/plan"] = {
        "complete": complete,
        "problem": None if complete else "no permission",
        "actions": [{"action": word, "workflowId": "hello", "because": "so"} for word in actions],
    }
    done = shell.run("plan")
    assert done.code == code
    assert all(f"{word:9} hello: so" in done.out for word in actions)


def test_plan_shows_what_is_held_back_last_with_its_reason(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.answers["/plan"] = {
        "complete": True,
        "problem": None,
        "actions": [
            {"action": "hold", "workflowId": "old", "because": "old.json is gone, but prune is off"},
            {"action": "deploy", "workflowId": "new", "because": "new spec new.json"},
        ],
    }
    lines = shell.run("plan").out.splitlines()
    assert lines == [
        "+ deploy    new: new spec new.json",
        "= hold      old: old.json is gone, but prune is off",
        "1 to deploy, 1 held back",
    ]


def test_plan_with_a_source_of_its_own_does_not_ask_the_daemon(shell: Shell, daemon: FakeDaemon) -> None:
    (shell.home / "specs").mkdir()
    shell.run("plan", "--source", "specs")
    assert not [item for item in daemon.requests if item.path == "/plan"]
