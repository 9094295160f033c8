"""How often the source is scanned: often while things happen, seldom at rest, often where events get lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from timewright.core.errors import DeployError, Reason
from timewright.core.state import Suspension
from timewright.core.worlds import Desired
from timewright.edge.watch import Watcher
from timewright.reconcile import PassReport
from timewright.service import Pace, Service

from tests.test_reconcile import Bench, _bench

SAME, OTHER = Desired(complete=True, revision="a"), Desired(complete=True, revision="b")


def rests(pace: Pace, *read: Desired, sound: bool = True) -> list[int]:
    return [pace.after(desired, sound=sound) for desired in read]


def test_while_nothing_happens_scans_become_rare_and_stay_one_a_minute() -> None:
    assert rests(Pace(10), *[SAME] * 6) == [1, 2, 4, 6, 6, 6]


def test_what_wakes_us_makes_them_frequent_again() -> None:
    pace = Pace(10)
    rests(pace, *[SAME] * 5)
    pace.heard()
    assert rests(pace, OTHER, OTHER, OTHER) == [1, 2, 4]


def test_a_change_that_no_event_told_keeps_them_frequent_for_good() -> None:
    pace = Pace(10)
    rests(pace, *[SAME] * 5)
    assert rests(pace, OTHER, *[OTHER] * 5) == [1] * 6
    pace.heard()
    assert rests(pace, SAME, *[SAME] * 3) == [1] * 4


def test_without_file_events_they_stay_as_they_are_set() -> None:
    assert rests(Pace(10), *[SAME] * 4, sound=False) == [1] * 4


def test_an_interval_of_more_than_a_minute_is_kept() -> None:
    assert rests(Pace(300), *[SAME] * 4) == [1] * 4


async def test_a_watch_that_was_attached_anew_has_the_source_read_at_once(tmp_path: Path) -> None:
    """Until then events were lost, and none may come any more."""
    async with _bench(tmp_path) as bench:
        service = with_interval(bench, 0.01)
        rests(service._pace, *[SAME] * 6)
        looks = 0

        async def refresh() -> bool:
            nonlocal looks
            looks += 1
            return True

        watcher = cast(Watcher, SimpleNamespace(mode="inotify", refresh=refresh))
        await service._until_due(bench.reconciler, [watcher], PassReport(SAME, (), settling=False))
        assert looks == 1
        assert rests(service._pace, SAME, SAME) == [1, 2]


async def test_a_watch_that_fails_between_passes_ends_no_daemon(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        service = with_interval(bench, 0.01)
        calls = 0

        async def refresh() -> bool:
            nonlocal calls
            calls += 1
            if calls == 2:  # the first is the pass's own
                raise RuntimeError("can't start new thread")
            if calls > 2:
                service.stop()
            return False

        watcher = cast(Watcher, SimpleNamespace(mode="inotify", refresh=refresh))
        monkey: Any = service
        monkey._rest = lambda _: asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert await service._loop(bench.reconciler, [watcher]) is False
        assert calls > 2


async def test_a_retry_that_is_held_back_wakes_nobody(tmp_path: Path) -> None:
    """Its time is over for as long as the suspension lasts: it would be due again and again."""
    async with _bench(tmp_path) as bench:
        bench.put("one", "x")
        bench.compiler.failures = [DeployError(Reason.COMPILER_UNAVAILABLE, "it was killed")]
        await bench.settle()
        assert bench.reconciler.next_retry() is not None
        bench.world.suspend(None, Suspension("me", bench.now, "freeze"), "me", "freeze")
        bench.now += 3600
        await bench.settle()
        assert bench.compiler.jobs == 1
        assert bench.reconciler.next_retry() is None
        bench.world.suspend(None, None, "me", "thaw")
        await bench.settle()
        assert bench.compiler.jobs == 2, "and it is made up for as soon as nothing holds it"


def with_interval(bench: Bench, seconds: float) -> Service:
    config = bench.world.config
    return Service(replace(config, source=replace(config.source, scan_interval_s=seconds)))
