"""Operators do anything, in any order, with crashes in between: what may never be, and that there is always a
way out. Hypothesis makes up the days; the compiler is the mock mode, tree and state file are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timewright.control import Actor, Control, Role
from timewright.core.errors import DeployError, Reason, RequestError
from timewright.core.state import Pinned, Status

from tests.e2e.specs import greeter
from tests.test_reconcile import Bench, _bench

ROOT = Actor("root", Role.ADMIN)
NAMES = st.sampled_from(["one", "two"])
WORDS = st.sampled_from(["x", "y", "z"])
PLAIN = (
    "rollback",
    "pin",
    "unpin",
    "undeploy",
    "deploy",
    "force",
    "redeploy",
    "suspend",
    "resume",
    "prune",
    "delete",
)

steps = st.one_of(
    st.tuples(st.just("put"), NAMES, WORDS),
    st.tuples(st.just("put"), NAMES, WORDS),
    st.tuples(st.sampled_from(["break", "remove", "condemn", "fail", "ruin"]), NAMES),
    st.tuples(st.sampled_from(PLAIN), NAMES),
    st.tuples(st.sampled_from(PLAIN), NAMES),
    st.tuples(st.sampled_from(["suspend all", "resume all", "later", "restart", "lose the state"])),
)


class Day:
    """One made-up day on one host."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.now = 1_000_000.0
        self.forced: set[tuple[str, str]] = set()  # bad releases that a person forced
        self.asked: list[str] = []

    async def run(self, plan: list[Any]) -> None:
        bench, close = await self.start()
        for step in plan:
            verb, *more = step
            if verb in ("restart", "lose the state"):
                await close()
                if verb == "lose the state":
                    (self.home / "data" / "state.db").unlink()
                    self.asked.clear()
                bench, close = await self.start()
            else:
                self.do(bench, verb, *more)
            await self.settle(bench)
            self.check(bench, step)
        await self.way_out(bench)
        await close()

    async def start(self) -> tuple[Bench, Any]:
        context = _bench(self.home)
        bench = await context.__aenter__()
        bench.now = self.now
        config = bench.world.config
        source = replace(config.source, prune=True, max_deletes=1.0, allow_empty=True, vanish_s=5.0)
        bench.world.config = replace(config, source=source)
        self.control = Control(bench.world, bench.reconciler)

        async def close() -> None:
            await context.__aexit__(None, None, None)

        return bench, close

    async def settle(self, bench: Bench) -> None:
        for _ in range(3):
            await bench.settle()

    def do(self, bench: Bench, verb: str, *more: str) -> None:
        world, _control = bench.world, self.control
        name = more[0] if more else ""
        path = bench.specs / f"{name}.json"
        record = world.record(name)
        if verb == "put":
            path.write_text(json.dumps(greeter(name, more[1])))
        elif verb == "break":
            path.write_text(json.dumps({"workflowId": name}))
        elif verb == "remove":
            path.unlink(missing_ok=True)
        elif verb == "condemn" and record.status is Status.DEPLOYED and record.pin is None:
            world.note(record, condemned="it crashed")
        elif verb == "fail":
            bench.compiler.failures.append(DeployError(Reason.STORAGE_FAILED, "the disk is full"))
        elif verb == "ruin":
            for receipt in world.releases.kept(name)[-1:]:
                if receipt.release != world.releases.current(name):
                    (world.releases.path(name, receipt.release) / "dist" / "workflow.js").write_text("ruined")
        elif verb == "later":
            bench.now += 1000
            self.now = bench.now
        else:
            self.ask(bench, verb, name)

    def ask(self, bench: Bench, verb: str, name: str) -> None:
        control = self.control
        calls: dict[str, Any] = {
            "rollback": lambda: control.rollback(ROOT, name),
            "pin": lambda: control.pin(ROOT, name),
            "unpin": lambda: control.unpin(ROOT, name),
            "undeploy": lambda: control.undeploy(ROOT, name),
            "deploy": lambda: control.deploy(ROOT, name),
            "force": lambda: control.deploy(ROOT, name, force=True),
            "redeploy": lambda: control.redeploy(ROOT, name),
            "suspend": lambda: control.suspend(ROOT, name),
            "resume": lambda: control.resume(ROOT, name),
            "prune": lambda: control.prune(ROOT, [name])[0],
            "delete": lambda: control.delete_spec(ROOT, name),
            "suspend all": lambda: control.suspend(ROOT, None),
            "resume all": lambda: control.resume(ROOT, None),
        }
        if verb not in calls:
            return
        try:
            operation = calls[verb]()
        except RequestError:
            return
        self.asked.append(operation.id)
        if verb == "force":
            self.forced |= {key for key in bench.world.bad if key[0] == name}

    def check(self, bench: Bench, step: Any) -> None:
        world = bench.world
        for name in ("one", "two"):
            record, live = world.record(name), world.releases.current(name)
            receipt = world.releases.receipt(name, live) if live else None
            where = f"after {step}: {record}"
            assert (live is None) == (receipt is None), f"a link to nothing, {where}"
            assert record.status not in (Status.DEPLOYING, Status.ROLLING_BACK, Status.UNDEPLOYING), where
            if record.status is Status.UNDEPLOYED:
                assert live is None, where
            if record.status in (Status.DEPLOYED, Status.ROLLED_BACK):
                assert receipt is not None, where
                assert receipt.digest == record.applied, where
            if receipt is not None and (name, receipt.digest) in world.bad:
                assert (name, receipt.digest) in self.forced, f"a reverted release is live, {where}"
            pin = record.pin
            if (
                record.status is Status.DEPLOYED
                and pin is not None
                and pin.kind in (Pinned.ROLLBACK, Pinned.REVERT)
            ):
                assert receipt is None or receipt.digest == pin.digest or pin.against != record.asked, where
            if pin is not None and pin.kind is Pinned.PIN and record.failure is None:
                assert receipt is not None, where
                assert receipt.digest == pin.digest, where
        running = [item for item in world.state.desk.operations(state="running") if item.id in self.asked]
        assert not running, f"an operation that never ends, after {step}: {running}"

    async def way_out(self, bench: Bench) -> None:
        """Whatever happened: resume, bring a spec that works, and it runs."""
        bench.compiler.failures.clear()
        for name in ("", "one", "two"):
            with contextlib.suppress(RequestError):
                self.control.resume(ROOT, name or None)
        for name in ("one", "two"):
            (bench.specs / f"{name}.json").write_text(json.dumps(greeter(name, "the way out")))
        await self.settle(bench)
        for name in ("one", "two"):
            pin = bench.world.record(name).pin
            if pin is not None:
                self.control.unpin(ROOT, name)
        bench.now += 100_000
        await self.settle(bench)
        for name in ("one", "two"):
            record = bench.world.record(name)
            assert record.status is Status.DEPLOYED, f"no way out: {record}"
            text = (bench.world.releases.links / name / "src" / "workflow.ts").read_text()
            assert "the way out" in text


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(steps, min_size=3, max_size=14))
def test_whatever_operators_do_what_is_live_is_what_somebody_wants_and_there_is_a_way_out(plan: Any) -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(Day(Path(home)).run(plan))
