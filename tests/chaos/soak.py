"""The soak: an hour of made-up changes and faults under load, after which everything is as it was and where
the source is.

    make soak                     an hour, and a thousand operations of the kill loop
    SOAK_MINUTES=10 SEED=3 python -m tests.chaos.soak

Prints one line a minute, writes bench/soak.json, and exits with 1 when a figure grew beyond its bound
(tests/chaos/gauges.py) or the host did not come to what the model says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from temporalio.client import Client

from tests.chaos import checks
from tests.chaos.gauges import Sample, Verdict, judge, medians, sample
from tests.chaos.loop import Loop
from tests.e2e.host import REPO, Host, TemporalServer, quickly_drained, running_host

_SAMPLE_S = 5.0
_FAULT_S = 25.0  # seconds between two faults, about
_STARTS_S = 4.0  # executions started in a second
#: Changes that only mean something when what was asked for before has arrived.
_AT_REST = ("break", "unloadable", "suspend", "rollback")
_CHANGES = ("edit", "edit", "edit", "edit versions", "back", "remove", "rename", "resume", *_AT_REST)
_FAULTS = ("worker", "worker", "compiler", "compiler", "pause Temporal", "restart Temporal")
_SHOWN = ("daemon MiB", "daemon files", "compiler MiB", "host MiB", "worker processes", "disk MiB")


class Soak:
    """One run: changes, load, faults and gauges, side by side."""

    def __init__(self, host: Host, server: TemporalServer, client: Client, seed: int) -> None:
        host.settings["TIMEWRIGHT_HEALTH_REVERT"] = "false"  # it is us who kill the workers
        self.host, self.server = host, server
        self.loop = Loop(host, client, seed, patience=300.0)
        self.random = random.Random(seed + 1)
        self.counts: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.minutes: list[Sample] = []

    async def run(self, minutes: float) -> list[Verdict]:
        """Everything at once for so long; then rest, and the verdicts."""
        await self.loop.begin()
        others = [asyncio.create_task(one()) for one in (self._load, self._faults, self._gauge)]
        end = time.monotonic() + minutes * 60
        try:
            while time.monotonic() < end:
                await self._change()
                for task in others:
                    if task.done():
                        task.result()
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        await self._temporal_back()
        await self.loop.settle("the end")
        await self.loop.serves()
        return judge(self.samples)

    # what goes on ------------------------------------------------------------------------------

    async def _change(self) -> None:
        change = self.random.choice(_CHANGES)
        if change in _AT_REST or self.counts["changes"] % 20 == 19:
            await self.loop.settle(f"before {change}")
        workflow = await self.loop.ready(change)
        self.loop.story.append(change)
        await self.loop.change(change, workflow)
        self.counts["changes"] += 1
        await asyncio.sleep(self.random.uniform(0.2, 3.0))

    async def _load(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while True:
            if len(running) < 50:
                task = asyncio.create_task(self._execute())
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(1 / _STARTS_S)

    async def _execute(self) -> None:
        """One execution. In a fault it may be lost with its server, or wait for ever: it is counted."""
        workflow = self.random.choice(list(self.loop.model.workflows.values()))
        name = f"{workflow.name}-{time.time_ns()}"
        try:
            async with asyncio.timeout(30):
                handle = await self.loop.client.start_workflow(
                    workflow.name, args=["x"], id=name, task_queue=workflow.queue
                )
                await handle.result()
            self.counts["executions"] += 1
        except Exception:
            self.counts["executions that a fault or a removal met"] += 1
            with contextlib.suppress(Exception):
                await self.loop.client.get_workflow_handle(name).terminate()

    async def _faults(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * _FAULT_S)
            fault = self.random.choice(_FAULTS)
            self.counts[f"faults: {fault}"] += 1
            if fault == "worker" and self.host.worker is not None:
                _kill_one(self.random, checks.family(self.host.worker.pid))
            elif fault == "compiler" and self.host.daemon is not None:
                _kill_one(self.random, checks.family(self.host.daemon.pid))
            elif fault == "pause Temporal":
                self._signal_temporal(signal.SIGSTOP)
                await asyncio.sleep(self.random.uniform(2, 8))
                self._signal_temporal(signal.SIGCONT)
            else:
                await asyncio.to_thread(self.server.stop)
                await asyncio.sleep(self.random.uniform(0, 5))
                await self._temporal_back()

    async def _temporal_back(self) -> None:
        if self.server._process is None:
            await asyncio.to_thread(self.server.start)
        self._signal_temporal(signal.SIGCONT)

    def _signal_temporal(self, number: signal.Signals) -> None:
        if self.server._process is not None:
            self.server._process.send_signal(number)

    async def _gauge(self) -> None:
        minute: list[Sample] = []
        while True:
            await asyncio.sleep(_SAMPLE_S)
            daemon, worker = self.host.daemon, self.host.worker
            assert daemon is not None
            assert daemon.poll() is None, f"the daemon died: {self.host.tail()}"
            assert worker is not None
            assert worker.poll() is None, f"the worker host died: {self.host.tail()}"
            found = await asyncio.to_thread(sample, daemon.pid, worker.pid, self.host.data)
            self.samples.append(found)
            minute.append(found)
            if len(minute) * _SAMPLE_S >= 60:
                self.minutes.append(medians(minute))
                self._show(self.minutes[-1])
                minute = []

    def _show(self, figures: Sample) -> None:
        if len(self.minutes) == 1:
            print("minute  " + "  ".join(_SHOWN) + "  changes  executions", flush=True)
        cells = "  ".join(f"{figures[name]:{len(name)}.0f}" for name in _SHOWN)
        counts = f"{self.counts['changes']:7}  {self.counts['executions']:10}"
        print(f"{len(self.minutes):6}  {cells}  {counts}", flush=True)


def _kill_one(chance: random.Random, processes: set[checks.Process]) -> None:
    if processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(processes))[0], signal.SIGKILL)


def _write(path: Path, soak: Soak, seed: int, minutes: float, verdicts: list[Verdict], problem: str) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPO, capture_output=True, text=True)
    machine = {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    content: dict[str, Any] = {
        "commit": commit.stdout.strip(),
        "machine": machine,
        "minutes": minutes,
        "seed": seed,
        "state is the model's at the end": not problem,
        "counts": dict(soak.counts),
        "verdicts": [{**asdict(one), "holds": one.holds} for one in verdicts],
        "every minute": [{key: round(value, 1) for key, value in one.items()} for one in soak.minutes],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


async def main() -> int:
    minutes, seed = float(os.environ.get("SOAK_MINUTES", "60")), int(os.environ.get("SEED", "8"))
    print(f"SOAK_MINUTES={minutes:g} SEED={seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="timewright-soak-") as home,
        quickly_drained(Path(home)) as server,
        running_host(Path(home) / "host", server.address) as host,
    ):
        soak = Soak(host, server, await Client.connect(server.address), seed)
        verdicts, problem = [], ""
        try:
            verdicts = await soak.run(minutes)
        except AssertionError as error:
            problem = str(error)
            verdicts = judge(soak.samples) if len(soak.samples) >= 3 else []
    _write(REPO / "bench" / "soak.json", soak, seed, minutes, verdicts, problem)
    for one in verdicts:
        word = "flat" if one.holds else "GROWS"
        print(f"{one.name:20} {one.before:8.1f} → {one.after:8.1f}  (+{one.bound:g} at most)  {word}")
    print(dict(soak.counts))
    if problem:
        print(f"Error: the host is not where the model is: {problem}", file=sys.stderr)
    return 0 if not problem and all(one.holds for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
