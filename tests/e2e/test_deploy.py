"""The main job on real parts: what a newcomer does, and what must happen."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from tests.e2e.host import REPO, Host, TemporalServer, run_workflow, running_host
from tests.e2e.specs import WORKER, greeter


async def test_every_example_in_specs_is_deployed_and_runs_to_completion(host: Host, client: Client) -> None:
    for example in (REPO / "specs").iterdir():
        shutil.copy(example, host.specs)
    host.start_worker()
    host.start_daemon()
    for workflow_id in ("hello", "order-saga", "reminder", "report"):
        await host.until_served(workflow_id)

    assert await run_workflow(client, "hello", "Ada", queue="hello") == "Hello, Ada!"
    assert await run_workflow(client, "reminder", "tea", 50, queue="default") == "remember: tea"
    texts = ["one two", "three"]
    assert await run_workflow(client, "wordReport", texts, queue="reports") == "3 words in 2 texts"
    assert await _order(client, "flaky", approve=True) == "parcel-7"
    assert await _order(client, "good", approve=False) == "order 7 undone"


async def _order(client: Client, card: str, *, approve: bool) -> str:
    order = {"id": "7", "amount": 30, "card": card}
    handle: WorkflowHandle[object, str] = await client.start_workflow(
        "orderSaga", order, id=f"order-{time.time_ns()}", task_queue="orders"
    )
    for _ in range(200):
        if await handle.query("state") == "waiting for approval":
            break
        await asyncio.sleep(0.1)
    await handle.signal("approve", approve)
    return await asyncio.wait_for(handle.result(), 30)


async def test_a_new_spec_is_served_and_its_tree_is_complete(host: Host, client: Client) -> None:
    await host.serving("first.json", greeter("first", "hello"))

    assert await run_workflow(client, "first", "x", queue="first") == "hello x"
    assert host.history("first") == ["DEPLOYING", "DEPLOYED"]
    live = host.data / "workflows" / "first"
    for name in ("package.json", "tsconfig.json", "src/workflow.ts", "dist/workflow.js", "release.toml"):
        assert (live / name).is_file(), name


async def test_an_edited_spec_serves_the_next_execution_without_a_restart(host: Host, client: Client) -> None:
    await host.serving("first.json", greeter("first", "old"))
    before = host.release("first")
    assert host.worker is not None

    host.put("first.json", greeter("first", "new"))
    await host.until("the new release is live", lambda: host.release("first") != before)
    await host.until_served("first")

    assert await run_workflow(client, "first", "x", queue="first") == "new x"
    assert host.worker.poll() is None


def _has_moved(host: Host, before: str | None) -> bool:
    return host.release("first") != before


async def test_an_edit_is_deployed_before_all_else_is_looked_at(host: Host, client: Client) -> None:
    await host.serving("first.json", greeter("first", "old"))
    host.put("beside.json", greeter("beside", "beside"))
    await host.until_served("beside")
    for number in range(3):  # one that comes in the middle of a whole pass is a part of the next
        await asyncio.sleep(2)
        before = host.release("first")
        host.put("first.json", greeter("first", f"new{number}"))
        await host.until("the new release is live", partial(_has_moved, host, before))
        await host.until_served("first")
    logged = [json.loads(line) for line in host.log_file.read_text().splitlines() if '"pass"' in line]
    assert 1 in {one["specs"] for one in logged if one.get("deployed") == 1}
    assert await run_workflow(client, "first", "x", queue="first") == "new2 x"


@pytest.mark.quiet
async def test_updates_under_load_lose_no_execution_and_hold_none_up(host: Host, client: Client) -> None:
    """The trap is ten seconds long: an execution that the old worker had cached, or a task that was
    handed to a poll just cut. Five are far from it, and from what a noisy machine adds."""
    await host.serving("load.json", greeter("load", "v0"))

    async with _load(client, "load") as (results, waits):
        for version in range(1, 5):
            await asyncio.sleep(2)
            before = host.release("load")
            host.put("load.json", greeter("load", f"v{version}"))
            await host.until("the release is swapped", lambda before=before: host.release("load") != before)  # type: ignore[misc]
            await host.until_served("load")
            assert await run_workflow(client, "load", "now", queue="load") == f"v{version} now"
        await asyncio.sleep(2)

    assert len(results) > 60
    assert {result.split()[0] for result in results} == {"v0", "v1", "v2", "v3", "v4"}
    assert max(waits) < 5, sorted(waits)[-10:]


@asynccontextmanager
async def _load(client: Client, name: str) -> AsyncIterator[tuple[list[str], list[float]]]:
    """Starts 8 executions a second, each of five workflow tasks, which two cores can keep up with;
    afterwards every one of them must have completed."""
    results: list[str] = []
    waits: list[float] = []
    running: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        began = time.monotonic()
        result = await run_workflow(client, name, f"n{number}", 300, queue=name)
        waits.append(time.monotonic() - began - 0.3)
        results.append(result)

    async def starter() -> None:
        number = 0
        while True:
            running.add(asyncio.create_task(one(number)))
            number += 1
            await asyncio.sleep(0.125)

    task = asyncio.create_task(starter())
    try:
        yield results, waits
    finally:
        task.cancel()
        await asyncio.gather(*running)  # raises what any execution failed with


async def test_a_type_error_changes_nothing(host: Host, client: Client) -> None:
    good = greeter("first", "good")
    await host.serving("first.json", good)
    before = host.release("first")

    host.put(
        "first.json", {**good, "workflowCode": good["workflowCode"].replace("pauseMs > 0", "pauseMs > 'x'")}
    )
    status = await host.until_status("first", "DEPLOYMENT_FAILED")

    problem = status["lastError"]["problems"][0]
    assert status["lastError"]["reason"] == "TypeCheckFailed"
    assert (problem["where"], problem["code"]) == ("src/workflow.ts", "TS2365")
    assert problem["line"] == 9
    assert host.release("first") == before
    assert status["release"] == before
    assert await run_workflow(client, "first", "x", queue="first") == "good x"

    host.put("first.json", good)  # the source asks again for what is live: nothing is compiled
    await host.until_served("first")
    assert host.history("first")[-2:] == ["DEPLOYMENT_FAILED", "DEPLOYED"]


async def test_a_release_that_compiles_and_cannot_be_loaded_leaves_the_old_one_serving(
    host: Host, client: Client
) -> None:
    good = greeter("first", "good")
    await host.serving("first.json", good)
    before = host.release("first")

    broken = "throw new Error('no such thing');\n" + good["activitiesCode"]
    host.put("first.json", {**good, "activitiesCode": broken})
    status = await host.until_status("first", "DEPLOYMENT_FAILED")

    assert status["lastError"]["reason"] == "LoadFailed"
    assert "no such thing" in status["lastError"]["message"]
    assert host.release("first") == before
    assert await run_workflow(client, "first", "x", queue="first") == "good x"


async def test_one_bad_newcomer_of_a_shared_pool_holds_up_no_other(host: Host, client: Client) -> None:
    host.start_worker()
    bad = greeter("bad", "bad", queue="shared")
    host.put("bad.json", {**bad, "activitiesCode": "throw new Error('bad');\n" + bad["activitiesCode"]})
    host.put("one.json", greeter("one", "one", queue="shared"))
    host.put("two.json", greeter("two", "two", queue="shared"))
    host.start_daemon()

    await host.until_served("one")
    await host.until_served("two")
    assert (await host.until_status("bad", "DEPLOYMENT_FAILED"))["lastError"]["reason"] == "LoadFailed"
    assert await run_workflow(client, "one", "x", queue="shared") == "one x"
    assert await run_workflow(client, "two", "x", queue="shared") == "two x"


async def test_a_deleted_spec_is_undeployed_with_prune_and_kept_without(host: Host, client: Client) -> None:
    host.start_worker()
    host.start_daemon()
    host.put("kept.json", greeter("kept", "kept"))
    host.put("gone.json", greeter("gone", "gone", prune=True))
    await host.until_served("kept")
    await host.until_served("gone")

    host.remove("gone.json")
    await host.until_status("gone", "UNDEPLOYED")
    assert host.history("gone")[-2:] == ["UNDEPLOYING", "UNDEPLOYED"]
    assert host.release("gone") is None

    host.put("other.json", greeter("other", "other"))  # so that the source isn't empty
    host.remove("kept.json")
    status = await host.until_status("kept", "DEPLOYED", sync="OutOfSync")
    assert "prune is off" in status["held"]
    assert await run_workflow(client, "kept", "x", queue="kept") == "kept x"


async def test_a_spec_in_a_process_of_its_own_runs_its_own_worker(host: Host, client: Client) -> None:
    spec = greeter("alone", "alone", isolation="process")
    host.put("alone.json", {**spec, "workerCode": WORKER})
    host.start_worker()
    host.start_daemon()
    await host.until_served("alone")
    assert await run_workflow(client, "alone", "x", queue="alone") == "alone x"


async def test_two_specs_with_one_id_are_both_refused_and_what_runs_stays(host: Host, client: Client) -> None:
    await host.serving("first.json", greeter("first", "good"))

    host.put("twin.json", greeter("first", "other"))
    status = await host.until_status("first", "DEPLOYMENT_FAILED")

    assert status["lastError"]["reason"] == "DuplicateWorkflowId"
    assert "twin.json" in json.dumps(status["lastError"])
    assert await run_workflow(client, "first", "x", queue="first") == "good x"


@pytest.mark.parametrize("order", ["worker first", "daemon first"])
async def test_either_process_may_start_first(host: Host, client: Client, order: str) -> None:
    host.put("first.json", greeter("first", "hello"))
    starts = [host.start_worker, host.start_daemon]
    for start in starts if order == "worker first" else reversed(starts):
        start()
        await asyncio.sleep(2)
    await host.until_served("first")
    assert await run_workflow(client, "first", "x", queue="first") == "hello x"


async def test_deploys_go_on_without_temporal_and_it_is_found_when_it_appears(tmp_path: Path) -> None:
    server = TemporalServer(tmp_path)
    with running_host(tmp_path, server.address) as host:
        host.put("first.json", greeter("first", "hello"))
        host.start_worker()
        host.start_daemon()
        status = await host.until_status("first", "DEPLOYED", health="Degraded")
        assert status["healthReason"].startswith("WaitingForWorker")
        try:
            server.start()
            await host.until_served("first")
            client = await Client.connect(server.address)
            assert await run_workflow(client, "first", "x", queue="first") == "hello x"
        finally:
            server.stop()
