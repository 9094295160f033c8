"""Faults made for real: killed daemons, killed workers, a lost state file, hostile specs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.chaos.model import UNLOADABLE
from tests.e2e.host import Host, run_workflow
from tests.e2e.specs import greeter

POINTS = (
    "before-compile",
    "before-publish",
    "after-publish",
    "before-link",
    "after-link",
    "before-pool-link",
    "after-pool-link",
    "before-record",
)


class TreeReader(threading.Thread):
    """Reads the live release all the time, as a worker does; notes every half one it sees."""

    def __init__(self, live: Path) -> None:
        super().__init__(daemon=True)
        self.live, self.faults, self.seen = live, [], set()  # type: ignore[var-annotated]
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self._look()

    def _look(self) -> None:
        try:
            release = self.live.resolve(strict=True)
        except FileNotFoundError:
            return
        for name in (
            "release.toml",
            "package.json",
            "dist/workflow.js",
            "dist/activities.js",
            "bundle/workflow.js",
        ):
            if not (release / name).is_file() or (release / name).stat().st_size == 0:
                self.faults.append((release.name, name))
        self.seen.add(release.name)

    def finish(self) -> None:
        self._stop_asked.set()
        self.join()


@pytest.mark.parametrize("point", POINTS)
async def test_a_daemon_killed_in_mid_deploy_converges_at_its_next_start(
    host: Host, client: Client, point: str
) -> None:
    host.start_worker()
    host.put("first.json", greeter("first", "old"))
    host.start_daemon()
    await host.until_served("first")
    host.stop_daemon()
    before = host.release("first")
    reader = TreeReader(host.data / "workflows" / "first")
    reader.start()

    host.put("first.json", greeter("first", "new"))
    host.start_daemon(TIMEWRIGHT_FAILPOINT=point)
    assert host.daemon is not None
    daemon = host.daemon
    await host.until("the daemon dies at the fault point", lambda: daemon.poll() is not None)
    assert daemon.returncode == -signal.SIGKILL

    host.start_daemon()
    await host.until("the new release is live", lambda: host.release("first") not in (None, before))
    await host.until_served("first")
    reader.finish()

    assert await run_workflow(client, "first", "x", queue="first") == "new x"
    assert reader.faults == []
    assert len(reader.seen) == 2
    parts = [host.data / name for name in ("releases", "workflows", "pools")]
    assert [path for part in parts for path in part.rglob(".tmp-*")] == []


@pytest.mark.parametrize("first", [False, True], ids=["with one before", "the first"])
@pytest.mark.parametrize("point", ["after-link", "after-pool-link"])
async def test_a_bad_release_whose_daemon_died_behind_its_link_is_taken_back_as_ever(
    host: Host, client: Client, point: str, first: bool
) -> None:
    host.start_worker()
    if not first:
        host.put("one.json", greeter("one", "old"))
        host.start_daemon()
        await host.until_served("one")
        host.stop_daemon()
    before = host.release("one")

    bad = greeter("one", "new")
    bad["workflowCode"] += UNLOADABLE
    host.put("one.json", bad)
    host.start_daemon(TIMEWRIGHT_FAILPOINT=point)
    assert host.daemon is not None
    daemon = host.daemon
    await host.until("the daemon dies at the fault point", lambda: daemon.poll() is not None)
    assert host.release("one") not in (None, before)

    host.start_daemon()
    await host.until_status("one", "DEPLOYMENT_FAILED")
    assert "no such luck" in json.dumps(host.status("one"))
    await host.until("what was live is live again", lambda: host.release("one") == before)
    if not first:
        assert await run_workflow(client, "one", "x", queue="one") == "old x"


@pytest.mark.parametrize("point", ["before-unlink", "after-unlink"])
async def test_a_daemon_killed_in_mid_undeploy_finishes_at_its_next_start(host: Host, point: str) -> None:
    host.start_worker()
    host.put("gone.json", greeter("gone", "gone", prune=True))
    host.put("kept.json", greeter("kept", "kept"))  # an empty source undeploys nothing
    host.start_daemon()
    await host.until_served("gone")
    host.stop_daemon()

    host.remove("gone.json")
    host.start_daemon(TIMEWRIGHT_FAILPOINT=point)
    assert host.daemon is not None
    daemon = host.daemon
    await host.until("the daemon dies at the fault point", lambda: daemon.poll() is not None)
    host.start_daemon()
    await host.until_status("gone", "UNDEPLOYED")
    assert host.release("gone") is None


async def test_a_daemon_killed_at_random_times_under_changes_ends_where_the_source_is(
    host: Host, client: Client
) -> None:
    host.start_worker()
    for number in range(6):
        host.put("first.json", greeter("first", f"v{number}"))
        host.start_daemon()
        await asyncio.sleep(0.3 + 0.35 * number)
        host.kill_daemon()
    host.start_daemon()
    await host.until_served("first")
    assert await run_workflow(client, "first", "x", queue="first") == "v5 x"


async def test_a_killed_worker_host_serves_again_by_itself_when_it_is_back(
    host: Host, client: Client
) -> None:
    await host.serving("killed.json", greeter("killed", "hello"))

    host.kill_worker()
    status = await host.until_status("killed", "DEPLOYED", health="Degraded")
    assert status["healthReason"].startswith("WaitingForWorker")
    handle = await client.start_workflow("killed", "kept", id=f"kept-{time.time_ns()}", task_queue="killed")

    host.start_worker()
    await host.until_served("killed")
    assert await asyncio.wait_for(handle.result(), 60) == "hello kept"


async def test_a_restart_of_the_daemon_stops_no_running_workflow(host: Host, client: Client) -> None:
    await host.serving("restarted.json", greeter("restarted", "hello"))
    handle = await client.start_workflow(
        "restarted", args=["long", 3000], id=f"long-{time.time_ns()}", task_queue="restarted"
    )
    assert host.stop_daemon() == 0
    host.start_daemon()
    assert await asyncio.wait_for(handle.result(), 30) == "hello long"
    assert host.history("restarted") == ["DEPLOYING", "DEPLOYED"]  # nothing was done again


@pytest.mark.parametrize("damage", ["deleted", "garbage"])
async def test_a_lost_state_file_is_rebuilt_from_the_tree_without_a_deploy(host: Host, damage: str) -> None:
    await host.serving("first.json", greeter("first", "hello"))
    release = host.release("first")
    host.stop_daemon()
    for path in host.data.glob("state.db*"):
        path.unlink()
    if damage == "garbage":
        (host.data / "state.db").write_bytes(b"this is no database" * 500)

    host.start_daemon()
    status = await host.until_served("first")
    assert status["release"] == release
    assert host.history("first") == ["DEPLOYED"]
    if damage == "garbage":
        assert list(host.data.glob("state.db.corrupt-*"))


async def test_a_spec_that_takes_the_daemon_down_is_quarantined_and_the_others_go_on(host: Host) -> None:
    """The fault point stands for a crash of the parser itself: no exception, the process is gone."""
    host.put("poison.json", greeter("poison", "x"))
    host.put("good.json", greeter("good", "good"))
    for _ in range(4):
        host.start_daemon(TIMEWRIGHT_FAILPOINT="parse-poison")
        assert host.daemon is not None
        daemon = host.daemon
        with contextlib.suppress(AssertionError):
            await host.until("the daemon dies", lambda daemon=daemon: daemon.poll() is not None, 15)  # type: ignore[misc]
    assert daemon.poll() is None, "a fourth start must survive"
    await host.until_status("good", "DEPLOYED")
    refused = json.loads((await asyncio.to_thread(host.cli, "status", "--json")).stdout)["refusedFiles"]
    assert refused["poison.json"]["reason"] == "Quarantined"


async def test_a_second_daemon_is_told_who_holds_the_data_directory(host: Host) -> None:
    host.start_daemon()
    host.put("first.json", greeter("first", "hello"))
    await host.until_status("first", "DEPLOYED")
    assert host.daemon is not None
    done = host.cli("apply")
    assert done.returncode == 1
    assert f"process {host.daemon.pid}" in done.stderr
    assert "Try:" in done.stderr


def _bad_specs() -> dict[str, tuple[Any, str, str]]:
    """name → (document, reason, a part of the message)."""
    good = greeter("bad", "x")
    code = good["workflowCode"]
    return {
        "an empty workflow": ({**good, "workflowCode": "  "}, "InvalidSpec", "is empty"),
        "a missing import": (
            {**good, "workflowCode": "export async function bad() {}"},
            "InvalidSpec",
            "does not import @temporalio/workflow",
        ),
        "no async function": (
            {**good, "workflowCode": "import '@temporalio/workflow';\n// export async function x() {}"},
            "InvalidSpec",
            "exports no async function",
        ),
        "a syntax error": ({**good, "workflowCode": code + "\nconst ( = ;"}, "TypeCheckFailed", "TS1"),
        "a type error": (
            {**good, "workflowCode": code + "\nconst n: number = 'x';"},
            "TypeCheckFailed",
            "TS2322",
        ),
        "a builder that failed": ({**good, "success": False}, "NotCompiled", "not compiled"),
        "wrong types": ({**good, "name": 7, "activitiesCode": []}, "InvalidSpec", "must be"),
        "a path that climbs": (
            {"workflowId": "bad", "files": {"src/../../x.ts": "", "src/workflow.ts": code}},
            "InvalidSpec",
            "must be normal",
        ),
        "an absolute path": (
            {"workflowId": "bad", "files": {"/etc/x.ts": "", "src/workflow.ts": code}},
            "InvalidSpec",
            "must be relative",
        ),
        "a Node module in a workflow": (
            {
                **good,
                "workflowCode": "import * as fs from 'node:fs';\nexport const x = fs.existsSync;\n" + code,
            },
            "BundleFailed",
            "fs",
        ),
    }


async def test_bad_specs_are_explained_one_by_one_and_harm_nothing(host: Host) -> None:
    """Through `apply`, so that all is one pass: the good neighbours are deployed all the same."""
    cases = _bad_specs()
    for number, (document, _, _) in enumerate(cases.values()):
        own = {"workflowId": f"bad-{number}", "deploy": {"taskQueue": f"bad-{number}"}}
        host.put(f"bad-{number}.json", {**document, **own})
    host.put("a-good.json", greeter("a-good", "good"))
    host.put("z-good.json", greeter("z-good", "good"))

    done = await asyncio.to_thread(host.cli, "apply", "--json")

    assert done.returncode == 1, done.stderr
    workflows = {item["workflowId"]: item for item in json.loads(done.stdout)["workflows"]}
    assert [workflows[name]["status"] for name in ("a-good", "z-good")] == ["DEPLOYED"] * 2
    for number, (name, (_, reason, message)) in enumerate(cases.items()):
        found = workflows[f"bad-{number}"]
        assert found["status"] == "DEPLOYMENT_FAILED", name
        assert found["lastError"]["reason"] == reason, name
        assert message in json.dumps(found["lastError"]), name
        assert host.release(f"bad-{number}") is None, name


async def test_files_without_a_readable_id_are_refused_by_their_names(host: Host) -> None:
    cases = {
        "no-json.json": ("hello", "is not JSON"),
        "half.json": (json.dumps(greeter("bad", "x"))[:-40], "is not JSON"),
        "climbs.json": (json.dumps({**greeter("bad", "x"), "workflowId": "../bad"}), "must start with"),
        "deep.json": ("[" * 100_000, "nested deeper"),
        "twice.json": ('{"workflowId": "a", "workflowId": "../../b"}', "stands twice"),
        "huge.json": (" " * (9 * 1024 * 1024), "the limit is"),
    }
    for name, (text, _) in cases.items():
        host.put(name, text)
    host.put("good.json", greeter("good", "good"))

    done = await asyncio.to_thread(host.cli, "apply", "--json")

    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert sorted(answer["failed"]) == sorted(cases)
    assert {item["workflowId"]: item["status"] for item in answer["workflows"]} == {"good": "DEPLOYED"}
    status = json.loads((await asyncio.to_thread(host.cli, "status", "--json")).stdout)
    for name, (_, message) in cases.items():
        assert message in json.dumps(status["refusedFiles"][name]), name
