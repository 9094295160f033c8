"""A state file that can be read and isn't true: changed, restored from a backup, of an older release
(faults.md B3, B4, B6)."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from timewright.core.state import Pin, Pinned, Record, Status, Suspension
from timewright.edge.holds import Holds
from timewright.edge.statefile import StateFile
from timewright.edge.stateschema import SCHEMA

from tests.test_reconcile import Bench, _bench

FIXTURES = Path(__file__).parent / "edge"


def change(home: Path, statement: str) -> None:
    db = sqlite3.connect(home / "data" / "state.db")
    db.execute(statement)
    db.commit()
    db.close()


def live_text(bench: Bench) -> str:
    return (bench.world.releases.links / "one" / "src" / "workflow.ts").read_text()


OTHER = "f" * 64


@pytest.mark.parametrize(
    "column",
    [
        f"applied = '{OTHER}'",
        f"attempted = '{OTHER}'",
        f"applied = '{OTHER}', attempted = '{OTHER}'",
        "applied = ''",
        "status = 'UNDEPLOYED', applied = '', attempted = ''",
        "status = 'DEPLOYMENT_FAILED'",
        "status = 'DEPLOYING'",
        "source = 'other.json'",
    ],
)
async def test_a_row_that_names_another_release_than_the_tree_is_put_right(
    tmp_path: Path, column: str
) -> None:
    async with _bench(tmp_path) as bench:
        bench.put("one", "new")
        await bench.settle()
        right = bench.world.record("one")
    change(tmp_path, f"UPDATE workflows SET {column}")
    async with _bench(tmp_path) as bench:
        await bench.settle()
        found = bench.world.record("one")
        assert (found.status, found.applied, found.source) == (right.status, right.applied, right.source)
        assert bench.compiler.jobs == 0
        assert "new" in live_text(bench)


async def test_a_state_file_from_an_older_backup_takes_no_release_back(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        bench.put("one", "old")
        await bench.settle()
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "data" / "state.db", backup)
    async with _bench(tmp_path) as bench:
        bench.put("one", "new")
        await bench.settle()
        new = bench.world.record("one").applied
    shutil.copy(backup, tmp_path / "data" / "state.db")
    async with _bench(tmp_path) as bench:
        await bench.settle()
        assert bench.world.record("one").applied == new
        assert bench.compiler.jobs == 0
        assert "new" in live_text(bench)


async def test_with_an_older_state_file_and_an_older_source_what_is_live_stays_and_is_told(
    tmp_path: Path,
) -> None:
    """Both came out of a backup: nobody asked for what the tree has, and nobody asks to take it back."""
    async with _bench(tmp_path) as bench:
        bench.put("one", "old")
        await bench.settle()
    shutil.copytree(tmp_path / "specs", tmp_path / "specs.old")
    shutil.copy(tmp_path / "data" / "state.db", tmp_path / "backup.db")
    async with _bench(tmp_path) as bench:
        bench.put("one", "new")
        await bench.settle()
    shutil.rmtree(tmp_path / "specs")
    (tmp_path / "specs.old").rename(tmp_path / "specs")
    shutil.copy(tmp_path / "backup.db", tmp_path / "data" / "state.db")
    async with _bench(tmp_path) as bench:
        await bench.settle()
        assert "new" in live_text(bench)
        assert "the link was moved by hand" in bench.world.record("one").held


async def decide(bench: Bench, decision: str) -> None:
    world = bench.world
    pin = Pin(Pinned.UNDEPLOY, "", "alice", bench.now, "later", "")
    if decision == "pin":
        world.set_pin("one", pin, "alice", "later")
    elif decision == "suspend":
        world.suspend("one", Suspension("alice", bench.now, "later"), "alice", "later")
    elif decision == "suspend all":
        world.suspend(None, Suspension("alice", bench.now, "later"), "alice", "later")


def decided(bench: Bench) -> tuple[bool, bool, bool]:
    record = bench.world.record("one")
    return record.pin is not None, record.suspension is not None, bench.world.suspension is not None


@pytest.mark.parametrize("decision", ["pin", "suspend", "suspend all"])
@pytest.mark.parametrize("later", ["made", "taken back"])
async def test_a_decision_that_is_newer_than_a_restored_state_file_holds(
    tmp_path: Path, decision: str, later: str
) -> None:
    """Decisions lie apart from the state file, and tell whether it is older than they are."""
    backup = tmp_path / "backup.db"
    async with _bench(tmp_path) as bench:
        bench.put("one", "old")
        await bench.settle()
        if later == "taken back":
            await decide(bench, decision)
        before = decided(bench)
    shutil.copy(tmp_path / "data" / "state.db", backup)
    async with _bench(tmp_path) as bench:
        assert decided(bench) == before
        if later == "made":
            await decide(bench, decision)
        elif decision == "pin":
            bench.world.set_pin("one", None, "alice", "enough")
        else:
            bench.world.suspend("one" if decision == "suspend" else None, None, "alice", "enough")
        after = decided(bench)
        assert after != before
    shutil.copy(backup, tmp_path / "data" / "state.db")
    for _ in range(2):
        async with _bench(tmp_path) as bench:
            assert decided(bench) == after


async def test_a_restore_of_decisions_that_is_cut_short_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup.db"
    async with _bench(tmp_path) as bench:
        bench.put("one", "old")
        await bench.settle()
    shutil.copy(tmp_path / "data" / "state.db", backup)
    async with _bench(tmp_path) as bench:
        await decide(bench, "suspend")
        after = decided(bench)
    shutil.copy(backup, tmp_path / "data" / "state.db")

    def refuse(_: Holds) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Holds, "read", refuse)
        with pytest.raises(sqlite3.OperationalError):
            async with _bench(tmp_path):
                pass
    async with _bench(tmp_path) as bench:
        assert decided(bench) == after


@pytest.mark.parametrize("version", range(1, SCHEMA))
def test_the_state_file_of_each_released_schema_is_taken_over_whole(tmp_path: Path, version: int) -> None:
    """A dump of what that release wrote, with a row in each table."""
    path = tmp_path / "state.db"
    db = sqlite3.connect(path)
    db.executescript((FIXTURES / f"state-v{version}.sql").read_text())
    rows = {table: _count(db, table) for table in _tables(db)}
    db.close()
    assert all(rows.values()), rows
    state = StateFile(path)
    assert state.rebuilt == ""
    record = state.record("hello")
    assert record is not None
    assert isinstance(record, Record)
    assert record.status is Status.DEPLOYED
    assert [event.new for event in state.history("hello")]
    state.close()
    db = sqlite3.connect(path)
    assert {table: _count(db, table) for table in rows} == rows
    db.close()


def _tables(db: sqlite3.Connection) -> list[str]:
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [name for (name,) in names]


def _count(db: sqlite3.Connection, table: str) -> int:
    count: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count
