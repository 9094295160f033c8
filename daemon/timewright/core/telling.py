"""Who is to be told of what, now: what holds, what was told of it, and what became of it since. Pure.

A *condition* (failed, degraded, drift, a source's trouble) begins, may have to settle, is told once, and its
end is told where its beginning was. What only *happens* (deployed, rolled back, suspended) is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from timewright.core.notices import Kind, News, Row, concerns, news_of, split

#: What happened longer ago than this is no news any more.
_OLD_S: Final = 86_400.0


@dataclass(frozen=True)
class Route:
    """Who is told of what, by the settings."""

    name: str
    on: frozenset[str]
    workflows: tuple[str, ...]
    owners: tuple[str, ...]
    settle_s: float
    repeat_s: float
    per_minute: int


@dataclass(frozen=True)
class Holding:
    """A condition that holds since `at`; `event`: the row that tells of it best."""

    event: int
    at: float
    mark: str
    settles: bool


@dataclass(frozen=True)
class Told:
    """What a route was told of a condition. `stands`: and not yet that it is over."""

    event: int
    at: float
    mark: str
    stands: bool = True


@dataclass(frozen=True)
class Book:
    """What one route was told. `since`: the newest row when the route was made: older news are none to it.
    `sent`: moments of the last minute. `held`: kind → how many were too many, and their first names."""

    since: int
    told: Mapping[str, Told] = field(default_factory=dict)
    sent: tuple[float, ...] = ()
    held: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """All that is remembered. `cursor`: the last row that was read."""

    cursor: int
    holding: Mapping[str, Holding] = field(default_factory=dict)
    books: Mapping[str, Book] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        books = {
            name: {**vars(book), "told": {key: [*vars(told).values()] for key, told in book.told.items()}}
            for name, book in self.books.items()
        }
        holding = {name: [*vars(item).values()] for name, item in self.holding.items()}
        return {"cursor": self.cursor, "holding": holding, "books": books}

    @staticmethod
    def of(content: Mapping[str, Any]) -> Ledger:
        """Raises TypeError, KeyError, AttributeError or ValueError for what isn't one."""
        books = {
            name: Book(
                book["since"],
                {key: Told(*told) for key, told in book["told"].items()},
                tuple(book["sent"]),
                {kind: (count, tuple(names)) for kind, (count, names) in book["held"].items()},
            )
            for name, book in content["books"].items()
        }
        holding = {key: Holding(*item) for key, item in content["holding"].items()}
        return Ledger(int(content["cursor"]), holding, books)


@dataclass(frozen=True)
class Notice:
    """Tell this route of this row."""

    route: str
    kind: Kind
    event: int


def followed(ledger: Ledger, routes: Iterable[Route]) -> Ledger:
    """With a book for each route there is, and for no other."""
    books = {route.name: ledger.books.get(route.name) or Book(ledger.cursor) for route in routes}
    return replace(ledger, books=books)


def read(
    ledger: Ledger, rows: Iterable[Row], routes: Iterable[Route], now: float, owner: Callable[[Row], str]
) -> tuple[Ledger, list[Notice]]:
    """Take new rows in; returns what simply happened, or is over. What holds is for `due`."""
    routes = tuple(routes)
    holding, cursor = dict(ledger.holding), ledger.cursor
    told = {name: dict(book.told) for name, book in ledger.books.items()}
    notices: list[Notice] = []
    for row in rows:
        cursor, news = row.id, news_of(row)
        for route in routes:
            kind = _at_once(news, route, told[route.name])
            fresh = now - row.at < _OLD_S and row.id > ledger.books[route.name].since
            if (
                kind in route.on
                and fresh
                and concerns(row.workflow_id, owner(row), route.workflows, route.owners)
            ):
                notices.append(Notice(route.name, Kind(kind), row.id))
            _close(news, told[route.name])
        _hold(news, row, holding)
    books = {name: replace(book, told=told[name]) for name, book in ledger.books.items()}
    return Ledger(cursor, holding, books), notices


def _at_once(news: News, route: Route, told: Mapping[str, Told]) -> str:
    """The kind of what a row tells by itself; '' for none. That something works again is told by what was
    done for it, where the route hears of that."""
    if news.kind is not None and news.kind in route.on:
        return news.kind
    over = [name for name in news.ends if name in told and told[name].stands]
    if not over:
        return ""
    return Kind.SOURCE if split(over[0])[0] is Kind.SOURCE else Kind.RECOVERED


def _close(news: News, told: dict[str, Told]) -> None:
    for name in news.forgets:
        told.pop(name, None)
    for name in news.ends:
        if split(name)[0] is Kind.FAILED:  # the next failure is another one
            told.pop(name, None)
        elif name in told:
            told[name] = replace(told[name], stands=False)


def _hold(news: News, row: Row, holding: dict[str, Holding]) -> None:
    for name in (*news.ends, *news.pauses, *news.forgets):
        holding.pop(name, None)
    if news.begins:
        before = holding.get(news.begins)
        since = before.at if before is not None else row.at
        holding[news.begins] = Holding(row.id, since, news.mark, news.settles)


def due(
    ledger: Ledger, routes: Iterable[Route], now: float, owner: Callable[[str], str]
) -> tuple[Ledger, list[Notice], float | None]:
    """What holds and is to be told now; and when there may be more to tell (None: when there are new rows).
    `owner`: of the subject of a condition."""
    notices: list[Notice] = []
    books: dict[str, Book] = {}
    later: list[float] = []
    for route in routes:
        book = ledger.books[route.name]
        told = {key: item for key, item in book.told.items() if item.stands or now < item.at + route.repeat_s}
        for name, item in ledger.holding.items():
            known = told.get(name)
            if known is not None and known.stands and known.event == item.event:
                continue  # most of them: thousands hold when a worker host is down
            kind, subject = split(name)
            workflow = "" if kind is Kind.SOURCE else subject
            if kind not in route.on or item.event <= book.since:
                continue
            if not concerns(workflow, owner(name), route.workflows, route.owners):
                continue
            at = _when(item, known, route)
            if at <= now:
                told[name] = Told(item.event, now, item.mark)
                notices.append(Notice(route.name, kind, item.event))
            else:
                later.append(at)
        books[route.name] = replace(book, told=told)
    return replace(ledger, books={**ledger.books, **books}), notices, min(later, default=None)


def _when(item: Holding, told: Told | None, route: Route) -> float:
    """When a condition is to be told, of which the route may have been told before."""
    settled = item.at + (route.settle_s if item.settles else 0)
    if told is None or told.mark != item.mark:
        return settled
    return max(settled, told.at + route.repeat_s)


# Not too many ----------------------------------------------------------------------------------

_MINUTE: Final = 60.0
_NAMED: Final = 20


def room(book: Book, route: Route, now: float) -> bool:
    """Whether the route may be sent one more now."""
    return len(_recent(book, now)) < route.per_minute


def sent(book: Book, now: float) -> Book:
    return replace(book, sent=(*_recent(book, now), now))


def held(book: Book, notice: Notice, name: str) -> Book:
    """It has to wait for the summary."""
    count, names = book.held.get(notice.kind, (0, ()))
    names = names if len(names) >= _NAMED or name in names else (*names, name)
    return replace(book, held={**book.held, str(notice.kind): (count + 1, names)})


def flush_at(book: Book, route: Route, now: float) -> float | None:
    """When the summary of what is held may go; None when nothing is."""
    if not book.held:
        return None
    recent = _recent(book, now)
    return now if len(recent) < route.per_minute else recent[-route.per_minute] + _MINUTE


def _recent(book: Book, now: float) -> tuple[float, ...]:
    return tuple(at for at in book.sent if now - _MINUTE < at <= now)
