"""Worker hosts that say what isn't so, or nothing, before real passes (faults.md A13, A14)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from timewright.core.state import Health, Status

from tests.edge.test_worker_client import hangs, never_ends
from tests.test_reconcile import PlainWorker, _bench

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Liar(PlainWorker):
    """Says yes to each reload, and in its list that it serves what it served at first."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.releases: dict[str, str] = {}  # workflow id → what the list says

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("POST"):
            answer: dict[str, Any] = {"success": True, "state": "polling"}
        else:
            answer = {
                "temporal": {"reachable": True, "address": "t"},
                "pools": [*map(self._row, self.releases)],
            }
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    def _row(self, workflow_id: str) -> dict[str, Any]:
        return {
            "namespace": "default",
            "taskQueue": workflow_id,
            "poolVersion": "v",
            "state": "polling",
            "current": True,
            "pid": 7,
            "startedAt": "2020-01-01T00:00:00.000Z",
            "releases": [{"workflowId": workflow_id, "release": self.releases[workflow_id]}],
        }


async def test_a_host_that_says_yes_and_serves_another_release_is_never_called_healthy(
    tmp_path: Path,
) -> None:
    async with _bench(tmp_path) as bench:
        await bench.worker.stop()
        liar = Liar(bench.worker.port)
        await liar.start()
        bench.put("one", "old")
        await bench.settle()
        old = bench.world.record("one").applied[:12]
        liar.releases = {"one": old}
        await bench.reconciler.health.check()
        bench.put("one", "new")
        await bench.settle()
        for _ in range(3):
            bench.now += 120
            await bench.reconciler.health.check()
            record = bench.world.record("one")
            assert (record.status, record.health) == (Status.DEPLOYED, Health.DEGRADED)
        assert record.applied[:12] != old
        assert old in record.health_reason
        liar.releases = {"one": record.applied[:12]}
        await bench.reconciler.health.check()
        assert bench.world.record("one").health is not Health.DEGRADED
        await liar.stop()


async def redirects(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 302 X\r\nlocation: /workflows/reload\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def fails(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\nno")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("answer", [hangs, redirects, never_ends, fails])
async def test_a_host_that_hangs_or_talks_nonsense_holds_up_no_deploy(tmp_path: Path, answer: Answer) -> None:
    async with _bench(tmp_path) as bench:
        await bench.worker.stop()
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", bench.worker.port)
        for name in ("one", "two", "three"):
            bench.put(name, "x")
        await bench.settle()
        await bench.reconciler.health.check()
        for name in ("one", "two", "three"):
            record = bench.world.record(name)
            assert (record.status, record.health) == (Status.DEPLOYED, Health.DEGRADED)
            assert bench.world.releases.current(name) == record.applied[:12]
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
