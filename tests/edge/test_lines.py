"""Who waits goes together; whatever goes wrong, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from timewright.edge.lines import Lines


class Ferry:
    """One turn at a time; what it carried."""

    def __init__(self) -> None:
        self.free = asyncio.Lock()
        self.carried: list[list[int]] = []
        self.breaks: Exception | None = None
        self.leaving_s = 0.0
        self.lines = Lines[str, int, str](self._turn, self._work, most=4, few=2)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[str]:
        async with self.free:
            yield "turn"
            await asyncio.sleep(self.leaving_s)

    async def _work(self, turn: str, jobs: Sequence[int]) -> Sequence[str | None]:
        assert turn == "turn"
        self.carried.append(list(jobs))
        if self.breaks is not None:
            raise self.breaks
        return [None if job == 13 else f"did {job}" for job in jobs]


async def test_those_who_wait_for_one_turn_are_taken_together_up_to_the_most() -> None:
    ferry = Ferry()
    async with ferry.free:
        waiting = [asyncio.create_task(ferry.lines.wait("a", job)) for job in range(10)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [f"did {job}" for job in range(10)]
    assert ferry.carried == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_few_go_alone_and_so_does_who_got_no_answer() -> None:
    ferry = Ferry()
    assert await ferry.lines.wait("a", 1) is None
    assert ferry.carried == []
    assert await asyncio.gather(*(ferry.lines.wait("a", job) for job in (12, 13))) == ["did 12", None]


async def test_others_of_another_key_are_no_company() -> None:
    ferry = Ferry()
    assert await asyncio.gather(*(ferry.lines.wait(key, 1) for key in "abc")) == [None, None, None]
    assert ferry.carried == []


async def test_work_that_breaks_sends_all_alone_and_the_next_go_together_again() -> None:
    ferry = Ferry()
    ferry.breaks = OSError("broken")
    assert await asyncio.gather(*(ferry.lines.wait("a", job) for job in (1, 2))) == [None, None]
    ferry.breaks = None
    assert await asyncio.gather(*(ferry.lines.wait("a", job) for job in (3, 4))) == ["did 3", "did 4"]


async def test_one_that_is_cancelled_takes_nobody_with_it() -> None:
    ferry = Ferry()
    async with ferry.free:
        waiting = [asyncio.create_task(ferry.lines.wait("a", job)) for job in (1, 2, 3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting[1:]) == ["did 2", "did 3"]
    assert ferry.carried == [[2, 3]]


async def test_nobody_waits_for_ever_when_it_is_closed() -> None:
    ferry = Ferry()
    async with ferry.free:
        waiting = [asyncio.create_task(ferry.lines.wait("a", job)) for job in (1, 2, 3)]
        await asyncio.sleep(0)
        await ferry.lines.close()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [None, None, None]


async def test_a_turn_that_comes_when_all_have_gone_takes_nobody_elses() -> None:
    ferry = Ferry()
    ferry.leaving_s = 0.05
    async with ferry.free:
        gone = [asyncio.create_task(ferry.lines.wait("a", job)) for job in range(3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(ferry.lines.wait("a", job)) for job in range(4)]
    assert await asyncio.gather(*waiting) == [f"did {job}" for job in range(4)]
    await ferry.lines.close()
