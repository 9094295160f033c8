"""The tables of the state file, and how an older file becomes one of today."""

from __future__ import annotations

import sqlite3

SCHEMA = 3

_SINCE_1 = """
CREATE TABLE workflows (            -- one row a workflow: where it stands
  workflow_id TEXT PRIMARY KEY,
  status TEXT NOT NULL, since REAL NOT NULL, because TEXT NOT NULL,
  name TEXT NOT NULL, source TEXT NOT NULL,
  revision TEXT NOT NULL, read_at REAL NOT NULL,
  attempted TEXT NOT NULL, applied TEXT NOT NULL, failure TEXT,
  attempts INTEGER NOT NULL, retry_at REAL,
  health TEXT NOT NULL, health_reason TEXT NOT NULL, health_since REAL NOT NULL,
  pool TEXT NOT NULL, held TEXT NOT NULL, warnings TEXT NOT NULL,
  held_reason TEXT NOT NULL DEFAULT '',
  owner TEXT NOT NULL DEFAULT '', actor TEXT NOT NULL DEFAULT '', asked TEXT NOT NULL DEFAULT '',
  previous TEXT NOT NULL DEFAULT '', proven TEXT NOT NULL DEFAULT '',
  trial_until REAL, condemned TEXT NOT NULL DEFAULT '',
  pin TEXT, suspension TEXT, request TEXT,
  missing_since REAL, prune_by TEXT NOT NULL DEFAULT '', prune INTEGER, auto_revert INTEGER,
  drift TEXT NOT NULL DEFAULT '[]', depends_on TEXT NOT NULL DEFAULT '[]',
  live_revision TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE history (              -- append-only: one row a transition
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL, workflow_id TEXT NOT NULL,
  old TEXT, new TEXT NOT NULL, because TEXT NOT NULL,
  digest TEXT NOT NULL, revision TEXT NOT NULL, source TEXT NOT NULL,
  failure TEXT, timings TEXT NOT NULL,
  actor TEXT NOT NULL DEFAULT '', kind TEXT NOT NULL DEFAULT 'status'
) STRICT;
CREATE INDEX history_by_workflow ON history (workflow_id, id);
CREATE TRIGGER history_is_kept BEFORE UPDATE ON history
  BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER history_stays BEFORE DELETE ON history
  BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TABLE releases (             -- compiled code by digest: what the tree holds, and its receipt
  digest TEXT PRIMARY KEY, workflow_id TEXT NOT NULL, created REAL NOT NULL, receipt TEXT NOT NULL
) STRICT;
CREATE TABLE files (                -- the stat cache of the source, as git's index
  path TEXT PRIMARY KEY, entry TEXT NOT NULL
) STRICT;
CREATE TABLE refused (              -- files of the source that hold no readable workflow id
  path TEXT PRIMARY KEY, content TEXT NOT NULL, at REAL NOT NULL, failure TEXT NOT NULL
) STRICT;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_SINCE_2 = """
CREATE TABLE bad (                  -- releases that were reverted: not deployed again unless forced
  workflow_id TEXT NOT NULL, digest TEXT NOT NULL, asked TEXT NOT NULL, at REAL NOT NULL,
  because TEXT NOT NULL, PRIMARY KEY (workflow_id, digest)
) STRICT;
CREATE TABLE operations (           -- what people asked for, to be followed
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, workflow_id TEXT NOT NULL, actor TEXT NOT NULL,
  reason TEXT NOT NULL, at REAL NOT NULL, state TEXT NOT NULL, finished REAL, because TEXT NOT NULL
) STRICT;
CREATE INDEX operations_by_state ON operations (state, at);
CREATE TABLE audit (                -- append-only: one row a mutating call
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL, verb TEXT NOT NULL,
  workflow_id TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_kept BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TABLE idempotency (          -- answers to mutating calls, by their Idempotency-Key
  actor TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, at REAL NOT NULL,
  status INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (actor, key)
) STRICT;
"""
_COMMITS = """
CREATE TABLE commits (              -- what is known of the revisions that the history names
  revision TEXT PRIMARY KEY, source TEXT NOT NULL, sha TEXT NOT NULL, author TEXT NOT NULL,
  email TEXT NOT NULL, subject TEXT NOT NULL, at REAL NOT NULL, dirty INTEGER NOT NULL
) STRICT;
"""
_OUTBOX = """
CREATE TABLE outbox (               -- what is to be told to the outside, until it is
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL,
  tries INTEGER NOT NULL, next_at REAL NOT NULL, error TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_by_channel ON outbox (channel, next_at);
"""
_SINCE_3 = _COMMITS + _OUTBOX
#: From the schema of the key to the next one.
_MIGRATIONS = {
    1: "\n".join(
        [
            *(
                f"ALTER TABLE workflows ADD COLUMN {column} TEXT NOT NULL DEFAULT '';"
                for column in (
                    *("held_reason", "owner", "actor", "asked", "previous", "proven"),
                    *("condemned", "prune_by"),
                )
            ),
            *(
                f"ALTER TABLE workflows ADD COLUMN {column} TEXT;"
                for column in ("pin", "suspension", "request")
            ),
            *(
                f"ALTER TABLE workflows ADD COLUMN {column} REAL;"
                for column in ("trial_until", "missing_since")
            ),
            *(
                f"ALTER TABLE workflows ADD COLUMN {column} TEXT NOT NULL DEFAULT '[]';"
                for column in ("drift", "depends_on")
            ),
            *(f"ALTER TABLE workflows ADD COLUMN {column} INTEGER;" for column in ("prune", "auto_revert")),
            "ALTER TABLE history ADD COLUMN actor TEXT NOT NULL DEFAULT '';",
            "ALTER TABLE history ADD COLUMN kind TEXT NOT NULL DEFAULT 'status';",
            _SINCE_2,
        ]
    ),
    2: "\n".join(["ALTER TABLE workflows ADD COLUMN live_revision TEXT NOT NULL DEFAULT '';", _SINCE_3]),
}

TABLES = _SINCE_1 + _SINCE_2 + _SINCE_3


def create(db: sqlite3.Connection) -> None:
    """Make all tables, or none."""
    db.executescript(f"BEGIN;{TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")


def version_of(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: sqlite3.Connection) -> None:
    """Bring an older file to our schema; each step is done whole or not at all."""
    while (version := version_of(db)) < SCHEMA:
        db.executescript(f"BEGIN;{_MIGRATIONS[version]} PRAGMA user_version={version + 1}; COMMIT;")
