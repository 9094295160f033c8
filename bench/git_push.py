"""From `git push` to new code serving, beside git-sync with a script that compiles and restarts.

    python -m bench.git_push [--rounds 5]

Each peer follows a repository of its own with the same content, on one machine and one Temporal server;
every round pushes one change to each, one after the other, at a random moment of the peers' seconds:

- webhook: timewright, fetching when the signed webhook comes that is sent when the push is done;
- polling: timewright, fetching each second;
- git-sync, signal: git-sync, syncing at the SIGHUP that is sent when the push is done;
- git-sync, polling: git-sync, syncing each second.

git-sync's exechook copies the sources of the new work tree, runs the cold native `tsc -p` and restarts
`node dist/worker.js`. It compiles with TypeScript 7, as timewright does, which is kind to it; it has no
checks and no way back. Without git-sync on PATH the table has timewright alone.

Times begin at the start of the push, and end when an execution returned a result of the new code.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from bench.common import Options, Report, options, say
from bench.peers import Project, typescript_7
from bench.processes import run
from bench.stage import home, temporal
from bench.watching import served
from tests.e2e.githost import GitHost, running_git_host
from tests.e2e.host import free_port, run_workflow
from tests.e2e.remotes import Remote
from tests.e2e.specs import WORKER, greeter

SECRET = "of the bench"
Peer = Callable[[str], Awaitable[float]]  # pushes a word; seconds until it is served


def content(name: str, word: str) -> dict[str, Any]:
    """One change: the spec that timewright reads, and the same code as files."""
    spec = greeter("bench", word, queue=name)
    spec["workflowId"] = name
    files = {"workflow": spec["workflowCode"], "activities": spec["activitiesCode"], "worker": WORKER}
    return {"specs/bench.json": spec, **{f"src/{file}.ts": text for file, text in files.items()}}


async def pushed(remote: Remote, name: str, word: str, client: Client, then: Callable[[], Any]) -> float:
    """Push, do what a forge does `then`, and wait for the new code."""
    remote.commit(word, content(name, word))
    await asyncio.sleep(random.random())  # pollers are met at any moment of theirs
    start = time.perf_counter()
    await asyncio.to_thread(remote.publish)
    await asyncio.to_thread(then)
    return await served(client, "bench", name, word) - start


class Timewright:
    """One host with two sources: one waits for webhooks, one fetches each second."""

    def __init__(self, host: GitHost) -> None:
        self.host, self._port = host, free_port()
        self._hooked, self._polled = (Remote(host.home / "remotes", name) for name in ("hooked", "polled"))
        secret = host.home / "secret"
        secret.write_text(SECRET)
        sources = {
            "hooked": {
                "interval_s": 3600.0,
                "webhook_secret_file": str(secret),
                "git": self._hooked.file_url,
            },
            "polled": {"interval_s": 1.0, "git": self._polled.file_url},
        }
        for source in sources.values():
            source["subdir"] = "specs"
        host.follow(more={"sources": sources, "api": {"listen": f"127.0.0.1:{self._port}"}})

    async def start(self) -> None:
        self._hooked.push("Begin", content("webhook", "w0"))
        self._polled.push("Begin", content("polling", "w0"))
        self.host.start_worker()
        self.host.start_daemon()
        for name in ("webhook", "polling"):
            await self.host.until_served(name)

    def _ring(self) -> None:
        body = json.dumps({"ref": "refs/heads/main", "after": self._hooked.head}).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-hub-signature-256": f"sha256={signature}", "x-github-event": "push"}
        url = f"http://127.0.0.1:{self._port}/api/v1/webhook/hooked"
        httpx.post(url, content=body, headers=headers).raise_for_status()

    def peers(self, client: Client) -> dict[str, Peer]:
        return {
            "webhook": lambda word: pushed(self._hooked, "webhook", word, client, self._ring),
            "polling": lambda word: pushed(self._polled, "polling", word, client, lambda: None),
        }


class GitSync:
    """git-sync, and the script that it runs."""

    def __init__(self, command: str, home: Path, name: str, temporal: str, *, polls: bool) -> None:
        self.name, self.home, self._polls = name, home, polls
        self._remote = Remote(home / "remotes")
        Project(home / "project", greeter("bench", "w0"))
        self._process: subprocess.Popen[bytes] | None = None
        self._words = [
            *(command, "--repo", self._remote.file_url, "--ref", "main", "--root", str(home / "root")),
            *("--link", "current", "--exechook-command", str(self._script(temporal)), "--max-failures", "-1"),
            *(("--period", "1s") if polls else ("--period", "1h", "--sync-on-signal", "SIGHUP")),
        ]

    def _script(self, temporal: str) -> Path:
        """What people write: copy, compile, stop the old worker, start the new one."""
        project, pid = self.home / "project", self.home / "pid"
        path = self.home / "deploy.sh"
        path.write_text(f"""#!/bin/sh
set -e
cp src/*.ts {project}/src/
cd {project}
{" ".join(typescript_7())} -p .
if [ -f {pid} ]; then
  kill "$(cat {pid})" 2>/dev/null || true
  # Ended, or a zombie: in a container nobody may be there to fetch it.
  while grep -q '^State:.[^Z]' "/proc/$(cat {pid})/status" 2>/dev/null; do sleep 0.02; done
fi
export TEMPORAL_ADDRESS={temporal} TEMPORAL_NAMESPACE=default TEMPORAL_TASK_QUEUE='{self.name}'
setsid node dist/worker.js </dev/null >>{self.home}/worker.log 2>&1 &
echo $! > {pid}
""")
        path.chmod(0o755)
        return path

    async def start(self, client: Client) -> None:
        self._remote.push("Begin", content(self.name, "w0"))
        self._start()
        first = run_workflow(client, "bench", "x", queue=self.name, patience=120)
        try:
            assert await first == "w0 x"
        except TimeoutError:
            raise SystemExit((self.home / "git-sync.log").read_text()) from None

    def _start(self) -> None:
        with (self.home / "git-sync.log").open("ab") as log:
            self._process = subprocess.Popen(self._words, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        with suppress(OSError, ValueError):
            os.kill(int((self.home / "pid").read_text()), signal.SIGTERM)

    def _ring(self) -> None:
        if not self._polls and self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def peer(self, client: Client) -> Peer:
        return lambda word: pushed(self._remote, self.name, word, client, self._ring)


async def measure(given: Options) -> None:
    report = Report("git_push", given.as_json())
    command = shutil.which("git-sync")
    names = (("git-sync, signal", False), ("git-sync, polling", True)) if command else ()
    if not command:
        report.leave_out("git-sync", "no git-sync on PATH")
    with home("git") as place, temporal() as server:
        syncs = [
            GitSync(str(command), place / name.replace(", ", "-"), name, server.address, polls=polls)
            for name, polls in names
        ]
        try:
            with running_git_host(place, server.address) as host:
                client = await Client.connect(server.address)
                theirs = Timewright(host)
                await theirs.start()
                for sync in syncs:
                    await sync.start(client)
                peers = {**theirs.peers(client), **{sync.name: sync.peer(client) for sync in syncs}}
                await rounds(report, given.rounds, peers)
        finally:
            for sync in syncs:
                sync.stop()
    say(f"written: {report.write().name}")


async def rounds(report: Report, count: int, peers: dict[str, Peer]) -> None:
    for number in range(1, count + 1):
        found = {name: await peer(f"w{number}") for name, peer in peers.items()}
        for name, taken in found.items():
            report.add("push", name, {"serving_s": taken})
        say(f"round {number}/{count}: " + ", ".join(f"{n} {taken:.2f} s" for n, taken in found.items()))


if __name__ == "__main__":
    chosen = options(__doc__, rounds=5, full_rounds=15)
    run(lambda: measure(chosen))
