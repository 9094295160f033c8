"""Rollouts as the daemon begins and follows them. Temporal is scripted here: tests/e2e has the real one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.core.deployments import Deployment, Routing, Version
from timewright.core.errors import Reason
from timewright.core.replays import ReplayReport
from timewright.core.rollout import Strategy
from timewright.core.state import Health, Status
from timewright.core.verdict import Serving, Slot
from timewright.edge.deployments import TemporalAwayError
from timewright.edge.pools import Key
from timewright.edge.worker import Reloaded
from timewright.rollouts import Rollouts

from tests.support import until
from tests.test_control import deploy, put, where
from tests.test_reconcile import Bench, _bench

KEY = ("default", "one")


class Scripted:
    """Temporal's Worker Deployments, as a test says."""

    identity = "timewright"

    def __init__(self) -> None:
        self.seen = Deployment("one")
        self.away = False
        self.can = True
        self.open = 0
        self.deleted: list[str] = []
        self.deleting: asyncio.Event | None = None  # a deletion waits for it

    async def supported(self, namespace: str) -> bool | None:
        return None if self.away else self.can

    async def describe(self, namespace: str, name: str) -> Deployment:
        if self.away:
            raise TemporalAwayError("nobody answers")
        return self.seen

    async def client(self, namespace: str) -> object:
        raise TemporalAwayError("nobody answers")

    async def count(self, namespace: str, query: str) -> int:
        if self.away:
            raise TemporalAwayError("nobody answers")
        return self.open

    async def delete(self, namespace: str, name: str, build_id: str) -> bool:
        self.deleted.append(build_id)
        if self.deleting is not None:
            await self.deleting.wait()
        return False


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


@pytest.fixture
def temporal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setattr(bench.world, "deployments", scripted)

    async def served(namespace: str) -> None:
        if scripted.away:
            raise TemporalAwayError("nobody answers")

    monkeypatch.setattr(bench.reconciler.rollouts._serving, "serve", served)
    # The compiler is off here, and makes no workflow bundles: a release stands for its code.
    monkeypatch.setattr("timewright.edge.pools._workflow_code", lambda receipt: receipt.digest)
    return scripted


def build(bench: Bench) -> str:
    return bench.world.pool_versions[KEY].build_id


async def make_current(bench: Bench, temporal: Scripted) -> str:
    """As if the rollout of the newest version had ended well; its Build ID."""
    newest = build(bench)
    versions = [replace(one, status=Routing.DRAINING) for one in temporal.seen.versions]
    versions = [one for one in versions if one.build_id != newest]
    temporal.seen = Deployment("one", current=newest, versions=(*versions, Version(newest, Routing.CURRENT)))
    bench.reconciler.rollouts._unwish(KEY, newest)
    await bench.reconciler.rollouts.tend(KEY)
    return newest


async def test_without_temporal_a_deploy_goes_on_and_its_rollout_waits(
    bench: Bench, temporal: Scripted
) -> None:
    bench.world.learn_versioning(True)
    temporal.away = True
    await deploy(bench, "x")
    assert (where(bench).status, where(bench).health) == (Status.DEPLOYED, Health.PROGRESSING)
    assert "its rollout waits for Temporal: nobody answers" in where(bench).because
    # The next start knows that it has to begin.
    again = Rollouts(bench.world)
    assert again.pools[KEY].wish == build(bench)


async def test_what_the_server_can_do_is_learnt_once_and_kept(bench: Bench, temporal: Scripted) -> None:
    temporal.can = False
    await deploy(bench, "x")
    assert bench.world.pool_versions[KEY].deployment == ""
    assert bench.world.state.fact("temporal.versioning") is False


async def test_a_pool_from_before_temporal_came_gets_versions_when_it_is_there(
    bench: Bench, temporal: Scripted
) -> None:
    temporal.away = True
    await deploy(bench, "x")
    plain = bench.world.pools.current(KEY)
    assert plain is not None
    assert plain.deployment == ""
    temporal.away = False
    with pytest.raises(TemporalAwayError):  # scripted: no rollout can really begin
        await bench.reconciler.rollouts.tend(KEY)
    assert bench.world.pool_versions[KEY].deployment == "one"
    assert bench.world.pools.kept(KEY) == (plain.version,)  # until the Version takes its executions


async def test_the_version_before_is_kept_before_the_new_one_is_current(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.world.learn_versioning(True)
    await deploy(bench, "x")
    await make_current(bench, temporal)
    before = bench.world.pool_versions[KEY]
    seen: list[tuple[str, ...]] = []
    make = bench.world.pools.make_current

    def watched(key: Key, version: str) -> None:
        seen.append(bench.world.pools.kept(key))
        make(key, version)

    monkeypatch.setattr(bench.world.pools, "make_current", watched)
    await deploy(bench, "y")
    assert seen == [(before.version,)]


async def test_a_deployment_that_is_full_is_tried_again_later(bench: Bench, temporal: Scripted) -> None:
    """Reason.TOO_MANY_VERSIONS"""
    bench.world.learn_versioning(True)
    (first,) = await deploy(bench, "x")
    await make_current(bench, temporal)
    many = tuple(Version(f"v{n}", Routing.DRAINING) for n in range(95))
    temporal.seen = replace(temporal.seen, versions=many)
    await bench.reconciler.rollouts.tend(KEY)  # as every 20 s: so many don't come between two looks
    bench.put("one", "y")
    await bench.settle()
    failure = where(bench).failure
    assert failure is not None
    assert (failure.reason, failure.transient) == (Reason.TOO_MANY_VERSIONS, True)
    assert where(bench).applied == first


async def test_old_versions_end_as_temporal_lets_go_of_them(bench: Bench, temporal: Scripted) -> None:
    bench.world.learn_versioning(True)
    await deploy(bench, "x")
    old = await make_current(bench, temporal)
    await deploy(bench, "y")
    await make_current(bench, temporal)
    kept = bench.world.pools.kept(KEY)
    assert len(kept) == 1
    gone = Version(old, Routing.DRAINED, since=bench.now - 1000)
    temporal.seen = replace(temporal.seen, versions=(gone, Version(build(bench), Routing.CURRENT)))
    await bench.reconciler.rollouts.tend(KEY)
    assert bench.world.pools.kept(KEY) == ()
    assert not (bench.world.pools.home(KEY) / kept[0]).exists()


async def outlived(bench: Bench, temporal: Scripted, count: int) -> None:
    """A workflow is deployed and current, and so many old Versions have drained long ago."""
    bench.world.learn_versioning(True)
    await deploy(bench, "x")
    await make_current(bench, temporal)
    old = tuple(Version(f"old{n}", Routing.DRAINED) for n in range(count))
    temporal.seen = replace(temporal.seen, versions=(*temporal.seen.versions, *old))


async def tend_as_after(bench: Bench, seconds: float) -> None:
    """A look, so long after the last new code of the pool."""
    bench.world.pooled_at[KEY] = time.monotonic() - seconds
    await bench.reconciler.rollouts.tend(KEY)


async def deleting(bench: Bench, temporal: Scripted) -> tuple[asyncio.Task[None], asyncio.Event]:
    """A look in the middle of its first deletion, and what lets that end."""
    over = temporal.deleting = asyncio.Event()
    looking = asyncio.create_task(tend_as_after(bench, 60))
    await until(lambda: temporal.deleted == ["old0"])
    return looking, over


async def test_records_are_deleted_when_no_new_code_is_on_its_way(bench: Bench, temporal: Scripted) -> None:
    """What is registered or made current beside a deletion waits ten seconds for Temporal."""
    await outlived(bench, temporal, 2)
    await tend_as_after(bench, 3)
    assert temporal.deleted == []
    bench.world.coming[KEY].add("one")
    await tend_as_after(bench, 60)
    assert temporal.deleted == []
    bench.world.coming[KEY].clear()
    await tend_as_after(bench, 60)
    assert temporal.deleted == ["old0", "old1"]


async def test_what_comes_in_the_middle_of_deletions_has_the_rest_of_them_wait(
    bench: Bench, temporal: Scripted
) -> None:
    await outlived(bench, temporal, 3)
    looking, over = await deleting(bench, temporal)
    bench.world.coming[KEY].add("one")
    over.set()
    await looking
    assert temporal.deleted == ["old0"]


async def test_where_deploys_never_rest_records_are_deleted_before_there_are_too_many(
    bench: Bench, temporal: Scripted
) -> None:
    await outlived(bench, temporal, 60)
    await tend_as_after(bench, 0)
    assert len(temporal.deleted) == 60


async def test_new_code_is_served_when_a_deletion_is_over_and_not_beside_it(
    bench: Bench, temporal: Scripted
) -> None:
    await outlived(bench, temporal, 1)
    looking, over = await deleting(bench, temporal)
    before = (len(bench.worker.calls), bench.world.releases.current("one"))
    bench.put("one", "y")
    await bench.reconciler.run_pass()
    await until(lambda: bench.world.releases.current("one") != before[1])  # the tree doesn't wait
    await asyncio.sleep(0.1)
    assert len(bench.worker.calls) == before[0]
    over.set()
    await looking
    await bench.reconciler.settled()
    assert len(bench.worker.calls) == before[0] + 1


async def test_a_deletion_that_hangs_holds_no_deploy_up(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timewright.oldversions._PATIENCE_S", 0.1)
    await outlived(bench, temporal, 1)
    looking, over = await deleting(bench, temporal)
    await deploy(bench, "y")
    assert where(bench).status is Status.DEPLOYED
    over.set()
    await looking


async def test_with_temporal_away_nothing_that_runs_is_ended(bench: Bench, temporal: Scripted) -> None:
    bench.world.learn_versioning(True)
    await deploy(bench, "x")
    await make_current(bench, temporal)
    await deploy(bench, "y")
    kept = bench.world.pools.kept(KEY)
    temporal.away = True
    with pytest.raises(TemporalAwayError):
        await bench.reconciler.rollouts.tend(KEY)
    assert bench.world.pools.kept(KEY) == kept != ()


async def test_an_undeploy_waits_for_executions_that_need_the_code_and_force_does_not(
    bench: Bench, temporal: Scripted
) -> None:
    bench.world.learn_versioning(True)
    put(bench, "one", onUndeploy="block", taskQueue="one")
    await bench.settle()
    await make_current(bench, temporal)
    temporal.open = 2
    (bench.specs / "one.json").unlink()
    bench.world.note(where(bench), prune_by="ada")
    await bench.settle()
    assert where(bench).held_reason == Reason.OPEN_EXECUTIONS
    assert "2 open executions" in where(bench).held
    temporal.open = 0
    await bench.settle()
    assert where(bench).status is Status.UNDEPLOYED


async def test_an_enforced_replay_without_temporal_is_tried_again(bench: Bench, temporal: Scripted) -> None:
    put(bench, "one", "x", replay="enforce", taskQueue="one")

    async def unknown(receipt: object, mode: str) -> ReplayReport:
        return ReplayReport(mode, problem="Temporal does not answer")

    bench.reconciler._applier.replays.check = unknown  # type: ignore[method-assign]
    await bench.settle()
    failure = where(bench).failure
    assert failure is not None
    assert (failure.reason, failure.transient) == (Reason.REPLAY_UNAVAILABLE, True)
    assert where(bench).retry_at is not None


async def test_a_deploy_in_the_middle_of_a_look_keeps_its_rollout(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.world.learn_versioning(True)
    await deploy(bench, "x")
    await make_current(bench, temporal)
    describe = temporal.describe

    async def slow(namespace: str, name: str) -> Deployment:
        monkeypatch.setattr(temporal, "describe", describe)
        await deploy(bench, "y")  # while the look waits for Temporal
        return await describe(namespace, name)

    monkeypatch.setattr(temporal, "describe", slow)
    with suppress(TemporalAwayError):
        await bench.reconciler.rollouts.tend(KEY)
    assert bench.reconciler.rollouts.pools[KEY].wish == build(bench)


async def test_a_pool_that_has_a_folder_and_no_version_yet_is_looked_at(
    bench: Bench, temporal: Scripted
) -> None:
    """A deploy makes the folder first: who looked before the version was there failed, and kept quiet."""
    bench.world.pools.home(KEY).mkdir(parents=True)
    assert list(bench.world.pools.keys()) == [KEY]
    assert bench.reconciler.rollouts._is_due(KEY)


async def shared(bench: Bench, temporal: Scripted, *names: str) -> str:
    """Workflows of one pool, all deployed and routed to; the Build ID."""
    bench.world.learn_versioning(True)
    for name in names:
        put(bench, name, taskQueue="one")
    await bench.settle()
    return await make_current(bench, temporal)


async def test_when_one_of_a_pool_is_undeployed_the_others_new_version_is_rolled_out(
    bench: Bench, temporal: Scripted
) -> None:
    """Else executions would go to the version before, with what was undeployed, for ever."""
    both = await shared(bench, temporal, "one", "two")
    (bench.specs / "two.json").unlink()
    bench.world.note(where(bench, "two"), prune_by="ada")
    await bench.settle()
    assert where(bench, "two").status is Status.UNDEPLOYED
    assert build(bench) != both
    assert bench.reconciler.rollouts.pools[KEY].wish == build(bench)


async def test_when_one_of_a_pool_can_not_be_loaded_the_others_new_version_is_rolled_out(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await shared(bench, temporal, "one")

    async def reload(workflow_id: str, **_: object) -> Reloaded:
        return Reloaded(False, "LoadFailed", "bad", failed={workflow_id: "bad"})

    monkeypatch.setattr(bench.world.worker, "reload", reload)
    put(bench, "two", taskQueue="one")
    await bench.settle()
    assert where(bench, "two").status is Status.DEPLOYMENT_FAILED
    assert build(bench) == before
    assert bench.reconciler.rollouts.pools[KEY].wish == before


async def test_a_pool_that_has_only_lost_a_workflow_changes_at_once(bench: Bench, temporal: Scripted) -> None:
    both = await shared(bench, temporal, "one", "two")
    bench.world.config = replace(
        bench.world.config, rollout=replace(bench.world.config.rollout, strategy="Progressive")
    )
    (bench.specs / "two.json").unlink()
    bench.world.note(where(bench, "two"), prune_by="ada")
    await bench.settle()
    rollouts, version = bench.reconciler.rollouts, bench.world.pool_versions[KEY]
    order = rollouts._order(KEY, version, temporal.seen, back=False)
    assert (temporal.seen.current, order.strategy, order.steps) == (both, Strategy.ALL_AT_ONCE, ())


async def test_activities_without_a_current_version_are_not_said_to_be_served(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no code of a version, so its rollout is about no workflow; till its end nobody gets a task."""
    monkeypatch.setattr("timewright.edge.pools._workflow_code", lambda receipt: "")
    bench.world.learn_versioning(True)
    await deploy(bench, "x")
    rollouts = bench.reconciler.rollouts
    pooled = rollouts.pools[KEY]
    version = bench.world.pool_versions[KEY]
    pooled.order = rollouts._order(KEY, version, temporal.seen, back=False)
    pooled.seen = temporal.seen
    assert (pooled.order.workflows, pooled.wish) == ((), version.build_id)
    rollouts._tell(KEY, version)
    assert bench.world.rolling == {"one": (Health.PROGRESSING, "rollout: it begins")}
    await make_current(bench, temporal)
    assert bench.world.rolling == {}


@pytest.mark.parametrize("restarted", [False, True])
async def test_new_code_that_the_host_serves_at_last_is_not_healthy_before_its_rollout_has_begun(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """The worker host was away as it was deployed: Temporal sends new executions to the old code still."""
    world = bench.world
    world.learn_versioning(True)
    put(bench, "two", taskQueue="one")
    await deploy(bench, "x")
    await make_current(bench, temporal)
    await bench.worker.stop()
    await deploy(bench, "y")
    assert where(bench).health is Health.DEGRADED
    rollouts = bench.reconciler.rollouts
    if restarted:
        world.rolling.clear()
        rollouts = Rollouts(world)

    async def serving() -> Serving:
        version = world.pool_versions[KEY]
        return Serving(True, slots=(Slot(KEY, version.version, "polling", dict(version.members), age=99),))

    monkeypatch.setattr(world.worker, "serving", serving)
    for _ in range(2):
        await bench.reconciler.health.check()
        assert (where(bench).health, where(bench, "two").health) == (Health.PROGRESSING, Health.HEALTHY)
        # The host has ended again, as far as anybody knows.
        monkeypatch.setattr(world, "polling", frozenset())
        with suppress(TemporalAwayError):
            await rollouts.tend(KEY)
    await make_current(bench, temporal)
    await bench.reconciler.health.check()
    assert where(bench).health is Health.HEALTHY


async def test_a_hiccup_of_temporal_is_asked_about_again_soon_and_an_outage_less_and_less(
    bench: Bench, temporal: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.world.learn_versioning(True)
    temporal.away = True
    await deploy(bench, "x")
    rollouts, waits = bench.reconciler.rollouts, list[float]()
    monkeypatch.setattr(rollouts, "_is_due", lambda key: True)

    async def waited(wait: Coroutine[Any, Any, object], seconds: float) -> None:
        wait.close()
        waits.append(seconds)
        temporal.away = len(waits) != 6
        if len(waits) == 8:
            raise asyncio.CancelledError
        raise TimeoutError

    async def tended(key: Key) -> bool:
        if temporal.away:
            raise TemporalAwayError("nobody answers")
        return False

    monkeypatch.setattr(rollouts, "tend", tended)
    monkeypatch.setattr(asyncio, "wait_for", waited)
    with pytest.raises(asyncio.CancelledError):
        await rollouts.run()
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 0.5]
