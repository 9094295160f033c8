"""The first deploy of a whole folder: how many specs a second?

    python -m bench.first [--rounds 3] [--sizes 1,20,200,1000] [--full]

Ours starts on a full folder with nothing deployed, its start and its compiler's included (the SDK's base
bundle is there: it is made once for each version of the SDK):

- placed: until the tree has every release and the pools' bundles have every workflow;
- served: until every workflow is known to be served by a worker.

The scripts do one spec after the other: jq, cold `tsc -p`, cold `bundleWorkflowCode`; no start, no worker.
They take hours for 1,000, so five specs are measured at each size, spread over the rounds, and scaled: they
do the same for each. 1,000 is one round (--full: all rounds).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from bench import peers
from bench.common import Options, Report, options, say
from bench.corpus import POOL_SIZE, bulk, corpus_digest
from bench.processes import run
from bench.stage import deployed, home, settled, stocked, temporal, until, write_specs
from tests.e2e.host import Host, TemporalServer, running_host

SIZES = (1, 20, 200, 1000)
SCRIPTED = 5  # specs that each script is measured with, at each size
LONG = 1000  # specs, from which on one round is enough


def script_seconds(tsc: Sequence[str], number: int) -> float:
    """One spec by hand: unpacked, checked and emitted, bundled."""
    spec = bulk(number)
    with tempfile.TemporaryDirectory(prefix="timewright-bench-script-") as place:
        project = peers.Project(Path(place) / "project", spec)
        path = Path(place) / "spec.json"
        path.write_text(json.dumps(spec))
        start = time.perf_counter()
        for file, key in (("workflow", "workflowCode"), ("activities", "activitiesCode")):
            with (project.home / "src" / f"{file}.ts").open("wb") as out:
                subprocess.run(["jq", "-r", f".{key}", str(path)], stdout=out, check=True)
        project.compile(tsc)
        project.bundle()
        return time.perf_counter() - start


def joined(host: Host) -> int:
    """How many workflows are in the pools' current bundles."""
    pools = (host.data / "pools").glob("*/*/current/pool.toml")
    return sum(len(tomllib.loads(pool.read_text())["releases"]) for pool in pools)


async def ours(size: int, server: TemporalServer) -> dict[str, float]:
    with home("first") as place, running_host(place / "host", server.address) as host:
        write_specs(host.specs, size)
        host.start_worker()
        start = time.perf_counter()
        host.start_daemon()
        patience = 60.0 + 2.0 * size
        await until(f"{size} specs are in the tree", lambda: deployed(host) >= size, patience, step_s=0.05)
        await until(f"{size} specs are in pools", lambda: joined(host) >= size, patience, step_s=0.05)
        placed = time.perf_counter() - start
        say(f"{size} specs: placed after {placed:.1f} s")
        await settled(host, size, patience)
        served = time.perf_counter() - start
    return {"placed_s": placed, "placed_per_s": size / placed, "served_per_s": size / served}


async def measure(given: Options) -> None:
    report = Report("first", {**given.as_json(), "corpus": corpus_digest(), "scripted": SCRIPTED})
    scripts = {"script-ts5": peers.typescript_5(), "script-ts7": peers.typescript_7()}
    if why := peers.missing().get("script-ts5"):
        for name in scripts:
            report.leave_out(name, why)
        scripts = {}
    with temporal() as server:
        with stocked(1, server, report):
            pass  # makes the base
        for size in given.sizes:
            rounds = given.rounds if size < LONG or given.full else 1
            for number in range(rounds):
                report.add(size, "timewright", await ours(size, server))
                for name, tsc in scripts.items():
                    for sample in range(-(-min(size, SCRIPTED) // rounds)):
                        taken = script_seconds(tsc, (number * SCRIPTED + sample) % POOL_SIZE)
                        report.add(size, name, {"one_s": taken, "placed_per_s": 1 / taken})
                        say(f"{name}: one spec in {taken:.1f} s")
                rate = report.samples[f"{size}/timewright/placed_per_s"][-1]
                say(f"{size} specs, round {number + 1}/{rounds}: {rate:.1f} a second")
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=3, full_rounds=7, sizes=SIZES)
    run(lambda: measure(chosen))
