"""The outbox: what is to be told to the outside, kept in the state file until it is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

#: Letters that one channel keeps; what is too old is no news any more.
MOST: Final = 1000
MOST_AGE_S: Final = 86_400.0
#: From so many tries on, a letter lets others go before it: one that can't be delivered holds up no other.
_STUBBORN: Final = 3


@dataclass(frozen=True)
class Letter:
    """One thing to tell. `key`: what it is about, within its channel; '' for one of its own. `body`: JSON.
    `at`, `next_at`: seconds since the epoch; not tried before `next_at`. `error`: why the last try failed."""

    id: int
    channel: str
    key: str
    body: Mapping[str, Any]
    at: float
    tries: int = 0
    next_at: float = 0.0
    error: str = ""


class Outbox:
    """The letters of one open state file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All that is done to the state file in here, or nothing. It must not wait for anything."""
        if self._db.in_transaction:
            yield
            return
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    def put(
        self, channel: str, key: str, body: Mapping[str, Any], *, now: float, replaces: bool = True
    ) -> int:
        """Keep a letter; returns its id. Where one with the same key waits already, that one is replaced
        (while it is being sent, too: then both go out), or else the new one is dropped and 0 returned."""
        with self.whole():
            if key:
                same = [channel, key]
                if replaces:
                    self._db.execute("DELETE FROM outbox WHERE channel = ? AND key = ?", same)
                elif self._count("channel = ? AND key = ?", *same):
                    return 0
            cursor = self._db.execute(
                "INSERT INTO outbox (channel, key, body, at, tries, next_at, error) VALUES (?,?,?,?,0,?,'')",
                [channel, key, json.dumps(body, ensure_ascii=False), now, now],
            )
        return cursor.lastrowid or 0

    def trim(self, channel: str, most: int = MOST) -> int:
        """Drop the oldest letters of a channel beyond `most`; returns how many."""
        return self._db.execute(
            "DELETE FROM outbox WHERE channel = ?1 AND id <= (SELECT id FROM outbox WHERE channel = ?1"
            " ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            [channel, most],
        ).rowcount

    def expire(self, before: float) -> dict[str, int]:
        """Drop letters made before a moment; returns how many, by channel."""
        rows = self._db.execute(
            "SELECT channel, count(*) FROM outbox WHERE at < ? GROUP BY channel", [before]
        ).fetchall()
        if rows:
            self._db.execute("DELETE FROM outbox WHERE at < ?", [before])
        return {str(channel): int(count) for channel, count in rows}

    def due(self, channel: str, now: float) -> Letter | None:
        """The letter of a channel to be tried now, the oldest first; None when none is due."""
        query = "SELECT * FROM outbox WHERE channel = ? AND next_at <= ? ORDER BY tries >= ?, id LIMIT 1"
        return next(self._letters(query, channel, now, _STUBBORN), None)

    def next_at(self, channel: str) -> float | None:
        """When the next letter of a channel is due; None when it has none."""
        found = self._db.execute("SELECT min(next_at) FROM outbox WHERE channel = ?", [channel]).fetchone()[0]
        return None if found is None else float(found)

    def done(self, letter_id: int) -> None:
        """It was delivered, or is given up."""
        self._db.execute("DELETE FROM outbox WHERE id = ?", [letter_id])

    def retry(self, letter_id: int, at: float, error: str) -> None:
        """Try it again at a moment."""
        self._db.execute(
            "UPDATE outbox SET tries = tries + 1, next_at = ?, error = ? WHERE id = ?", [at, error, letter_id]
        )

    def waiting(self, channel: str) -> int:
        """How many letters a channel has."""
        return self._count("channel = ?", channel)

    def letters(self) -> list[Letter]:
        """All there are, the oldest first."""
        return list(self._letters("SELECT * FROM outbox ORDER BY id"))

    def _count(self, where: str, *values: Any) -> int:
        query = f"SELECT count(*) FROM outbox WHERE {where}"  # noqa: S608 - our own words
        return int(self._db.execute(query, values).fetchone()[0])

    def _letters(self, query: str, *values: Any) -> Iterator[Letter]:
        cursor = self._db.execute(query, values)
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            content = dict(zip(names, row, strict=True))
            yield Letter(**{**content, "body": json.loads(content["body"])})
