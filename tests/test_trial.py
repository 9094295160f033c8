"""The trial of a new release: what the worker host says is scripted here, the rest is real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.control import Control
from timewright.core.state import Health, Status
from timewright.core.verdict import Serving, Slot

from tests.test_control import ROOT, deploy, put, where
from tests.test_reconcile import Bench, _bench


class Stage:
    """A worker host that serves what is live, and does as it is told."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.state, self.error, self.restarts = "polling", "", 0
        self.failed: dict[str, str] = {}
        self.down = False

    async def serving(self) -> Serving:
        if self.down:
            return Serving(False, error="nobody answers there")
        receipts = self.bench.world.receipts.values()
        version = "-".join(sorted(receipt.release for receipt in receipts))
        releases = {receipt.workflow_id: receipt.release for receipt in receipts}
        slot = Slot(
            ("default", "q"),
            version,
            self.state,
            releases,
            age=99,
            restarts=self.restarts,
            error=self.error,
            failed=self.failed,
        )
        return Serving(True, slots=(slot,))

    def crash(self, name: str = "one") -> None:
        """The process dies in this workflow's code; '' : nobody can be told."""
        self.state, self.restarts = "backoff", self.restarts + 1
        release = self.bench.world.receipts[name].release if name else ""
        self.error = (
            f"Error: boom\n at /x/releases/{name}/{release}/dist/activities.js:1:1" if name else "gone"
        )

    def recover(self) -> None:
        self.state = "polling"

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.bench.now += 5
            await self.bench.reconciler.health.check()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


@pytest.fixture
def stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(bench)
    monkeypatch.setattr(bench.world.worker, "serving", made.serving)
    return made


async def proven(bench: Bench, stage: Stage, *words: str) -> list[str]:
    """Releases that have stood their trial."""
    digests = []
    for word in words:
        digests += await deploy(bench, word)
        await stage.look(14)
        assert where(bench).proven == digests[-1]
    return digests


async def test_a_release_that_stays_healthy_through_its_trial_is_proven(bench: Bench, stage: Stage) -> None:
    (first,) = await deploy(bench, "x")
    await stage.look()
    assert where(bench).trial_until == bench.now + 60
    await stage.look(11)
    assert where(bench).proven == ""
    await stage.look()
    assert (where(bench).proven, where(bench).trial_until) == (first, None)


async def test_a_release_that_crashes_twice_on_trial_is_reverted_at_once(bench: Bench, stage: Stage) -> None:
    first, _ = await proven(bench, stage, "x"), None
    await deploy(bench, "y")
    await stage.look()
    stage.crash()
    await stage.look()
    assert where(bench).condemned == ""
    stage.crash()
    await stage.look()
    assert "Error: boom" in where(bench).condemned
    stage.recover()
    await bench.settle()
    assert (where(bench).status, where(bench).applied) == (Status.ROLLED_BACK, first[0])


async def test_a_release_that_flaps_between_the_looks_is_reverted_too(bench: Bench, stage: Stage) -> None:
    await proven(bench, stage, "x")
    await deploy(bench, "y")
    await stage.look()
    for _ in range(2):
        stage.crash()
        stage.recover()
        await stage.look()
    assert where(bench).condemned == "its worker process crashed 2 times: Error: boom"


async def test_a_release_that_can_not_be_loaded_after_a_restart_is_reverted(
    bench: Bench, stage: Stage
) -> None:
    await proven(bench, stage, "x")
    await deploy(bench, "y")
    stage.failed = {"one": "no such file"}
    await stage.look(2)
    assert "no such file" in where(bench).condemned


async def test_a_proven_release_is_never_reverted_by_itself(bench: Bench, stage: Stage) -> None:
    await proven(bench, stage, "x", "y")
    for _ in range(5):
        stage.crash()
        await stage.look()
    assert where(bench).condemned == ""
    assert where(bench).health is Health.DEGRADED


@pytest.mark.parametrize("trouble", ["host down", "a neighbour crashes"])
async def test_the_surroundings_condemn_nobody(bench: Bench, stage: Stage, trouble: str) -> None:
    await proven(bench, stage, "x")
    await deploy(bench, "y")
    await deploy(bench, "y", name="two")
    await stage.look()
    for _ in range(5):
        if trouble == "host down":
            stage.down = True
        else:
            stage.crash("two")
        await stage.look()
    assert where(bench).condemned == ""
    assert bool(where(bench, "two").condemned) is (trouble != "host down")


async def test_a_crash_that_names_nobody_condemns_the_one_on_trial_and_not_its_neighbour(
    bench: Bench, stage: Stage
) -> None:
    await proven(bench, stage, "x")
    await deploy(bench, "x", name="two")
    await stage.look()
    for _ in range(2):
        stage.crash("")
        await stage.look()
    assert where(bench).condemned == ""
    assert where(bench, "two").condemned


@pytest.mark.parametrize(
    ("setting", "word", "reverts"), [(True, False, False), (False, True, True), (False, None, False)]
)
async def test_reverting_can_be_turned_off_for_all_and_by_a_spec(
    bench: Bench, stage: Stage, setting: bool, word: bool | None, reverts: bool
) -> None:
    bench.world.config = replace(
        bench.world.config, health=replace(bench.world.config.health, revert=setting)
    )
    block: dict[str, Any] = {} if word is None else {"autoRevert": word}
    put(bench, "one", "x", **block)
    await bench.settle()
    await stage.look()
    for _ in range(3):
        stage.crash()
        await stage.look()
    assert bool(where(bench).condemned) is reverts


async def test_what_was_gone_back_to_is_not_reverted_in_turn(bench: Bench, stage: Stage) -> None:
    (first,) = await deploy(bench, "x")
    await deploy(bench, "y")
    await stage.look()
    for _ in range(2):
        stage.crash()
        await stage.look()
    await bench.settle()
    assert where(bench).applied == first
    for _ in range(5):
        stage.crash()
        await stage.look()
        await bench.settle()
    assert (where(bench).status, where(bench).applied) == (Status.ROLLED_BACK, first)
    assert where(bench).health is Health.DEGRADED


async def test_a_lost_release_is_missing(bench: Bench, stage: Stage) -> None:
    await deploy(bench, "x")
    del bench.world.receipts["one"]
    await stage.look()
    assert where(bench).health is Health.MISSING


async def test_a_forced_deploy_of_a_reverted_release_gets_a_trial_of_its_own(
    bench: Bench, stage: Stage
) -> None:
    await proven(bench, stage, "x")
    (second,) = await deploy(bench, "y")
    for _ in range(2):
        stage.crash()
        await stage.look()
    stage.recover()
    await bench.settle()
    control = Control(bench.world, bench.reconciler)
    control.deploy(ROOT, "one", force=True)
    await bench.settle()
    await stage.look(3)
    assert (where(bench).applied, where(bench).condemned) == (second, "")
    for _ in range(2):
        stage.crash()
        await stage.look()
    assert where(bench).condemned
