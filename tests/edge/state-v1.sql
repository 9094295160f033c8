-- A state file as timewright wrote it before schema 2.
CREATE TABLE workflows (            -- one row a workflow: where it stands
  workflow_id TEXT PRIMARY KEY,
  status TEXT NOT NULL, since REAL NOT NULL, because TEXT NOT NULL,
  name TEXT NOT NULL, source TEXT NOT NULL,
  revision TEXT NOT NULL, read_at REAL NOT NULL,
  attempted TEXT NOT NULL, applied TEXT NOT NULL, failure TEXT,
  attempts INTEGER NOT NULL, retry_at REAL,
  health TEXT NOT NULL, health_reason TEXT NOT NULL, health_since REAL NOT NULL,
  pool TEXT NOT NULL, held TEXT NOT NULL, warnings TEXT NOT NULL
) STRICT;
CREATE TABLE history (              -- append-only: one row a transition
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL, workflow_id TEXT NOT NULL,
  old TEXT, new TEXT NOT NULL, because TEXT NOT NULL,
  digest TEXT NOT NULL, revision TEXT NOT NULL, source TEXT NOT NULL,
  failure TEXT, timings TEXT NOT NULL
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
PRAGMA user_version=1;
INSERT INTO workflows VALUES ('hello','DEPLOYED',1700000000.0,'release aaa is live','Hello','hello.json','r1',
  1700000000.0,'aaa','aaa',NULL,0,NULL,'Healthy','',1700000000.0,'default/default','','["a warning"]');
INSERT INTO history (at, workflow_id, old, new, because, digest, revision, source, failure, timings)
  VALUES (1700000000.0,'hello',NULL,'DEPLOYED','found in the tree','aaa','r1','hello.json',NULL,'{}');
INSERT INTO releases VALUES ('aaa','hello',1700000000.0,'{}');
INSERT INTO files VALUES ('hello.json','{}');
INSERT INTO refused VALUES ('bad.json','ccc',1700000000.0,
  '{"reason": "InvalidSpec", "message": "is no spec", "problems": [], "transient": false}');
INSERT INTO facts VALUES ('last_pass','{"at": 1700000000.0, "problem": ""}');
