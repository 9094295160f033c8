"""When something of ours came to be: a file's rename, a link that moved, a result of the new code."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from tests.e2e.host import Host, run_workflow

PATIENCE_S = 120.0
EVERY_S = 0.1  # between two starts of executions,
MOST = 10  # of which so many may wait at once: more would be a load of their own on a slow machine
#: Before each change, at least, and until the machine idles: what the one before has left to do (a worker
#: process in reserve is started, an old one ends) is no part of it.
CALM_S = 2.0
LEAST_IDLE = 0.9
MOST_CALM_S = 20.0


class NeverError(Exception):
    """What was waited for didn't come."""


async def moment(true: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
    """The moment (perf_counter) when it was seen to be true, looked at each millisecond."""
    deadline = time.perf_counter() + patience_s
    while not true():
        await asyncio.sleep(0.001)
        if time.perf_counter() > deadline:
            raise NeverError(f"not in {patience_s:.0f} s: {what}")
    return time.perf_counter()


async def calm() -> None:
    """Until what went before has come to rest: for a while, then for half a second of an idle machine."""
    await asyncio.sleep(CALM_S)
    end = time.monotonic() + MOST_CALM_S
    busy, total = _ticks()
    while time.monotonic() < end:
        await asyncio.sleep(0.5)
        now_busy, now_total = _ticks()
        if now_total > total and 1 - (now_busy - busy) / (now_total - total) >= LEAST_IDLE:
            return
        busy, total = now_busy, now_total


def _ticks() -> tuple[int, int]:
    """Clock ticks of all processors: busy, and all."""
    spent = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(spent) - spent[3] - spent[4], sum(spent)  # idle, and waiting for a disk


def linked(path: Path) -> str:
    return path.readlink().name if path.is_symlink() else ""


async def served(client: Client, workflow_type: str, queue: str, word: str) -> float:
    """The moment when the first result of the new code was back. Starts go on all the time, a new one each
    100 ms (up to a bound), so that an execution that waits for its old worker doesn't hide the new one."""
    seen = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        if await run_workflow(client, workflow_type, "x", queue=queue, patience=PATIENCE_S) == f"{word} x":
            seen.set()

    deadline = time.perf_counter() + PATIENCE_S
    while not seen.is_set():
        if sum(not task.done() for task in running) < MOST:
            running.add(asyncio.create_task(one()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seen.wait(), EVERY_S)
        if time.perf_counter() > deadline:
            raise NeverError(f"not in {PATIENCE_S:.0f} s: a result with {word!r} on {queue}")
    result = time.perf_counter()
    await asyncio.gather(*running)  # the next measurement starts with an idle server
    return result


class Watched:
    """One workflow of a host, and how long it takes to change it."""

    def __init__(self, host: Host, client: Client, name: str, queue: str) -> None:
        self.host, self.client, self.name, self.queue = host, client, name, queue
        self._link = host.data / "workflows" / name
        self._pool = host.data / "pools" / "default" / queue / "current"

    async def changed(self, spec: dict[str, Any], word: str, *, serving: bool = True) -> dict[str, float]:
        """Rename the spec into the folder, and see how far it gets: seconds until

        - event: the deploy has begun (by the history: to a millisecond);
        - dist: the release is live in the tree, with dist and its own bundle;
        - bundle: the pool's combined bundle is in place too, which is what a worker loads;
        - serving: a result of the new code was back.
        """
        await calm()
        wall = time.time()
        start = time.perf_counter()
        found = await self._passes(lambda: self.host.put(f"{self.name}.json", spec), start)
        if serving:
            found["serving_s"] = await served(self.client, self.name, self.queue, word) - start
        await self.settled("DEPLOYED")
        event = await self._last("DEPLOYING")
        found["event_s"] = max(0.0, event["at"] - wall)
        return found

    async def rolled_back(self, word: str, *, serving: bool = True) -> dict[str, float]:
        """Ask for the release before, by one call: seconds as above."""
        url = f"http://timewright/api/v1/workflows/{self.name}/rollback"
        transport = httpx.AsyncHTTPTransport(uds=str(self.host.data / "api.sock"))
        async with httpx.AsyncClient(transport=transport, timeout=30) as line:  # made before the clock runs
            await calm()
            start = time.perf_counter()
            found = await self._passes(lambda: line.post(url, json={}), start)
        if serving:
            found["serving_s"] = await served(self.client, self.name, self.queue, word) - start
        await self.settled("ROLLED_BACK")
        return found

    async def _passes(self, begin: Callable[[], Any], start: float) -> dict[str, float]:
        link, pool = linked(self._link), linked(self._pool)
        call = begin()
        asked = asyncio.ensure_future(call) if asyncio.iscoroutine(call) else None
        try:
            dist = await moment(lambda: linked(self._link) != link, f"{self.name} is swapped")
            bundle = await moment(lambda: linked(self._pool) != pool, "its pool is swapped")
        except NeverError as error:
            raise NeverError(f"{error}\n{self.host.tail()}") from None  # megabytes, read only now
        if asked is not None:
            (await asked).raise_for_status()
        return {"dist_s": dist - start, "bundle_s": bundle - start}

    async def settled(self, status: str) -> None:
        await self.host.until_status(self.name, status)

    async def stages(self) -> dict[str, float]:
        """Milliseconds by stage of the last deploy."""
        event = await self._last("DEPLOYED")
        return {f"{stage}_ms": float(taken) for stage, taken in event["timings"].items()}

    async def _last(self, status: str) -> dict[str, Any]:
        path = f"/api/v1/workflows/{self.name}/logs?last=20"
        logs: Any = await asyncio.to_thread(self.host.api, "GET", path)
        for event in reversed(logs):
            if event["kind"] == "status" and event["new"] == status:
                return {"at": _epoch(event["at"]), "timings": event["timingsMs"]}
        raise NeverError(f"{self.name} was never {status}")


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
