"""Delivers the letters of the outbox, beside the passes: each channel by itself, with retries.

A letter is delivered at least once: it leaves the outbox when its channel has taken it. A channel that is
down is tried with one letter at a time, and said to be down once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from timewright import log
from timewright.core.retry import Backoff
from timewright.edge.failpoint import failpoint
from timewright.edge.outbox import MOST, MOST_AGE_S, Letter, Outbox

#: A service that was away is tried at least every five minutes: who waits for news waits no longer.
_BACKOFF: Final = Backoff(tries=10**9, first=5.0, most=300.0)
_MOST_WAIT_S: Final = 3600.0  # what a service may ask us to wait
_TIMEOUT_S: Final = 30.0
_LAST_S: Final = 5.0  # at the end, a letter on its way may arrive: else it would be sent twice
_SWEEP_S: Final = 600.0

Channel = Callable[[Letter], Awaitable[None]]


class DeliveryError(Exception):
    """A letter could not be delivered. `transient`: another try may help, not before `after_s` seconds where
    that is known. The message is shown, so no secret may be in it."""

    def __init__(self, message: str, *, transient: bool = True, after_s: float | None = None) -> None:
        super().__init__(message)
        self.message, self.transient, self.after_s = message, transient, after_s


@dataclass
class _Lane:
    """One channel, and how it does. `since`: since when it is down."""

    name: str
    channel: Channel
    timeout: float
    failures: int = 0
    since: float | None = None
    not_before: float = 0.0
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Delivery:
    """Gives letters to the channels that registered for them, while `run` runs."""

    def __init__(
        self, outbox: Outbox, *, clock: Callable[[], float] = time.time, backoff: Backoff = _BACKOFF
    ) -> None:
        self.outbox = outbox
        self._clock, self._backoff = clock, backoff
        self._lanes: dict[str, _Lane] = {}
        self._group: asyncio.TaskGroup | None = None  # while it runs

    def register(self, name: str, channel: Channel, *, timeout: float = _TIMEOUT_S) -> None:
        """Who takes the letters of a channel; the first one stays. `timeout`: seconds that one may take."""
        if name not in self._lanes:
            self._lanes[name] = lane = _Lane(name, channel, timeout)
            if self._group is not None:
                self._group.create_task(self._serve(lane), name=f"delivery {name}")

    def put(self, channel: str, key: str, body: Mapping[str, Any], *, replaces: bool = True) -> None:
        """Have something told (see Outbox.put)."""
        self.outbox.put(channel, key, body, now=self._clock(), replaces=replaces)
        self.poke()

    def poke(self) -> None:
        """There may be letters."""
        for lane in self._lanes.values():
            lane.news.set()

    async def run(self) -> None:
        """Deliver, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep(), name="outbox")
            for lane in self._lanes.values():
                group.create_task(self._serve(lane), name=f"delivery {lane.name}")
            self._group = group

    async def _sweep(self) -> None:
        """What nobody could be told for a day is dropped, and so is what nobody takes any more."""
        while True:
            try:
                dropped = self.outbox.expire(self._clock() - MOST_AGE_S)
                for channel, count in dropped.items():
                    log.get().error(
                        "not delivered", channel=channel, letters=count, because="they are older than a day"
                    )
            except Exception as error:
                log.get().error("outbox failed", because=str(error), exc_info=error)
            await asyncio.sleep(_SWEEP_S)

    async def _serve(self, lane: _Lane) -> None:
        while True:
            lane.news.clear()
            try:
                pause = await self._step(lane)
            except Exception as error:  # the state file says no: the letters are where they were
                log.get().error("outbox failed", channel=lane.name, because=str(error), exc_info=error)
                pause = self._backoff.first
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await lane.news.wait()

    async def _step(self, lane: _Lane) -> float | None:
        """Deliver what is due. Returns the seconds until more is to be done, None: when there is news."""
        while (now := self._clock()) >= lane.not_before:
            if dropped := self.outbox.trim(lane.name, MOST):
                because = f"more than {MOST} wait; the oldest go"
                log.get().error("not delivered", channel=lane.name, letters=dropped, because=because)
            letter = self.outbox.due(lane.name, now)
            if letter is None:
                break
            await self._deliver(lane, letter)
        due = self.outbox.next_at(lane.name)
        return None if due is None else max(0.01, max(due, lane.not_before) - self._clock())

    async def _deliver(self, lane: _Lane, letter: Letter) -> None:
        """One try; cancelled, it may come to its end for a moment."""
        trying = asyncio.create_task(self._try(lane, letter))
        try:
            await asyncio.shield(trying)
        except asyncio.CancelledError:
            await asyncio.wait([trying], timeout=_LAST_S)
            trying.cancel()
            with suppress(asyncio.CancelledError):
                await trying
            raise

    async def _try(self, lane: _Lane, letter: Letter) -> None:
        failpoint("before-deliver")
        error = await _outcome(lane, letter)
        failpoint("after-deliver")
        if error is None:
            self.outbox.done(letter.id)
            self._up(lane)
        elif error.transient:
            self._down(lane, letter, error)
        else:
            self.outbox.done(letter.id)
            log.get().error("not delivered", channel=lane.name, about=letter.key, because=error.message)

    def _up(self, lane: _Lane) -> None:
        if lane.since is not None:
            away = round(self._clock() - lane.since)
            log.get().info("delivered again", channel=lane.name, after_s=away)
        lane.failures, lane.since, lane.not_before = 0, None, 0.0

    def _down(self, lane: _Lane, letter: Letter, error: DeliveryError) -> None:
        now = self._clock()
        lane.failures += 1
        wait = self._backoff.wait(lane.failures, random.random())  # noqa: S311 - jitter
        wait = max(wait, min(error.after_s or 0.0, _MOST_WAIT_S))
        lane.not_before = now + wait
        self.outbox.retry(letter.id, now + wait, error.message)
        if lane.since is None:
            lane.since = now
            because = f"{error.message}; tried again until it works, for a day at most"
            log.get().warning("not delivered", channel=lane.name, about=letter.key, because=because)


async def _outcome(lane: _Lane, letter: Letter) -> DeliveryError | None:
    try:
        async with asyncio.timeout(lane.timeout):
            await lane.channel(letter)
    except DeliveryError as error:
        return error
    except TimeoutError:
        return DeliveryError(f"no answer within {lane.timeout:g} s")
    except Exception as error:
        log.get().error("internal error", because=f"channel {lane.name}", exc_info=error)
        return DeliveryError(f"{type(error).__name__}; see the log")
    return None
