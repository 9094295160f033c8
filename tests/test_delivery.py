"""Delivery, over a real outbox; the channels are functions of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from timewright.core.retry import Backoff
from timewright.delivery import Delivery, DeliveryError
from timewright.edge.outbox import MOST, MOST_AGE_S, Letter
from timewright.edge.statefile import StateFile

_QUICK = Backoff(tries=10**9, first=0.01, most=0.02)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFile]:
    found = StateFile(tmp_path / "state.db")
    yield found
    found.close()


@pytest.fixture
def delivery(state: StateFile) -> Delivery:
    return Delivery(state.outbox, backoff=_QUICK)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


class Post:
    """A channel. `errors`: what its next tries end with; then all works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried: list[str] = []
        self.taken: list[Letter] = []
        self.under_way = 0

    async def __call__(self, letter: Letter) -> None:
        assert self.under_way == 0, "never more than one letter at once"
        self.under_way += 1
        try:
            self.tried.append(letter.key)
            await asyncio.sleep(0)
            if self.errors:
                raise self.errors.pop(0)
            self.taken.append(letter)
        finally:
            self.under_way -= 1

    @property
    def keys(self) -> list[str]:
        return [letter.key for letter in self.taken]


async def hang(_: Letter) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def running(delivery: Delivery) -> AsyncIterator[None]:
    task = asyncio.create_task(delivery.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.005)


def down(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] == "not delivered"]


async def test_letters_are_delivered_in_order_each_once(delivery: Delivery) -> None:
    post = Post()
    delivery.register("mail", post)
    delivery.put("mail", "before", {})
    async with running(delivery):
        delivery.put("mail", "a", {"n": 1})
        delivery.put("mail", "b", {})
        await until(lambda: len(post.taken) == 3)
    assert post.keys == ["before", "a", "b"]
    assert delivery.outbox.letters() == []


async def test_a_channel_that_is_down_is_tried_again_and_said_to_be_down_once(
    delivery: Delivery, logs: list[Any]
) -> None:
    post = Post(*(DeliveryError(f"HTTP 500, try {number}") for number in range(6)))
    delivery.register("mail", post)
    async with running(delivery):
        delivery.put("mail", "a", {})
        delivery.put("mail", "b", {})
        await until(lambda: "delivered again" in [line["event"] for line in logs])
        await until(lambda: len(post.taken) == 2)
    assert sorted(post.keys) == ["a", "b"]
    assert len(down(logs)) == 1
    assert "HTTP 500, try 0" in down(logs)[0]["because"]
    assert [line["event"] for line in logs].count("delivered again") == 1


async def test_a_channel_that_is_down_is_not_tried_with_every_letter_at_once(state: StateFile) -> None:
    delivery = Delivery(state.outbox, backoff=Backoff(tries=10**9, first=1000, most=1000))
    post = Post(*[DeliveryError("no")] * 100)
    delivery.register("mail", post)
    async with running(delivery):
        for number in range(20):
            delivery.put("mail", str(number), {})
        await until(lambda: post.tried)
        delivery.poke()
        await asyncio.sleep(0.05)
    assert post.tried == ["0"]


async def test_a_letter_that_is_refused_for_good_is_dropped_and_said(
    delivery: Delivery, logs: list[Any]
) -> None:
    post = Post(DeliveryError("too long", transient=False))
    delivery.register("mail", post)
    async with running(delivery):
        delivery.put("mail", "bad", {})
        delivery.put("mail", "good", {})
        await until(lambda: post.taken)
    assert post.tried == ["bad", "good"]
    assert [(line["about"], line["because"]) for line in down(logs)] == [("bad", "too long")]


async def test_a_channel_can_register_while_letters_are_delivered(delivery: Delivery) -> None:
    post, other = Post(), Post()
    delivery.register("mail", post)
    async with running(delivery):
        delivery.put("late", "a", {})
        delivery.register("late", other)
        delivery.register("late", post)  # the first one stays
        await until(lambda: other.taken)
    assert (other.keys, post.keys) == (["a"], [])


async def test_a_hung_channel_holds_up_no_other_one(delivery: Delivery, logs: list[Any]) -> None:
    post = Post()
    delivery.register("stuck", hang, timeout=0.05)
    delivery.register("mail", post)
    async with running(delivery):
        delivery.put("stuck", "a", {})
        for number in range(5):
            delivery.put("mail", str(number), {})
        await until(lambda: len(post.taken) == 5)
        await until(lambda: down(logs))
    assert "no answer within 0.05 s" in down(logs)[0]["because"]
    assert delivery.outbox.waiting("stuck") == 1


async def test_a_fault_of_our_own_in_a_channel_loses_no_letter(delivery: Delivery, logs: list[Any]) -> None:
    post = Post(KeyError("secret-token"))
    delivery.register("mail", post)
    async with running(delivery):
        delivery.put("mail", "a", {})
        await until(lambda: post.taken)
    assert "secret-token" not in down(logs)[0]["because"]


async def test_a_letter_on_its_way_arrives_before_the_end(delivery: Delivery) -> None:
    started, taken = asyncio.Event(), []

    async def slow(letter: Letter) -> None:
        started.set()
        await asyncio.sleep(0.1)
        taken.append(letter.key)

    delivery.register("mail", slow)
    async with running(delivery):
        delivery.put("mail", "a", {})
        await started.wait()
    assert taken == ["a"]
    assert delivery.outbox.letters() == []


async def test_what_is_older_than_a_day_or_too_much_is_dropped_and_said(
    state: StateFile, logs: list[Any]
) -> None:
    now = 1_700_000_000.0
    delivery = Delivery(state.outbox, clock=lambda: now, backoff=_QUICK)
    state.outbox.put("gone", "old", {}, now=now - MOST_AGE_S - 1)
    for number in range(MOST + 3):
        state.outbox.put("mail", str(number), {}, now=now)
    post = Post()
    delivery.register("mail", post)
    async with running(delivery):
        await until(lambda: len(post.taken) == MOST)
    assert post.keys[0] == "3"
    assert state.outbox.letters() == []
    assert [(line["channel"], line["letters"]) for line in down(logs)] == [("gone", 1), ("mail", 3)]
