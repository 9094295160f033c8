"""Events as they happen: none twice, none missed, none for those who may not see it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from timewright.api import stream

from tests.api.conftest import Desk
from tests.e2e.specs import greeter
from tests.support import as_bytes

PATH = "/api/v1/events"


@dataclass
class Sent:
    """One event, or a comment."""

    kind: str = ""
    id: str = ""
    data: Any = None
    comment: str = ""


@dataclass
class Ear:
    """Reads a stream in the background. `ended`: the daemon ended it."""

    heard: list[Sent] = field(default_factory=list)
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, answer: httpx.Response) -> None:
        sent = Sent()
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(": "):
                sent.comment = value
            elif name == "data":
                sent.data = json.loads(value)
            elif name == "event":
                sent.kind = value
            elif name == "id":
                sent.id = value
            if not line:
                self.heard.append(sent)
                sent = Sent()
                self.news.set()
        self.ended = True
        self.news.set()

    def events(self) -> list[Sent]:
        return [sent for sent in self.heard if sent.kind]

    async def until(self, count: int) -> list[Sent]:
        async with asyncio.timeout(10):
            while len(self.events()) < count and not self.ended:
                self.news.clear()
                await self.news.wait()
        return self.events()


class Listening:
    """`async with Listening(client, after=3) as ear`."""

    def __init__(self, client: httpx.AsyncClient, last_id: str | None = None, **query: Any) -> None:
        headers = {"last-event-id": last_id} if last_id is not None else {}
        self._request = client.stream("GET", PATH, params=query, headers=headers)

    async def __aenter__(self) -> Ear:
        answer = await self._request.__aenter__()
        assert answer.status_code == 200, await answer.aread()
        ear = Ear()
        self._task = asyncio.create_task(ear.listen(answer))
        while not ear.heard:  # the stream has begun: what happens from now on is in it
            await asyncio.sleep(0.01)
        return ear

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._request.__aexit__(None, None, None)


async def put(desk: Desk, name: str, word: str, owner: str = "team-a") -> None:
    (desk.bench.specs / f"{name}.json").write_bytes(as_bytes(greeter(name, word, owner=owner)))
    await desk.bench.settle()


async def test_what_was_missed_is_sent_and_nothing_twice(desk: Desk) -> None:
    await put(desk, "one", "x")
    async with Listening(desk.unix(), after=0) as ear:
        first = await ear.until(2)
    await put(desk, "one", "y")
    async with Listening(desk.unix(), last_id=first[-1].id) as ear:
        rest = await ear.until(2)
        await put(desk, "one", "z")
        rest = await ear.until(4)
    ids = [int(sent.id) for sent in (*first, *rest)]
    assert ids == sorted(set(ids))
    log = (await desk.unix().get("/api/v1/logs")).json()
    assert [sent.data for sent in (*first, *rest)] == log
    assert [sent.kind for sent in rest] == [line["kind"] for line in log[len(first) :]]


async def test_without_an_id_only_what_happens_from_now_on_is_sent(desk: Desk) -> None:
    await put(desk, "one", "x")
    async with Listening(desk.unix()) as ear:
        assert ear.events() == []
        await put(desk, "two", "x")
        assert (await ear.until(1))[0].data["workflowId"] == "two"


async def test_one_hears_of_one_workflow_only_where_that_is_asked(desk: Desk) -> None:
    await put(desk, "one", "x")
    async with Listening(desk.unix(), workflow="one") as ear:
        await put(desk, "two", "x")
        await put(desk, "one", "y")
        assert {sent.data["workflowId"] for sent in await ear.until(2)} == {"one"}


async def test_nobody_hears_of_another_owners_workflows(desk: Desk) -> None:
    await put(desk, "one", "x", "team-a")
    async with Listening(desk.tcp(desk.token("viewer", "team-b")), after=0) as ear:
        await put(desk, "one", "y", "team-a")
        await put(desk, "two", "x", "team-b")
        assert {sent.data["workflowId"] for sent in await ear.until(2)} == {"two"}


async def test_a_stream_ends_when_its_token_is_revoked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_STILL_HERE_S", 0.1)
    async with Listening(desk.tcp(desk.token("viewer"))) as ear:
        desk.tokens.revoke("viewer-0")
        await ear.until(1)
        assert ear.ended
        assert ear.events() == []


async def test_a_stream_says_now_and_then_that_it_lives(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_STILL_HERE_S", 0.05)
    async with Listening(desk.unix()) as ear, asyncio.timeout(5):
        while not [sent for sent in ear.heard if sent.comment == "still here"]:
            await asyncio.sleep(0.02)


async def test_ids_of_a_history_that_was_lost_begin_anew(desk: Desk) -> None:
    await put(desk, "one", "x")
    async with Listening(desk.unix(), last_id="99999") as ear:
        reset, first, *_ = await ear.until(2)
        assert (reset.kind, reset.id) == ("reset", "")
        assert int(first.id) == 1


async def test_one_who_missed_a_lot_gets_all_of_it_in_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_BATCH", 2)
    for word in ("x", "y", "z"):
        await put(desk, "one", word)
    async with Listening(desk.unix(), after=0) as ear:
        ids = [int(event.id) for event in await ear.until(7)]
        assert ids == list(range(1, len(ids) + 1))


async def test_an_idle_stream_costs_nothing(desk: Desk) -> None:
    """Events that one may not see don't make the stream look again and again."""
    await put(desk, "one", "x", "team-a")
    looks = 0
    before = desk.control.events

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        return before(*arguments, **named)

    desk.control.events = counted  # type: ignore[method-assign]
    async with Listening(desk.tcp(desk.token("viewer", "team-b")), after=0):
        await asyncio.sleep(0.3)
    assert looks == 1


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "٣", "9" * 30])
async def test_a_last_id_that_is_none_is_a_bad_request(desk: Desk, last: str) -> None:
    answer = await desk.unix().get(PATH, headers={b"last-event-id": last.encode()})
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


async def test_a_workflow_that_is_not_there_is_not_followed(desk: Desk) -> None:
    assert (await desk.unix().get(PATH, params={"workflow": "nobody"})).status_code == 404
