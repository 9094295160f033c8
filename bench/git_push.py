"""From `git push` to new code serving, beside git-sync with a script that compiles and restarts.

    make bench            (or: python -m bench.git_push --rounds 9)

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

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from bench.deploy import RESULTS, Script, served, typescript_7
from tests.e2e.githost import GitHost, running_git_host
from tests.e2e.host import TemporalServer, free_port, run_workflow
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
        self._project = Script(name, home / "project", temporal, [])
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
  while kill -0 "$(cat {pid})" 2>/dev/null; do sleep 0.02; done
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


async def measure(rounds: int) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="timewright-bench-"))
    server = TemporalServer(home)
    server.start()
    command = shutil.which("git-sync")
    names = (("git-sync, signal", False), ("git-sync, polling", True)) if command else ()
    syncs = [
        GitSync(str(command), home / name.replace(", ", "-"), name, server.address, polls=polls)
        for name, polls in names
    ]
    try:
        with running_git_host(home, server.address) as host:
            client = await Client.connect(server.address)
            ours = Timewright(host)
            await ours.start()
            for sync in syncs:
                await sync.start(client)
            peers = {**ours.peers(client), **{sync.name: sync.peer(client) for sync in syncs}}
            samples: dict[str, list[float]] = {name: [] for name in peers}
            for number in range(1, rounds + 1):
                for name, peer in peers.items():
                    samples[name].append(await peer(f"w{number}"))
                found = ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in samples.items())
                print(f"round {number}/{rounds}: {found}", flush=True)
    finally:
        for sync in syncs:
            sync.stop()
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    medians = {name: round(statistics.median(found), 3) for name, found in samples.items()}
    return {"rounds": rounds, "median_s": medians, "samples_s": samples}


def show(result: dict[str, Any]) -> None:
    medians = result["median_s"]
    print(f"\n{'from git push to new code serving':36}{'median':>10}{'range':>18}{'beside ours':>14}")
    for name, median in medians.items():
        found = result["samples_s"][name]
        ours = medians["polling" if name.endswith("polling") else "webhook"]
        spread = f"{min(found):.2f} to {max(found):.2f} s"
        print(f"{name:36}{median:8.2f} s{spread:>18}{median / ours:12.1f} x")
    if len(medians) == 2:
        print("\nno git-sync on PATH: it is left out")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    result = asyncio.run(measure(options.rounds))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "git_push.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)


if __name__ == "__main__":
    main()
