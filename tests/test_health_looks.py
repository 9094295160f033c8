"""A look at health judges only those of whom something has changed. What it leaves out has to stand as if it
had been judged: random days of a worker host, each look held against the verdicts on all."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.core.state import Health
from timewright.core.verdict import Poller, Serving, Slot, starving, verdict

from tests.test_control import deploy
from tests.test_reconcile import Bench, _bench

NAMES = ("one", "two", "three", "four")
KEYS = (("default", "q"), ("default", "r"))


class Stage:
    """A worker host that does as the dice say, and what Temporal lists of it."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.random = bench, random.Random(seed)
        self.now = Serving(True)
        self.listed: dict[tuple[str, str], tuple[Poller, ...]] = {}
        self.judged = 0

    async def serving(self) -> Serving:
        return self.now

    async def pollers(self, namespace: str, queue: str) -> tuple[Poller, ...] | None:
        return self.listed.get((namespace, queue))

    def slot(self, key: tuple[str, str], names: Collection[str], version: str = "v1") -> Slot:
        receipts = self.bench.world.receipts
        releases = {name: receipts[name].release for name in names if name in receipts}
        return Slot(key, version, "polling", releases, pid=7, age=99.0)

    def fresh(self) -> None:
        keys = {name: (one.namespace, one.task_queue) for name, one in self.bench.world.receipts.items()}
        slots = [
            self.slot(key, [name for name in keys if keys[name] == key], f"v{number}")
            for number, key in enumerate(sorted(set(keys.values())))
        ]
        self.now = Serving(True, slots=tuple(slots))
        self.listed = {}

    def turn(self) -> str:
        """One thing changes, or nothing."""
        roll = self.random.choice(
            ["nothing", "nothing", "slot", "slot", "slot", "temporal", "down", "kept", "rolling", "pollers"]
        )
        slots = list(self.now.slots)
        if roll == "slot" and slots:
            place = self.random.randrange(len(slots))
            slots[place] = self._changed(slots[place])
            self.now = replace(self.now, slots=tuple(slots))
        elif roll == "temporal":
            self.now = replace(self.now, temporal="" if self.now.temporal else "Temporal does not answer")
        elif roll == "down":
            self.now = replace(self.now, reachable=not self.now.reachable, error="nobody answers there")
        elif roll == "kept" and slots:
            old = self.slot(slots[0].key, self.random.sample(NAMES, 2), "v0")
            state = self.random.choice(["polling", "backoff", "failed"])
            self.now = replace(self.now, slots=(*slots, replace(old, kept=True, current=False, state=state)))
        elif roll == "rolling":
            self._roll()
        elif roll == "pollers" and slots:
            age = self.random.choice([1.0, 100.0])
            self.listed[slots[0].key] = (Poller(f"7@host/timewright/{slots[0].version}", age),)
        return roll

    def _roll(self) -> None:
        rolling, name = self.bench.world.rolling, self.random.choice(NAMES)
        if name in rolling:
            del rolling[name]
        else:
            rolling[name] = (self.random.choice([Health.PROGRESSING, Health.DEGRADED]), "half of it")

    def _changed(self, slot: Slot) -> Slot:
        names = list(slot.releases) or list(NAMES)
        name = self.random.choice(names)
        other = {**slot.releases, name: "0" * 12}
        changes: list[dict[str, Any]] = [
            {"state": self.random.choice(["polling", "starting", "connecting", "backoff", "failed"])},
            {"failed": {name: "no such file"} if not slot.failed else {}},
            {"error": "" if slot.error else "it crashed"},
            {"age": self.random.choice([1.0, 15.0, 99.0])},
            {"restarts": slot.restarts + 1},
            {"unreachable": not slot.unreachable},
            {"releases": other},
            {"releases": {key: value for key, value in slot.releases.items() if key != name}},
            {"version": slot.version + "x"},
            {"current": not slot.current},
        ]
        return replace(slot, **self.random.choice(changes))


def judged(bench: Bench, stage: Stage) -> Mapping[str, tuple[Health, str]]:
    """The verdicts on all, as they would be without what was known before."""
    world = bench.world
    current = replace(stage.now, slots=tuple(slot for slot in stage.now.slots if not slot.kept))
    found: dict[str, tuple[Health, str]] = {}
    for name, receipt in world.receipts.items():
        key = (receipt.namespace, receipt.task_queue)
        asked = bench.reconciler.health._asked.get(key)
        trying = [record for record in world.records.values() if record.proven != record.applied]
        youngest = {
            slot.version: max(mine, key=lambda record: record.since).workflow_id
            for slot in current.slots
            if (mine := [record for record in trying if record.workflow_id in slot.releases])
        }
        polls = any(slot.key == key and slot.current and slot.state == "polling" for slot in stage.now.slots)
        said = verdict(
            name,
            receipt.release,
            key,
            current,
            address=world.config.temporal.address,
            pollers=asked[2] if asked is not None and polls and not stage.now.temporal else None,
            youngest=youngest,
        )
        health, reason = said.health, said.reason
        if health is Health.HEALTHY and name in world.rolling:
            health, reason = world.rolling[name]
        if health is Health.HEALTHY and (why := starving(name, stage.now)):
            health, reason = Health.DEGRADED, why
        found[name] = (health, reason)
    return found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


def staged(bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage, watch = Stage(bench, seed), bench.reconciler.health
    monkeypatch.setattr(bench.world.worker, "serving", stage.serving)
    monkeypatch.setattr(watch._temporal, "pollers", stage.pollers)

    async def heard(*_: object) -> bool:
        return True

    monkeypatch.setattr(bench.world.worker, "sync", heard)
    before = watch._judge

    def counted(*about: Any) -> Any:
        stage.judged += 1
        return before(*about)

    monkeypatch.setattr(watch, "_judge", counted)
    return stage


async def deployed(bench: Bench, trying: Collection[str] = ()) -> None:
    """All are live; those in `trying` are on trial."""
    for name in NAMES:
        (digest,) = await deploy(bench, "x", name=name)
        if name not in trying:
            bench.world.note(bench.world.record(name), proven=digest)


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_is_not_judged_again_stands_as_if_he_were(
    bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = staged(bench, seed, monkeypatch)
    await deployed(bench)
    stage.fresh()
    story: list[str] = []
    busy: set[str] = set()
    for step in range(60):
        if step % 20 == 19:
            await deploy(bench, str(step), name=stage.random.choice(NAMES))
            stage.fresh()
        story.append(stage.turn())
        left, busy = busy, set(stage.random.sample(NAMES, stage.random.choice([0, 0, 0, 1])))
        bench.now += 5
        await bench.reconciler.health.check(lambda: busy)  # noqa: B023
        said = judged(bench, stage)
        for name in NAMES:
            if name not in busy:
                record = bench.world.record(name)
                assert (record.health, record.health_reason) == said[name], (name, left, story)


async def test_at_rest_nobody_is_judged_and_a_change_of_one_queue_concerns_its_own_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = staged(bench, 0, monkeypatch)
    await deployed(bench)
    keys = {name: (one.namespace, one.task_queue) for name, one in bench.world.receipts.items()}
    stage.fresh()
    check = bench.reconciler.health.check
    await check()
    assert stage.judged == len(NAMES)
    await check()  # what the first look said of them is new
    stage.judged = 0
    await check()
    assert stage.judged == 0

    first = stage.now.slots[0]
    stage.now = replace(stage.now, slots=(replace(first, state="backoff"), *stage.now.slots[1:]))
    await check()
    mine = [name for name in NAMES if keys[name] == first.key]
    assert stage.judged == len(mine)
    assert all(bench.world.record(name).health is Health.DEGRADED for name in mine)


async def test_one_on_trial_is_looked_at_each_time_and_the_others_are_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = staged(bench, 0, monkeypatch)
    await deployed(bench, trying=["two"])
    stage.fresh()
    for _ in range(2):
        await bench.reconciler.health.check()
    stage.judged = 0
    for _ in range(3):
        bench.now += 5
        await bench.reconciler.health.check()
    assert stage.judged == 3
    bench.now += 60
    await bench.reconciler.health.check()
    assert bench.world.record("two").proven == bench.world.record("two").applied


async def test_who_could_not_be_told_on_a_full_disk_is_judged_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = staged(bench, 0, monkeypatch)
    await deployed(bench, trying=NAMES)
    stage.fresh()
    await bench.reconciler.health.check()
    stage.now = replace(stage.now, slots=tuple(replace(one, state="backoff") for one in stage.now.slots))
    full = bench.world.set_health

    def raises(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.world, "set_health", raises)
    with pytest.raises(OSError, match="No space"):
        await bench.reconciler.health.check()
    monkeypatch.setattr(bench.world, "set_health", full)
    await bench.reconciler.health.check()
    assert {bench.world.record(name).health for name in NAMES} == {Health.DEGRADED}
