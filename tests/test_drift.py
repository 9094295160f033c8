"""Drift, over a real tree and state file; the compiler is the mock mode."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright import drift, log
from timewright.config import Drift
from timewright.core.differences import Difference
from timewright.core.state import Record, Status, Sync
from timewright.drift import FULL_EVERY, DriftWatch
from timewright.edge.statefile import Event

from tests.support import publish
from tests.test_reconcile import Bench, _bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        found.put("one", "x")
        await found.settle()
        yield found


@pytest.fixture
def watch(bench: Bench) -> DriftWatch:
    return DriftWatch(bench.world)


def home(bench: Bench, name: str = "one") -> Path:
    """The live release of a workflow."""
    return (bench.world.releases.links / name).resolve()


def shown(bench: Bench, name: str = "one") -> tuple[str, ...]:
    return bench.world.record(name).drift


def heal(bench: Bench) -> None:
    bench.world.config = replace(bench.world.config, drift=Drift(heal=True))


def rows(bench: Bench) -> list[Event]:
    return [event for event in bench.world.state.history("one") if event.kind == "drift"]


async def test_what_is_as_it_was_built_is_no_drift(bench: Bench, watch: DriftWatch) -> None:
    for _ in range(FULL_EVERY + 1):
        await watch.check()
    assert shown(bench) == ()
    assert rows(bench) == []


async def test_an_edit_is_shown_once_and_so_is_its_end(bench: Bench, watch: DriftWatch) -> None:
    path = home(bench) / "src" / "workflow.ts"
    text = path.read_text()
    path.write_text("// hotfix\n")
    for _ in range(3):
        await watch.check()
    assert shown(bench) == ("src/workflow.ts was changed",)
    assert bench.world.record("one").sync() is Sync.OUT_OF_SYNC
    path.write_text(text)
    await watch.check()
    assert shown(bench) == ()
    assert [(row.old, row.new, row.because) for row in rows(bench)] == [
        ("as built", "drifted", "src/workflow.ts was changed"),
        ("drifted", "as built", f"release {home(bench).name} is as it was built again"),
    ]


async def test_an_edit_is_reported_and_left_alone_unless_healing_is_on(
    bench: Bench, watch: DriftWatch
) -> None:
    path = home(bench) / "src" / "workflow.ts"
    path.write_text("// hotfix\n")
    await watch.check()
    await bench.settle()
    assert path.read_text() == "// hotfix\n"
    heal(bench)
    await bench.settle()
    assert path.read_text() != "// hotfix\n"
    assert shown(bench) == ()
    assert "restored: src/workflow.ts was changed" in [event.because for event in bench.story("one")]
    await watch.check()
    assert shown(bench) == ()


async def test_a_removed_dist_is_restored_from_the_cache_without_being_asked_for(
    bench: Bench, watch: DriftWatch
) -> None:
    jobs = bench.compiler.jobs
    shutil.rmtree(home(bench) / "dist")
    await watch.check()
    assert shown(bench) == ("dist/ is missing",)
    await bench.settle()
    assert (home(bench) / "dist" / "workflow.js").is_file()
    assert bench.compiler.jobs == jobs
    await watch.check()
    assert shown(bench) == ()


@pytest.mark.parametrize("name", ["pool.toml", "workflows.js"])
async def test_a_pool_that_lost_a_file_is_made_again(bench: Bench, watch: DriftWatch, name: str) -> None:
    current = bench.world.pools.home(("default", "one")) / "current"
    if not (current / name).exists():
        pytest.skip("the mock mode makes no bundle")
    (current / name).unlink()
    await watch.check()
    assert shown(bench) == (f"{name} of pool default/one is missing",)
    await bench.settle()
    assert (current / name).is_file()
    await watch.check()
    assert shown(bench) == ()


async def test_a_release_that_is_gone_is_made_again(bench: Bench, watch: DriftWatch) -> None:
    release = home(bench)
    shutil.rmtree(release)
    await watch.check()
    assert shown(bench) == (f"release {release.name} is missing",)
    await bench.settle()
    assert (home(bench) / "dist" / "workflow.js").is_file()


async def test_a_link_that_was_moved_by_hand_is_told_without_looking_where_it_leads(
    bench: Bench, watch: DriftWatch
) -> None:
    old = home(bench).name
    other = publish(bench.world.releases, "one", "other").release
    (home(bench) / "dist" / "workflow.js").write_text("changed as well")
    bench.world.releases.make_live("one", other)
    await watch.check()
    assert shown(bench) == (f"the link names release {other}, not {old}",)


async def test_what_was_added_is_healed_too(bench: Bench, watch: DriftWatch) -> None:
    heal(bench)
    (home(bench) / "notes.txt").write_text("x")
    os.mkfifo(home(bench) / "src" / "pipe")
    await watch.check()
    assert shown(bench) == ("notes.txt was added", "src/pipe was added")
    await bench.settle()
    await watch.check()
    assert shown(bench) == ()
    assert not (home(bench) / "notes.txt").exists()


async def test_what_is_busy_is_left_alone(bench: Bench, watch: DriftWatch) -> None:
    shutil.rmtree(home(bench) / "dist")
    await watch.check(lambda: {"one"})
    assert shown(bench) == ()


async def test_a_release_that_was_replaced_while_it_was_looked_at_is_not_judged(
    bench: Bench, watch: DriftWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(home(bench) / "dist")
    loop = asyncio.get_running_loop()
    real = drift.look

    def slow(*arguments: Any, **named: Any) -> list[Difference]:
        found = real(*arguments, **named)
        bench.put("one", "y")
        asyncio.run_coroutine_threadsafe(bench.settle(), loop).result(10)
        return found

    monkeypatch.setattr(drift, "look", slow)
    await watch.check()
    assert shown(bench) == ()
    assert bench.world.record("one").status is Status.DEPLOYED


async def test_a_look_that_breaks_is_said_and_the_watch_goes_on(
    bench: Bench, watch: DriftWatch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(bench.world.pools, "lost", broken)
        await watch._try(watch.check())
    (home(bench) / "notes.txt").touch()
    await watch.check()
    assert shown(bench) == ("notes.txt was added",)


# Events ----------------------------------------------------------------------------------------


async def until(check: Callable[[], bool]) -> None:
    for _ in range(500):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


@pytest.fixture
async def running(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DriftWatch]:
    """A watch whose interval is far away, after its first round."""
    monkeypatch.setattr(drift, "_FIRST_S", 0.0)
    monkeypatch.setattr(drift, "_SETTLE_S", 0.02)
    monkeypatch.setattr(drift, "_GAP_S", 0.02)
    watch = DriftWatch(bench.world)
    task = asyncio.create_task(watch.run(bench.reconciler.busy))
    await until(lambda: bool(watch.tree._watches.get("one")))
    yield watch
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("folder", ["src", "dist", "."])
async def test_an_edit_is_seen_soon_after_its_event(bench: Bench, running: DriftWatch, folder: str) -> None:
    (home(bench) / folder / "x.txt").write_text("x")
    await until(lambda: bool(shown(bench)))


async def test_a_moved_link_is_seen_soon(bench: Bench, running: DriftWatch) -> None:
    other = publish(bench.world.releases, "one", "other").release
    bench.world.releases.make_live("one", other)
    await until(lambda: shown(bench)[:1] != ())


async def test_a_restored_release_is_watched_again(bench: Bench, running: DriftWatch) -> None:
    heal(bench)
    (home(bench) / "src" / "x.ts").touch()
    await until(lambda: bool(shown(bench)))
    await bench.settle()
    assert shown(bench) == ()
    await until(lambda: running._hints == set() and not running._hinted.is_set())
    await running.check()
    (home(bench) / "src" / "y.ts").touch()
    await until(lambda: shown(bench) == ("src/y.ts was added",))


async def test_our_own_publishing_comes_to_rest(
    bench: Bench, running: DriftWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    real = drift.look

    def counted(*arguments: Any, **named: Any) -> list[Difference]:
        nonlocal looks
        looks += 1
        return real(*arguments, **named)

    monkeypatch.setattr(drift, "look", counted)
    for word in "abc":
        bench.put("one", word)
        await bench.settle()
    await until(lambda: looks > 0 and not running._hinted.is_set())
    await asyncio.sleep(0.3)
    settled = looks
    await asyncio.sleep(0.3)
    assert looks == settled
    assert shown(bench) == ()


async def test_an_edit_is_seen_while_a_round_over_many_takes_its_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_FIRST_S", 0.0)
    monkeypatch.setattr(drift, "_REST", 1e9)
    bench.put("two", "x")
    await bench.settle()
    watch = DriftWatch(bench.world)
    task = asyncio.create_task(watch.run(bench.reconciler.busy))
    try:
        await until(lambda: bool(watch.tree._watches))
        (first,) = watch.tree._watches  # the round rests for minutes before it looks at the other
        (home(bench, first) / "x.txt").write_text("x")
        await until(lambda: shown(bench, first) == ("x.txt was added",))
        assert len(watch._looked) == 1
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_round_rests_between_its_looks_and_is_done_in_its_time(
    bench: Bench, watch: DriftWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("two", "three"):
        bench.put(name, "x")
    await bench.settle()
    real, rests = asyncio.sleep, list[float]()

    async def rested(seconds: float) -> None:
        rests.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", rested)
    await watch.check(spread_s=1e6)
    assert all(0 < rest < 1e5 for rest in rests), "as long as the machine is busy with it, some times over"
    rests.clear()
    await watch.check(spread_s=3e-6)
    assert rests == [1e-6] * 3
    rests.clear()
    await watch.check()
    assert rests == [0.0] * 3


async def test_a_round_lets_deploys_go_first_for_as_long_as_it_may_take(
    bench: Bench, watch: DriftWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("two", "three"):
        bench.put(name, "x")
    await bench.settle()
    looked, busy = list[str](), {"other"}
    real = watch._check_one

    async def look(record: Record, *about: Any, **named: Any) -> None:
        looked.append(record.workflow_id)
        await real(record, *about, **named)

    monkeypatch.setattr(watch, "_check_one", look)
    monkeypatch.setattr(drift, "_GIVE_WAY_S", 0.01)
    round_ = asyncio.create_task(watch.check(lambda: busy, spread_s=60))
    await asyncio.sleep(0.1)
    assert looked == []
    busy.clear()
    await asyncio.wait_for(round_, 30)
    assert sorted(looked) == ["one", "three", "two"]
    busy.add("other")
    await asyncio.wait_for(watch.check(lambda: busy, spread_s=0.05), 30)
    assert len(looked) == 6, "deploys that never rest don't keep it from looking for ever"


async def test_what_an_older_look_found_is_not_told_after_a_newer_one(
    bench: Bench, watch: DriftWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looked, go_on = drift.look, threading.Event(), threading.Event()

    def slow(*arguments: Any, **named: Any) -> list[Difference]:
        found = real(*arguments, **named)
        if not looked.is_set():
            looked.set()
            go_on.wait(10)
        return found

    monkeypatch.setattr(drift, "look", slow)
    older = asyncio.create_task(watch.check())
    await until(looked.is_set)
    (home(bench) / "x.txt").write_text("x")
    newer = asyncio.create_task(watch._check_some({"one"}, tuple))
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.gather(older, newer)
    assert shown(bench) == ("x.txt was added",)


async def test_where_no_event_can_be_had_the_interval_is_all_and_that_is_said_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drift, "_FIRST_S", 0.0)
    bench.world.config = replace(bench.world.config, drift=Drift(interval_s=0.05))
    watch = DriftWatch(bench.world)
    monkeypatch.setattr(watch.tree, "start", lambda: watch.tree._give_up(28))
    said: list[str] = []
    monkeypatch.setattr(log, "get", lambda: _Said(said))
    task = asyncio.create_task(watch.run())
    (home(bench) / "x").touch()
    await until(lambda: bool(shown(bench)))
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.wait([task])
    assert ["max_user_watches" in line for line in said].count(True) == 1


class _Said:
    def __init__(self, said: list[str]) -> None:
        self.said = said

    def warning(self, event: str, **values: object) -> None:
        self.said.append(str(values["because"]))
