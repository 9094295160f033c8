"""The state file: SQLite, what is deployed, what happened and why. Never the truth about the
world: when it is lost, it is rebuilt from the receipts in the tree.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from timewright.core.commits import Commit
from timewright.core.errors import Problem, Reason, TimewrightError
from timewright.core.state import (
    Asked,
    Failure,
    Health,
    Pin,
    Pinned,
    Record,
    Status,
    Suspension,
    check_transition,
)
from timewright.edge import stateschema
from timewright.edge.desk import Desk
from timewright.edge.failpoint import failpoint
from timewright.edge.outbox import Outbox


@dataclass(frozen=True)
class Event:
    """One row of the history. `old` None: the row starts a workflow's life in this state file.

    `kind`: 'status' (`old` and `new` are of Status), 'health' (of Health), or what people and the drift
    watch did: 'pin', 'suspension', 'drift', … (`old`, `new`: the words shown). `workflow_id` '': of all.
    """

    id: int
    at: float
    workflow_id: str
    old: str | None
    new: str
    because: str
    digest: str
    revision: str
    source: str
    failure: Failure | None
    timings: Mapping[str, float]
    actor: str = ""
    kind: str = "status"


@dataclass(frozen=True)
class Bad:
    """A release that was reverted."""

    workflow_id: str
    digest: str
    asked: str
    at: float
    because: str


class StateFile:
    """One open state file. `rebuilt`: why it had to be made anew, '' when it hadn't."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.rebuilt = ""
        self._first: dict[str, Record] | None = None  # as they were read to be checked
        self._db = self._read_only() if read_only else self._open()
        self.desk = Desk(self._db)
        self.outbox = Outbox(self._db)

    @classmethod
    def snapshot(cls, path: Path) -> StateFile:
        """A copy in memory, to plan on: whatever is done to it touches no file."""
        self = cls.__new__(cls)
        self.path, self.rebuilt, self._first = path, "", None
        self._db = _prepared(sqlite3.connect(":memory:", isolation_level=None))
        if path.exists():
            original = cls(path, read_only=True)
            original._db.backup(self._db)
            original.close()
        else:
            stateschema.create(self._db)
        self.desk = Desk(self._db)
        self.outbox = Outbox(self._db)
        return self

    # opening

    def _read_only(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise TimewrightError(
                f"there is no state file {self.path}", hint="nothing was deployed there yet"
            )
        self._check_kind()
        db = _prepared(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True, timeout=5))
        try:
            self._check_schema(db)
        except sqlite3.DatabaseError as error:
            db.close()
            hint = "the daemon mends a damaged one at its start"
            raise TimewrightError(f"{self.path} can't be read: {error}", hint=hint) from None
        return db if stateschema.version_of(db) == stateschema.SCHEMA else _upgraded_copy(db)

    def _open(self) -> sqlite3.Connection:
        self._check_kind()
        existed = self.path.exists() and self.path.stat().st_size > 0
        if not existed:
            self.rebuilt = f"there was no state file {self.path.name}"
            return self._create()
        self._db = self._connect()
        try:
            self._check_schema(self._db)
            self._make_durable(self._db)
            self._upgrade(self._db)
            self._check_content(self._db)
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
            self._db.close()  # before its files get other names
            if not _is_damage(error):
                raise TimewrightError(
                    f"{self.path} can't be opened: {error}", hint="is the disk full, or not writable?"
                ) from None
            self.rebuilt = f"the state file was damaged ({error}); kept as {self._move_aside()}"
            return self._create()
        except TimewrightError:
            self._db.close()
            raise
        return self._db

    def _check_content(self, db: sqlite3.Connection) -> None:
        """Raises when the file's structure, or what a pass needs of its content, can't be read."""
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check found damage")
        records = self.records()
        self.refused()
        self._first = records

    def _check_kind(self) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise TimewrightError(f"{self.path} is not a regular file", hint="move it away")

    def _connect(self) -> sqlite3.Connection:
        return _prepared(sqlite3.connect(self.path, timeout=10, isolation_level=None))

    def _make_durable(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # an acknowledged transition survives a power cut

    def _create(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.touch(mode=0o600)
        db = self._connect()
        self._make_durable(db)
        stateschema.create(db)
        return db

    def _move_aside(self) -> str:
        name = f"{self.path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}"
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(self.path.with_name(name + suffix))
        return name

    def _check_schema(self, db: sqlite3.Connection) -> None:
        version = stateschema.version_of(db)
        if version <= 0:  # a crash between the file and its tables
            raise sqlite3.DatabaseError("it has no tables of ours")
        if version > stateschema.SCHEMA:
            raise TimewrightError(
                f"{self.path} was written by a newer timewright"
                f" (schema {version}, we know {stateschema.SCHEMA})",
                hint="upgrade timewright, or use another --data directory",
            )

    def _upgrade(self, db: sqlite3.Connection) -> None:
        """Bring an older file to our schema, once; a copy of it is kept."""
        version = stateschema.version_of(db)
        if version == stateschema.SCHEMA:
            return
        copy = self.path.with_name(f"{self.path.name}.v{version}")
        copy.unlink(missing_ok=True)
        copy.touch(mode=0o600)
        kept = sqlite3.connect(copy)
        db.backup(kept)
        kept.close()
        stateschema.migrate(db)

    def close(self) -> None:
        self._db.close()

    # workflows

    def records(self) -> dict[str, Record]:
        rows = self._rows("SELECT * FROM workflows ORDER BY workflow_id")
        return {row["workflow_id"]: _record(row) for row in rows}

    def first_records(self) -> dict[str, Record]:
        """The same, for who opened the file and has written nothing yet: it was read to be checked."""
        found, self._first = self._first, None
        return found if found is not None else self.records()

    def record(self, workflow_id: str) -> Record | None:
        for row in self._rows("SELECT * FROM workflows WHERE workflow_id = ?", workflow_id):
            return _record(row)
        return None

    def save(self, record: Record) -> None:
        """Store what changed besides the status (health, hold, where the spec lies)."""
        values = _row(record)
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO workflows ({names}) VALUES ({marks})", [*values.values()])  # noqa: S608

    def transition(
        self,
        record: Record,
        new: Status,
        *,
        because: str,
        now: float,
        digest: str = "",
        timings: Mapping[str, float] | None = None,
        actor: str = "",
        about: str = "",
        **changes: Any,
    ) -> Record:
        """Move a workflow to another status: its row and one of history, or neither.

        `about`: the revision of the row of history, '' for the record's. `actor`: who caused it, '' for who
        caused the last one. `changes`: further fields of Record.
        Raises IllegalTransitionError for one not in the table.
        """
        check_transition(record.status, new)
        who = actor or record.actor
        changed = replace(record, status=new, since=now, because=because, actor=who, **changes)
        failure = changed.failure if new is Status.DEPLOYMENT_FAILED else None
        failpoint("before-state")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self.save(changed)
            failpoint("mid-state")
            self._append(record.status, changed, now, digest, failure, timings or {}, about)
        failpoint("after-state")
        return changed

    def adopt(self, record: Record, *, now: float) -> None:
        """A workflow found in the tree when the state file was rebuilt: its history starts here."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self.save(record)
            self._append(None, record, now, record.applied, None, {})

    def forget(self, workflow_id: str) -> None:
        self._db.execute("DELETE FROM workflows WHERE workflow_id = ?", [workflow_id])

    def record_change(
        self, record: Record, *, kind: str, old: str, new: str, because: str, actor: str, now: float
    ) -> int:
        """Store a record with one row of history that is no transition of its status (its health changed,
        somebody pinned it). A record without a workflow id stores the row alone. Returns the row's id."""
        failpoint("before-state")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if record.workflow_id:
                self.save(record)
            failpoint("mid-state")
            cursor = self._db.execute(
                "INSERT INTO history (at, workflow_id, old, new, because, digest, revision, source, failure,"
                " timings, actor, kind) VALUES (?,?,?,?,?,?,?,?,NULL,'{}',?,?)",
                [
                    *(now, record.workflow_id, old, new, because, record.applied, record.revision),
                    *(record.source, actor, kind),
                ],
            )
        failpoint("after-state")
        return cursor.lastrowid or 0

    def _append(
        self,
        old: Status | None,
        record: Record,
        now: float,
        digest: str,
        failure: Failure | None,
        timings: Mapping[str, float],
        about: str = "",
    ) -> None:
        self._db.execute(
            "INSERT INTO history (at, workflow_id, old, new, because, digest, revision, source, failure,"
            " timings, actor) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            [
                now,
                record.workflow_id,
                old,
                record.status,
                record.because,
                digest,
                about or record.revision,
                record.source,
                _failure_text(failure),
                json.dumps({name: round(value, 1) for name, value in timings.items()}),
                record.actor,
            ],
        )

    def history(
        self,
        workflow_id: str | None = None,
        *,
        after: int = 0,
        last: int = 0,
        first: int = 0,
        only: Iterable[str] | None = None,
    ) -> list[Event]:
        """What happened, in order; of one workflow or all, or of those in `only`; with id > `after`; the
        `last` n (0: all), or the `first` n."""
        # Only what is asked for is in the query: "?2 IS NULL OR …" would have SQLite read the history of all.
        where: list[str] = ["id > ?"]
        values: list[int | str] = [after]
        if workflow_id is not None:
            where, values = [*where, "workflow_id = ?"], [*values, workflow_id]
        if only is not None:
            where = [*where, "workflow_id IN (SELECT value FROM json_each(?))"]
            values = [*values, json.dumps(list(only))]
        order = "ORDER BY id ASC" if first else "ORDER BY id DESC"
        query = f"SELECT * FROM history WHERE {' AND '.join(where)} {order} LIMIT ?"  # noqa: S608 - ours
        rows = list(self._rows(query, *values, first or last or -1))
        return [_event(row) for row in (rows if first else reversed(rows))]

    def steps(self, workflow_id: str) -> list[tuple[str, str]]:
        """The transitions of a workflow, in order: (status, digest)."""
        query = "SELECT new, digest FROM history WHERE workflow_id = ? AND kind = 'status' ORDER BY id"
        return self._db.execute(query, [workflow_id]).fetchall()

    def last_event(self) -> int:
        """The id of the newest row of history; 0 when there is none."""
        return self._db.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0]  # type: ignore[no-any-return]

    # releases

    def add_release(self, digest: str, workflow_id: str, created: float, receipt: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO releases VALUES (?,?,?,?)", [digest, workflow_id, created, receipt]
        )

    def drop_releases(self, workflow_id: str, short: Iterable[str]) -> None:
        for name in short:
            self._db.execute(
                "DELETE FROM releases WHERE workflow_id = ? AND substr(digest, 1, ?) = ?",
                [workflow_id, len(name), name],
            )

    def add_bad(self, bad: Bad) -> None:
        """Remember a release that was reverted."""
        values = [bad.workflow_id, bad.digest, bad.asked, bad.at, bad.because]
        self._db.execute("INSERT OR REPLACE INTO bad VALUES (?,?,?,?,?)", values)

    def forgive(self, workflow_id: str, digest: str) -> None:
        self._db.execute("DELETE FROM bad WHERE workflow_id = ? AND digest = ?", [workflow_id, digest])

    def bad(self) -> list[Bad]:
        return [Bad(**row) for row in self._rows("SELECT * FROM bad")]

    # commits

    def add_commits(self, commits: Iterable[Commit]) -> None:
        """Keep what is known of revisions that the history names."""
        rows = [
            [c.revision, c.source, c.sha, c.author, c.email, c.subject, c.at, int(c.dirty)] for c in commits
        ]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO commits VALUES (?,?,?,?,?,?,?,?)", rows)

    def commit(self, revision: str) -> Commit | None:
        """What is known of a revision; None for a folder's, and for one that nothing was kept of."""
        for row in self._rows("SELECT * FROM commits WHERE revision = ?", revision):
            del row["revision"]
            return Commit(**{**row, "dirty": bool(row["dirty"])})
        return None

    # source

    def file_cache(self) -> dict[str, dict[str, Any]]:
        """What was known of the source's files; a row that was damaged is as if it weren't there."""
        found: dict[str, dict[str, Any]] = {}
        for row in self._rows("SELECT * FROM files"):
            with suppress(ValueError):
                found[row["path"]] = json.loads(row["entry"])
        return found

    def update_file_cache(self, changed: Mapping[str, Mapping[str, Any]], gone: Iterable[str]) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?,?)",
                [(path, json.dumps(entry, separators=(",", ":"))) for path, entry in changed.items()],
            )
            self._db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in gone])

    def refused(self) -> dict[str, tuple[str, Failure]]:
        """Files without a readable workflow id: path → (content digest, failure)."""
        rows = self._rows("SELECT * FROM refused ORDER BY path")
        return {row["path"]: (row["content"], _failure(row["failure"])) for row in rows if row["failure"]}  # type: ignore[misc]

    def refuse(self, path: str, content: str, failure: Failure, *, now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO refused VALUES (?,?,?,?)", [path, content, now, _failure_text(failure)]
        )

    def unrefuse(self, path: str) -> None:
        self._db.execute("DELETE FROM refused WHERE path = ?", [path])

    # facts: small things about the daemon itself, for `status`

    def fact(self, name: str) -> Any:
        for row in self._rows("SELECT value FROM facts WHERE name = ?", name):
            return json.loads(row["value"])
        return None

    def facts(self, prefix: str) -> dict[str, Any]:
        """The facts whose names begin so, by the rest of the name."""
        rows = self._rows("SELECT name, value FROM facts WHERE substr(name, 1, ?) = ?", len(prefix), prefix)
        return {row["name"][len(prefix) :]: json.loads(row["value"]) for row in rows}

    def drop_fact(self, name: str) -> None:
        self._db.execute("DELETE FROM facts WHERE name = ?", [name])

    def set_fact(self, name: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", [name, json.dumps(value)])

    @contextmanager
    def jotting(self) -> Iterator[None]:
        """What is written meanwhile outlives this process; a power cut may take it, until the next write
        that is not so: each such write is a wait for the disk less. For what can be told again, or is told
        by what was written before."""
        self._db.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._db.execute("PRAGMA synchronous=FULL")

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        cursor = self._db.execute(query, values)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    """Text that a damaged disk made unreadable must not make the rows around it unreadable."""
    db.text_factory = lambda data: data.decode("utf-8", "replace")
    return db


def storage_trouble(error: Exception) -> str:
    """What the disk has against us, in words for people; '' when `error` is of another kind."""
    if isinstance(error, sqlite3.Error):
        return f"the state file can't be used: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return ""


def _is_damage(error: Exception) -> bool:
    """Whether it is the file that is wrong, not the disk, the lock or the rights to it."""
    code = getattr(error, "sqlite_errorcode", None)
    passing = (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    )
    return code is None or code & 0xFF not in passing


def _row(record: Record) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    values["failure"] = _failure_text(record.failure)
    for key in _LISTS:
        values[key] = json.dumps(values[key])
    for key in _OBJECTS:
        values[key] = None if values[key] is None else json.dumps(asdict(values[key]))
    return values


#: Fields of Record that are kept as JSON.
_LISTS = ("warnings", "drift", "depends_on")
_OBJECTS: Mapping[str, Any] = {"pin": Pin, "suspension": Suspension, "request": Asked}


def _upgraded_copy(db: sqlite3.Connection) -> sqlite3.Connection:
    """An older file as one of today, in memory: who only reads must not write."""
    copy = _prepared(sqlite3.connect(":memory:", isolation_level=None))
    db.backup(copy)
    db.close()
    stateschema.migrate(copy)
    return copy


def _record(row: dict[str, Any]) -> Record:
    values = dict(row)
    values["status"] = Status(row["status"])
    values["health"] = Health(row["health"])
    values["failure"] = _failure(row["failure"])
    for key in _LISTS:
        values[key] = () if row[key] == "[]" else tuple(json.loads(row[key]))
    for key in ("prune", "auto_revert"):
        values[key] = None if row[key] is None else bool(row[key])
    for key, kind in _OBJECTS.items():
        values[key] = None if row[key] is None else kind(**json.loads(row[key]))
    if values["pin"] is not None:
        values["pin"] = replace(values["pin"], kind=Pinned(values["pin"].kind))
    return Record(**values)


def _event(row: dict[str, Any]) -> Event:
    values = dict(row)
    values["failure"], values["timings"] = None, {}
    with suppress(ValueError, KeyError, TypeError):  # what a damaged disk spoilt is not worth the row
        values["failure"] = _failure(row["failure"])
    with suppress(ValueError):
        values["timings"] = dict(json.loads(row["timings"]))
    return Event(**values)


def _failure_text(failure: Failure | None) -> str | None:
    return None if failure is None else json.dumps(asdict(failure))


def _failure(text: str | None) -> Failure | None:
    if text is None:
        return None
    values = json.loads(text)
    problems = tuple(Problem(**item) for item in values["problems"])
    return Failure(Reason(values["reason"]), values["message"], problems, values["transient"])
