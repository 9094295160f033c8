"""A daemon that is asked to stop, killed or held in the middle of its work, or has nobody to tell
(faults.md A6, A7, A11, F15)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.e2e.host import REPO, Host, run_workflow
from tests.e2e.specs import greeter

SOON = 20.0  # seconds: far below systemd's 90, far above what it takes


def children(pid: int) -> Iterator[int]:
    """All processes below one, by what the kernel says."""
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
        for task in Path(f"/proc/{pid}/task").iterdir():
            for word in (task / "children").read_text().split():
                yield int(word)
                yield from children(int(word))


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead; whoever took it over has not looked yet


async def held_in_mid_compile(host: Host) -> list[int]:
    """The daemon at work on a new release of `first`, whose compilers stand still. Returns those."""
    await host.serving("first.json", greeter("first", "old"))
    assert host.daemon is not None
    compilers = list(children(host.daemon.pid))
    assert compilers, "the warm compiler is a child"
    for pid in compilers:
        os.kill(pid, signal.SIGSTOP)
    host.put("first.json", greeter("first", "new"))
    await host.until_status("first", "DEPLOYING")
    await asyncio.sleep(0.5)
    return sorted({*compilers, *children(host.daemon.pid)})


async def check_finishes(host: Host, client: Client) -> None:
    """The next start does what was broken off."""
    assert await run_workflow(client, "first", "x", queue="first") == "old x"
    host.start_daemon()
    await host.until("it is deployed", lambda: host.history("first")[-1] == "DEPLOYED")
    await host.until_served("first")
    assert await run_workflow(client, "first", "x", queue="first") == "new x"
    parts = [host.data / name for name in ("releases", "workflows", "pools")]
    assert [path for part in parts for path in part.rglob(".tmp-*")] == []


async def test_a_daemon_asked_to_stop_in_mid_compile_ends_soon_and_the_next_start_deploys(
    host: Host, client: Client
) -> None:
    compilers = await held_in_mid_compile(host)
    before = host.release("first")
    assert host.daemon is not None
    host.daemon.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(host.daemon.wait, SOON) == 0
    assert [pid for pid in compilers if not is_gone(pid)] == []
    assert host.release("first") == before
    await check_finishes(host, client)


async def test_no_compiler_outlives_a_daemon_killed_in_mid_compile(host: Host, client: Client) -> None:
    compilers = await held_in_mid_compile(host)
    before = host.release("first")
    host.kill_daemon()
    await host.until("the compilers are gone", lambda: all(map(is_gone, compilers)), SOON)
    assert host.release("first") == before
    await check_finishes(host, client)


async def test_a_daemon_that_stood_still_misses_nothing_when_it_goes_on(host: Host, client: Client) -> None:
    host.put("gone.json", greeter("gone", "gone", prune=True))
    await host.serving("first.json", greeter("first", "old"))
    await host.until_served("gone")
    assert host.daemon is not None
    host.daemon.send_signal(signal.SIGSTOP)
    host.put("first.json", greeter("first", "new"))
    host.put("second.json", greeter("second", "second"))
    host.remove("gone.json")
    await asyncio.sleep(8)  # longer than what it may be away, and than looks at health
    assert await run_workflow(client, "first", "x", queue="first") == "old x"

    host.daemon.send_signal(signal.SIGCONT)
    await host.until_status("gone", "UNDEPLOYED")
    await host.until("the edit is seen", lambda: len(host.history("first")) >= 4)
    for name, word in (("first", "new"), ("second", "second")):
        await host.until_served(name)
        assert await run_workflow(client, name, "x", queue=name) == f"{word} x"


@pytest.mark.parametrize("log", ["closed", "a full disk", "a broken pipe"])
async def test_a_daemon_whose_log_can_not_be_written_goes_on(host: Host, client: Client, log: str) -> None:
    """And so does the worker host."""
    node: list[str | Path] = ["node", REPO / "worker" / "dist" / "host.js", "--data", host.data]
    node += ["--temporal", host.temporal, "--log", "json"]
    host.data.mkdir(exist_ok=True)
    host.worker = silent(node, log, host.environment())
    host.daemon = silent(host.command("run"), log, host.environment())
    host.put("first.json", greeter("first", "old"))
    await host.until_served("first")
    host.put("bad.json", "this is no spec")
    host.put("first.json", greeter("first", "new"))
    await host.until("the new one is live", lambda: len(host.history("first")) == 4)
    await host.until_served("first")
    assert await run_workflow(client, "first", "x", queue="first") == "new x"
    assert host.stop_daemon() == 0


def silent(command: Sequence[str | Path], log: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that can't say anything."""
    shell = {"closed": 'exec "$@" >&- 2>&- <&-', "a full disk": 'exec "$@" >/dev/full 2>&1'}
    read, write = os.pipe()
    os.close(read)
    words = ["sh", "-c", shell.get(log, 'exec "$@"'), "sh", *command]
    with os.fdopen(write) as broken:
        return subprocess.Popen(words, stdout=broken, stderr=broken, env=env)
