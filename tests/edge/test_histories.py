"""What is fetched of Temporal, and what becomes of a server that is slow, away or answers oddly.

The whole way over a real server is tests/e2e/test_replay.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.api.history.v1 import History as Message
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus
from timewright.edge.histories import Bounds, Fetched, fetch


@dataclass
class Execution:
    id: str
    status: WorkflowExecutionStatus = WorkflowExecutionStatus.RUNNING
    run_id: str = "r"
    workflow_type: str = "order"


@dataclass
class Server:
    """The two calls of a client that a fetch makes. `long`: events by workflow id; `broken`: what is
    raised."""

    executions: list[Execution] = field(default_factory=list)
    long: dict[str, int] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    listing: Callable[[], Any] | None = None
    queries: list[str] = field(default_factory=list)

    async def list_workflows(self, query: str, *, limit: int, page_size: int) -> AsyncIterator[Execution]:
        self.queries.append(query)
        if self.listing is not None:
            await self.listing()
        wants = "ExecutionStatus =" in query
        found = [one for one in self.executions if (one.status == WorkflowExecutionStatus.RUNNING) == wants]
        for one in found[:limit]:
            yield one

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> Handle:
        return Handle(self, workflow_id)


@dataclass
class Handle:
    server: Server
    id: str

    async def fetch_history_events(self, *, page_size: int) -> AsyncIterator[HistoryEvent]:
        if error := self.server.broken.get(self.id):
            raise error
        for number in range(self.server.long.get(self.id, 3)):
            yield HistoryEvent(event_id=number + 1)


async def ask(server: Server, into: Path, **bounds: Any) -> Fetched:
    limits = Bounds(**{"open": 10, "closed": 10, "bytes": 1 << 20, "seconds": 5.0, **bounds})
    return await fetch(cast("Client", server), ["order"], "orders", limits, into)


DONE = WorkflowExecutionStatus.COMPLETED


async def test_the_newest_open_and_closed_executions_are_fetched_the_open_ones_first(tmp_path: Path) -> None:
    server = Server([Execution("c1", DONE), Execution("o1"), Execution("c2", DONE), Execution("o2")])
    found = await ask(server, tmp_path, closed=1)
    assert [(one.workflow_id, one.running, one.events) for one in found.histories] == [
        ("o1", True, 3),
        ("o2", True, 3),
        ("c1", False, 3),
    ]
    message = Message.FromString(found.histories[0].file.read_bytes())
    assert [event.event_id for event in message.events] == [1, 2, 3]
    assert (found.left_out, found.problem) == ((), "")


async def test_zero_of_a_kind_asks_for_none(tmp_path: Path) -> None:
    server = Server([Execution("o1")])
    assert (await ask(server, tmp_path, open=0, closed=0)).histories == ()
    assert server.queries == []


async def test_a_name_with_a_quote_stays_inside_of_its_query(tmp_path: Path) -> None:
    server = Server()
    limits = Bounds(1, 0, 1 << 20, 5.0)
    await fetch(cast("Client", server), ["order"], "it's \\ mine", limits, tmp_path)
    assert server.queries == [
        r"WorkflowType = 'order' AND TaskQueue = 'it\'s \\ mine' AND ExecutionStatus = 'Running'"
    ]


async def test_a_history_that_is_too_long_is_left_out_by_name(tmp_path: Path) -> None:
    server = Server([Execution("long"), Execution("short")], long={"long": 101})
    found = await ask(server, tmp_path, events=100)
    assert [one.workflow_id for one in found.histories] == ["short"]
    assert found.left_out == ("long was left out: it has more than 100 events",)


async def test_histories_beyond_the_limit_of_all_are_left_out_and_smaller_ones_still_fit(
    tmp_path: Path,
) -> None:
    server = Server([Execution("big"), Execution("small")], long={"big": 5000})
    found = await ask(server, tmp_path, bytes=2000)
    assert [one.workflow_id for one in found.histories] == ["small"]
    assert found.left_out == (
        "big was left out: the histories together are larger than 0 MiB (replay.most_mib)",
    )


async def test_a_history_that_is_gone_by_now_costs_only_itself(tmp_path: Path) -> None:
    server = Server(
        [Execution("gone"), Execution("there")], broken={"gone": RuntimeError("not found\nat all")}
    )
    found = await ask(server, tmp_path)
    assert [one.workflow_id for one in found.histories] == ["there"]
    assert found.left_out == ("gone was left out: its history can't be read: not found",)
    assert found.problem == ""


async def test_a_server_that_refuses_the_list_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    async def refuse() -> None:
        raise PermissionError("no such namespace")

    found = await ask(Server([Execution("o")], listing=refuse), tmp_path)
    assert found == Fetched(problem="Temporal could not be asked: no such namespace")


async def test_a_server_that_never_answers_is_a_problem_in_time(tmp_path: Path) -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    found = await ask(Server([Execution("o")], listing=hang), tmp_path, seconds=0.05)
    assert found == Fetched(problem="Temporal took longer than 0.05 s to answer")


async def test_a_cancelled_deploy_ends_the_fetch(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(ask(Server([Execution("o")], listing=hang), tmp_path))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
