"""Random days of a host: a pass over a few is held against what one over all would have planned for them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from timewright import reconcile
from timewright.control import Actor, Control, Role
from timewright.core.actions import Action
from timewright.core.errors import RequestError
from timewright.core.nearby import plan_nearby
from timewright.core.plan import plan_all
from timewright.core.worlds import Desired, Wanted
from timewright.desired import SourceReader
from timewright.waking import Named

from tests.e2e.specs import greeter
from tests.test_reconcile import Bench, _bench

ROOT = Actor("root", Role.ADMIN)
NAMES = ("one", "two", "three")
VERBS = ("edit", "edit", "edit", "edit", "edit", "cross", "remove", "delete_spec", "rollback", "pin", "unpin")
MORE = ("undeploy", "deploy", "force", "suspend", "resume", "condemn", "wait")


class Day:
    """One host. What happens is chosen by `chance`; `named` is what it is told of, None for everything."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.bench, self.chance = bench, chance
        self.control = Control(bench.world, bench.reconciler)
        self.files: set[str] = set()
        self.workflows: set[str] = set()
        self.all = False
        bench.reconciler.wake_for = self.workflows.add
        bench.reconciler._wake = self._everything

    def _everything(self) -> None:
        self.all = True

    def take(self) -> Named:
        """What was named since the last call."""
        named = Named() if self.all else Named(frozenset(self.files), frozenset(self.workflows))
        self.files.clear()
        self.workflows.clear()
        self.all = False
        return named

    def put(self, file: str, name: str, word: str) -> None:
        """A spec that may get in the way of another: by its queue, its type, its needs."""
        mores: list[dict[str, Any]] = [{}, {}, {}, {"suspend": True}, {"dependsOn": ["two"]}]
        more = self.chance.choice(mores)
        spec = greeter(name, word, queue=self.chance.choice(["shared", name]), **more)
        if self.chance.random() < 0.3:
            spec["workflowCode"] = spec["workflowCode"].replace(f"function {name}(", "function order(")
        (self.bench.specs / f"{file}.json").write_text(json.dumps(spec))
        self.files.add(f"{file}.json")

    def happens(self) -> str:
        verb, name = self.chance.choice((*VERBS, *MORE)), self.chance.choice(NAMES)
        with suppress(RequestError):
            self._do(verb, name)
        return f"{verb} {name}"

    def _do(self, verb: str, name: str) -> None:
        world = self.bench.world
        if verb == "edit":
            self.put(name, name, f"word{self.chance.randrange(4)}")
        elif verb == "cross":
            self.put(name, self.chance.choice(NAMES), "crossed")
        elif verb == "remove":
            (self.bench.specs / f"{name}.json").unlink(missing_ok=True)
            self.files.add(f"{name}.json")
        elif verb == "condemn":
            world.note(world.record(name), condemned="it crashed")
        elif verb == "wait":
            self.bench.now += 7
        elif verb == "pin":
            self.control.pin(ROOT, name, seconds=self.chance.choice([None, 5]))
        elif verb == "force":
            self.control.deploy(ROOT, name, force=True)
        else:
            getattr(self.control, verb)(ROOT, name)


def _words(action: Action) -> tuple[str, ...]:
    digest = getattr(getattr(action, "wanted", None), "digest", "")
    return type(action).__name__, str(action.workflow_id), action.because, digest


def _held_against_a_plan_over_all(bench: Bench, story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a pass has kept from the last one: its plan is the one over all, made of nothing that was."""
    reconciler, told = bench.reconciler, bench.reconciler._plan_again

    def planned(desired: Desired) -> tuple[Action, ...]:
        actions = told(desired)
        observed, policy = reconciler._observe(), reconciler._policy()
        whole, standing = plan_all(desired, observed, policy, bench.now)
        assert sorted(map(_words, actions)) == sorted(map(_words, whole)), story
        assert reconciler._standing == standing, story
        return actions

    monkeypatch.setattr(reconciler, "_plan_again", planned)


@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "4"))))
async def test_on_any_day_it_does_what_a_whole_pass_would(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Sequence[Wanted], tuple[Action, ...] | None]] = []

    def watched(specs: Sequence[Wanted], *about: Any) -> tuple[Action, ...] | None:
        actions = plan_nearby(specs, *about)
        found.append((specs, actions))
        return actions

    monkeypatch.setattr(reconcile, "plan_nearby", watched)
    chance, story = random.Random(seed), list[str]()
    async with _bench(tmp_path) as bench:
        _held_against_a_plan_over_all(bench, story, monkeypatch)
        day = Day(bench, chance)
        for name in NAMES:
            day.put(name, name, "first")
        for _ in range(30):
            story.extend(day.happens() for _ in range(chance.choice([1, 1, 2])))
            named = day.take()
            fresh = SourceReader(bench.world)
            fresh._entries = {}
            expected = await fresh.read()
            whole = bench.reconciler.plan(expected)
            found.clear()
            if named and await bench.reconciler.run_nearby(named):
                ((specs, actions),) = found
                mine = [one for one in whole if one.workflow_id in {spec.workflow_id for spec in specs}]
                assert sorted(map(_words, actions or ())) == sorted(map(_words, mine)), story
            else:
                report = await bench.reconciler.run_pass()
                assert report.desired.wanted == expected.wanted, story
            if chance.random() < 0.6:
                await bench.reconciler.settled()
            if chance.random() < 0.6:
                await bench.settle()
        for _ in range(5):
            await bench.settle()
        assert bench.world.state.desk.operations(state="running") == [], story
