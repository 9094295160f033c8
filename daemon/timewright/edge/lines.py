"""Jobs that wait for the same thing, taken together when its turn comes.

alone      ── turn ─► work                 nobody waits: as if there were no line
many wait  ── one turn ─► work for all     who gets no answer from it goes on alone
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

T = TypeVar("T")  # what a turn gives: a process, or nothing
J = TypeVar("J")
R = TypeVar("R")


class Lines(Generic[T, J, R]):
    """One line for each key. `close` ends what runs; nobody waits for ever, whatever goes wrong."""

    def __init__(
        self,
        turn: Callable[[], AbstractAsyncContextManager[T]],
        work: Callable[[T, Sequence[J]], Awaitable[Sequence[R | None]]],
        *,
        most: int,
        few: int,
    ) -> None:
        """`turn`: waits for whatever all wait for. `work`: an answer for each job, None for "do it alone".
        `most`: jobs at one turn. `few`: with less, each goes alone, as fast."""
        self._turn, self._work = turn, work
        self._most, self._few = most, few
        self._waiting: dict[Hashable, list[tuple[J, asyncio.Future[R | None]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def wait(self, key: Hashable, job: J) -> R | None:
        """What became of a job among the others of its key; None when it is to be done alone."""
        line = self._waiting.setdefault(key, [])
        answer: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        line.append((job, answer))
        if len(line) == 1:
            self._start(key)
        return await answer

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for key in list(self._waiting):  # of a task that was ended before it began
            _answer(self._waiting.pop(key), ())

    def _start(self, key: Hashable) -> None:
        task = asyncio.create_task(self._take(key))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _take(self, key: Hashable) -> None:
        line: list[tuple[J, asyncio.Future[R | None]]] | None = None
        taken: list[tuple[J, asyncio.Future[R | None]]] = []
        answers: Sequence[R | None] = ()
        try:
            async with self._turn() as turn:
                line = self._waiting.pop(key)
                taken = [item for item in line[: self._most] if not item[1].done()]
                if rest := line[self._most :]:
                    self._waiting[key] = rest
                    self._start(key)
                if len(taken) >= self._few:
                    answers = await self._work(turn, [job for job, _ in taken])
        finally:
            # Without a turn nobody was taken, and all who wait are told; else the rest has a turn of its own.
            _answer(self._waiting.pop(key, []) if line is None else taken, answers)


def _answer(line: Sequence[tuple[J, asyncio.Future[R | None]]], answers: Sequence[R | None]) -> None:
    for index, (_, answer) in enumerate(line):
        if not answer.done():
            answer.set_result(answers[index] if index < len(answers) else None)
