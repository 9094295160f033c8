"""`wait`: what has come true, what can't any more, and what is only not so yet."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from timewright.cli.wishes import WISHES, verdict
from timewright.core.errors import Reason
from timewright.core.state import Failure, Health, Pin, Pinned, Status, Suspension

from tests.cli.conftest import Shell
from tests.cli.fake import DIGEST, FakeDaemon, serving, workflow

NOW = time.time()
SOON, LATER = NOW + 7200, NOW + 86_400

FAILED: dict[str, Any] = {
    "status": Status.DEPLOYMENT_FAILED,
    "failure": Failure(Reason.TYPE_CHECK_FAILED, "TS2345"),
}
ROLLED_BACK: dict[str, Any] = {
    "status": Status.ROLLED_BACK,
    "held": "rolled back",
    "held_reason": Reason.PINNED,
    "pin": Pin(Pinned.ROLLBACK, DIGEST, "bob", NOW, against="x"),
}
PINNED: dict[str, Any] = {
    "held": "pinned",
    "held_reason": Reason.PINNED,
    "pin": Pin(Pinned.PIN, DIGEST, "bob", NOW),
}
TAKEN_OUT: dict[str, Any] = {
    "status": Status.UNDEPLOYED,
    "applied": "",
    "held": "undeployed by bob",
    "held_reason": Reason.UNDEPLOYED_BY_HAND,
    "pin": Pin(Pinned.UNDEPLOY, "", "bob", NOW),
}
SUSPENDED: dict[str, Any] = {"suspension": Suspension("bob", NOW)}
GONE: dict[str, Any] = {"held": "prune is off", "held_reason": Reason.PRUNE_BLOCKED}

#: Where a workflow stands → for which wishes it is met (+), hopeless (!) or not yet so (.): deployed,
#: healthy, synced, undeployed, rolled-back.
TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "deployed and healthy": ({}, "+++.."),
    "deployed, not healthy yet": ({"health": Health.PROGRESSING}, "+.+.."),
    "deployed and degraded": ({"health": Health.DEGRADED}, "+.+.."),
    "deploying": ({"status": Status.DEPLOYING}, "....."),
    "deploying again after a failure": ({**FAILED, "status": Status.DEPLOYING}, "....."),
    "failed for good": (FAILED, "!!!.."),
    "failed and tried again": ({**FAILED, "retry_at": SOON}, "....."),
    "rolled back": (ROLLED_BACK, "!!!.+"),
    "rolling back": ({**ROLLED_BACK, "status": Status.ROLLING_BACK}, "....."),
    "a rollback that failed": (
        {**FAILED, "failure": Failure(Reason.ROLLBACK_FAILED, "gone")},
        "!!!.!",
    ),
    "pinned where it is": (PINNED, "++!.."),
    "pinned for a moment": (
        {**PINNED, "pin": Pin(Pinned.PIN, DIGEST, "bob", NOW, until=NOW + 3600)},
        "++!..",
    ),
    "pinned longer than we wait": (
        {**PINNED, "pin": Pin(Pinned.PIN, DIGEST, "bob", NOW, until=LATER)},
        "++!..",
    ),
    "undeployed by hand": (TAKEN_OUT, "!!!+."),
    "undeployed": ({"status": Status.UNDEPLOYED, "applied": ""}, "..++."),
    "undeploying": ({"status": Status.UNDEPLOYING}, "....."),
    "suspended": (SUSPENDED, "+!+!!"),
    "suspended for a moment": ({"suspension": Suspension("bob", NOW, until=NOW + 3600)}, "+.+.."),
    "suspended after a failure": ({**FAILED, **SUSPENDED}, "!!!!!"),
    "gone but kept": (GONE, "++!!!"),
    "waiting for another": (
        {"status": Status.UNDEPLOYED, "held": "needs x", "held_reason": Reason.WAITING_FOR_DEPENDS_ON},
        "...+.",
    ),
    "drifted": ({"drift": ("x",)}, "++..."),
}


@pytest.mark.parametrize("state", TABLE)
def test_each_state_is_met_hopeless_or_not_yet_so_for_each_wish(state: str) -> None:
    changes, expected = TABLE[state]
    view = workflow(**changes)
    found = [verdict(view, wish, SOON) for wish in WISHES]
    assert "".join("+" if item.met else "!" if item.hopeless else "." for item in found) == expected
    assert all(item.why for item in found if not item.met)


def test_what_is_not_there_is_undeployed_and_may_come() -> None:
    assert verdict(None, "undeployed", SOON).met
    found = verdict(None, "healthy", SOON)
    assert (found.met, found.hopeless) == (False, False)


def test_a_release_is_meant_by_the_beginning_of_its_id() -> None:
    assert verdict(workflow(), "healthy", SOON, DIGEST[:5]).met
    assert not verdict(workflow(), "healthy", SOON, "0123").met


# the verb --------------------------------------------------------------------------------------


def test_wait_ends_as_soon_as_it_is_so(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows["hello"] = workflow(status=Status.DEPLOYING)
    timer = threading.Timer(0.3, lambda: daemon.workflows.update(hello=workflow()))
    timer.start()
    done = shell.run("wait", "hello", "--for", "healthy", "--timeout", "20s")
    timer.join()
    assert done.code == 0, done.err
    assert "hello is healthy, release 7cc54c69e260" in done.out


def test_wait_that_is_not_fulfilled_in_time_says_where_it_stands(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows["hello"] = workflow(health=Health.DEGRADED, health_reason="no pollers")
    done = shell.run("wait", "hello", "--timeout", "0.3s")
    assert done.code == 1
    assert done.err == (
        "Error: hello is not healthy after 0s: Degraded: no pollers\nTry: timewright show hello\n"
    )


def test_wait_gives_up_early_on_what_will_not_be(
    shell: Shell, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timewright.cli.wait._SURE", 0.3)
    daemon.workflows["hello"] = workflow(**FAILED)
    done = shell.run("wait", "hello", "--timeout", "1h")
    assert done.code == 1
    assert "Error: hello won't be healthy by itself: TypeCheckFailed: TS2345" in done.err


def test_a_failure_that_a_new_spec_is_about_to_end_is_no_reason_to_give_up(
    shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.workflows["hello"] = workflow(**FAILED)
    timer = threading.Timer(0.6, lambda: daemon.workflows.update(hello=workflow()))
    timer.start()
    assert shell.run("wait", "hello", "--timeout", "20s").code == 0
    timer.join()


def test_wait_waits_for_a_daemon_that_is_about_to_start(shell: Shell) -> None:
    over = threading.Event()

    def start() -> None:
        time.sleep(0.4)
        with serving(FakeDaemon(workflows={"hello": workflow()}), shell.data / "api.sock"):
            over.wait(20)

    thread = threading.Thread(target=start)
    thread.start()
    done = shell.run("wait", "hello", "--timeout", "20s")
    over.set()
    thread.join()
    assert done.code == 0, done.err


def test_wait_for_what_nobody_knows_says_so_at_the_end(shell: Shell, daemon: FakeDaemon) -> None:
    done = shell.run("wait", "hullo", "--timeout", "0.2s")
    assert done.code == 1
    assert "hullo is not healthy after 0s: there is no such workflow\nTry: timewright list" in done.err
    assert shell.run("wait", "hullo", "--for", "undeployed").code == 0


def test_json_of_wait_is_the_workflow_as_it_was_seen_last(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("wait", "hello", "--json").json["workflowId"] == "hello"
    daemon.workflows["hello"] = workflow(status=Status.DEPLOYING)
    done = shell.run("wait", "hello", "--json", "--timeout", "0.2s")
    assert (done.code, done.json["status"]) == (1, "DEPLOYING")
