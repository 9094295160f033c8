"""Memory of the compiler and of a worker process while one pool grows.

    python -m bench.memory [--sizes 1,50,100,250,500]

One task queue, one pool, one worker process. At each size all is deployed and served first (`loaded`), then
one execution of every workflow runs (`used`): code is evaluated when it is asked for, so that is when memory
goes. Growth for each workflow is the slope from the smallest size to the largest. Proportional set size.
"""

from __future__ import annotations

import asyncio

from temporalio.client import Client

from bench.common import Options, Report, options, say
from bench.corpus import bulk, corpus_digest, name_of, queue_of
from bench.idle import parts_of
from bench.processes import memory_mib, run
from bench.stage import deployed, home, settled, temporal, until, write_specs
from tests.e2e.host import Host, run_workflow, running_host

SIZES = (1, 50, 100, 250, 500)
AT_ONCE = 10
REST_S = 3.0
KINDS = ("daemon", "compiler", "worker host", "worker processes")


async def used_by_all(client: Client, size: int) -> None:
    """One execution of each workflow, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            name = str(bulk(number)["workflowId"])
            await run_workflow(client, name, "x", queue=queue_of(number), patience=120)

    await asyncio.gather(*(one(number) for number in range(size)))


def note(report: Report, size: int, host: Host, when: str) -> None:
    for kind, pids in parts_of(host).items():
        report.add(size, kind, {f"{when}_mib": memory_mib(pids)})
    told = ", ".join(f"{k} {report.samples[f'{size}/{k}/{when}_mib'][-1]:.0f} MiB" for k in KINDS)
    say(f"{size} workflows, {when}: {told}")


async def measure(given: Options) -> None:
    report = Report("memory", {**given.as_json(), "corpus": corpus_digest()})
    with home("memory") as place, temporal() as server:
        client = await Client.connect(server.address)
        with running_host(place / "host", server.address) as host:
            host.start_worker()
            host.start_daemon()
            for size in given.sizes:
                with report.setting_up(f"grow the pool to {size}"):
                    write_specs(host.specs, size)
                    await until(f"{size} are deployed", lambda size=size: deployed(host) >= size, 900)  # type: ignore[misc]
                    await settled(host, size, 900)
                await run_workflow(client, name_of(size - 1), "x", queue=queue_of(0), patience=120)
                await asyncio.sleep(REST_S)
                note(report, size, host, "loaded")
                await used_by_all(client, size)
                await asyncio.sleep(REST_S)
                note(report, size, host, "used")
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=1, full_rounds=1, sizes=SIZES)
    run(lambda: measure(chosen))
