"""How long the API takes to answer, at rest and while deploys go on, with 1,000 specs.

    python -m bench.api [--rounds 200] [--sizes 1000]

One caller on the Unix socket asks one thing after the other over one connection. The peer of `busy` is
`idle`, in the same run: alternating blocks of 20 calls, without and with a stream of deploys (five specs in
turn, a change each half second).
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from bench.common import Options, Report, options, quantile, say
from bench.corpus import corpus_digest, name_of, spec
from bench.processes import run
from bench.stage import serving, temporal
from tests.e2e.host import Host

CALLS = {
    "healthz": "/healthz",
    "one workflow": f"/api/v1/workflows/{name_of(0)}",
    "all workflows": "/api/v1/workflows",
}
BLOCK = 20
PACE_S = 0.05  # between calls: a block is long enough for a few deploys
CHANGED = 5
EVERY_S = 0.5
WORDS = count()


class Line(http.client.HTTPConnection):
    """One connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("timewright", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))

    def ask(self, path: str) -> float:
        """Seconds until the whole answer was here."""
        start = time.perf_counter()
        self.request("GET", path)
        answer = self.getresponse()
        answer.read()
        taken = time.perf_counter() - start
        if answer.status != 200:
            raise SystemExit(f"GET {path}: {answer.status}")
        return taken


@asynccontextmanager
async def deploys(host: Host) -> AsyncIterator[None]:
    """A stream of changes, all in one pool that is replaced in place."""

    async def stream() -> None:
        for number in WORDS:
            name = f"stream{number % CHANGED}"
            host.put(f"{name}.json", spec(name, f"w{number}", "stream", rollout="off"))
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(stream())
    await asyncio.sleep(2 * EVERY_S)
    try:
        yield
    finally:
        task.cancel()


async def block(report: Report, size: int, when: str, line: Line) -> None:
    for name, path in CALLS.items():
        for _ in range(BLOCK):
            report.add(size, when, {f"{name}_ms": await asyncio.to_thread(line.ask, path) * 1000})
            await asyncio.sleep(PACE_S)


def quantiles(report: Report, size: int) -> None:
    """p50 and p99 of each call, as figures of their own."""
    for when in ("idle", "busy"):
        for name in CALLS:
            values = report.samples[f"{size}/{when}/{name}_ms"]
            p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
            report.add(size, when, {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99})
            say(f"{size} specs, {when}, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


async def measure(given: Options) -> None:
    report = Report("api", {**given.as_json(), "corpus": corpus_digest()})
    with temporal() as server:
        for size in given.sizes:
            async with serving(size, server, report) as host:
                line = Line(host.data / "api.sock")
                for number in range(max(1, given.rounds // BLOCK)):
                    await block(report, size, "idle", line)
                    async with deploys(host):
                        await block(report, size, "busy", line)
                    await asyncio.sleep(3)  # the last deploys end
                    say(f"block {number + 1}/{max(1, given.rounds // BLOCK)}")
                line.close()
                for path in host.specs.glob("stream*.json"):
                    path.unlink()
            quantiles(report, size)
    say(f"written: {report.write().name}")


if __name__ == "__main__":
    chosen = options(__doc__, rounds=200, full_rounds=1000, sizes=(1000,), full_sizes=(1000, 10000))
    run(lambda: measure(chosen))
