"""A release that is cancelled or fails on its way into its pool: nothing may serve what no record names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from timewright.core.replays import ReplayReport
from timewright.core.state import Status
from timewright.edge.compiler import CompileJob, CompileResult
from timewright.edge.releases import Receipt
from timewright.replaying import ReplayGate

from tests.e2e.specs import greeter
from tests.test_reconcile import Bench, _bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Two workflows of one queue are deployed; a new release of `one` is linked, and waits for `two`."""
    async with _bench(tmp_path) as found:
        put(found, "one", "first")
        put(found, "two", "first")
        await found.settle()
        yield found


def put(bench: Bench, name: str, word: str, **changes: str) -> None:
    (bench.specs / f"{name}.json").write_text(json.dumps({**greeter(name, word, queue="q"), **changes}))


def hold_back(bench: Bench, name: str) -> asyncio.Event:
    """Compiles of this workflow wait for the event."""
    real, gate = bench.compiler.compile, asyncio.Event()

    async def compile_when_told(job: CompileJob) -> CompileResult:
        if f"/{name}/" in str(job.directory):
            await gate.wait()
        return await real(job)

    bench.compiler.compile = compile_when_told  # type: ignore[method-assign]
    return gate


async def until_linked(bench: Bench, name: str, before: str | None) -> None:
    async with asyncio.timeout(10):
        while bench.world.releases.current(name) == before:
            await asyncio.sleep(0.01)


def pooled(bench: Bench, name: str) -> str | None:
    (version,) = bench.world.pool_versions.values()
    return version.members.get(name)


@pytest.mark.parametrize("newcomer", [False, True])
async def test_a_release_cancelled_while_it_waits_for_its_pool_is_not_served_by_the_next_version(
    bench: Bench, newcomer: bool
) -> None:
    name = "three" if newcomer else "one"
    before = bench.world.releases.current(name)
    gate = hold_back(bench, "two")
    put(bench, name, "second")
    put(bench, "two", "second")
    await bench.reconciler.run_pass()
    await until_linked(bench, name, before)
    put(bench, name, "third", workflowCode="export const none = 1;")
    await bench.reconciler.run_pass()
    assert bench.world.releases.current(name) == before
    gate.set()
    await bench.reconciler.settled()
    assert bench.world.record("two").status is Status.DEPLOYED
    assert (bench.world.releases.current(name), pooled(bench, name)) == (before, before)


async def test_a_pool_that_can_not_be_made_leaves_the_link_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bench.world.releases.current("one")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.world.pools, "publish", refuse)
    put(bench, "one", "second")
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYMENT_FAILED
    assert bench.world.releases.current("one") == before
    monkeypatch.undo()
    bench.now += 3600
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYED
    assert pooled(bench, "one") == bench.world.releases.current("one") != before


async def test_who_is_between_its_build_and_its_link_is_waited_for_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of a hundred releases that are ready one after the other has a pool version of its own, and
    the worker host never gets to serve one."""
    made, real, number = 0, bench.world.pools.publish, 0

    def publish(*about: Any) -> Path:
        nonlocal made
        made += 1
        return real(*about)

    async def look(receipt: Receipt, mode: str) -> ReplayReport:
        nonlocal number
        number += 1
        await asyncio.sleep(0.02 * number)
        return ReplayReport(mode)

    monkeypatch.setattr(bench.world.pools, "publish", publish)
    monkeypatch.setattr(ReplayGate, "check", lambda _, receipt, mode: look(receipt, mode))
    for name in "abcdefghij":
        put(bench, name, "first")
    await bench.settle()
    assert {bench.world.record(name).status for name in "abcdefghij"} == {Status.DEPLOYED}
    assert made == 1
