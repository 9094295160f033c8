from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from timewright.core.errors import Problem, Reason, TimewrightError
from timewright.core.state import Failure, Health, IllegalTransitionError, Record, Status
from timewright.edge.statefile import StateFile
from timewright.edge.stateschema import SCHEMA

from tests.support import NOW, child_env, make_record, python, run_python

FAILURE = Failure(Reason.TYPE_CHECK_FAILED, "no", (Problem("src/a.ts", "no", "mend it", 1, 2, "TS1"),), False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def filled(path: Path, count: int = 40) -> None:
    """A state file of `count` deployed workflows, closed."""
    state = StateFile(path)
    for number in range(count):
        deploy(state, f"w{number}")
    state.update_file_cache({f"w{number}.json": {"digest": "d" * 64} for number in range(count)}, ())
    state.refuse("x.json", "c", FAILURE, now=NOW)
    state.close()


def deploy(state: StateFile, workflow_id: str = "hello") -> Record:
    record = state.record(workflow_id) or Record(workflow_id)
    record = state.transition(record, Status.DEPLOYING, because="new spec", now=NOW, attempted="d1")
    return state.transition(record, Status.DEPLOYED, because="live", now=NOW + 1, applied="d1", digest="d1")


# Records and history ---------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_saved(path: Path) -> None:
    state = StateFile(path)
    record = make_record(
        failure=FAILURE, retry_at=1.5, health=Health.DEGRADED, held="why", warnings=("a", "b"), read_at=NOW
    )
    state.save(record)
    assert state.record("hello") == record
    assert state.records() == {"hello": record}
    assert state.record("nobody") is None
    state.forget("hello")
    assert state.records() == {}


def test_every_transition_leaves_a_row_of_history(path: Path) -> None:
    state = StateFile(path)
    record = deploy(state)
    state.transition(
        record, Status.DEPLOYMENT_FAILED, because="no", now=NOW + 2, failure=FAILURE, timings={"check": 1.26}
    )
    assert [(event.old, event.new, event.because, event.at) for event in state.history()] == [
        (Status.UNDEPLOYED, Status.DEPLOYING, "new spec", NOW),
        (Status.DEPLOYING, Status.DEPLOYED, "live", NOW + 1),
        (Status.DEPLOYED, Status.DEPLOYMENT_FAILED, "no", NOW + 2),
    ]
    assert state.history()[-1].failure == FAILURE
    assert state.history()[-1].timings == {"check": 1.3}


def test_history_can_be_asked_by_workflow_from_a_row_on_and_for_the_last(path: Path) -> None:
    state = StateFile(path)
    deploy(state, "a")
    deploy(state, "b")
    ids = [event.id for event in state.history()]
    assert [event.id for event in state.history("b")] == ids[2:]
    assert [event.id for event in state.history(after=ids[0])] == ids[1:]
    assert [event.id for event in state.history(last=1)] == ids[-1:]


@pytest.mark.parametrize("how", ["all", "last", "steps"])
def test_what_happened_to_one_workflow_is_told_without_reading_what_happened_to_others(
    path: Path, how: str
) -> None:
    """With ten thousand specs a rollback waited for the history of all of them."""

    def told(state: StateFile) -> list[object]:
        if how == "steps":
            return [*state.steps("hello")]
        return [event.new for event in state.history("hello", last=1 if how == "last" else 0)]

    def work(others: int) -> tuple[int, list[object]]:
        """How much SQLite does, in its own instructions."""
        place = path.with_name(f"{others}.db")
        filled(place, others)
        state = StateFile(place)
        deploy(state)
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        state._db.set_progress_handler(step, 1)
        found = told(state)
        state._db.set_progress_handler(None, 1)
        state.close()
        return count, found

    alone, few = work(0)
    among, many = work(30)
    assert few == many != []
    assert among <= alone + 20


def test_the_steps_of_a_workflow_are_its_transitions_and_nothing_else(path: Path) -> None:
    state = StateFile(path)
    record = deploy(state)
    deploy(state, "other")
    record = state.transition(record, Status.DEPLOYING, because="new", now=NOW + 2, digest="d2")
    state.transition(record, Status.DEPLOYMENT_FAILED, because="no", now=NOW + 3, digest="d2")
    state.record_change(record, kind="health", old="", new="DEPLOYED", because="x", now=NOW, actor="")
    assert state.steps("hello") == [
        ("DEPLOYING", ""),
        ("DEPLOYED", "d1"),
        ("DEPLOYING", "d2"),
        ("DEPLOYMENT_FAILED", "d2"),
    ]
    assert state.steps("nobody") == []


def test_an_illegal_transition_changes_nothing(path: Path) -> None:
    state = StateFile(path)
    with pytest.raises(IllegalTransitionError):
        state.transition(Record("hello"), Status.DEPLOYED, because="hop", now=NOW)
    assert state.records() == {}
    assert state.history() == []


@pytest.mark.parametrize("table", ["history", "workflows"])
def test_a_transition_is_its_row_and_its_history_or_neither(path: Path, table: str) -> None:
    state = StateFile(path)
    before = deploy(state)
    other = sqlite3.connect(path)
    other.execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    other.commit()
    other.close()
    with pytest.raises(sqlite3.Error, match="disk full"):
        state.transition(before, Status.UNDEPLOYING, because="gone", now=NOW)
    assert state.record("hello") == before
    assert len(state.history()) == 2
    state.close()


@pytest.mark.parametrize("statement", ["UPDATE history SET because = 'x'", "DELETE FROM history"])
def test_history_can_be_neither_changed_nor_removed(path: Path, statement: str) -> None:
    filled(path, 1)
    other = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(statement)
    other.close()


def test_a_transition_that_was_answered_survives_a_kill(path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from timewright.core.state import *
from timewright.edge.statefile import StateFile
state = StateFile(Path(sys.argv[1]))
state.transition(Record("hello"), Status.DEPLOYING, because="new", now=1.0)
print("done", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(python(code, path), env=child_env(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.send_signal(signal.SIGKILL)
    state = StateFile(path)
    assert state.rebuilt == ""
    assert state.records()["hello"].status is Status.DEPLOYING
    assert len(state.history()) == 1


def test_what_is_remembered_besides_survives_too(path: Path) -> None:
    state = StateFile(path)
    state.update_file_cache({"a": {"digest": "1"}, "b": {"digest": "2"}}, ())
    state.update_file_cache({"c": {"digest": "3"}}, ["a"])
    state.refuse("x.json", "c1", FAILURE, now=NOW)
    state.refuse("y.json", "c2", FAILURE, now=NOW)
    state.unrefuse("y.json")
    state.set_fact("last_pass", {"at": 1})
    state.adopt(make_record("found"), now=NOW)
    state.close()
    again = StateFile(path)
    assert again.file_cache() == {"b": {"digest": "2"}, "c": {"digest": "3"}}
    assert again.refused() == {"x.json": ("c1", FAILURE)}
    assert again.fact("last_pass") == {"at": 1}
    assert again.fact("none") is None
    assert again.history()[0].old is None


# A file that is missing or damaged -------------------------------------------------------------


def check_usable(state: StateFile) -> None:
    """Whatever was there before, it works now and nothing in it makes a reader stumble."""
    state.records()
    state.history()
    state.file_cache()
    state.refused()
    deploy(state, "afterwards")
    other = StateFile(state.path, read_only=True)
    assert other.records()["afterwards"].status is Status.DEPLOYED
    other.close()


@pytest.mark.parametrize("leftover", ["", "-wal", "-shm"])
def test_a_missing_file_is_made_and_said_to_be_new(path: Path, leftover: str) -> None:
    if leftover:
        path.with_name(path.name + leftover).write_bytes(b"stale")
    state = StateFile(path)
    assert state.rebuilt == "there was no state file state.db"
    assert path.stat().st_mode & 0o777 == 0o600
    check_usable(state)


def corrupt_copies(path: Path) -> list[Path]:
    return [
        item for item in path.parent.glob("state.db.corrupt-*") if not item.name.endswith(("-wal", "-shm"))
    ]


@pytest.mark.parametrize("part", [0, 1, 15, 16, 50, 99, 100, 511, 512, 4095, 4096, 4097, 0.3, 0.5, 0.9])
def test_a_truncated_file_is_kept_aside_and_made_anew(path: Path, part: float) -> None:
    filled(path)
    size = path.stat().st_size
    os.truncate(path, int(size * part) if 0 < part < 1 else int(part))
    state = StateFile(path)
    assert state.rebuilt
    assert state.records() == {}
    assert len(corrupt_copies(path)) == (part != 0)
    check_usable(state)


@pytest.mark.parametrize(
    "garbage", [b"x", b"{}", b"\0" * 8192, os.urandom(10_000), b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_garbage_is_kept_aside_and_made_anew(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    state = StateFile(path)
    assert state.rebuilt.startswith("the state file was damaged")
    assert [copy.read_bytes() for copy in corrupt_copies(path)] == [garbage]
    check_usable(state)


def test_a_crash_before_the_tables_were_made_is_mended(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    assert path.stat().st_size > 0
    state = StateFile(path)
    assert "it has no tables of ours" in state.rebuilt
    check_usable(state)


def test_flipped_bits_are_survived_wherever_they_are(path: Path, tmp_path: Path) -> None:
    filled(path, 20)
    whole, chance = path.read_bytes(), random.Random(7)
    for number in range(60):
        copy = tmp_path / f"flip{number}" / "state.db"
        copy.parent.mkdir()
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 8])):
            damaged[chance.randrange(100, len(damaged))] ^= 1 << chance.randrange(8)
        copy.write_bytes(damaged)
        state = StateFile(copy)
        check_usable(state)
        state.close()


def test_a_status_that_is_none_counts_as_damage(path: Path) -> None:
    filled(path, 1)
    db = sqlite3.connect(path)
    db.execute("UPDATE workflows SET status = 'DEPLOXED'")
    db.commit()
    db.close()
    assert "DEPLOXED" in StateFile(path).rebuilt


def test_the_new_file_keeps_its_log_when_the_damaged_one_is_let_go(path: Path) -> None:
    """SQLite removes a write-ahead log by its name when the last user of it leaves."""
    filled(path)
    data = bytearray(path.read_bytes())
    data[5000:9000] = b"\xff" * 4000
    path.write_bytes(data)
    state = StateFile(path)
    assert state.rebuilt
    deploy(state)
    assert path.with_name("state.db-wal").exists()
    code = "import sys, sqlite3; print(*sqlite3.connect(sys.argv[1]).execute('SELECT status FROM workflows'))"
    assert run_python(code, path).stdout == "('DEPLOYED',)\n"


def test_a_newer_file_is_refused_and_not_touched(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE future (x)")
    db.execute(f"PRAGMA user_version={SCHEMA + 1}")
    db.commit()
    db.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(TimewrightError, match="written by a newer timewright"):
            StateFile(path, read_only=read_only)
    assert path.read_bytes() == before
    assert corrupt_copies(path) == []


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize("make", [make_link, make_dangling_link, Path.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused_and_not_followed(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    with pytest.raises(TimewrightError, match="is not a regular file"):
        StateFile(path)
    with pytest.raises(TimewrightError):
        StateFile(path, read_only=True)
    assert not path.with_name("target").exists()


def test_a_file_that_another_holds_is_not_taken_for_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    monkeypatch.setattr(sqlite3, "connect", short_wait(sqlite3.connect))
    other = sqlite3.connect(path)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TimewrightError, match="can't be opened: database is locked"):
        StateFile(path)
    other.close()
    assert corrupt_copies(path) == []
    assert len(StateFile(path).records()) == 40


def short_wait(connect: object) -> object:
    return lambda *args, **kwargs: connect(*args, **{**kwargs, "timeout": 0.01})  # type: ignore[operator]


# Reading beside the daemon ---------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["plain", "with space", "100%25", "a#b", "a?mode=rwc"])
def test_the_state_can_be_read_while_the_daemon_writes_wherever_it_lies(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "state.db"
    daemon = StateFile(path)
    reader = StateFile(path, read_only=True)
    deploy(daemon)
    assert reader.records()["hello"].status is Status.DEPLOYED
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.save(make_record())


def test_reading_what_is_not_there_or_damaged_says_so_and_makes_nothing(path: Path) -> None:
    with pytest.raises(TimewrightError, match="there is no state file"):
        StateFile(path, read_only=True)
    assert not path.exists()
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(TimewrightError, match="can't be read"):
        StateFile(path, read_only=True)
    assert path.read_bytes() == b"garbage" * 1000


def test_a_snapshot_is_planned_on_and_touches_no_file(path: Path) -> None:
    filled(path, 2)
    copy = StateFile.snapshot(path)
    deploy(copy, "w0")
    copy.save(replace(make_record("new"), held="x"))
    assert len(copy.records()) == 3
    copy.close()
    assert len(StateFile(path).records()) == 2
    assert StateFile.snapshot(path.with_name("none")).records() == {}


# An older version's file -----------------------------------------------------------------------


def _older(path: Path) -> None:
    db = sqlite3.connect(path)
    db.executescript((Path(__file__).parent / "state-v1.sql").read_text())
    db.close()


def test_the_file_of_an_older_version_is_taken_over_once_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _older(path)
    for _ in range(2):
        state = StateFile(path)
        record = state.record("hello")
        assert record is not None
        assert (record.status, record.warnings, record.pin) == (Status.DEPLOYED, ("a warning",), None)
        assert state.history()[0].kind == "status"
        assert state.rebuilt == ""
        assert state.desk.operations() == []
        state.close()
    assert [item.name for item in sorted(tmp_path.glob("state.db.v*"))] == ["state.db.v1"]
    kept = sqlite3.connect(tmp_path / "state.db.v1")
    assert kept.execute("PRAGMA user_version").fetchone() == (1,)
    kept.close()


def test_the_file_of_an_older_version_is_read_without_writing_to_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _older(path)
    before = path.read_bytes()
    for state in (StateFile(path, read_only=True), StateFile.snapshot(path)):
        assert state.record("hello") is not None
        assert state.bad() == []
        state.close()
    assert path.read_bytes() == before


def test_a_new_file_and_an_upgraded_one_have_the_same_tables(tmp_path: Path) -> None:
    _older(tmp_path / "old.db")
    shapes = []
    for name in ("old.db", "new.db"):
        StateFile(tmp_path / name).close()
        db = sqlite3.connect(tmp_path / name)
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        shapes.append({t: {tuple(c[1:5]) for c in db.execute(f"PRAGMA table_info({t})")} for t in tables})
        db.close()
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_jotted_waits_for_no_disk_and_all_else_does_again(path: Path, fails: bool) -> None:
    state = StateFile(path)
    with contextlib.suppress(KeyError), state.jotting():
        assert state._db.execute("PRAGMA synchronous").fetchone()[0] == 1
        state.set_fact("seen", 1)
        if fails:
            raise KeyError
    assert state._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    state.close()
    assert StateFile(path).fact("seen") == 1
