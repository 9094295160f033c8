"""A host with N specs deployed, as real processes, for the parts to measure on.

Deploying 10,000 specs takes minutes, so what was deployed for one part is there for the next: `make bench`
gives its parts a folder (BENCH_STOCK) in which hosts of 1,000 and more stay until it ends. A part alone
makes its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from timewright.core.state import Health, Record
from timewright.edge.statefile import StateFile

from bench.common import Report, say
from bench.corpus import bulk, name_of
from tests.e2e.host import Host, TemporalServer, running_host

STOCK = "BENCH_STOCK"
KEPT_FROM = 1000  # specs: smaller hosts are made anew each time
_APPLY_S = 3600.0  # patience for a first deploy of 10,000 on a slow machine


@contextmanager
def home(name: str) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=f"timewright-bench-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def temporal() -> Iterator[TemporalServer]:
    with home("temporal") as path:
        server = TemporalServer(path)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def write_specs(folder: Path, count: int) -> None:
    """Write the specs that aren't there yet, before anybody looks."""
    for number in range(count):
        path = folder / f"{name_of(number)}.json"
        if not path.exists():
            path.write_text(json.dumps(bulk(number)))


@contextmanager
def stocked(count: int, server: TemporalServer, report: Report) -> Iterator[Host]:
    """A host whose tree holds `count` deployed specs; none of its processes runs yet."""
    shelf = os.environ.get(STOCK, "")
    with home(f"host-{count}") as own:
        kept = Path(shelf) / f"host-{count}" if shelf and count >= KEPT_FROM else own / "host"
        with running_host(kept, server.address) as host:
            if deployed(host) < count:
                with report.setting_up(f"deploy {count} specs"):
                    _deploy(host, count)
            yield host


def _deploy(host: Host, count: int) -> None:
    """One pass to its end, without a worker host: that is the quickest way."""
    write_specs(host.specs, count)
    log = host.home / "apply.log"
    with log.open("ab") as out:
        done = subprocess.run(
            [sys.executable, "-m", "timewright.cli.main", "apply", *host.where()],
            env=host.environment(),
            stdout=out,
            stderr=out,
            timeout=_APPLY_S,
            check=False,
        )
    found = deployed(host)
    if done.returncode != 0 or found < count:
        raise SystemExit(f"only {found} of {count} specs were deployed\n{log.read_text()[-2000:]}")


def deployed(host: Host) -> int:
    """How many workflows are in the tree."""
    folder = host.data / "workflows"
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


async def settled(host: Host, count: int, patience_s: float = 600.0) -> None:
    """Wait until the daemon follows its source and, where a worker host runs, all is served."""

    def true() -> bool:
        _living(host)
        return host.is_ready() and (host.worker is None or _healthy(host) >= count)

    await until(f"{count} specs are followed and served", true, patience_s, step_s=0.5, host=host)


def _living(host: Host) -> None:
    for name, process in (("daemon", host.daemon), ("worker host", host.worker)):
        if process is not None and process.poll() is not None:
            raise SystemExit(f"the {name} ended with exit code {process.poll()}\n{host.tail()}")


def _healthy(host: Host) -> int:
    return sum(record.health is Health.HEALTHY for record in records(host).values())


def records(host: Host) -> dict[str, Record]:
    """Where all workflows stand, as the state file says."""
    state = StateFile(host.data / "state.db", read_only=True)
    try:
        return state.records()
    finally:
        state.close()


async def until(
    what: str, true: Callable[[], bool], patience_s: float, *, step_s: float = 0.2, host: Host | None = None
) -> None:
    """Raises SystemExit when it doesn't come to be, with the end of the host's logs."""
    deadline = time.monotonic() + patience_s
    while not await asyncio.to_thread(true):
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {patience_s:.0f} s: {what}\n{host.tail() if host else ''}")
        await asyncio.sleep(step_s)


@asynccontextmanager
async def serving(count: int, server: TemporalServer, report: Report) -> AsyncIterator[Host]:
    """The same with both processes running, and all served."""
    with stocked(count, server, report) as host:
        with report.setting_up(f"start both processes on {count} specs"):
            host.start_worker()
            host.start_daemon()
            await settled(host, count)
        say(f"{count} specs are deployed and served")
        yield host
