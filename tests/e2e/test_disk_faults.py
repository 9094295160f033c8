"""A disk that is full, has no inodes, fails or is limited, beneath a real daemon (faults.md C1 to C7).

The data directory is a small file system of its own; the source lies on another one.
"""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.e2e.disks import Disk, ext4_image, mountable, small_disk
from tests.e2e.host import Host, TemporalServer, run_workflow, running_host
from tests.e2e.specs import greeter

pytestmark = mountable


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "home" / "data") as mounted:
        yield mounted


@pytest.fixture
def host(disk: Disk, temporal: TemporalServer) -> Iterator[Host]:
    """A host on the small disk."""
    with running_host(disk.path.parent, temporal.address) as running:
        yield running
        disk.free()


async def overview(host: Host) -> dict[str, Any]:
    """What `timewright status --json` shows."""
    done = await asyncio.to_thread(host.cli, "status", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def log_of(host: Host, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in host.log_file.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def is_served(client: Client, word: str) -> None:
    assert await run_workflow(client, "first", "x", queue="first") == f"{word} x"


async def until_new_is_served(host: Host, client: Client, before: str | None) -> None:
    await host.until("the new release is live", lambda: host.release("first") not in (None, before))
    await host.until_served("first")
    await is_served(client, "new")
    parts = [host.data / name for name in ("releases", "workflows", "pools")]
    assert [path for part in parts for path in part.rglob(".tmp-*")] == []


@pytest.mark.parametrize("what", ["bytes", "inodes"])
async def test_on_a_full_disk_the_old_release_goes_on_and_the_new_one_comes_when_there_is_room(
    host: Host, disk: Disk, client: Client, what: str
) -> None:
    await host.serving("first.json", greeter("first", "old"))
    before = host.release("first")
    disk.fill() if what == "bytes" else disk.take_all_names()

    host.put("first.json", greeter("first", "new"))
    await host.until("a person is told", lambda: _is_told(host))
    await is_served(client, "old")
    assert host.release("first") == before
    assert host.cli("status").returncode == 1
    assert host.is_ready() is (what == "inodes"), "where a failure can be recorded, work goes on"

    disk.free()
    await until_new_is_served(host, client, before)
    assert (await overview(host))["passProblem"] is None


def _is_told(host: Host) -> bool:
    seen = json.loads(host.cli("status", "--json").stdout)
    (first,) = seen["workflows"]
    told = [seen["passProblem"] or "", (first["lastError"] or {}).get("message", "")]
    return any("full" in words or "No space left" in words for words in told)


async def test_a_disk_that_fills_up_in_mid_deploy_is_tried_seldom_and_finished_when_there_is_room(
    host: Host, disk: Disk, client: Client
) -> None:
    """What can't be recorded wakes the daemon when it ends: that must not make it spin."""
    await host.serving("first.json", greeter("first", "old"))
    before = host.release("first")
    disk.fill(spare=1 << 20)
    host.put("first.json", greeter("first", "new", queue="first"))
    await host.until_status("first", "DEPLOYING")
    disk.fill()
    await host.until("the pass fails", lambda: bool(log_of(host, "pass failed")))
    await asyncio.sleep(3)
    assert len(log_of(host, "pass failed")) <= 4, "its waits double, from a second on"
    assert (await overview(host))["passProblem"]

    disk.free()
    await until_new_is_served(host, client, before)


async def test_on_a_disk_that_became_read_only_the_api_answers_and_work_goes_on_afterwards(
    tmp_path: Path, temporal: TemporalServer, client: Client
) -> None:
    """The kernel lets nobody write any more; afterwards an operator repairs it and starts all again."""
    home = tmp_path / "home"
    with (
        ext4_image(tmp_path / "disk.img", home / "data") as image,
        running_host(home, temporal.address) as host,
    ):
        await host.serving("first.json", greeter("first", "old"))
        before = host.release("first")
        image.fail()
        host.put("first.json", greeter("first", "new"))
        await host.until("a person is told", lambda: bool(_problem(host)))
        assert not host.is_ready()
        await is_served(client, "old")
        answer = host.cli("redeploy", "first")
        assert (answer.returncode, "the state file can't be used" in answer.stderr) == (1, True)
        assert host.release("first") == before
        assert len(log_of(host, "pass failed")) <= 6
        assert host.stop_daemon() == 0
        host.stop_all()
        image.repair()
        host.start_worker()
        host.start_daemon()
        await until_new_is_served(host, client, before)


def _problem(host: Host) -> str | None:
    problem: str | None = json.loads(host.cli("status", "--json").stdout)["passProblem"]
    return problem


async def test_a_limit_on_the_size_of_files_fails_the_deploy_and_not_the_daemon(
    host: Host, client: Client
) -> None:
    await host.serving("first.json", greeter("first", "old"))
    before = host.release("first")
    assert host.daemon is not None
    resource.prlimit(host.daemon.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    spec = greeter("first", "new")
    host.put("first.json", {**spec, "activitiesCode": spec["activitiesCode"] + "// long\n" * 200_000})
    status = await host.until_status("first", "DEPLOYMENT_FAILED")
    assert status["lastError"]["reason"] == "StorageFailed"
    assert "File too large" in status["lastError"]["message"]
    await is_served(client, "old")

    resource.prlimit(host.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await until_new_is_served(host, client, before)


async def test_without_file_descriptors_nothing_is_undeployed_and_work_goes_on_when_there_are_some(
    host: Host, client: Client
) -> None:
    host.settings["TIMEWRIGHT_SOURCE_PRUNE"] = "true"
    await host.serving("first.json", greeter("first", "old"))
    before = host.release("first")
    assert host.daemon is not None
    pid = host.daemon.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1, hard))
    host.put("first.json", greeter("first", "new"))
    await asyncio.sleep(5)
    assert host.daemon.poll() is None
    assert host.release("first") == before
    await is_served(client, "old")

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    await until_new_is_served(host, client, before)
    assert "UNDEPLOYING" not in host.history("first")
