"""What operators ask of a daemon, over a real tree and state file; the compiler is the mock mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.control import Actor, Control, Role
from timewright.core.errors import Code, DeployError, Reason, RequestError
from timewright.core.state import Health, Record, Status
from timewright.edge.desk import Operation
from timewright.edge.statefile import StateFile

from tests.e2e.specs import greeter
from tests.support import as_bytes
from tests.test_reconcile import Bench, _bench

ROOT = Actor("root", Role.ADMIN)
ANN = Actor("ann", Role.DEPLOYER, frozenset({"team-a"}))
VIC = Actor("vic", Role.VIEWER)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


@pytest.fixture
def control(bench: Bench) -> Control:
    return Control(bench.world, bench.reconciler)


def where(bench: Bench, name: str = "one") -> Record:
    return bench.world.record(name)


def live(bench: Bench, name: str = "one") -> str | None:
    """The release that the tree's link names."""
    return bench.world.releases.current(name)


async def deploy(bench: Bench, *words: str, name: str = "one") -> list[str]:
    """Deploy these contents one after the other; their digests."""
    digests = []
    for word in words:
        bench.put(name, word)
        await bench.settle()
        digests.append(where(bench, name).applied)
    return digests


def put(bench: Bench, name: str, word: str = "x", **block: Any) -> None:
    """A spec with a `deploy` block, in a task queue of its own."""
    spec = greeter(name, word)
    spec["deploy"] = {**spec.get("deploy", {}), **block}
    (bench.specs / f"{name}.json").write_text(json.dumps(spec))


def refusal(call: Callable[[], object]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value


async def outcome(bench: Bench, operation: Operation) -> tuple[str, str]:
    """How an operation ends, after a pass."""
    await bench.settle()
    done = await bench.reconciler.operations.finished(operation.id, 1)
    assert done is not None
    return done.state, done.because


# Rollback --------------------------------------------------------------------------------------


async def test_a_rollback_goes_to_the_release_before_and_compiles_nothing(
    bench: Bench, control: Control
) -> None:
    first, second = await deploy(bench, "x", "y")
    jobs = bench.compiler.jobs
    operation = control.rollback(ROOT, "one", reason="wrong greeting")
    assert await outcome(bench, operation) == ("succeeded", where(bench).because)
    record = where(bench)
    assert (record.status, record.applied, live(bench)) == (Status.ROLLED_BACK, first, first[:12])
    assert bench.compiler.jobs == jobs
    assert record.actor == "root"
    assert bench.history("one")[-2:] == [Status.ROLLING_BACK, Status.ROLLED_BACK]
    assert record.previous == second


async def test_a_rollback_sticks_through_any_number_of_passes(bench: Bench, control: Control) -> None:
    first, _ = await deploy(bench, "x", "y")
    control.rollback(ROOT, "one")
    for _ in range(3):
        await bench.settle()
        bench.now += 1000
    assert where(bench).applied == first
    assert where(bench).sync() == "OutOfSync"
    assert "rolled back to release" in where(bench).held
    assert where(bench).held_reason == Reason.PINNED


async def test_a_rollback_sticks_through_a_restart_of_the_daemon(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        first, _ = await deploy(bench, "x", "y")
        Control(bench.world, bench.reconciler).rollback(ROOT, "one")
        await bench.settle()
    async with _bench(tmp_path) as bench:
        await bench.settle()
        assert where(bench).applied == first
        assert where(bench).status is Status.ROLLED_BACK


async def test_a_rollback_that_a_crash_interrupted_is_taken_up_again(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        first, _ = await deploy(bench, "x", "y")
        Control(bench.world, bench.reconciler).rollback(ROOT, "one")
        bench.world.move(where(bench), Status.ROLLING_BACK, "killed in the middle of this")
    async with _bench(tmp_path) as bench:
        await bench.settle()
        assert where(bench).status is Status.ROLLED_BACK
        assert live(bench) == first[:12]


async def test_a_change_of_the_spec_ends_a_rollback(bench: Bench, control: Control) -> None:
    await deploy(bench, "x", "y")
    control.rollback(ROOT, "one")
    await bench.settle()
    (third,) = await deploy(bench, "z")
    assert where(bench).status is Status.DEPLOYED
    assert live(bench) == third[:12]
    assert where(bench).pin is None
    assert "that ends the rollback by root" in bench.story("one")[-2].because


async def test_a_spec_that_goes_back_to_what_is_rolled_back_to_is_deployed_without_work(
    bench: Bench, control: Control
) -> None:
    first, _ = await deploy(bench, "x", "y")
    control.rollback(ROOT, "one")
    await bench.settle()
    jobs = bench.compiler.jobs
    await deploy(bench, "x")
    assert (where(bench).status, where(bench).applied) == (Status.DEPLOYED, first)
    assert where(bench).pin is None
    assert bench.compiler.jobs == jobs


async def test_another_upgrade_of_the_host_does_not_end_a_rollback(bench: Bench, control: Control) -> None:
    """The release's digest changes with the compilers; what the source says does not."""
    first, _ = await deploy(bench, "x", "y")
    control.rollback(ROOT, "one")
    await bench.settle()
    bench.world.host = replace(bench.world.host, identity=lambda version: "another compiler")
    bench.reconciler.source._entries = {}
    await bench.settle()
    assert bench.reconciler.desired is not None
    assert where(bench).applied == first
    assert where(bench).status is Status.ROLLED_BACK


async def test_a_spec_that_breaks_does_not_end_a_rollback(bench: Bench, control: Control) -> None:
    first, _ = await deploy(bench, "x", "y")
    control.rollback(ROOT, "one")
    await bench.settle()
    (bench.specs / "one.json").write_text('{"workflowId": "one"}')
    await bench.settle()
    assert where(bench).status is Status.DEPLOYMENT_FAILED
    assert live(bench) == first[:12]
    (bench.specs / "one.json").write_text(json.dumps(greeter("one", "y")))
    await bench.settle()
    assert live(bench) == first[:12]


async def test_a_workflow_whose_spec_is_broken_can_be_rolled_back(bench: Bench, control: Control) -> None:
    first, _ = await deploy(bench, "x", "y")
    (bench.specs / "one.json").write_text('{"workflowId": "one"}')
    await bench.settle()
    control.rollback(ROOT, "one")
    for _ in range(3):
        await bench.settle()
    assert (where(bench).status, live(bench)) == (Status.ROLLED_BACK, first[:12])
    assert "besides, one.json is refused" in where(bench).held


async def test_two_rollbacks_go_two_releases_back_and_not_to_and_fro(bench: Bench, control: Control) -> None:
    first, second, _ = await deploy(bench, "x", "y", "z")
    for target in (second, first):
        control.rollback(ROOT, "one")
        await bench.settle()
        assert where(bench).applied == target
    assert refusal(lambda: control.rollback(ROOT, "one")).code is Code.CONFLICT


async def test_a_rollback_can_name_its_release_and_is_told_which_are_kept(
    bench: Bench, control: Control
) -> None:
    first, second, third = await deploy(bench, "x", "y", "z")
    error = refusal(lambda: control.rollback(ROOT, "one", "ffffffffffff"))
    assert error.code is Code.NOT_FOUND
    assert all(digest[:12] in error.hint for digest in (first, second, third))
    control.rollback(ROOT, "one", first[:7])
    await bench.settle()
    assert where(bench).applied == first


async def test_a_rollback_to_what_is_live_is_a_conflict(bench: Bench, control: Control) -> None:
    (first,) = await deploy(bench, "x")
    assert refusal(lambda: control.rollback(ROOT, "one", first[:12])).code is Code.CONFLICT


async def test_a_rollback_to_a_damaged_release_fails_and_what_runs_goes_on(
    bench: Bench, control: Control
) -> None:
    first, second = await deploy(bench, "x", "y")
    (bench.world.releases.path("one", first[:12]) / "dist" / "workflow.js").write_text("tampered")
    operation = control.rollback(ROOT, "one")
    state, because = await outcome(bench, operation)
    assert (state, live(bench)) == ("failed", second[:12])
    assert "dist/workflow.js was changed" in because
    failure = where(bench).failure
    assert failure is not None
    assert failure.reason is Reason.ROLLBACK_FAILED
    await bench.settle()
    assert bench.history("one").count(Status.ROLLING_BACK) == 1


async def test_a_rollback_overtakes_the_deploy_that_is_under_way(bench: Bench, control: Control) -> None:
    first, _ = await deploy(bench, "x", "y")
    bench.compiler.gate = asyncio.Event()
    bench.put("one", "z")
    await bench.reconciler.run_pass()
    await asyncio.sleep(0.1)
    assert bench.reconciler.busy() == {"one"}
    control.rollback(ROOT, "one", first[:12])
    await bench.settle()
    assert (where(bench).status, live(bench)) == (Status.ROLLED_BACK, first[:12])


# Releases that are not healthy -----------------------------------------------------------------


async def condemn(bench: Bench, why: str = "its worker process crashed twice") -> None:
    bench.world.note(where(bench), condemned=why)
    await bench.settle()


async def test_a_condemned_release_is_reverted_and_never_called_deployed(bench: Bench) -> None:
    first, second = await deploy(bench, "x", "y")
    await condemn(bench)
    record = where(bench)
    assert (record.status, record.applied, live(bench)) == (Status.ROLLED_BACK, first, first[:12])
    assert record.failure is not None
    assert record.failure.reason is Reason.HEALTH_CHECK_FAILED
    assert "crashed twice" in record.held
    assert record.attempted == second
    await bench.settle()
    assert where(bench).applied == first


async def test_a_reverted_release_is_refused_when_the_source_comes_back_to_it(bench: Bench) -> None:
    _, _ = await deploy(bench, "x", "y")
    await condemn(bench)
    (third,) = await deploy(bench, "z")
    bench.put("one", "y")
    await bench.settle()
    record = where(bench)
    assert record.status is Status.DEPLOYMENT_FAILED
    assert record.failure is not None
    assert record.failure.reason is Reason.KNOWN_BAD
    assert "deploy one --force" in record.failure.message
    assert live(bench) == third[:12]


async def test_a_reverted_release_can_be_forced(bench: Bench, control: Control) -> None:
    _, second = await deploy(bench, "x", "y")
    await condemn(bench)
    assert refusal(lambda: control.deploy(ROOT, "one")).code is Code.CONFLICT
    control.unpin(ROOT, "one")
    await bench.settle()
    assert where(bench).failure is not None
    operation = control.deploy(ROOT, "one", force=True, reason="the server was at fault")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert (where(bench).status, where(bench).applied) == (Status.DEPLOYED, second)
    await bench.settle()
    assert where(bench).status is Status.DEPLOYED


async def test_a_first_release_that_is_condemned_has_nowhere_to_go_and_says_so(bench: Bench) -> None:
    (first,) = await deploy(bench, "x")
    await condemn(bench)
    assert live(bench) == first[:12]
    assert "no earlier release" in where(bench).held


async def test_a_revert_that_a_crash_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        first, _ = await deploy(bench, "x", "y")
        bench.world.note(where(bench), condemned="it crashed")
    async with _bench(tmp_path) as bench:
        await bench.settle()
        assert (where(bench).status, live(bench)) == (Status.ROLLED_BACK, first[:12])


# Pins ------------------------------------------------------------------------------------------


async def test_a_pinned_workflow_does_not_follow_its_spec_until_it_is_unpinned(
    bench: Bench, control: Control
) -> None:
    (first,) = await deploy(bench, "x")
    operation = control.pin(ROOT, "one", reason="audit week")
    assert (await outcome(bench, operation))[0] == "succeeded"
    await deploy(bench, "y")
    assert (where(bench).applied, where(bench).status) == (first, Status.DEPLOYED)
    assert "audit week" in where(bench).held
    control.unpin(ROOT, "one")
    await bench.settle()
    assert where(bench).applied != first
    assert where(bench).held == ""
    assert refusal(lambda: control.unpin(ROOT, "one")).code is Code.CONFLICT


async def test_a_pin_for_a_time_ends_by_itself(bench: Bench, control: Control) -> None:
    (first,) = await deploy(bench, "x")
    control.pin(ROOT, "one", seconds=60)
    await deploy(bench, "y")
    assert where(bench).applied == first
    due = bench.reconciler.next_retry()
    assert due == bench.now + 60
    bench.now += 61
    await bench.settle()
    assert where(bench).applied != first


async def test_a_pinned_workflow_outlives_its_spec(bench: Bench, control: Control) -> None:
    (first,) = await deploy(bench, "x")
    control.pin(ROOT, "one")
    prune(bench)
    (bench.specs / "one.json").unlink()
    for _ in range(3):
        await bench.settle()
        bench.now += 100
    assert live(bench) == first[:12]


# Deploy and undeploy by hand -------------------------------------------------------------------


async def test_what_is_deployed_is_a_conflict_unless_forced(bench: Bench, control: Control) -> None:
    await deploy(bench, "x")
    error = refusal(lambda: control.deploy(ROOT, "one"))
    assert error.code is Code.CONFLICT
    assert "deployed already" in error.message
    calls = len(bench.worker.calls)
    operation = control.redeploy(ROOT, "one", reason="to be sure")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert [call["action"] for call in bench.worker.calls[calls:]] == ["redeploy"]
    assert "root asked for it: to be sure" in bench.story("one")[-2].because


async def test_a_failed_deploy_is_tried_at_once_when_a_person_asks(bench: Bench, control: Control) -> None:
    bench.put("one", "x")
    bench.compiler.failures = [DeployError(Reason.STORAGE_FAILED, "the disk is full")]
    await bench.settle()
    assert where(bench).retry_at is not None
    await bench.settle()
    assert where(bench).status is Status.DEPLOYMENT_FAILED
    operation = control.deploy(ROOT, "one")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert where(bench).status is Status.DEPLOYED


async def test_a_deploy_that_fails_again_is_a_failed_operation_that_says_why(
    bench: Bench, control: Control
) -> None:
    bench.put("one", "x")
    bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "no")] * 2
    await bench.settle()
    state, because = await outcome(bench, control.deploy(ROOT, "one"))
    assert (state, because) == ("failed", "TypeCheckFailed: no")


async def test_a_deploy_of_an_invalid_spec_is_a_bad_request_with_its_problems(
    bench: Bench, control: Control
) -> None:
    (bench.specs / "one.json").write_text('{"workflowId": "one", "success": false, "errors": ["no"]}')
    await bench.settle()
    error = refusal(lambda: control.deploy(ROOT, "one"))
    assert error.code is Code.BAD_REQUEST
    assert error.problems


async def test_what_is_undeployed_by_hand_stays_so_until_it_is_deployed(
    bench: Bench, control: Control
) -> None:
    await deploy(bench, "x")
    operation = control.undeploy(ROOT, "one", reason="it pays twice")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert (where(bench).status, live(bench)) == (Status.UNDEPLOYED, None)
    await deploy(bench, "y")
    assert where(bench).status is Status.UNDEPLOYED
    assert "it pays twice" in where(bench).held
    assert refusal(lambda: control.undeploy(ROOT, "one")).code is Code.CONFLICT
    operation = control.deploy(ROOT, "one")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert where(bench).status is Status.DEPLOYED


async def test_a_workflow_whose_spec_is_broken_can_be_undeployed(bench: Bench, control: Control) -> None:
    await deploy(bench, "x")
    (bench.specs / "one.json").write_text('{"workflowId": "one"}')
    await bench.settle()
    control.undeploy(ROOT, "one")
    for _ in range(3):
        await bench.settle()
    assert (where(bench).status, live(bench)) == (Status.UNDEPLOYED, None)


async def test_a_redeploy_of_what_was_rolled_back_to_is_of_that_and_lifts_nothing(
    bench: Bench, control: Control
) -> None:
    first, _ = await deploy(bench, "x", "y")
    control.rollback(ROOT, "one")
    await bench.settle()
    calls = len(bench.worker.calls)
    operation = control.redeploy(ROOT, "one", reason="it is stuck")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert (where(bench).status, where(bench).applied) == (Status.ROLLED_BACK, first)
    assert where(bench).pin is not None
    assert [call["action"] for call in bench.worker.calls[calls:]] == ["redeploy"]


async def test_a_redeploy_forgives_no_release_that_was_reverted(bench: Bench, control: Control) -> None:
    first, _ = await deploy(bench, "x", "y")
    await condemn(bench)
    control.unpin(ROOT, "one")
    await bench.settle()
    assert refusal(lambda: control.redeploy(ROOT, "one")).code is Code.CONFLICT
    assert where(bench).applied == first


# Suspension ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["one", None])
async def test_while_suspended_nothing_is_changed_and_afterwards_all_is_made_up_for(
    bench: Bench, control: Control, which: str | None
) -> None:
    (first,) = await deploy(bench, "x")
    control.suspend(ROOT, which, reason="migration")
    await deploy(bench, "y")
    assert where(bench).applied == first
    assert "suspended by root: migration; waiting: one.json changed" in where(bench).held
    view = control.workflow(VIC, "one")
    assert view["health"] == Health.SUSPENDED
    assert view["suspended"]["reason"] == "migration"
    control.resume(ROOT, which)
    await bench.settle()
    assert where(bench).applied != first
    assert where(bench).held == ""
    assert refusal(lambda: control.resume(ROOT, which)).code is Code.CONFLICT


async def test_a_suspension_survives_a_restart_and_ends_at_its_time(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        (first,) = await deploy(bench, "x")
        Control(bench.world, bench.reconciler).suspend(ROOT, None, seconds=600)
    async with _bench(tmp_path) as bench:
        await deploy(bench, "y")
        assert where(bench).applied == first
        bench.now += 601
        await bench.settle()
        assert where(bench).applied != first
        assert bench.world.suspension is None


async def test_a_suspended_workflow_is_not_changed_by_hand_unless_forced(
    bench: Bench, control: Control
) -> None:
    await deploy(bench, "x", "y")
    control.suspend(ROOT, "one", reason="hands off")
    for call in (
        lambda: control.deploy(ROOT, "one"),
        lambda: control.redeploy(ROOT, "one"),
        lambda: control.rollback(ROOT, "one"),
        lambda: control.undeploy(ROOT, "one"),
        lambda: control.pin(ROOT, "one"),
    ):
        error = refusal(call)
        assert error.code is Code.CONFLICT
        assert "hands off" in error.message
    operation = control.rollback(ROOT, "one", force=True)
    assert (await outcome(bench, operation))[0] == "succeeded"


async def test_a_suspended_workflow_that_fails_is_not_shown_as_suspended(
    bench: Bench, control: Control
) -> None:
    await deploy(bench, "x")
    control.suspend(ROOT, "one")
    bench.world.set_health("one", Health.DEGRADED, "it crashed")
    assert control.workflow(VIC, "one")["health"] == Health.DEGRADED


async def test_a_spec_can_suspend_itself(bench: Bench) -> None:
    put(bench, "one", "x")
    await bench.settle()
    first = where(bench).applied
    put(bench, "one", "y", suspend=True)
    await bench.settle()
    assert where(bench).applied == first
    assert "suspended by its spec" in where(bench).held
    put(bench, "one", "y")
    await bench.settle()
    assert where(bench).applied != first


async def test_a_condemned_release_is_not_reverted_while_suspended(bench: Bench, control: Control) -> None:
    _, second = await deploy(bench, "x", "y")
    control.suspend(ROOT, "one")
    await condemn(bench)
    assert where(bench).applied == second
    assert "suspended" in where(bench).held


# What the source no longer has -----------------------------------------------------------------


def prune(bench: Bench, **changes: Any) -> None:
    settings = replace(bench.world.config.source, **{"prune": True, "vanish_s": 5.0, **changes})
    bench.world.config = replace(bench.world.config, source=settings)


async def test_a_spec_that_is_away_for_a_moment_is_not_undeployed(bench: Bench) -> None:
    (first,) = await deploy(bench, "x")
    prune(bench)
    text = (bench.specs / "one.json").read_text()
    (bench.specs / "one.json").unlink()
    await bench.settle()
    assert where(bench).held_reason == Reason.VANISHED
    bench.now += 4
    await bench.settle()
    (bench.specs / "one.json").write_text(text)
    await bench.settle()
    assert (where(bench).held, where(bench).missing_since, live(bench)) == ("", None, first[:12])
    assert bench.history("one") == [Status.DEPLOYING, Status.DEPLOYED]


async def test_a_spec_that_stays_away_is_undeployed_and_the_reason_is_kept(bench: Bench) -> None:
    await deploy(bench, "x")
    await deploy(bench, "x", name="two")
    prune(bench)
    (bench.specs / "one.json").unlink()
    await bench.settle()
    assert bench.reconciler.next_retry() == bench.now + 5
    bench.now += 5
    await bench.settle()
    assert where(bench).status is Status.UNDEPLOYED
    assert "one.json is gone from the source and prune is on" in bench.story("one")[-2].because


async def test_what_is_held_back_can_be_confirmed_and_nothing_else(bench: Bench, control: Control) -> None:
    await deploy(bench, "x")
    await deploy(bench, "x", name="two")
    (bench.specs / "one.json").unlink()
    await bench.settle()
    assert "timewright prune one --confirm" in where(bench).held
    error = refusal(lambda: control.prune(ROOT, ["two"]))
    assert error.code is Code.CONFLICT
    (operation,) = control.prune(ROOT, ["one"])
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert where(bench).status is Status.UNDEPLOYED
    assert where(bench, "two").status is Status.DEPLOYED
    assert bench.story("one")[-1].actor == "root"


async def test_a_confirmed_removal_is_forgotten_when_the_spec_comes_back(
    bench: Bench, control: Control
) -> None:
    await deploy(bench, "x")
    (bench.specs / "one.json").unlink()
    await bench.settle()
    control.prune(ROOT, ["one"])
    bench.put("one", "x")
    await bench.settle()
    assert where(bench).prune_by == ""
    (bench.specs / "one.json").unlink()
    await bench.settle()
    assert where(bench).status is Status.DEPLOYED


async def test_nothing_can_be_confirmed_while_the_source_is_unreadable(
    bench: Bench, control: Control
) -> None:
    await deploy(bench, "x")
    bench.specs.rename(bench.specs.with_name("away"))
    await bench.settle()
    error = refusal(lambda: control.prune(ROOT, ["one"]))
    assert "can't be read completely" in error.message


async def test_a_specs_word_on_pruning_counts_without_a_new_release(bench: Bench) -> None:
    put(bench, "one", "x")
    await bench.settle()
    first = where(bench).applied
    put(bench, "one", "x", prune=False)
    await bench.settle()
    assert where(bench).applied == first
    prune(bench, vanish_s=0.0)
    (bench.specs / "one.json").unlink()
    await bench.settle()
    assert live(bench) == first[:12]


# Order -----------------------------------------------------------------------------------------


async def test_a_spec_waits_for_what_it_depends_on(bench: Bench) -> None:
    bench.compiler.gate = asyncio.Event()
    put(bench, "ledger")
    put(bench, "billing", dependsOn=["ledger"])
    await bench.reconciler.run_pass()
    await asyncio.sleep(0.1)
    await bench.reconciler.run_pass()
    assert where(bench, "billing").held == "waits for ledger, which is not deployed yet"
    assert where(bench, "billing").held_reason == Reason.WAITING_FOR_DEPENDS_ON
    assert bench.reconciler.busy() == {"ledger"}
    bench.compiler.gate.set()
    await bench.settle()
    await bench.settle()
    assert where(bench, "billing").status is Status.DEPLOYED
    assert where(bench, "billing").held == ""


async def test_the_end_of_what_is_waited_for_wakes_the_daemon(bench: Bench) -> None:
    woken: list[int] = []
    bench.reconciler._wake = lambda: woken.append(1)
    put(bench, "ledger")
    put(bench, "billing", dependsOn=["ledger"])
    await bench.settle()
    assert woken


async def test_a_spec_that_depends_on_a_failed_one_waits_and_says_for_what(bench: Bench) -> None:
    bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "no")]
    put(bench, "ledger")
    put(bench, "billing", dependsOn=["ledger"])
    await bench.settle()
    await bench.settle()
    assert where(bench, "billing").held == "waits for ledger, which failed (TypeCheckFailed)"


async def test_what_depends_on_nothing_that_is_there_or_on_itself_is_refused_alone(bench: Bench) -> None:
    put(bench, "one", dependsOn=["nobody"])
    put(bench, "two", dependsOn=["three"])
    put(bench, "three", dependsOn=["two"])
    put(bench, "four")
    await bench.settle()
    reasons = {name: where(bench, name).failure for name in ("one", "two", "three", "four")}
    assert {name: failure and failure.reason for name, failure in reasons.items()} == {
        "one": Reason.DEPENDS_ON_MISSING,
        "two": Reason.DEPENDS_ON_CYCLE,
        "three": Reason.DEPENDS_ON_CYCLE,
        "four": None,
    }
    assert "two → three → two" in where(bench, "two").because
    assert where(bench, "four").status is Status.DEPLOYED


async def test_what_others_depend_on_is_undeployed_after_them(bench: Bench) -> None:
    prune(bench, vanish_s=0.0, max_deletes=1.0, allow_empty=True)
    put(bench, "ledger")
    put(bench, "billing", dependsOn=["ledger"])
    for _ in range(2):
        await bench.settle()
    (bench.specs / "ledger.json").unlink()
    await bench.settle()
    assert where(bench, "ledger").held == "ledger.json is gone, but billing depends on it"
    assert where(bench, "billing").failure is not None
    (bench.specs / "billing.json").unlink()
    await bench.settle()
    assert where(bench, "billing").status is Status.UNDEPLOYED
    assert live(bench, "ledger") is not None
    await bench.settle()
    assert where(bench, "ledger").status is Status.UNDEPLOYED


# Drift -----------------------------------------------------------------------------------------


async def test_a_link_that_was_moved_by_hand_is_reported_and_left(bench: Bench) -> None:
    first, second = await deploy(bench, "x", "y")
    bench.world.releases.make_live("one", first[:12])
    await bench.settle()
    assert live(bench) == first[:12]
    assert where(bench).held_reason == Reason.DRIFTED
    assert f"release {second[:12]} → {first[:12]}" in where(bench).held


async def test_a_link_that_was_moved_by_hand_is_put_back_when_healing_is_on(bench: Bench) -> None:
    first, second = await deploy(bench, "x", "y")
    bench.world.config = replace(bench.world.config, drift=replace(bench.world.config.drift, heal=True))
    bench.world.releases.make_live("one", first[:12])
    await bench.settle()
    assert live(bench) == second[:12]


# Pushing specs ---------------------------------------------------------------------------------


def spec_bytes(name: str, word: str = "x", **block: Any) -> bytes:
    spec = greeter(name, word)
    spec["deploy"] = {**spec.get("deploy", {}), **block}
    return as_bytes(spec)


async def test_a_pushed_spec_is_written_and_deployed(bench: Bench, control: Control) -> None:
    await bench.settle()
    operation = await control.put_spec(ROOT, "one", spec_bytes("one"))
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert where(bench).source == "one.json"
    await control.put_spec(ROOT, "one", spec_bytes("one", "y"))
    assert [path.name for path in bench.specs.iterdir()] == ["one.json"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("one", b"{", "JSON"),
        ("two", spec_bytes("one"), "the address says 'two'"),
        ("../two", spec_bytes("one"), "must start with a letter"),
        ("one", as_bytes({"workflowId": "one", "files": {}}), "workflow"),
    ],
)
async def test_a_pushed_spec_that_is_none_changes_nothing(
    bench: Bench, control: Control, name: str, data: bytes, words: str
) -> None:
    await bench.settle()
    with pytest.raises(RequestError) as caught:
        await control.put_spec(ROOT, name, data)
    assert caught.value.code is Code.BAD_REQUEST
    assert words in str(caught.value.message)
    assert list(bench.specs.iterdir()) == []


async def test_a_pushed_spec_can_not_make_a_twin_of_another(bench: Bench, control: Control) -> None:
    await deploy(bench, "x")
    with pytest.raises(RequestError, match="only in case"):
        await control.put_spec(ROOT, "ONE", spec_bytes("ONE"))


async def test_a_deleted_spec_is_undeployed_whatever_prune_says(bench: Bench, control: Control) -> None:
    await deploy(bench, "x")
    operation = control.delete_spec(ROOT, "one")
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert list(bench.specs.iterdir()) == []
    assert live(bench) is None


# Who may ---------------------------------------------------------------------------------------


async def test_what_is_someone_elses_does_not_exist(bench: Bench, control: Control) -> None:
    put(bench, "one", owner="team-b")
    put(bench, "two", owner="team-a")
    put(bench, "three")
    await bench.settle()
    assert [view["workflowId"] for view in control.overview(ANN)["workflows"]] == ["two"]
    for name in ("one", "three", "nothing"):
        for call in (
            lambda name=name: control.workflow(ANN, name),
            lambda name=name: control.events(ANN, workflow_id=name),
            lambda name=name: control.redeploy(ANN, name),
            lambda name=name: control.undeploy(ANN, name),
            lambda name=name: control.rollback(ANN, name),
            lambda name=name: control.suspend(ANN, name),
            lambda name=name: control.prune(ANN, [name]),
        ):
            assert refusal(call).code is Code.NOT_FOUND
    assert {event["workflowId"] for event in control.events(ANN)} == {"two"}
    assert {action["workflowId"] for action in (await control.plan(ANN))["actions"]} <= {"two"}
    with pytest.raises(RequestError) as caught:
        await control.put_spec(ANN, "one", spec_bytes("one", owner="team-a"))
    assert caught.value.code is Code.NOT_FOUND


async def test_a_deployer_pushes_only_specs_of_their_own_team(bench: Bench, control: Control) -> None:
    await bench.settle()
    for block in ({}, {"owner": "team-b"}):
        with pytest.raises(RequestError, match="must be one of: team-a"):
            await control.put_spec(ANN, "one", spec_bytes("one", **block))
    operation = await control.put_spec(ANN, "one", spec_bytes("one", owner="team-a"))
    assert (await outcome(bench, operation))[0] == "succeeded"
    assert where(bench).owner == "team-a"


async def test_a_viewer_changes_nothing(bench: Bench, control: Control) -> None:
    await deploy(bench, "x")
    for call in (
        lambda: control.deploy(VIC, "one"),
        lambda: control.undeploy(VIC, "one"),
        lambda: control.suspend(VIC, None),
        lambda: control.audit(VIC),
    ):
        assert refusal(call).code is Code.FORBIDDEN


# The state file --------------------------------------------------------------------------------


async def test_what_a_record_holds_survives_the_state_file(bench: Bench, control: Control) -> None:
    await deploy(bench, "x", "y")
    control.rollback(ROOT, "one", reason="because")
    control.suspend(ROOT, "one", seconds=10)
    record = where(bench)
    again = StateFile(bench.world.state.path, read_only=True)
    assert again.record("one") == record
    again.close()


async def test_a_rollback_and_a_suspension_outlive_the_state_file(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        first, second = await deploy(bench, "x", "y")
        await condemn(bench)
        await deploy(bench, "x", name="two")
        control = Control(bench.world, bench.reconciler)
        control.suspend(ROOT, "two", reason="audit")
        control.suspend(ROOT, None, reason="frost")
    (tmp_path / "data" / "state.db").unlink()
    async with _bench(tmp_path) as bench:
        assert bench.world.suspension is not None
        assert bench.world.suspension.reason == "frost"
        bench.world.suspend(None, None, "root", "")
        await bench.settle()
        assert live(bench) == first[:12]
        assert where(bench).pin is not None
        assert ("one", second) in bench.world.bad
        suspension = where(bench, "two").suspension
        assert suspension is not None
        assert suspension.reason == "audit"


@pytest.mark.parametrize("text", ["", "[]", '{"pin": 3}', '{"pin": {"kind": "x"}}', '{"bad": [{}]}'])
async def test_a_decision_that_can_not_be_read_stops_nothing(tmp_path: Path, text: str) -> None:
    async with _bench(tmp_path) as bench:
        await deploy(bench, "x")
    (tmp_path / "data" / "state.db").unlink()
    (tmp_path / "data" / "holds" / "one.json").write_text(text)
    async with _bench(tmp_path) as bench:
        await bench.settle()
        assert where(bench).status is Status.DEPLOYED
