"""A daemon's parts with their API, live on a Unix socket and on TCP; the compiler is the mock mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from timewright.api.server import ApiServer
from timewright.control import Control
from timewright.edge.tokens import Tokens

from tests.test_reconcile import Bench, _bench


class Desk:
    """A live API. `passes` go on in the background, as the daemon's do."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.control = Control(bench.world, bench.reconciler)
        self.tokens = Tokens(bench.world.config.tokens_path)
        self._wake = asyncio.Event()
        bench.reconciler._wake = self._wake.set
        self._loop: asyncio.Task[None] | None = None
        self._clients: list[httpx.AsyncClient] = []
        self.server = ApiServer(self.control, bench.world.config, lambda: b"up 1\n")

    async def start(self) -> None:
        await self.bench.settle()
        await self.server.start()
        self._loop = asyncio.create_task(self._passes())

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        for client in self._clients:
            await client.aclose()
        await self.server.stop()
        await asyncio.wait_for(self.bench.reconciler.settled(), 10)

    async def _passes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.bench.reconciler.run_pass()

    def unix(self) -> httpx.AsyncClient:
        """A client on the socket: this user."""
        path = str(self.bench.world.config.api_socket)
        return self._client(httpx.AsyncHTTPTransport(uds=path), "http://timewright", {})

    def tcp(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A client on the network, with a token or without."""
        more = {"authorization": f"Bearer {token}"} if token is not None else {}
        return self._client(None, f"http://127.0.0.1:{self.port}", {**more, **headers})

    @property
    def port(self) -> int:
        return self.server.addresses[0][1]

    def token(self, role: str, *owners: str, expires: float | None = None) -> str:
        """A new token; each has a name of its own."""
        name = "-".join((role, *owners, str(len(self.tokens.all()))))
        return self.tokens.create(name, role, owners, expires=expires)

    def _client(self, transport: Any, base: str, headers: dict[str, str]) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=base, headers=headers, transport=transport, timeout=20)
        self._clients.append(client)
        return client


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with _bench(tmp_path) as bench:
        config = bench.world.config
        bench.world.config = replace(config, api=replace(config.api, listen="127.0.0.1:0"))
        made = Desk(bench)
        await made.start()
        yield made
        await made.stop()
