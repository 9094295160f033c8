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
from timewright.rollouts import Rollouts

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


# A pool's version that is written while the release is sealed -----------------------------------


def written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The members of each version that is written from now on, in their order."""
    real, found = bench.world.pools.seal, []

    def seal(build: Path, content: Any) -> None:
        found.append({f"{row['workflow_id']}@{row['release']}" for row in content["releases"]})
        real(build, content)

    monkeypatch.setattr(bench.world.pools, "seal", seal)
    return found


def left(bench: Bench) -> list[str]:
    """What lies in the pool's home besides its versions."""
    home = bench.world.pools.home(("default", "q"))
    return [path.name for path in home.iterdir() if path.name.startswith(".")]


async def test_the_version_that_a_deploy_goes_live_with_is_written_before_its_release_is_linked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, linked = written(bench, monkeypatch), []
    real = bench.world.releases.make_live

    def make_live(workflow_id: str, release: str) -> None:
        linked.append(len(found))
        real(workflow_id, release)

    monkeypatch.setattr(bench.world.releases, "make_live", make_live)
    put(bench, "one", "second")
    await bench.settle()
    one, two = (f"{name}@{bench.world.releases.current(name)}" for name in ("one", "two"))
    assert (found, linked) == ([{one, two}], [1])
    assert pooled(bench, "one") == bench.world.releases.current("one")
    assert left(bench) == []


async def test_what_was_written_for_a_pool_that_became_another_one_is_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the new release waits for room in Temporal, its neighbour goes."""

    async def go(*_: object) -> None:
        bench.world.receipts.pop("two", None)

    found = written(bench, monkeypatch)
    monkeypatch.setattr(Rollouts, "room", go)
    put(bench, "one", "second")
    await bench.settle()
    assert len(found) >= 2
    assert pooled(bench, "one") == bench.world.releases.current("one")
    assert pooled(bench, "two") is None
    assert left(bench) == []


async def test_what_was_written_for_a_release_that_is_refused_is_published_nowhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    before = bench.world.pools.published(("default", "q"))
    found = written(bench, monkeypatch)
    monkeypatch.setattr(Rollouts, "room", refuse)
    put(bench, "one", "second")
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYMENT_FAILED
    assert len(found) == 1
    assert bench.world.pools.published(("default", "q")) == before
    assert left(bench) == []


async def test_a_version_that_can_not_be_written_ahead_is_written_in_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = bench.world.pools.seal, 0

    def seal(build: Path, content: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(28, "No space left on device")
        real(build, content)

    monkeypatch.setattr(bench.world.pools, "seal", seal)
    put(bench, "one", "second")
    await bench.settle()
    assert (bench.world.record("one").status, tries) == (Status.DEPLOYED, 2)
    assert left(bench) == []


async def test_nothing_is_written_ahead_where_others_are_on_their_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = written(bench, monkeypatch)
    for name in ("one", "two", "three"):
        put(bench, name, "second")
    await bench.settle()
    assert len(found) == 1
    assert left(bench) == []
