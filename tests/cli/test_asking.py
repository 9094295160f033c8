"""Verbs that change something: what they ask the daemon, how they wait, and how they tell the end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.cli.conftest import Shell
from tests.cli.fake import FakeDaemon, Refusal, serving, workflow

#: Command line → the call and its body.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "deploy hello": ("/workflows/hello/deploy", {}),
    "deploy hello --force -m why": ("/workflows/hello/deploy", {"force": True, "reason": "why"}),
    "redeploy hello": ("/workflows/hello/redeploy", {}),
    "undeploy hello --reason late": ("/workflows/hello/undeploy", {"reason": "late"}),
    "undeploy hello --yes --force": ("/workflows/hello/undeploy", {"force": True}),
    "rollback hello": ("/workflows/hello/rollback", {}),
    "rollback hello 302632": ("/workflows/hello/rollback", {"release": "302632"}),
    "promote hello": ("/workflows/hello/rollout", {"action": "promote"}),
    "abort hello": ("/workflows/hello/rollout", {"action": "abort"}),
    "gate retry hello": ("/workflows/hello/rollout", {"action": "retry-gate"}),
    "pin hello": ("/workflows/hello/pin", {}),
    "pin hello 302632 --for 1h30m": ("/workflows/hello/pin", {"release": "302632", "seconds": 5400.0}),
    "unpin hello": ("/workflows/hello/unpin", {}),
    "suspend hello --for 2h": ("/workflows/hello/suspend", {"seconds": 7200.0}),
    "suspend --all -m fire": ("/suspend", {"reason": "fire"}),
    "resume hello": ("/workflows/hello/resume", {}),
    "resume --all": ("/resume", {}),
}


@pytest.mark.parametrize("line", ASKED)
def test_a_verb_asks_the_daemon_for_just_that(line: str, shell: Shell, daemon: FakeDaemon) -> None:
    done = shell.run(*line.split())
    assert done.code == 0, done.err
    assert daemon.posts() == [ASKED[line]]
    assert "is done" in done.out


def test_every_verb_that_changes_something_is_in_the_table() -> None:
    from timewright.cli.verbs import CHANGE, VERBS

    changing = {name for name, verb in VERBS.items() if verb.section == CHANGE}
    assert changing - {"prune", "reconcile"} == {line.split()[0] for line in ASKED}


def test_an_operation_that_failed_is_exit_code_1_with_why_and_what_to_try(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.ends["deploy"] = ("failed", "TypeCheckFailed: src/workflow.ts:3:1")
    done = shell.run("deploy", "hello")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "Error: deploy hello failed: TypeCheckFailed: src/workflow.ts:3:1\nTry: timewright show hello\n"
    )


def test_no_wait_says_which_operation_to_follow(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.ends["deploy"] = None
    done = shell.run("deploy", "hello", "--no-wait")
    assert done.code == 0
    assert "operation op1" in done.out
    assert [item.path for item in daemon.requests] == ["/workflows/hello/deploy"]


def test_an_operation_that_is_not_done_in_time_is_exit_code_1_and_goes_on(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.ends["deploy"] = None
    done = shell.run("deploy", "hello", "--timeout", "0.2s")
    assert done.code == 1
    assert "still under way" in done.err
    assert "it goes on" in done.err
    assert "Try: timewright logs -f hello" in done.err


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1)])
def test_json_is_the_finished_operation(state: str, code: int, shell: Shell, daemon: FakeDaemon) -> None:
    daemon.ends["deploy"] = (state, "so it is")
    done = shell.run("deploy", "hello", "--json")
    assert (done.code, done.json["state"], done.json["because"]) == (code, state, "so it is")
    assert done.err == ""


def test_a_refusal_is_shown_with_its_problems_and_its_hint(shell: Shell, daemon: FakeDaemon) -> None:
    problem = {"where": "src/workflow.ts", "message": "no \x1b[2Jescape", "line": 3, "code": "TS1005"}
    daemon.refusals["/workflows/hello/deploy"] = Refusal(
        400, "BAD_REQUEST", "its spec is invalid", {"hint": "mend it", "problems": [problem]}
    )
    done = shell.run("deploy", "hello")
    assert done.code == 1
    assert done.err == (
        "Error: its spec is invalid\n  - src/workflow.ts:3: TS1005: no �[2Jescape\nTry: mend it\n"
    )


def test_what_is_no_daemon_of_ours_is_said_so(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.answers["/workflows/hello/deploy"] = b"<html>hello</html>"
    done = shell.run("deploy", "hello")
    assert done.code == 1
    assert "something that is no JSON" in done.err


@pytest.mark.parametrize("line", ["deploy hello", "suspend --all", "prune", "wait hello --timeout 0.1s"])
def test_without_a_daemon_a_verb_that_needs_it_says_how_to_start_it(line: str, shell: Shell) -> None:
    done = shell.run(*line.split())
    assert done.code == 1
    assert "no daemon answers at" in done.err


def test_how_to_start_the_daemon_is_said(shell: Shell) -> None:
    done = shell.run("deploy", "hello")
    assert "Try: timewright run, or systemctl status timewright" in done.err


def test_a_daemon_that_runs_but_does_not_listen_yet_is_told_from_one_that_does_not_run(shell: Shell) -> None:
    from timewright.edge.lock import DataLock

    shell.data.mkdir()
    lock = DataLock(shell.data / "timewright.lock")
    lock.acquire()
    done = shell.run("deploy", "hello")
    lock.release()
    assert "it runs and is about to listen" in done.err
    assert "timewright run, or" in shell.run("deploy", "hello").err


def test_a_connection_that_breaks_is_tried_again_and_asks_only_once(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.breaks = 1
    done = shell.run("deploy", "hello")
    assert done.code == 0, done.err
    keys = [item.headers["idempotency-key"] for item in daemon.requests if item.method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(daemon.operations) == 1


def test_each_call_has_a_key_of_its_own(shell: Shell, daemon: FakeDaemon) -> None:
    shell.run("deploy", "hello")
    shell.run("deploy", "hello")
    assert len(daemon.operations) == 2


def test_a_daemon_that_restarts_meanwhile_is_waited_for(shell: Shell) -> None:
    fake = FakeDaemon(workflows={"hello": workflow()}, ends={"deploy": None})
    path = shell.data / "api.sock"
    restarted = threading.Event()

    def restart() -> None:
        with serving(fake, path):
            while not any(item.path == "/operations/op1" for item in fake.requests):
                time.sleep(0.01)
        assert not path.exists()
        time.sleep(0.1)
        fake.ends["deploy"] = ("succeeded", "taken up again")
        with serving(fake, path):
            restarted.wait(20)

    thread = threading.Thread(target=restart)
    thread.start()
    while not path.exists():
        time.sleep(0.01)
    done = shell.run("deploy", "hello")
    restarted.set()
    thread.join()
    assert done.code == 0, done.err
    assert "taken up again" in done.out


@pytest.mark.parametrize("line", ["suspend", "suspend hello --all", "resume", "resume hello --all"])
def test_suspend_and_resume_want_one_workflow_or_all(line: str, shell: Shell, daemon: FakeDaemon) -> None:
    done = shell.run(*line.split())
    assert done.code == 2
    assert "name one workflow, or say --all" in done.err
    assert daemon.posts() == []


@pytest.mark.parametrize("text", ["", "5x", "-3s", "0s", "h", "1.h", "soon", "1e3s", "9" * 400])
def test_what_is_no_span_of_time_is_wrong_usage(text: str, shell: Shell, daemon: FakeDaemon) -> None:
    done = shell.run("pin", "hello", f"--for={text}")
    assert done.code == 2
    assert daemon.posts() == []


# prune -----------------------------------------------------------------------------------------


def gone(name: str, **changes: Any) -> dict[str, Any]:
    held = f"{name}.json is gone; kept because prune is off"
    return workflow(name, missing_since=1_700_000_000.0, held=held, held_reason="PruneBlocked", **changes)


def test_prune_lists_what_is_gone_with_its_reason_and_changes_nothing(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.workflows |= {"old": gone("old")}
    done = shell.run("prune")
    assert done.code == 0
    assert "old.json is gone; kept because prune is off" in done.out
    assert "hello" not in done.out
    assert "timewright prune --confirm" in done.out
    assert daemon.posts() == []


def test_prune_confirm_undeploys_exactly_what_it_listed(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows |= {"old": gone("old"), "older": gone("older")}
    done = shell.run("prune", "--confirm", "-m", "tidy")
    assert done.code == 0, done.err
    assert daemon.posts() == [("/prune", {"workflowIds": ["old", "older"], "reason": "tidy"})]
    assert "prune old: prune is done" in done.out


def test_prune_of_ids_undeploys_only_those(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows |= {"old": gone("old"), "older": gone("older")}
    done = shell.run("prune", "older", "--confirm", "--json")
    assert daemon.posts() == [("/prune", {"workflowIds": ["older"]})]
    assert [operation["workflowId"] for operation in done.json] == ["older"]


@pytest.mark.parametrize(
    ("name", "why"), [("hello", "the spec of hello is there"), ("no", "no workflow 'no'")]
)
def test_prune_of_what_is_not_gone_asks_for_nothing(
    name: str, why: str, shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.workflows |= {"old": gone("old")}
    done = shell.run("prune", "old", name, "--confirm")
    assert done.code == 1
    assert why in done.err
    assert daemon.posts() == []


def test_prune_exits_with_1_when_one_of_them_failed(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows |= {"old": gone("old")}
    daemon.ends["prune"] = ("failed", "another one needs it")
    done = shell.run("prune", "--confirm")
    assert done.code == 1
    assert "prune old failed: another one needs it" in done.err


def test_with_nothing_to_prune_confirm_asks_for_nothing(shell: Shell, daemon: FakeDaemon) -> None:
    done = shell.run("prune", "--confirm")
    assert done.code == 0
    assert "Nothing to prune" in done.out
    assert daemon.posts() == []


def test_prune_json_without_anything_gone_is_an_empty_list(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("prune", "--json").json == []
    assert shell.run("prune", "--confirm", "--json").json == []
