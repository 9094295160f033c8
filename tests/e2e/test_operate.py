"""Operating a host, through the command line: daemon, worker host and Temporal are real."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.client import Client

from tests.e2e.host import Host, run_workflow
from tests.e2e.specs import greeter

BOOM = "\nsetTimeout(() => { throw new Error('no payment gateway'); }, 4000);\n"


def crashing(workflow_id: str, word: str, **deploy: Any) -> dict[str, Any]:
    """A release that compiles, loads, polls, and takes its worker process down seconds later."""
    spec = greeter(workflow_id, word, **deploy)
    spec["activitiesCode"] += BOOM
    return spec


def ok(host: Host, *arguments: str) -> str:
    done = host.cli(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr + host.tail()
    return done.stdout


async def test_the_bad_day_of_an_operator(host: Host, client: Client) -> None:
    await host.serving("pay.json", greeter("pay", "one"))
    ok(host, "wait", "pay", "--for", "healthy", "--timeout", "30s")
    first = host.release("pay")

    host.put("pay.json", crashing("pay", "two"))
    record = await host.until_status("pay", "ROLLED_BACK", health="Healthy")
    assert host.release("pay") == first
    assert record["lastError"]["reason"] == "HealthCheckFailed"
    assert "no payment gateway" in record["held"]
    assert await run_workflow(client, "pay", "x", queue="pay") == "one x"
    done = host.cli("status", "pay")
    assert done.returncode == 1
    assert "no payment gateway" in done.stdout
    assert "reverted to release" in done.stdout

    done = host.cli("deploy", "pay")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Try: " in done.stderr

    host.put("pay.json", greeter("pay", "three"))
    await host.until_status("pay", "DEPLOYED", health="Healthy")
    ok(host, "wait", "pay", "--for", "healthy", "--timeout", "30s")
    assert await run_workflow(client, "pay", "x", queue="pay") == "three x"
    words = [line["outcome"] for line in json.loads(ok(host, "history", "pay", "--json"))]
    assert words[0] == "live"
    assert "rolled back" in " ".join(words).lower().replace("rolledback", "rolled back")

    host.put("pay.json", crashing("pay", "two"))
    record = await host.until_status("pay", "DEPLOYMENT_FAILED")
    assert record["lastError"]["reason"] == "KnownBad"
    assert await run_workflow(client, "pay", "x", queue="pay") == "three x"


async def test_a_crash_in_a_shared_pool_reverts_its_culprit_and_nobody_else(
    host: Host, client: Client
) -> None:
    await host.serving("good.json", greeter("good", "good", queue="shared"))
    host.put("bad.json", greeter("bad", "bad", queue="shared"))
    await host.until_served("bad")
    host.put("bad.json", crashing("bad", "worse", queue="shared"))
    host.put("good.json", greeter("good", "better", queue="shared"))
    gone_back = ("ROLLED_BACK", "DEPLOYMENT_FAILED")  # the latter if it crashed before it was served
    await host.until("it is reverted", lambda: host.status("bad").get("status") in gone_back)
    await host.until("the neighbour is new", lambda: host.status("good")["previousRelease"] is not None)
    await host.until_served("good")
    assert await run_workflow(client, "good", "x", queue="shared") == "better x"
    assert await run_workflow(client, "bad", "x", queue="shared") == "bad x"


async def test_a_rollback_sticks_over_passes_and_a_killed_daemon_until_the_spec_changes(
    host: Host, client: Client
) -> None:
    await host.serving("one.json", greeter("one", "first"))
    first = host.release("one")
    host.put("one.json", greeter("one", "second"))
    await host.until("the second is live", lambda: host.release("one") != first)
    await host.until_served("one")
    second = host.release("one")

    out = ok(host, "rollback", "one", "-m", "wrong words")
    assert str(first) in out
    assert host.release("one") == first
    assert await run_workflow(client, "one", "x", queue="one") == "first x"
    ok(host, "diff", "one", str(first), str(second))

    host.kill_daemon()
    host.start_daemon()
    await host.until("the API is ready", host.is_ready)
    plan = host.cli("plan").stdout
    assert "rolled back to release" in plan
    assert host.release("one") == first

    host.put("one.json", greeter("one", "third"))
    await host.until_status("one", "DEPLOYED", health="Healthy")
    assert await run_workflow(client, "one", "x", queue="one") == "third x"


@pytest.mark.parametrize("point", ["before-link", "after-link", "after-pool-link", "before-record"])
async def test_a_daemon_killed_in_mid_rollback_finishes_it_at_its_next_start(
    host: Host, client: Client, point: str
) -> None:
    await host.serving("one.json", greeter("one", "first"))
    first = host.release("one")
    host.put("one.json", greeter("one", "second"))
    await host.until("the second is live", lambda: host.release("one") != first)
    await host.until_served("one")
    host.stop_daemon()
    host.start_daemon(TIMEWRIGHT_FAILPOINT=point)
    await host.until("the API is ready", host.is_ready)
    host.cli("rollback", "one", "--no-wait")
    await host.until("it is killed", lambda: host.daemon is not None and host.daemon.poll() is not None)
    host.start_daemon()
    await host.until_status("one", "ROLLED_BACK", health="Healthy")
    assert host.release("one") == first
    assert await run_workflow(client, "one", "x", queue="one") == "first x"


async def test_what_a_person_takes_out_of_service_stays_out_until_they_bring_it_back(
    host: Host, client: Client
) -> None:
    await host.serving("one.json", greeter("one", "first"))
    ok(host, "undeploy", "one", "-m", "it pays twice", "--yes")
    assert host.release("one") is None
    host.put("one.json", greeter("one", "second"))
    await host.until("it is held", lambda: "pays twice" in (host.status("one")["held"] or ""))
    assert host.release("one") is None
    ok(host, "deploy", "one")
    assert await run_workflow(client, "one", "x", queue="one") == "second x"


async def test_while_all_is_suspended_nothing_changes_and_then_all_is_made_up_for(
    host: Host, client: Client
) -> None:
    await host.serving("one.json", greeter("one", "first"))
    ok(host, "suspend", "--all", "-m", "frost")
    host.put("one.json", greeter("one", "second"))
    await host.until("it is held", lambda: "frost" in (host.status("one")["held"] or ""))
    assert await run_workflow(client, "one", "x", queue="one") == "first x"
    ok(host, "resume", "--all")
    await host.until("the second is served", lambda: host.status("one")["sync"] == "Synced")
    await host.until_served("one")
    assert await run_workflow(client, "one", "x", queue="one") == "second x"


async def test_what_is_held_back_from_removal_is_listed_and_confirmed_by_name(host: Host) -> None:
    await host.serving("one.json", greeter("one", "first"))
    host.put("two.json", greeter("two", "first"))
    await host.until_served("two")
    host.remove("two.json")
    await host.until("it is held", lambda: bool(host.status("two")["held"]))
    out = ok(host, "prune")
    assert "two" in out
    assert "prune is off" in out
    assert host.release("two") is not None
    ok(host, "prune", "two", "--confirm", "--yes")
    assert (host.release("two"), host.release("one") is not None) == (None, True)


async def test_a_tree_changed_by_hand_is_told_within_moments_and_restored_when_asked(host: Host) -> None:
    await host.serving("one.json", greeter("one", "first"))
    target = host.data / "workflows" / "one" / "dist" / "workflow.js"
    await host.until("it is watched", lambda: host.status("one")["drift"] == [] and target.exists())
    before = target.read_text()
    target.write_text(before + "// a hotfix at night\n")
    await host.until(
        "it is told", lambda: host.status("one")["drift"] == ["dist/workflow.js was changed"], 20
    )
    assert host.status("one")["sync"] == "OutOfSync"
    assert "a hotfix at night" in ok(host, "diff", "one", "--drift")
    ok(host, "redeploy", "one")
    assert target.read_text() == before
    await host.until("it is told", lambda: host.status("one")["drift"] == [])


async def test_with_healing_on_a_tree_changed_by_hand_is_restored_by_itself(host: Host) -> None:
    host.start_worker()
    host.start_daemon(TIMEWRIGHT_DRIFT_HEAL="true")
    host.put("one.json", greeter("one", "first"))
    await host.until_served("one")
    target = host.data / "workflows" / "one" / "dist" / "workflow.js"
    before = target.read_text()
    target.unlink()
    target.write_text("gone\n")
    await host.until("it is restored", lambda: target.exists() and target.read_text() == before, 30)


async def test_specs_are_deployed_in_the_order_of_their_dependencies(host: Host) -> None:
    host.start_worker()
    host.put("billing.json", greeter("billing", "b", dependsOn=["ledger"]))
    host.put("ledger.json", greeter("ledger", "l"))
    host.put("lost.json", greeter("lost", "x", dependsOn=["nobody"]))
    host.start_daemon()
    await host.until_served("billing")
    since = {name: host.status(name)["since"] for name in ("ledger", "billing")}
    assert since["ledger"] < since["billing"]
    record = await host.until_status("lost", "DEPLOYMENT_FAILED")
    assert record["lastError"]["reason"] == "DependsOnMissing"


async def test_waiting_for_what_does_not_come_ends_with_a_reason(host: Host) -> None:
    await host.serving("one.json", greeter("one", "first"))
    done = host.cli("wait", "one", "--for", "undeployed", "--timeout", "1s")
    assert done.returncode == 1
    assert "DEPLOYED" in done.stderr
