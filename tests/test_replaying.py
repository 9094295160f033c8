"""The gate, over a real tree; replays on a real server are tests/e2e/test_replay.py."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from timewright.edge.compiler import Compiler
from timewright.edge.deployments import Deployments
from timewright.edge.histories import Fetched, History
from timewright.edge.receipts import Receipt
from timewright.edge.temporal import Temporal
from timewright.replaying import ReplayGate

from tests.edge.toolbox import TOOLCHAIN
from tests.support import leftovers
from tests.test_reconcile import Bench, _bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        found.put("one", "x")
        await found.settle()
        found.world.temporal = Temporal("127.0.0.1:1")
        shutil.rmtree(
            found.world.config.data_path / "cache" / "replays", ignore_errors=True
        )  # of that deploy
        yield found


@pytest.fixture
def receipt(bench: Bench) -> Receipt:
    """A release whose workflow bundle is damaged: the mock compiler makes none of its own."""
    return replace(bench.world.receipts["one"], bundle="x")


async def test_off_looks_at_nothing(bench: Bench, receipt: Receipt) -> None:
    report = await ReplayGate(bench.world).check(receipt, "off")
    assert (report.mode, report.notes, report.blocks) == ("off", (), False)
    assert leftovers(bench.world.config.data_path) == []


async def test_activities_alone_have_nothing_to_replay(bench: Bench, receipt: Receipt) -> None:
    report = await ReplayGate(bench.world).check(replace(receipt, workflow_types=(), bundle=None), "enforce")
    assert report.notes == ()


async def test_temporal_away_is_told_and_blocks_nothing(bench: Bench, receipt: Receipt) -> None:
    report = await ReplayGate(bench.world).check(receipt, "enforce")
    assert not report.blocks
    assert report.problem == "Temporal at 127.0.0.1:7233 does not answer"
    assert report.notes == (f"nothing was replayed: {report.problem}",)
    assert leftovers(bench.world.config.data_path) == []


async def test_a_worker_of_its_own_is_told_to_be_beyond_replay(bench: Bench, receipt: Receipt) -> None:
    own = replace(receipt, bundle=None, isolation="process", worker="src/worker.ts")
    report = await ReplayGate(bench.world).check(own, "enforce")
    assert not report.blocks
    assert report.notes == ("its executions can't be replayed: src/worker.ts bundles its workflows itself",)


async def test_what_a_crash_left_is_swept_and_what_is_in_use_is_not(bench: Bench, receipt: Receipt) -> None:
    home = bench.world.config.data_path / "cache" / "replays"
    old, used = home / ".tmp-old", home / ".tmp-used"
    for folder in (old, used):
        folder.mkdir(parents=True)
        (folder / "0.history").write_bytes(b"x")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    await ReplayGate(bench.world).check(receipt, "enforce")
    assert (old.exists(), used.exists()) == (False, True)


async def test_a_release_whose_bundle_is_lost_is_told_and_blocks_nothing(
    bench: Bench, receipt: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(self: ReplayGate, receipt: Receipt, types: object, folder: Path) -> Fetched:
        (folder / "0.history").write_bytes(b"")
        return Fetched((History("order-1", "r", "order", True, 3, folder / "0.history"),))

    monkeypatch.setattr(ReplayGate, "_fetch", found)
    bench.world.compiler = Compiler(TOOLCHAIN, bench.world.config.data_path / "cache", mode="transpile")
    report = await ReplayGate(bench.world).check(receipt, "enforce")
    assert not report.blocks
    assert report.problem == "the bundle of one is missing or damaged: FileNotFoundError"
    assert leftovers(bench.world.config.data_path) == []


async def test_a_data_directory_that_is_not_ours_is_told(bench: Bench, receipt: Receipt) -> None:
    (bench.world.config.data_path / "cache").mkdir(exist_ok=True)
    (bench.world.config.data_path / "cache" / "replays").write_text("a file")
    report = await ReplayGate(bench.world).check(receipt, "enforce")
    assert "replays: File exists" in report.problem


@pytest.mark.parametrize(("count", "fetches"), [(0, 0), (1, 5)])
async def test_a_task_queue_without_executions_is_asked_about_once_for_all_who_deploy_to_it(
    bench: Bench, receipt: Receipt, monkeypatch: pytest.MonkeyPatch, count: int, fetches: int
) -> None:
    asked, fetched = 0, 0

    async def counted(self: Deployments, namespace: str, query: str) -> int:
        nonlocal asked
        asked += 1
        assert query == f"TaskQueue = '{receipt.task_queue}'"
        return count

    async def nothing(self: ReplayGate, receipt: Receipt, types: object, folder: Path) -> Fetched:
        nonlocal fetched
        fetched += 1
        return Fetched()

    monkeypatch.setattr(Deployments, "count", counted)
    monkeypatch.setattr(ReplayGate, "_fetch", nothing)
    gate = ReplayGate(bench.world)
    await asyncio.gather(*(gate.check(receipt, "enforce") for _ in range(5)))
    assert (asked, fetched) == (1, fetches)
