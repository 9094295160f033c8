"""What gets lost between the daemon and a real worker host (faults.md G6)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from temporalio.client import Client

from tests.e2e.host import Host, run_workflow, until_async
from tests.e2e.specs import greeter


class Middle:
    """Hands calls on to the worker host, and loses its answers to reloads as long as `lossy`."""

    def __init__(self, host: Path) -> None:
        self.host = host
        self.lossy = False
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().splitlines()
            length = next((int(x.split(":")[1]) for x in lines if x.startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            answer = await self._ask(head, body)
            if self.lossy and head.startswith(b"POST"):
                self.lost += 1
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        """The whole answer: what was asked has been done then."""
        reader, writer = await asyncio.open_unix_connection(self.host)
        first, rest = head.split(b"\r\n", 1)
        kept = [line for line in rest.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join([first, *kept, b"connection: close", b"", b""]) + body)
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def in_the_middle(host: Host) -> AsyncIterator[Middle]:
    """Between the daemon that starts from now on and its worker host."""
    middle = Middle(host.data / "worker.sock")
    path = host.home / "middle.sock"
    server = await asyncio.start_unix_server(middle.serve, path)
    host.settings["TIMEWRIGHT_WORKER_URL"] = f"unix:{path}"
    try:
        yield middle
    finally:
        host.stop_daemon()
        server.close()
        await server.wait_closed()


async def test_an_answer_that_is_lost_after_the_host_acted_costs_a_look_and_no_execution(
    host: Host, client: Client
) -> None:
    async with in_the_middle(host) as middle:
        await host.serving("first.json", greeter("first", "old"))
        handle = await client.start_workflow(
            "first", args=["long", 4000], id=f"long-{time.time_ns()}", task_queue="first"
        )
        middle.lossy = True
        host.put("first.json", greeter("first", "new"))
        await host.until("the new one is live", lambda: len(host.history("first")) == 4)
        assert middle.lost > 0
        await host.until_served("first")
        middle.lossy = False

        async def is_new() -> bool:
            return bool(await run_workflow(client, "first", "x", queue="first") == "new x")

        await until_async("new executions get the new code, with no answer to wait for", is_new)
        assert await asyncio.wait_for(handle.result(), 30) == "old long"
        assert host.history("first") == ["DEPLOYING", "DEPLOYED"] * 2
        polling = [line for line in host.worker_log.read_text().splitlines() if "worker.polling" in line]
        assert len(polling) == 2, "one process for each release"
