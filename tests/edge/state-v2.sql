-- A state file as timewright wrote it before schema 3.
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
  drift TEXT NOT NULL DEFAULT '[]', depends_on TEXT NOT NULL DEFAULT '[]'
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
PRAGMA user_version=2;
INSERT INTO workflows VALUES ('hello','DEPLOYED',1700000000.0,'release aaa is live','Hello','hello.json','r1',
  1700000000.0,'aaa','aaa',NULL,0,NULL,'Healthy','',1700000000.0,'default/default','','["a warning"]','',
  'team-a','alice','asked','bbb','aaa',NULL,'',
  '{"kind": "pin", "digest": "aaa", "actor": "alice", "at": 1700000000.0, "reason": "hold it", "against": "asked"}',
  NULL,NULL,NULL,'',1,NULL,'[]','["other"]');
INSERT INTO history (at, workflow_id, old, new, because, digest, revision, source, failure, timings, actor, kind)
  VALUES (1700000000.0,'hello',NULL,'DEPLOYED','found in the tree','aaa','r1','hello.json',NULL,'{}','alice','status');
INSERT INTO releases VALUES ('aaa','hello',1700000000.0,'{}');
INSERT INTO files VALUES ('hello.json','{}');
INSERT INTO refused VALUES ('bad.json','ccc',1700000000.0,
  '{"reason": "InvalidSpec", "message": "is no spec", "problems": [], "transient": false}');
INSERT INTO facts VALUES ('last_pass','{"at": 1700000000.0, "problem": ""}');
INSERT INTO bad VALUES ('hello','bbb','word',1700000000.0,'it crashed');
INSERT INTO operations VALUES ('op','deploy','hello','alice','',1700000000.0,'succeeded',1700000000.0,'done');
INSERT INTO audit (at, actor, role, verb, workflow_id, outcome, detail)
  VALUES (1700000000.0,'alice','ADMIN','deploy','hello','OK','{}');
INSERT INTO idempotency VALUES ('alice','key','request',1700000000.0,200,'{}');
