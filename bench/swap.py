"""What does an execution wait because the code of its workflow was replaced meanwhile?

    python -m bench.swap [--rounds 4]

Eight executions a second start all the time, each of five workflow tasks and a timer; first for a while
without a change, then with a change of the spec each few seconds, for both ways to replace code: beside the
one before (Versions, the default) and in place. An execution's wait is what it took without its own timer;
the added wait is the worst wait with changes less the median without.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from bench.common import Options, Report, options, quantile, say
from bench.corpus import spec
from bench.processes import run
from bench.stage import home, temporal
from tests.e2e.host import Host, run_workflow, running_host

PEERS = {"versions": "AllAtOnce", "in place": "off"}
EVERY_S = 0.125
PAUSE_MS = 300
CALM_S = 6.0
BETWEEN_S = 2.0


@asynccontextmanager
async def load(client: Client, name: str) -> AsyncIterator[list[float]]:
    """Starts executions all the time; afterwards every one of them has completed. Yields their waits."""
    waits: list[float] = []
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        began = time.monotonic()
        await run_workflow(client, name, "x", PAUSE_MS, queue=name, patience=120)
        waits.append(time.monotonic() - began - PAUSE_MS / 1000)

    async def starter() -> None:
        while True:
            running.add(asyncio.create_task(one()))
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(starter())
    try:
        yield waits
    finally:
        task.cancel()
        await asyncio.gather(*running)


async def swapped(host: Host, client: Client, peer: str, swaps: int, report: Report) -> None:
    """The waits of one peer, without changes and with them."""
    name = peer.replace(" ", "")
    host.put(f"{name}.json", spec(name, "v0", name, rollout=PEERS[peer]))
    await host.until_served(name)
    async with load(client, name) as calm:
        await asyncio.sleep(CALM_S)
    async with load(client, name) as busy:
        for number in range(1, swaps + 1):
            await asyncio.sleep(BETWEEN_S)
            before = host.release(name)
            host.put(f"{name}.json", spec(name, f"v{number}", name, rollout=PEERS[peer]))
            await host.until("it is swapped", lambda before=before: host.release(name) != before)  # type: ignore[misc]
            await host.until_served(name)
        await asyncio.sleep(BETWEEN_S)
    usual = statistics.median(calm)
    found = {
        "calm_s": usual,
        "calm_worst_s": max(calm),
        "p99_s": quantile(busy, 0.99),
        "worst_s": max(busy),
        "added_s": max(0.0, max(busy) - usual),
    }
    report.add("swaps", peer, found)
    report.add("swaps", peer, {"executions": len(busy)})
    say(f"{peer}: " + ", ".join(f"{key} {value:.2f}" for key, value in found.items()))


async def measure(given: Options) -> None:
    report = Report("swap", given.as_json())
    with home("swap") as place, temporal() as server:
        client = await Client.connect(server.address)
        with running_host(place / "host", server.address) as host:
            host.start_worker()
            host.start_daemon()
            for peer in PEERS:
                await swapped(host, client, peer, given.rounds, report)
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=4, full_rounds=20)
    run(lambda: measure(chosen))
