"""Passes with more to start than they should at once: thousands of specs came together (faults.md D14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from timewright import reconcile
from timewright.core.state import Status

from tests.test_reconcile import Bench, _bench

COUNT = 12


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(reconcile, "_AT_ONCE", 2)
    async with _bench(tmp_path) as found:
        for number in range(COUNT):
            found.put(f"w{number}", "x")
        yield found


def deployed(bench: Bench) -> int:
    return [record.status for record in bench.world.records.values()].count(Status.DEPLOYED)


async def test_a_pass_that_takes_too_long_leaves_the_rest_to_the_next_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_LONGEST_S", 0.0)
    first = await bench.reconciler.run_pass()
    assert first.cut
    assert len(bench.world.records) == 3
    operation = bench.reconciler.operations.start("deploy", "w9", "alice", "")
    await bench.reconciler.run_pass()
    stored = bench.world.state.desk.operation(operation.id)
    assert stored is not None
    assert stored.state == "running", "a pass that did not come so far has not seen it"
    while (await bench.reconciler.run_pass()).cut:
        await bench.reconciler.settled()
    await bench.reconciler.settled()
    assert deployed(bench) == COUNT
    stored = bench.world.state.desk.operation(operation.id)
    assert stored is not None
    assert stored.state == "succeeded"


async def test_nothing_more_is_started_once_the_daemon_is_to_stop(bench: Bench) -> None:
    bench.reconciler.stopping = lambda: True
    assert (await bench.reconciler.run_pass()).cut
    assert len(bench.world.records) == 3


async def test_what_was_changed_while_others_were_started_is_planned_anew(bench: Bench) -> None:
    """A pass that planned to deploy it must not undo what a person decided since."""
    bench.compiler.gate = asyncio.Event()

    async def meddle() -> None:
        while len(bench.world.records) < 3:
            await asyncio.sleep(0)
        last = max(f"w{number}" for number in range(COUNT))
        bench.world.note(bench.world.record(last), owner="somebody")

    meddling = asyncio.create_task(meddle())
    report = await bench.reconciler.run_pass()
    await meddling
    assert report.cut
    assert len(bench.reconciler.busy()) == COUNT - 1
    bench.compiler.gate.set()
    await bench.reconciler.settled()
    assert not (await bench.reconciler.run_pass()).cut
    await bench.reconciler.settled()
    assert deployed(bench) == COUNT
