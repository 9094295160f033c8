"""What it costs to break no running workflow: deploys with Versions beside deploys in place, and the way
back.

    make bench            (or: python -m bench.rollout --rounds 9)

Two specs on one host, one worker host and one Temporal server, the same code on a task queue each:

- in place: `rollout: off`, the worker process is swapped;
- versions: AllAtOnce, old and new served side by side, and Temporal told where executions go;
- rollback: of the second one, by hand, to the release before.

Each round changes both, one after the other. Times begin at the rename of the spec (the rollback: at the
call) and end when a new execution returned a result of the code that was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from temporalio.client import Client

from bench.deploy import RESULTS, served
from tests.e2e.host import Host, TemporalServer, running_host
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


async def rounds(host: Host, client: Client, count: int) -> dict[str, list[float]]:
    host.start_worker()
    host.start_daemon()
    for name in PEERS.values():
        host.put(f"{name}.json", spec(name, "w0"))
        await host.until_served(name)
    found: dict[str, list[float]] = {peer: [] for peer in (*PEERS, "rollback")}
    for number in range(1, count + 1):
        for peer, name in PEERS.items():
            found[peer].append(await changed(host, client, name, f"w{number}"))
            await host.until_served(name)
        found["rollback"].append(await back(host, client, "versions", f"w{number - 1}"))
        await host.until_status("versions", "ROLLED_BACK")
        print(f"round {number}: " + ", ".join(f"{peer} {times[-1]:.2f} s" for peer, times in found.items()))
    return found


async def main(count: int) -> None:
    home = Path(tempfile.mkdtemp(prefix="timewright-bench-"))
    server = TemporalServer(home)
    server.start()
    try:
        client = await Client.connect(server.address)
        with running_host(home, server.address) as host:
            samples = await rounds(host, client, count)
    finally:
        server.stop()
    medians = {peer: round(statistics.median(times), 3) for peer, times in samples.items()}
    ratios = {peer: round(median / medians["in place"], 2) for peer, median in medians.items()}
    result = {"rounds": count, "median_s": medians, "times_in_place": ratios, "samples_s": samples}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "rollout.json").write_text(json.dumps(result, indent=1) + "\n")
    for peer, median in medians.items():
        print(f"{peer:10} {median:6.2f} s   {ratios[peer]:.2f} x in place")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=9)
    asyncio.run(main(arguments.parse_args().rounds))
