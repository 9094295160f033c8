"""No running workflow is broken by a deploy: Versions, ramps, gates and rollbacks on a real Temporal server.

Every test asserts on what executions return.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from timewright.edge.deployments import Deployments, TemporalAwayError
from timewright.edge.temporal import Temporal
from timewright.rollflow import RolloutFlow

from tests.e2e.host import (
    REPO,
    Host,
    TemporalServer,
    quickly_drained,
    run_workflow,
    running_host,
    until_async,
)
from tests.e2e.specs import WORKER


def waiter(workflow_id: str, word: str, *, queue: str = "", **deploy: Any) -> dict[str, Any]:
    """A workflow that waits for a signal and then says `word` twice: once from itself, once from an
    activity."""
    say = f"{workflow_id}Say"
    code = f"""
import {{ condition, defineSignal, proxyActivities, setHandler }} from '@temporalio/workflow';
import type * as activities from './activities';
const {{ {say} }} = proxyActivities<typeof activities>({{ startToCloseTimeout: '10s' }});
export const go = defineSignal('go');
export async function {workflow_id}(wait: boolean): Promise<string> {{
  let open = !wait;
  setHandler(go, () => {{ open = true; }});
  await condition(() => open);
  return '{word} ' + (await {say}());
}}
"""
    return {
        "workflowId": workflow_id,
        "workflowCode": code,
        "activitiesCode": f"export async function {say}(): Promise<string> {{ return '{word}'; }}\n",
        "deploy": {"taskQueue": queue or workflow_id, **deploy},
    }


def failing(spec: dict[str, Any]) -> dict[str, Any]:
    """The same, but that an execution that does not wait fails."""
    code = spec["workflowCode"].replace("import { condition,", "import { ApplicationFailure, condition,")
    fail = "if (!wait) throw ApplicationFailure.nonRetryable('broken');"
    return {**spec, "workflowCode": code.replace("return 'two '", f"{fail} return 'two '")}


async def begin(client: Client, name: str, *, wait: bool = True, queue: str = "") -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        name, wait, id=f"{name}-{time.time_ns()}", task_queue=queue or name, result_type=str
    )


async def finish(handle: WorkflowHandle[Any, Any]) -> Any:
    await handle.signal("go")
    return await asyncio.wait_for(handle.result(), 30)


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with quickly_drained(tmp_path_factory.mktemp("temporal")) as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, temporal: TemporalServer) -> Iterator[Host]:
    with running_host(tmp_path, temporal.address) as running:
        running.settings = {"TIMEWRIGHT_ROLLOUT_SUNSET_S": "1"}
        yield running


async def deploy(host: Host, spec: dict[str, Any]) -> None:
    """Put a spec and wait until its release is live and healthy."""
    name = str(spec["workflowId"])
    before = host.release(name)
    host.put(f"{name}.json", spec)
    await host.until("another release is live", lambda: host.release(name) != before)
    await host.until_served(name)


def rollout(host: Host, name: str) -> dict[str, Any]:
    """What `timewright rollout` says."""
    done = host.api("GET", f"/api/v1/workflows/{name}/rollout")
    found: dict[str, Any] = done
    return found


def steer(host: Host, name: str, action: str, **more: Any) -> None:
    host.api("POST", f"/api/v1/workflows/{name}/rollout", {"action": action, **more})


async def until_phase(host: Host, name: str, *phases: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def there() -> bool:
        found.clear()
        found.update(rollout(host, name))
        return found["rollout"] is not None and found["rollout"]["phase"] in phases

    await host.until(f"the rollout of {name} is {phases}", there)
    return found


def current_build(host: Host, name: str) -> str:
    """Which Build ID Temporal gives new executions to; '' while there is none."""
    versions = rollout(host, name)["versions"]
    return next((str(one["buildId"]) for one in versions if one["status"] == "Current"), "")


async def sample(client: Client, name: str, count: int) -> Counter[str]:
    """How often which code answered, of so many new executions."""
    results: Counter[str] = Counter()
    for _ in range(count // 20):
        answers = await asyncio.gather(*(run_workflow(client, name, False, queue=name) for _ in range(20)))
        results.update(answers)
    return results


async def replayed(client: Client, found: dict[str, Any], name: str) -> None:
    """The history of a rollout replays on the code that made it. UPDATE_HISTORIES=1 keeps it, for the code of
    later releases (tests/test_rollflow.py)."""
    history = await client.get_workflow_handle(found["rollout"]["id"]).fetch_history()
    replayer = Replayer(workflows=[RolloutFlow], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(history)
    if os.environ.get("UPDATE_HISTORIES"):
        folder = REPO / "tests" / "histories"
        folder.mkdir(exist_ok=True)
        # Without stack traces: they would put this machine's paths into the repository.
        text = re.sub(r'"stackTrace": "(?:[^"\\\\]|\\\\.)*"', '"stackTrace": ""', history.to_json())
        (folder / f"{name}.json").write_text(text + "\n")


@asynccontextmanager
async def load(client: Client, name: str) -> AsyncIterator[list[Any]]:
    """Ten new executions a second; what each came to."""
    running: list[asyncio.Task[Any]] = []
    results: list[Any] = []
    ended = asyncio.Event()

    async def one() -> None:
        try:
            results.append(await run_workflow(client, name, False, queue=name))
        except WorkflowFailureError as error:
            results.append(error)

    async def begin_them() -> None:
        while not ended.is_set():
            running.append(asyncio.create_task(one()))
            await asyncio.sleep(0.1)

    beginner = asyncio.create_task(begin_them())
    try:
        yield results
    finally:
        ended.set()
        await beginner
        await asyncio.gather(*running)


async def test_a_pinned_execution_ends_on_the_version_where_it_began(host: Host, client: Client) -> None:
    await host.serving("pinned.json", waiter("pinned", "one"))
    open_one = await begin(client, "pinned")
    assert await run_workflow(client, "pinned", False, queue="pinned") == "one one"
    await asyncio.sleep(1)  # its first workflow task pins it

    await deploy(host, waiter("pinned", "two"))

    assert await run_workflow(client, "pinned", False, queue="pinned") == "two two"
    assert await finish(open_one) == "one one"
    kept = host.data / "pools" / "default" / "pinned" / "kept.toml"
    await host.until("the old version's process has ended", lambda: not kept.exists())
    served = [one["served"] for one in rollout(host, "pinned")["versions"] if one["status"] != "Current"]
    assert not any(served)


async def test_a_change_of_activities_alone_keeps_the_build_id(host: Host, client: Client) -> None:
    spec = waiter("acts", "one")
    await host.serving("acts.json", spec)
    await host.until("it is current", lambda: _is_current(host, "acts"))
    build = current_build(host, "acts")

    await deploy(host, {**spec, "activitiesCode": spec["activitiesCode"].replace("one", "two")})

    assert await run_workflow(client, "acts", False, queue="acts") == "one two"
    assert current_build(host, "acts") == build
    assert len(rollout(host, "acts")["versions"]) == 1


async def test_a_ramp_splits_starts_as_asked_and_promote_ends_it(host: Host, client: Client) -> None:
    steps = {"strategy": "Progressive", "steps": [{"rampPercentage": 25, "pause": "10m"}]}
    await host.serving("ramp.json", waiter("ramp", "one", rollout=steps))
    host.put("ramp.json", waiter("ramp", "two", rollout=steps))
    found = await until_phase(host, "ramp", "pausing")
    assert {one["status"]: one["percent"] for one in found["versions"]} == {"Current": 75, "Ramping": 25}
    await host.until_status("ramp", "DEPLOYED", health="Progressing")

    results = await sample(client, "ramp", 400)

    # 400 draws at 25 %: 100 are expected, and five standard deviations are 43.
    assert set(results) == {"one one", "two two"}
    assert 57 <= results["two two"] <= 143, results
    print("of 400 starts at a ramp of 25 %:", dict(results))
    steer(host, "ramp", "promote", full=True)
    await until_phase(host, "ramp", "promoted")
    await host.until_served("ramp")
    assert await sample(client, "ramp", 20) == {"two two": 20}


async def _answers(client: Client, name: str, answer: str) -> bool:
    return bool(await run_workflow(client, name, False, queue=name) == answer)


def gate(word: str) -> dict[str, Any]:
    """A spec whose second workflow, the gate, passes at first and fails when it is run again."""
    spec = waiter("gated", word)
    spec["workflowCode"] += """
export async function smoke(failFrom: number): Promise<void> {
  const run = Number(workflowInfo().workflowId.split('/').pop()!.split('-')[0]);
  if (run >= failFrom) throw ApplicationFailure.nonRetryable(`smoke in run ${run}`);
}
"""
    spec["workflowCode"] = spec["workflowCode"].replace(
        "import { condition,", "import { ApplicationFailure, workflowInfo, condition,"
    )
    return spec


async def test_a_gate_that_fails_at_the_second_step_rolls_back_and_fails_no_execution(
    host: Host, client: Client
) -> None:
    """Reason.GATE_FAILED. Under a continuous load."""
    wish: dict[str, Any] = {
        "strategy": "Progressive",
        "steps": [{"rampPercentage": 20, "pause": 3}, {"rampPercentage": 60, "pause": 3}],
        "gate": {"workflow": "smoke", "input": 3, "timeout": "30s"},
    }
    first, second = gate("one"), gate("two")
    first["deploy"]["rollout"] = {**wish, "gate": {**wish["gate"], "input": 99}}
    second["deploy"]["rollout"] = wish
    await host.serving("gated.json", first)
    before = host.release("gated")
    async with load(client, "gated") as results:
        host.put("gated.json", second)
        found = await until_phase(host, "gated", "rolledBack")
        await replayed(client, found, "gate-fails-at-step-2")
        await host.until("the release before is live", lambda: host.release("gated") == before)
        await host.until_status("gated", "ROLLED_BACK")
        await asyncio.sleep(1)
    answers = Counter(str(result) for result in results)
    assert set(answers) == {"one one", "two two"}, answers
    assert await sample(client, "gated", 20) == {"one one": 20}
    print("under load, while a gate failed at step 2:", dict(answers))
    said = host.status("gated")["lastError"]
    assert said["reason"] == "GateFailed"
    assert "smoke in run 3" in said["message"]
    # Another try has to be forced: it is known as bad.
    again = host.cli("deploy", "gated")
    assert again.returncode == 1
    assert "held at release" in again.stdout + again.stderr


async def test_executions_that_fail_on_the_new_version_end_its_ramp(host: Host, client: Client) -> None:
    """Reason.ROLLOUT_FAILED, and how long it takes from the first bad result."""
    steps = {
        "strategy": "Progressive",
        "steps": [{"rampPercentage": 50, "pause": "10m"}],
        "watch": {"minExecutions": 4},
    }
    good = waiter("failing", "one", rollout=steps)
    bad = failing(waiter("failing", "two", rollout=steps))
    await host.serving("failing.json", good)
    host.put("failing.json", bad)
    await until_phase(host, "failing", "pausing")
    failed_first = 0.0
    async with load(client, "failing") as results:
        while not any(isinstance(result, WorkflowFailureError) for result in results):
            await asyncio.sleep(0.05)
        failed_first = time.monotonic()
        while any(one["status"] == "Ramping" for one in rollout(host, "failing")["versions"]):
            await asyncio.sleep(0.1)
        print(f"from the first bad result to the end of the ramp: {time.monotonic() - failed_first:.1f} s")
    await host.until_status("failing", "ROLLED_BACK")
    assert host.status("failing")["lastError"]["reason"] == "RolloutFailed"
    assert await sample(client, "failing", 20) == {"one one": 20}


async def test_a_daemon_killed_in_mid_ramp_is_followed_by_one_that_ends_it(
    host: Host, client: Client
) -> None:
    steps = [{"rampPercentage": 10, "pause": 4}, {"rampPercentage": 50, "pause": 4}]
    wish = {"strategy": "Progressive", "steps": steps}
    await host.serving("mid.json", waiter("mid", "one", rollout=wish))
    host.put("mid.json", waiter("mid", "two", rollout=wish))
    await until_phase(host, "mid", "pausing")
    host.kill_daemon()
    await asyncio.sleep(1)
    host.start_daemon()
    await host.until("it is back", host.is_ready)
    found = await until_phase(host, "mid", "promoted")
    assert found["rollout"]["step"] == 1
    await replayed(client, found, "daemon-killed-in-mid-ramp")
    await host.until_served("mid")
    assert await sample(client, "mid", 20) == {"two two": 20}


async def test_two_hosts_roll_out_together_and_one_of_them_may_die(
    tmp_path: Path, temporal: TemporalServer, client: Client
) -> None:
    wish = {"strategy": "Progressive", "steps": [{"rampPercentage": 50, "pause": 6}]}
    one, two = waiter("pair", "one", rollout=wish), waiter("pair", "two", rollout=wish)
    with (
        running_host(tmp_path / "a", temporal.address, "alpha") as alpha,
        running_host(tmp_path / "b", temporal.address, "beta") as beta,
    ):
        for side in (alpha, beta):
            side.settings = {"TIMEWRIGHT_FLEET_HOSTS": "alpha,beta"}
            side.start_worker()
            side.start_daemon()
            side.put("pair.json", one)
        for side in (alpha, beta):
            await side.until_served("pair")
        assert await run_workflow(client, "pair", False, queue="pair") == "one one"

        alpha.put("pair.json", two)
        found = await until_phase(alpha, "pair", "waiting")
        await alpha.until("it waits for beta", lambda: "beta" in rollout(alpha, "pair")["rollout"]["because"])
        assert found["rollout"]["percent"] == 0
        beta.put("pair.json", two)
        found = await until_phase(beta, "pair", "pausing")
        assert found["rollout"]["hosts"]["arrived"] == ["alpha", "beta"]
        alpha.kill_daemon()
        alpha.kill_worker()

        found = await until_phase(beta, "pair", "promoted")
        await replayed(client, found, "two-hosts")
        await beta.until_served("pair")
        assert await sample(client, "pair", 20) == {"two two": 20}


async def test_manual_waits_for_promote_and_abort_goes_back(host: Host, client: Client) -> None:
    await host.serving("manual.json", waiter("manual", "one", rollout="Manual"))
    host.put("manual.json", waiter("manual", "two", rollout="Manual"))
    await until_phase(host, "manual", "manual")
    assert await sample(client, "manual", 20) == {"one one": 20}
    steer(host, "manual", "promote")
    found = await until_phase(host, "manual", "promoted")
    await replayed(client, found, "manual")
    await host.until_served("manual")
    assert await sample(client, "manual", 20) == {"two two": 20}

    host.put("manual.json", waiter("manual", "three", rollout="Manual"))
    await until_phase(host, "manual", "manual")
    steer(host, "manual", "abort", reason="not today")
    await host.until_status("manual", "ROLLED_BACK")
    assert "not today" in host.status("manual")["lastError"]["message"]
    assert await sample(client, "manual", 20) == {"two two": 20}


async def test_a_person_who_manages_the_deployment_is_not_overruled(
    host: Host, client: Client, temporal: TemporalServer
) -> None:
    await host.serving("taken.json", waiter("taken", "one"))
    temporal.cli(
        "worker",
        "deployment",
        "manager-identity",
        "set",
        "--deployment-name",
        "taken",
        "--manager-identity",
        "ops",
        "--yes",
    )
    host.put("taken.json", waiter("taken", "two"))
    found = await until_phase(host, "taken", "held")
    assert "ops" in found["rollout"]["because"]
    assert await sample(client, "taken", 20) == {"one one": 20}
    temporal.cli("worker", "deployment", "manager-identity", "unset", "--deployment-name", "taken", "--yes")
    steer(host, "taken", "promote")  # look now
    found = await until_phase(host, "taken", "promoted")
    await replayed(client, found, "held-by-a-person")
    assert await sample(client, "taken", 20) == {"two two": 20}


async def test_a_rollback_after_the_rollout_sends_executions_back(host: Host, client: Client) -> None:
    await host.serving("back.json", waiter("back", "one"))
    await deploy(host, waiter("back", "two"))
    opened = await begin(client, "back")
    await asyncio.sleep(1)
    began = time.monotonic()
    done = host.cli("rollback", "back")
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"a rollback by hand, until new executions run the old code: {time.monotonic() - began:.1f} s")
    assert await sample(client, "back", 20) == {"one one": 20}
    assert await finish(opened) == "two two"


async def test_an_undeployed_pool_takes_no_new_executions_and_its_open_ones_end(
    host: Host, client: Client
) -> None:
    await host.serving("leaving.json", waiter("leaving", "one"))
    opened = await begin(client, "leaving")
    await asyncio.sleep(1)
    assert host.cli("undeploy", "leaving").returncode == 0
    service = Deployments(Temporal(host.temporal), "timewright")

    async def is_let_go() -> bool:
        return not (await service.describe("default", "leaving")).current

    await until_async("new executions don't go to it", is_let_go)
    assert await finish(opened) == "one one"


async def test_one_of_a_pool_is_undeployed_and_the_others_go_on_without_it(
    host: Host, client: Client
) -> None:
    host.start_worker()
    host.start_daemon()
    for name in ("stays", "leaves"):
        host.put(f"{name}.json", waiter(name, "one", queue="both"))
    await host.until_served("stays")
    await host.until_served("leaves")
    opened = await begin(client, "leaves", queue="both")
    service = Deployments(Temporal(host.temporal), "timewright")
    before = rollout(host, "stays")["rollout"]["buildId"]
    assert host.cli("undeploy", "leaves").returncode == 0

    async def has_moved_on() -> bool:
        with suppress(TemporalAwayError):  # a server with two cores for all these tests
            current = (await service.describe("default", "both")).current
            return bool(current) and current != before
        return False

    await until_async("new executions go to a version without it", has_moved_on)
    assert await run_workflow(client, "stays", False, queue="both") == "one one"
    assert await finish(opened) == "one one"  # on the version that it began on
    await host.until_served("stays")


async def test_many_deploys_never_come_near_temporals_limit_of_versions(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """DEPLOYS=150 for as many as the limit and a half."""
    server = TemporalServer(
        tmp_path_factory.mktemp("temporal"),
        matching__wv__VersionDrainageStatusVisibilityGracePeriod='"1s"',
        matching__wv__VersionDrainageStatusRefreshInterval='"1s"',
        # Longer than a slow machine takes from a worker's first poll to the look at who polls.
        matching__PollerHistoryTTL='"10s"',
    )
    server.start()
    try:
        with running_host(tmp_path, server.address) as host:
            quick = {"ROLLOUT_SUNSET_S": "1", "ROLLOUT_KEEP": "1", "HEALTH_POLLERS": "false"}
            host.settings = {f"TIMEWRIGHT_{name}": value for name, value in quick.items()}
            await host.serving("many.json", waiter("many", "v0"))
            most, began, deploys = 0, time.monotonic(), int(os.environ.get("DEPLOYS", "8"))
            for number in range(1, deploys + 1):
                await deploy(host, waiter("many", f"v{number}"))
                most = max(most, len(rollout(host, "many")["versions"]))
            took = time.monotonic() - began
            print(f"{deploys} deploys in {took:.0f} s: at most {most} versions at one time")
            client = await Client.connect(server.address)
            assert await run_workflow(client, "many", False, queue="many") == f"v{deploys} v{deploys}"
            await host.until("old records go", lambda: len(rollout(host, "many")["versions"]) <= 3)
            assert most < 60
    finally:
        server.stop()


async def test_auto_upgrade_takes_open_executions_along(host: Host, client: Client) -> None:
    await host.serving("along.json", waiter("along", "one", versioning="AUTO_UPGRADE"))
    opened = await begin(client, "along")
    await asyncio.sleep(1)
    await deploy(host, waiter("along", "two", versioning="AUTO_UPGRADE"))
    assert await finish(opened) == "two two"


async def test_a_pool_without_versions_is_replaced_in_place_and_gets_versions_later(
    host: Host, client: Client
) -> None:
    await host.serving("plain.json", waiter("plain", "one", rollout="off"))
    assert rollout(host, "plain")["versioned"] is False
    opened = await begin(client, "plain")
    await asyncio.sleep(1)
    await deploy(host, {**waiter("plain", "two"), "name": "with versions"})
    assert rollout(host, "plain")["versioned"] is True
    assert await run_workflow(client, "plain", False, queue="plain") == "two two"
    assert await finish(opened) == "two two"
    await deploy(host, waiter("plain", "three", rollout="off"))
    assert rollout(host, "plain")["versioned"] is False
    await until_async("new executions run it", lambda: _answers(client, "plain", "three three"))


async def test_a_server_without_versioning_is_served_in_place(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = TemporalServer(tmp_path_factory.mktemp("temporal"), system__enableDeploymentVersions="false")
    server.start()
    try:
        with running_host(tmp_path, server.address) as host:
            await host.serving("older.json", waiter("older", "one"))
            await deploy(host, waiter("older", "two"))
            client = await Client.connect(server.address)
            assert await run_workflow(client, "older", False, queue="older") == "two two"
            assert rollout(host, "older")["versioned"] is False
    finally:
        server.stop()


async def test_an_undeploy_waits_for_executions_that_need_the_code(host: Host, client: Client) -> None:
    spec = waiter("needed", "one", versioning="AUTO_UPGRADE")
    await host.serving("needed.json", spec)
    opened = await begin(client, "needed")
    await asyncio.sleep(1)
    host.cli("undeploy", "needed", "--no-wait")
    found = await host.until_status("needed", "DEPLOYED", heldReason="OpenExecutions")
    assert "1 open execution" in found["held"]
    assert await finish(opened) == "one one"
    await host.until_status("needed", "UNDEPLOYED")


def charging(word: str, before: str = "") -> dict[str, Any]:
    """A workflow that calls an activity, waits for a signal, and calls it again; `before`: what it does
    first."""
    code = f"""
import {{ condition, defineSignal, patched, proxyActivities, setHandler, sleep }} from '@temporalio/workflow';
import type * as activities from './activities';
const {{ charge }} = proxyActivities<typeof activities>({{ startToCloseTimeout: '10s' }});
export const go = defineSignal('go');
export async function charging(wait: boolean): Promise<string> {{
  let open = !wait;
  setHandler(go, () => {{ open = true; }});
  {before}
  await charge();
  await condition(() => open);
  await charge();
  return '{word}';
}}
void patched; void sleep;
"""
    return {
        "workflowId": "charging",
        "workflowCode": code,
        "activitiesCode": "export async function charge(): Promise<void> {}\n",
        "deploy": {"taskQueue": "charging", "versioning": "AUTO_UPGRADE", "replay": "enforce"},
    }


async def test_a_breaking_change_is_stopped_by_the_replay_gate_and_passes_with_patched(
    host: Host, client: Client
) -> None:
    """Reason.REPLAY_FAILED"""
    await host.serving("charging.json", charging("one"))
    before = host.release("charging")
    opened = await begin(client, "charging")
    await asyncio.sleep(2)

    host.put("charging.json", charging("two", "await sleep(10);"))
    await host.until_status("charging", "DEPLOYMENT_FAILED")
    error = host.status("charging")["lastError"]
    assert error["reason"] == "ReplayFailed"
    assert "history has activity charge, the new code starts a timer" in error["message"]
    assert "src/workflow.ts:" in error["message"]
    print("stopped by replay:", error["message"])
    assert host.release("charging") == before
    assert await run_workflow(client, "charging", False, queue="charging") == "one"

    host.put("charging.json", charging("two", "if (patched('pause')) await sleep(10);"))
    await host.until_served("charging")
    assert await finish(opened) == "two"
    assert await run_workflow(client, "charging", False, queue="charging") == "two"


async def test_a_worker_that_crashes_in_mid_ramp_ends_the_ramp(host: Host, client: Client) -> None:
    wish = {"strategy": "Progressive", "steps": [{"rampPercentage": 50, "pause": "10m"}]}
    good, bad = waiter("crashing", "one", rollout=wish), waiter("crashing", "two", rollout=wish)
    bad["activitiesCode"] = bad["activitiesCode"].replace("return", "process.exit(9); return")
    await host.serving("crashing.json", good)
    before = host.release("crashing")
    host.put("crashing.json", bad)
    await until_phase(host, "crashing", "pausing")
    for _ in range(8):
        await begin(client, "crashing", wait=False)
    await host.until_status("crashing", "ROLLED_BACK")
    assert host.release("crashing") == before
    assert await sample(client, "crashing", 20) == {"one one": 20}


async def test_a_temporal_that_has_lost_its_deployments_is_told_again_what_is_current(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A dev server keeps nothing over a restart; a restored backup has older routing."""
    server = TemporalServer(tmp_path_factory.mktemp("temporal"))
    server.start()
    try:
        with running_host(tmp_path, server.address) as host:
            await host.serving("lost.json", waiter("lost", "one"))
            server.stop()
            server.start()
            await host.until("it is current again", lambda: _is_current(host, "lost"))
            client = await Client.connect(server.address)
            assert await run_workflow(client, "lost", False, queue="lost") == "one one"
    finally:
        server.stop()


async def test_a_temporal_that_was_restored_from_an_older_backup_is_told_again_what_is_current(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its routing is that of yesterday: new executions would get code that was replaced."""
    server = TemporalServer(tmp_path_factory.mktemp("temporal"), keeps=True)
    assert server.database is not None
    backup = server.database.with_suffix(".backup")
    server.start()
    try:
        with running_host(tmp_path, server.address) as host:
            await host.serving("older.json", waiter("older", "one"))
            await host.until("one is current", lambda: _is_current(host, "older"))
            before = current_build(host, "older")
            server.stop()
            shutil.copyfile(server.database, backup)
            server.start()
            await deploy(host, waiter("older", "two"))
            await host.until("two is current", lambda: current_build(host, "older") != before)
            build = current_build(host, "older")
            server.stop()
            for path in server.database.parent.glob(f"{server.database.name}*"):
                path.unlink()
            backup.rename(server.database)
            server.start()
            assert build not in routing(server, "older")
            # Of Temporal itself: what our faces show may be from before.
            await host.until("it is current again", lambda: build in routing(server, "older"))
            client = await Client.connect(server.address)
            assert await run_workflow(client, "older", False, queue="older") == "two two"
    finally:
        server.stop()


def routing(server: TemporalServer, deployment: str) -> str:
    """Where Temporal sends new executions, as its own command says it."""
    about = json.loads(server.cli("worker", "deployment", "describe", "--name", deployment, "-o", "json"))
    return json.dumps(about["routingConfig"])


def _is_current(host: Host, name: str) -> bool:
    return current_build(host, name) != ""


async def test_several_workflows_of_one_pool_share_a_rollout_and_only_the_guilty_goes_back(
    host: Host, client: Client
) -> None:
    wish = {
        "strategy": "Progressive",
        "steps": [{"rampPercentage": 50, "pause": 3}],
        "watch": {"minExecutions": 2},
    }
    names = ("innocent", "guilty")
    for name in names:
        host.put(f"{name}.json", waiter(name, "one", queue="shared", rollout=wish))
    host.start_worker()
    host.start_daemon()
    for name in names:
        await host.until_served(name)
    before = {name: host.release(name) for name in names}
    bad = waiter(
        "guilty", "two", queue="shared", rollout={**wish, "gate": {"workflow": "guilty", "input": False}}
    )
    bad = failing(bad)
    host.put("guilty.json", bad)
    host.put(
        "innocent.json",
        waiter("innocent", "two", queue="shared", rollout={**wish, "steps": [{"rampPercentage": 50}]}),
    )
    await host.until_status("guilty", "ROLLED_BACK")
    assert host.release("guilty") == before["guilty"]
    await host.until_served("innocent")
    assert host.release("innocent") != before["innocent"]
    await host.until(
        "its code takes executions", lambda: rollout(host, "innocent")["rollout"]["phase"] == "promoted"
    )
    assert await run_workflow(client, "innocent", False, queue="shared") == "two two"
    assert await run_workflow(client, "guilty", False, queue="shared") == "one one"


async def test_a_worker_of_its_own_becomes_a_version_where_its_spec_asks_for_it(
    host: Host, client: Client
) -> None:
    def own(word: str) -> dict[str, Any]:
        return {**waiter("own", word, rollout="AllAtOnce", isolation="process"), "workerCode": WORKER}

    await host.serving("own.json", own("one"))
    assert rollout(host, "own")["versioned"] is True
    opened = await begin(client, "own")
    await asyncio.sleep(1)
    await deploy(host, own("two"))
    assert await run_workflow(client, "own", False, queue="own") == "two two"
    assert await finish(opened) == "one one"


async def test_a_gate_before_any_traffic_keeps_the_old_code_at_all_times(host: Host, client: Client) -> None:
    gate = {"workflow": "first", "input": False, "timeout": "20s"}
    await host.serving("first.json", waiter("first", "one"))
    before = host.release("first")
    async with load(client, "first") as results:
        host.put("first.json", failing(waiter("first", "two", rollout={"gate": gate})))
        await host.until_status("first", "ROLLED_BACK")
        await asyncio.sleep(1)
    assert {str(result) for result in results} == {"one one"}
    assert host.release("first") == before
    assert host.status("first")["lastError"]["reason"] == "GateFailed"


async def test_a_failed_gate_waits_for_a_person_and_can_be_run_again(host: Host, client: Client) -> None:
    """The gate asks the activities, and those can be mended without a new version of the workflow code."""
    gate = {"workflow": "again", "input": False, "timeout": "20s", "onFailure": "pause"}
    await host.serving("again.json", waiter("again", "one"))
    bad = waiter("again", "two", rollout={"gate": gate})
    fail = "throw ApplicationFailure.nonRetryable('the ledger is down');"
    mended = bad["activitiesCode"]
    bad["activitiesCode"] = "import { ApplicationFailure } from '@temporalio/activity';\n" + mended.replace(
        "return 'two';", fail
    )
    host.put("again.json", bad)
    found = await until_phase(host, "again", "paused")
    assert "the ledger is down" in found["rollout"]["because"]
    await host.until_status("again", "DEPLOYED", health="Degraded")
    assert await sample(client, "again", 20) == {"one one": 20}
    host.put("again.json", {**bad, "activitiesCode": mended})
    await host.until("the activities are served", lambda: _release_count(host, "again") >= 3)
    steer(host, "again", "retry-gate")
    await until_phase(host, "again", "promoted")
    assert await sample(client, "again", 20) == {"two two": 20}


def _release_count(host: Host, name: str) -> int:
    return host.history(name).count("DEPLOYED")


async def test_manual_steps_are_taken_one_by_one_and_an_older_rollout_gives_way(
    host: Host, client: Client
) -> None:
    wish = {"strategy": "Manual", "steps": [{"rampPercentage": 10}, {"rampPercentage": 60}]}
    await host.serving("byhand.json", waiter("byhand", "one", rollout=wish))
    host.put("byhand.json", waiter("byhand", "two", rollout=wish))
    first = await until_phase(host, "byhand", "manual")
    steer(host, "byhand", "promote")
    await host.until("it has ten percent", lambda: _percent(host, "byhand") == 10)
    host.put("byhand.json", waiter("byhand", "three", rollout=wish))
    await host.until("the next one begins", lambda: _build(host, "byhand") != first["rollout"]["buildId"])
    await until_phase(host, "byhand", "manual")
    handle = client.get_workflow_handle(first["rollout"]["id"])
    assert (await asyncio.wait_for(handle.result(), 30))["phase"] == "superseded"
    await host.until("what gave way has no share", lambda: not _is_ramping(host, "byhand"))
    steer(host, "byhand", "promote")
    await host.until("it has ten percent", lambda: _percent(host, "byhand") == 10)
    steer(host, "byhand", "promote")
    await host.until("it has sixty percent", lambda: _percent(host, "byhand") == 60)
    steer(host, "byhand", "promote", full=True)
    await until_phase(host, "byhand", "promoted")
    assert await sample(client, "byhand", 20) == {"three three": 20}


def _is_ramping(host: Host, name: str) -> bool:
    return any(one["status"] == "Ramping" for one in rollout(host, name)["versions"])


def _percent(host: Host, name: str) -> float:
    return float(rollout(host, name)["rollout"]["percent"])


def _build(host: Host, name: str) -> str:
    return str(rollout(host, name)["rollout"]["buildId"])
