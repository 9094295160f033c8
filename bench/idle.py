"""What it takes to do nothing: CPU and memory with N specs deployed, served and unchanged.

    python -m bench.idle [--sizes 1000,10000]

CPU is counted in ticks of the kernel's clock (1/100 s) over a minute; memory is the proportional set size
(what several processes share counts once) and the resident one. Before, one spec is changed, so the compiler
is warm and not just started, and the first round that looks for drift, which reads every release, comes to
its end. The peer is `tsc --watch` (native) over the same 1,000 specs' sources, which has made one change too;
with 10,000 it takes more memory than most hosts have.
"""

from __future__ import annotations

import asyncio

from temporalio.client import Client

from bench import peers
from bench.change import NAME, probe, ready, tsc_watched
from bench.common import Options, Report, options, say
from bench.corpus import bulk, corpus_digest
from bench.processes import children, cpu_ticks, memory_mib, rss_mib, run, tree
from bench.stage import home, serving, temporal
from tests.e2e.host import Host

SETTLE_S = 20.0
ROUND_S = 0.018  # seconds that a release takes in the first round, which leaves most of the machine to others
SECONDS = 60.0
WATCHED = (1000,)


def parts_of(host: Host) -> dict[str, list[int]]:
    """The processes of a host, by what they are."""
    assert host.daemon is not None
    assert host.worker is not None
    compilers = [pid for child in children(host.daemon.pid) for pid in tree(child)]
    workers = [pid for child in children(host.worker.pid) for pid in tree(child)]
    return {
        "daemon": [host.daemon.pid],
        "compiler": compilers,
        "worker host": [host.worker.pid],
        "worker processes": workers,
    }


async def rest(report: Report, size: int, parts: dict[str, list[int]], seconds: float) -> None:
    """Watch processes at rest, all at once."""
    before = {name: cpu_ticks(pids) for name, pids in parts.items()}
    await asyncio.sleep(seconds)
    for name, pids in parts.items():
        ticks = cpu_ticks(pids) - before[name]
        found = {
            "cpu_ticks": float(ticks),
            "cpu_percent": ticks / seconds,  # a tick is 1/100 s
            "pss_mib": memory_mib(pids),
            "rss_mib": rss_mib(pids),
            "processes": float(len(pids)),
        }
        report.add(size, name, found)
        say(f"{size} specs, {name}: {ticks} ticks in {seconds:.0f} s, {found['pss_mib']:.0f} MiB")


async def watching(report: Report, size: int, seconds: float) -> None:
    """The peer, by itself."""
    with home("tsc-watch") as place:
        specs = (bulk(number) if number else probe("first") for number in range(size))
        with peers.tsc_watch(place / "all", specs) as watch:
            await tsc_watched(watch, "second")
            await asyncio.sleep(5)
            await rest(report, size, {"tsc-watch": tree(watch.pid)}, seconds)


async def measure(given: Options) -> None:
    report = Report("idle", {**given.as_json(), "seconds": SECONDS, "corpus": corpus_digest()})
    with temporal() as server:
        client = await Client.connect(server.address)
        for size in given.sizes:
            async with serving(size, server, report) as host, ready(host, client) as watched:
                await watched.changed(probe("second"), "second")
                first = SETTLE_S + size * ROUND_S
                say(f"{size} specs, with {NAME} changed once; resting for {first:.0f} s first")
                await asyncio.sleep(first)
                await rest(report, size, parts_of(host), SECONDS)
            if size in WATCHED:
                await watching(report, size, SECONDS / 3)
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=1, full_rounds=1, sizes=(1000, 10000))
    run(lambda: measure(chosen))
