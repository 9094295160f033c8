"""What people asked for, as the state file keeps it: operations, the audit, and answers already given."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

#: Operations that are finished are kept so many; the audit is kept for ever.
_MOST_OPERATIONS = 10_000


@dataclass(frozen=True)
class Operation:
    """Something that a person asked for. `state`: 'running', 'succeeded' or 'failed' (`because` says why)."""

    id: str
    kind: str
    workflow_id: str
    actor: str
    reason: str
    at: float
    state: str = "running"
    finished: float | None = None
    because: str = ""


@dataclass(frozen=True)
class Audited:
    """One mutating call. `outcome`: 'ok' or the code of its refusal."""

    id: int
    at: float
    actor: str
    role: str
    verb: str
    workflow_id: str
    outcome: str
    detail: str


class Desk:
    """The tables of requests, in one open state file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    # operations

    def add_operation(self, operation: Operation) -> None:
        values = asdict(operation)
        self._db.execute(
            f"INSERT INTO operations ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
            [*values.values()],
        )
        self._db.execute(
            "DELETE FROM operations WHERE state != 'running' AND at < (SELECT at FROM operations"
            " ORDER BY at DESC LIMIT 1 OFFSET ?)",
            [_MOST_OPERATIONS],
        )

    def finish_operation(self, operation_id: str, state: str, because: str, now: float) -> None:
        self._db.execute(
            "UPDATE operations SET state = ?, because = ?, finished = ? WHERE id = ?",
            [state, because, now, operation_id],
        )

    def operation(self, operation_id: str) -> Operation | None:
        for row in self._rows("SELECT * FROM operations WHERE id = ?", operation_id):
            return Operation(**row)
        return None

    def operations(self, *, state: str | None = None, last: int = 100) -> list[Operation]:
        """The last operations, newest first; with one state, or all."""
        rows = self._rows(
            "SELECT * FROM operations WHERE (?1 IS NULL OR state = ?1) ORDER BY at DESC LIMIT ?2", state, last
        )
        return [Operation(**row) for row in rows]

    # audit

    def audit(
        self, *, at: float, actor: str, role: str, verb: str, workflow_id: str, outcome: str, detail: str
    ) -> None:
        self._db.execute(
            "INSERT INTO audit (at, actor, role, verb, workflow_id, outcome, detail) VALUES (?,?,?,?,?,?,?)",
            [at, actor, role, verb, workflow_id, outcome, detail],
        )

    def audited(self, *, after: int = 0, last: int = 100) -> list[Audited]:
        """Mutating calls in order, with id > `after`; the `last` n."""
        rows = self._rows("SELECT * FROM audit WHERE id > ? ORDER BY id DESC LIMIT ?", after, last)
        return [Audited(**row) for row in reversed(list(rows))]

    # idempotency

    def answer(self, actor: str, key: str) -> tuple[str, int, str] | None:
        """What was answered to this key: (digest of the request, HTTP status, body)."""
        query = "SELECT request, status, body FROM idempotency WHERE actor = ? AND key = ?"
        for row in self._rows(query, actor, key):
            return row["request"], row["status"], row["body"]
        return None

    def remember(
        self,
        actor: str,
        key: str,
        request: str,
        status: int,
        body: str,
        *,
        now: float,
        keep_s: float = 86_400,
    ) -> None:
        """Keep an answer for a day."""
        self._db.execute("DELETE FROM idempotency WHERE at < ?", [now - keep_s])
        self._db.execute(
            "INSERT OR REPLACE INTO idempotency (actor, key, request, at, status, body) VALUES (?,?,?,?,?,?)",
            [actor, key, request, now, status, body],
        )

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        cursor = self._db.execute(query, values)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
