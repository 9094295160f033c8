"""Tells people what happened: reads the history, decides by the settings whom to tell, and writes letters.

The row that was read last is kept in one transaction with the letters: a crash loses none and writes
none twice.
The first start, and the first after a time without notifications, begins with what happens from then on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from timewright import log
from timewright.config import Config, Notify
from timewright.core import notices, telling
from timewright.core.digest import SHORT
from timewright.core.errors import TimewrightError
from timewright.core.masking import mask
from timewright.core.notices import Kind
from timewright.core.state import shown_health
from timewright.core.telling import Ledger, Notice, Route
from timewright.delivery import Delivery, DeliveryError
from timewright.edge.failpoint import failpoint
from timewright.edge.messenger import Messenger
from timewright.edge.outbox import Letter
from timewright.edge.statefile import Event
from timewright.world import Change, World

_FACT: Final = "notify"
_AT_ONCE: Final = 500  # rows of the history
_BURST_S: Final = 0.5
_GRACE_S: Final = 10.0  # Messenger ends by itself
_RETRY_S: Final = 30.0
_SEVERITY: Final[Mapping[Kind, str]] = {
    Kind.DEPLOYED: "success",
    Kind.RECOVERED: "success",
    Kind.FAILED: "failure",
    Kind.ROLLED_BACK: "warning",
    Kind.DEGRADED: "failure",
    Kind.DRIFT: "warning",
    Kind.SOURCE: "failure",
}


def route_of(name: str, settings: Notify) -> Route:
    """A route of the settings."""
    return Route(
        name,
        frozenset(settings.on),
        tuple(settings.workflows),
        tuple(settings.owners),
        settings.settle_s,
        settings.repeat_s,
        settings.per_minute,
    )


def channel_of(route: str) -> str:
    """The channel of a route's letters."""
    return f"notify {route}"


@dataclass(frozen=True)
class _Text:
    """A message, before it is a letter."""

    key: str
    title: str
    body: str
    severity: str


class Notifier:
    """Who is told of what. Registers a channel for each route; `run` writes their letters."""

    def __init__(self, world: World, delivery: Delivery, host: str) -> None:
        """`host`: this host's name, as people know it."""
        self.world, self.host = world, host
        self._delivery = delivery
        self._settings = world.config.routes
        self.routes = tuple(route_of(name, settings) for name, settings in self._settings.items())
        self._ledger: Ledger | None = None
        self._kept: Ledger | None = None
        self._news = asyncio.Event()
        for name, settings in self._settings.items():
            Post(name, messenger_of(world.config, name, settings), delivery, settings.timeout_s).register()
        world.listeners.append(self._on_change)

    async def run(self) -> None:
        """Write letters, until cancelled."""
        if not self.routes:
            self.forget()
            return
        while True:
            self._news.clear()
            try:
                pause = self.step()
            except Exception as error:
                log.get().error("notifications failed", because=str(error), exc_info=error)
                self._ledger, self._kept, pause = None, None, _RETRY_S
                await asyncio.sleep(pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
            await asyncio.sleep(_BURST_S)  # a burst of changes is looked at once

    def forget(self) -> None:
        """Nobody is told now: who is told later hears nothing of this time."""
        if self.world.state.fact(_FACT) is not None:
            self.world.state.set_fact(_FACT, None)

    def step(self) -> float | None:
        """Read what is new and write its letters. Returns the seconds until there is more to do; None: when
        there is news."""
        now, state = self.world.clock(), self.world.state
        ledger = telling.followed(self._ledger or self._load(), self.routes)
        rows = state.history(after=ledger.cursor, first=_AT_ONCE)
        ledger, at_once = telling.read(ledger, rows, self.routes, now, self._owner_of_row)
        ledger, holding, later = telling.due(ledger, self.routes, now, self._owner)
        ledger, letters, flush = self._ration(
            ledger, [*at_once, *holding], {row.id: row for row in rows}, now
        )
        self._keep(ledger, letters, now)
        if len(rows) == _AT_ONCE:
            return 0.0
        nexts = [at for at in (later, flush) if at is not None]
        return max(0.1, min(nexts) - now) if nexts else None

    def _load(self) -> Ledger:
        """What was remembered; what happened before the first time is no news."""
        last, content = self.world.state.last_event(), self.world.state.fact(_FACT)
        if content is not None:
            with suppress(TypeError, KeyError, AttributeError, ValueError):
                ledger = Ledger.of(content)
                if ledger.cursor <= last:
                    return ledger
        return Ledger(last)

    def _keep(self, ledger: Ledger, letters: list[tuple[str, _Text]], now: float) -> None:
        """Letters and ledger, or neither."""
        outbox = self.world.state.outbox
        if ledger != self._kept:
            with outbox.whole():
                failpoint("notify-before")
                for route, text in letters:
                    body = {"title": text.title, "body": text.body, "severity": text.severity}
                    outbox.put(channel_of(route), text.key, body, now=now)
                failpoint("notify-between")
                self.world.state.set_fact(_FACT, ledger.as_json())
            failpoint("notify-after")
        self._ledger = self._kept = ledger
        if letters:
            self._delivery.poke()

    def _on_change(self, _: Change) -> None:
        self._news.set()

    # not too many ------------------------------------------------------------------------------

    def _ration(
        self, ledger: Ledger, found: list[Notice], rows: Mapping[int, Event], now: float
    ) -> tuple[Ledger, list[tuple[str, _Text]], float | None]:
        """The letters to write; what is too much is held for one summary. And when that may go."""
        letters: list[tuple[str, _Text]] = []
        books, flushes = dict(ledger.books), []
        for route in self.routes:
            book = books[route.name]
            if telling.flush_at(book, route, now) == now:
                letters.append((route.name, self._summary(book, now)))
                book = replace(telling.sent(book, now), held={})
            for notice in (item for item in found if item.route == route.name):
                row = rows.get(notice.event) or self._row(notice.event)
                if row is None:
                    continue
                if book.held or not telling.room(book, route, now):
                    book = telling.held(book, notice, self._name(row))
                    continue
                letters.append((route.name, self._text(notice, row)))
                book = telling.sent(book, now)
            books[route.name] = book
            if (at := telling.flush_at(book, route, now)) is not None:
                flushes.append(at)
        return replace(ledger, books=books), letters, min(flushes, default=None)

    def _row(self, event: int) -> Event | None:
        return next(iter(self.world.state.history(after=event - 1, first=1)), None)

    # in words ----------------------------------------------------------------------------------

    def _text(self, notice: Notice, row: Event) -> _Text:
        settings, facts = self._settings[notice.route], self.facts(notice.kind, row)
        return _Text(
            f"{notice.kind} {row.id}",
            notices.title(settings.title, facts),
            notices.body(settings.body, facts),
            _SEVERITY.get(notice.kind, "info"),
        )

    def _summary(self, book: telling.Book, now: float) -> _Text:
        title, body = notices.summary(book.held, self.host)
        severity = "warning" if set(book.held) - {Kind.DEPLOYED, Kind.RECOVERED} else "info"
        return _Text(f"summary {now}", title, body, severity)

    def facts(self, kind: Kind, row: Event) -> dict[str, str]:
        """What a title or a body may name, of one row."""
        record = self.world.record(row.workflow_id)
        revision = row.revision if row.kind in ("status", "source") else record.live_revision or row.revision
        commit = self.world.commit(revision)
        health, _ = shown_health(record, None)
        return {
            "kind": str(kind),
            "what": notices.what(kind, row),
            "workflow": self._name(row),
            "owner": self._owner_of_row(row),
            "status": row.new if row.kind == "status" else str(record.status) if row.workflow_id else "",
            "health": row.new if row.kind == "health" else str(health) if row.workflow_id else "",
            "because": mask(row.because),  # it goes to strangers
            "commit": commit.short if commit else "",
            "author": commit.author if commit else "",
            "subject": commit.subject if commit else "",
            "source": notices.source_of(row) if row.kind == "source" else row.source,
            "release": (row.digest or record.applied)[:SHORT],
            "host": self.host,
            "at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(row.at)),
        }

    def _name(self, row: Event) -> str:
        if row.kind == "source":
            return f"source {notices.source_of(row)}"
        return row.workflow_id or "all workflows"

    def _owner_of_row(self, row: notices.Row) -> str:
        if row.kind == "source":
            return self._owner_of_source(notices.source_of(row))
        return self.world.record(row.workflow_id).owner

    def _owner(self, condition: str) -> str:
        kind, subject = notices.split(condition)
        return self._owner_of_source(subject) if kind is Kind.SOURCE else self.world.record(subject).owner

    def _owner_of_source(self, name: str) -> str:
        return next((one.settings.owner for one in self.world.config.followed if one.title == name), "")


# Sending ---------------------------------------------------------------------------------------


def messenger_of(config: Config, name: str, settings: Notify) -> Messenger:
    """The URLs of a route."""
    return Messenger(config.path(settings.urls_file), setting_of(config, name), timeout=settings.timeout_s)


def setting_of(config: Config, name: str) -> str:
    """The setting that names a route's URLs, as people find it."""
    own = f"notifiers.{name}.urls_file"
    return own if own in config.origin else "notify.urls_file"


class Post:
    """The channel of one route. Each of its URLs has a channel of its own: one that is down or hangs holds up
    no other. Which URL a channel is for is told by a digest of it."""

    def __init__(self, name: str, messenger: Messenger, delivery: Delivery, timeout: float) -> None:
        self._name, self._messenger, self._delivery, self._timeout = name, messenger, delivery, timeout
        self._warned = ""

    def register(self) -> None:
        """Take the letters of the route, and those that wait for one of its URLs since the last run."""
        self._delivery.register(channel_of(self._name), self.deliver)
        with suppress(TimewrightError):  # said when there is something to send
            for address in self._messenger.addresses():
                self._outlet(address.mark)

    async def deliver(self, letter: Letter) -> None:
        """Make a letter for each URL. Raises DeliveryError."""
        self._warn()
        try:
            marks = [address.mark for address in self._messenger.addresses()]
        except TimewrightError as error:
            raise DeliveryError(f"{error.message} ({error.hint})") from None
        outbox = self._delivery.outbox
        with outbox.whole():
            for mark in marks:
                outbox.put(self._outlet(mark), letter.key, letter.body, now=letter.at)
            outbox.done(letter.id)
        self._delivery.poke()

    def _outlet(self, mark: str) -> str:
        channel = f"{channel_of(self._name)} {mark}"
        self._delivery.register(channel, partial(self._send, mark), timeout=self._timeout + _GRACE_S)
        return channel

    async def _send(self, mark: str, letter: Letter) -> None:
        words: Mapping[str, Any] = letter.body
        try:
            sent = await self._messenger.send(words["title"], words["body"], words["severity"], mark)
        except TimewrightError as error:
            raise DeliveryError(f"{error.message} ({error.hint})") from None
        if not sent:
            raise DeliveryError("its URL is not in the file any more", transient=False)
        for one in sent:
            if one.problem:
                raise DeliveryError(f"{one.where}: {one.problem}", transient=not one.for_good)

    def _warn(self) -> None:
        exposed = self._messenger.exposed()
        if exposed != self._warned:
            self._warned = exposed
            if exposed:
                log.get().warning("notifications", because=exposed)
