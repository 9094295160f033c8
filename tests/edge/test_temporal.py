"""Asking Temporal for pollers: a server that hangs is not asked about each queue."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from timewright.edge import temporal
from timewright.edge.temporal import Temporal


async def test_a_server_that_hangs_holds_a_look_of_many_queues_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def hang(client: Any, namespace: str, task_queue: str, kind: Any) -> Any:
        asked.append(task_queue)
        await asyncio.sleep(60)

    monkeypatch.setattr(temporal, "_ask", hang)
    monkeypatch.setattr(temporal, "_TIMEOUT_S", 0.05)
    asks = Temporal("127.0.0.1:1")
    asks._client = object()  # type: ignore[assignment]
    answers = await asyncio.gather(*(asks.pollers("default", f"q{number}") for number in range(50)))
    assert answers == [None] * 50
    assert len(set(asked)) <= 8  # those that were on their way when the first went unanswered

    async def answer(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(temporal, "_ask", answer)
    asks._silent_until = time.monotonic()
    assert await asks.pollers("default", "q") == ()
