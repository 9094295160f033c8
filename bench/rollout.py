"""What it costs to break no running workflow: deploys with Versions beside deploys in place, and the way
back.

    python -m bench.rollout [--rounds 5]

Two specs on one host, one worker host and one Temporal server, the same code on a task queue each:

- in place: `rollout: off`, the worker process is swapped;
- versions: AllAtOnce, old and new served side by side, and Temporal told where executions go;
- rollback: of the second one, by hand, to the release before.

Each round changes both, one after the other. Times begin at the rename of the spec (the rollback: at the
call) and end when a new execution returned a result of the code that was asked for.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from temporalio.client import Client

from bench.common import Options, Report, options, say
from bench.processes import run
from bench.stage import home, temporal
from bench.watching import served
from tests.e2e.host import Host, running_host
from tests.e2e.specs import greeter

PEERS = {"in place": "inplace", "versions": "versions"}


def spec(name: str, word: str) -> dict[str, Any]:
    return greeter(name, word, queue=name, rollout="off" if name == "inplace" else "AllAtOnce")


async def changed(host: Host, client: Client, name: str, word: str) -> float:
    """Seconds from the rename to a result of the new code."""
    start = time.perf_counter()
    host.put(f"{name}.json", spec(name, word))
    return await served(client, name, name, word) - start


async def back(host: Host, client: Client, name: str, word: str) -> float:
    """Seconds from the call to a result of the release before."""
    start = time.perf_counter()
    await asyncio.to_thread(host.api, "POST", f"/api/v1/workflows/{name}/rollback", {})
    return await served(client, name, name, word) - start


async def rounds(host: Host, client: Client, count: int, report: Report) -> None:
    host.start_worker()
    host.start_daemon()
    for name in PEERS.values():
        host.put(f"{name}.json", spec(name, "w0"))
        await host.until_served(name)
    for number in range(1, count + 1):
        found = {}
        for peer, name in PEERS.items():
            found[peer] = await changed(host, client, name, f"w{number}")
            await host.until_served(name)
        found["rollback"] = await back(host, client, "versions", "w0")  # which each round comes back to
        await host.until_status("versions", "ROLLED_BACK")
        for peer, taken in found.items():
            report.add("deploy", peer, {"serving_s": taken})
        told = ", ".join(f"{peer} {taken:.2f} s" for peer, taken in found.items())
        say(f"round {number}/{count}: {told}")


async def measure(given: Options) -> None:
    report = Report("rollout", given.as_json())
    with home("rollout") as place, temporal() as server:
        client = await Client.connect(server.address)
        with running_host(place / "host", server.address) as host:
            await rounds(host, client, given.rounds, report)
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=5, full_rounds=15)
    run(lambda: measure(chosen))
