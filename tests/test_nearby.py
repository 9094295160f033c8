"""Passes over the few specs that events or people named: what they do, and what they leave to whole ones."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.control import Actor, Control, Role
from timewright.core.state import Status
from timewright.waking import Named, Wake

from tests.e2e.specs import greeter
from tests.test_reconcile import Bench, _bench

ROOT = Actor("root", Role.ADMIN)


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Two workflows, deployed, and a pass that found nothing to do."""
    async with _bench(tmp_path) as made:
        made.put("one", "first")
        made.put("two", "first")
        await made.settle()
        await made.settle()
        yield made


def files(*names: str) -> Named:
    return Named(files=frozenset(f"{name}.json" for name in names))


async def nearby(bench: Bench, named: Named) -> bool:
    done = await bench.reconciler.run_nearby(named)
    await bench.reconciler.settled()
    return done


def word(bench: Bench, name: str) -> str:
    """The source that is live."""
    return (bench.world.releases.links / name / "src" / "workflow.ts").read_text()


async def test_a_named_change_is_deployed(bench: Bench) -> None:
    bench.put("one", "second")
    assert await nearby(bench, files("one"))
    assert "second" in word(bench, "one")
    assert bench.world.record("one").status is Status.DEPLOYED


async def test_what_nobody_named_waits_for_a_whole_pass(bench: Bench) -> None:
    bench.put("one", "second")
    bench.put("two", "second")
    assert await nearby(bench, files("one"))
    assert "first" in word(bench, "two")
    await bench.settle()
    assert "second" in word(bench, "two")
    assert bench.history("one") == ["DEPLOYING", "DEPLOYED"] * 2


async def test_a_whole_pass_finds_nothing_left_to_do(bench: Bench) -> None:
    bench.put("one", "second")
    assert await nearby(bench, files("one"))
    report = await bench.reconciler.run_pass()
    assert report.actions == ()
    cached = bench.world.state.file_cache()["one.json"]
    assert cached["wanted"]["digest"] == bench.world.record("one").applied, "the next start need not read it"


async def test_it_records_the_revision_that_a_whole_pass_would(bench: Bench) -> None:
    bench.put("one", "second")
    assert await nearby(bench, files("one"))
    report = await bench.reconciler.run_pass()
    assert bench.world.record("one").live_revision == report.desired.revision


async def test_a_file_that_was_only_touched_needs_nothing(bench: Bench) -> None:
    (bench.specs / "one.json").touch()
    assert await nearby(bench, files("one"))
    assert bench.history("one") == ["DEPLOYING", "DEPLOYED"]


async def test_a_new_file_takes_a_whole_pass(bench: Bench) -> None:
    bench.put("three", "first")
    assert not await nearby(bench, files("three"))
    assert "three" not in bench.world.records


async def test_a_file_that_is_gone_takes_a_whole_pass(bench: Bench) -> None:
    (bench.specs / "one.json").unlink()
    assert not await nearby(bench, files("one"))
    assert "first" in word(bench, "one")


@pytest.mark.parametrize("text", ['{"workflowId": "one"}', '{"workflowId": "', ""])
async def test_a_broken_file_takes_a_whole_pass(bench: Bench, text: str) -> None:
    (bench.specs / "one.json").write_text(text)
    assert not await nearby(bench, files("one"))
    assert bench.world.record("one").status is Status.DEPLOYED
    assert "first" in word(bench, "one")


async def test_a_link_in_its_place_takes_a_whole_pass(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(greeter("one", "secret")))
    (bench.specs / "one.json").unlink()
    (bench.specs / "one.json").symlink_to(tmp_path / "secret.json")
    assert not await nearby(bench, files("one"))
    assert "first" in word(bench, "one")


async def test_a_file_that_asks_for_another_workflow_takes_a_whole_pass(bench: Bench) -> None:
    (bench.specs / "one.json").write_text(json.dumps(greeter("other", "second")))
    assert not await nearby(bench, files("one"))
    assert "other" not in bench.world.records


async def test_one_of_several_that_takes_a_whole_pass_takes_all_along(bench: Bench) -> None:
    bench.put("one", "second")
    bench.put("three", "first")
    assert not await nearby(bench, files("one", "three"))
    assert "first" in word(bench, "one")


async def test_a_source_that_is_away_takes_a_whole_pass(bench: Bench) -> None:
    bench.specs.rename(bench.specs.with_name("away"))
    assert not await nearby(bench, files("one"))
    await bench.settle()
    assert "first" in word(bench, "one")


async def test_a_newer_change_overtakes_an_older_one_that_is_under_way(bench: Bench) -> None:
    gate = bench.compiler.gate = asyncio.Event()
    bench.put("one", "second")
    assert await bench.reconciler.run_nearby(files("one"))
    await asyncio.sleep(0.05)
    bench.put("one", "third")
    assert await bench.reconciler.run_nearby(files("one"))
    gate.set()
    await bench.reconciler.settled()
    assert "third" in word(bench, "one")
    await bench.settle()
    assert bench.world.record("one").status is Status.DEPLOYED


async def test_a_rollback_goes_on_at_once_and_is_told_as_done_by_the_whole_pass(bench: Bench) -> None:
    bench.put("one", "second")
    await bench.settle()
    woken: list[str] = []
    bench.reconciler.wake_for = woken.append
    operation = Control(bench.world, bench.reconciler).rollback(ROOT, "one")
    assert woken == ["one"]
    assert await nearby(bench, Named(workflows=frozenset(woken)))
    assert "first" in word(bench, "one")
    assert bench.world.record("one").status is Status.ROLLED_BACK
    await bench.settle()
    found = await bench.reconciler.operations.finished(operation.id, 5)
    assert found is not None
    assert found.state == "succeeded"


async def test_a_change_after_a_rollback_ends_it(bench: Bench) -> None:
    bench.put("one", "second")
    await bench.settle()
    Control(bench.world, bench.reconciler).rollback(ROOT, "one")
    await bench.settle()
    bench.put("one", "third")
    assert await nearby(bench, files("one"))
    assert "third" in word(bench, "one")
    assert bench.world.record("one").pin is None


async def test_a_workflow_whose_spec_is_gone_takes_a_whole_pass(bench: Bench) -> None:
    (bench.specs / "one.json").unlink()
    await bench.settle()
    assert not await nearby(bench, Named(workflows=frozenset(["one"])))


def flows(*names: str) -> Named:
    return Named(workflows=frozenset(names))


async def passes(bench: Bench, named: Named) -> None:
    """As the daemon goes on: over what was named, if that will do, and over all."""
    await nearby(bench, named)
    for _ in range(3):
        await bench.settle()


async def test_a_spec_that_was_deleted_brings_back_no_release_that_was_rolled_back(bench: Bench) -> None:
    """The person's word comes before the event of the file."""
    bench.put("one", "second")
    await bench.settle()
    control = Control(bench.world, bench.reconciler)
    control.rollback(ROOT, "one")
    await bench.settle()
    before = len(bench.history("one"))
    operation = control.delete_spec(ROOT, "one")
    await passes(bench, flows("one"))
    assert bench.history("one")[before:] == ["UNDEPLOYING", "UNDEPLOYED"]
    found = await bench.reconciler.operations.finished(operation.id, 5)
    assert found is not None
    assert found.state == "succeeded"


async def test_a_spec_that_was_deleted_brings_back_nothing_that_was_undeployed(bench: Bench) -> None:
    control = Control(bench.world, bench.reconciler)
    control.undeploy(ROOT, "one")
    await bench.settle()
    before = len(bench.history("one"))
    control.delete_spec(ROOT, "one")
    await passes(bench, flows("one"))
    assert bench.history("one")[before:] == []


async def test_what_a_person_asks_for_is_about_the_spec_as_it_is_now(bench: Bench) -> None:
    control = Control(bench.world, bench.reconciler)
    control.undeploy(ROOT, "one")
    await bench.settle()
    bench.put("one", "second")
    before = len(bench.history("one"))
    control.deploy(ROOT, "one")
    assert await nearby(bench, flows("one"))
    assert "second" in word(bench, "one")
    assert bench.history("one")[before:] == ["DEPLOYING", "DEPLOYED"]


async def test_a_deploy_by_force_of_a_mended_spec_forgives_no_bad_release(bench: Bench) -> None:
    bench.put("one", "second")
    await bench.settle()
    bench.world.note(bench.world.record("one"), condemned="it crashed")
    await bench.settle()
    bad = dict(bench.world.bad)
    assert bad
    bench.put("one", "third")
    Control(bench.world, bench.reconciler).deploy(ROOT, "one", force=True)
    assert await nearby(bench, flows("one"))
    assert "third" in word(bench, "one")
    assert bench.world.bad == bad


async def test_files_that_became_twins_in_one_burst_take_a_whole_pass(bench: Bench) -> None:
    (bench.specs / "two.json").write_text(json.dumps(greeter("one", "third")))
    bench.put("one", "second")
    assert not await nearby(bench, files("one", "two"))
    await bench.settle()
    assert "first" in word(bench, "one")


async def test_after_a_whole_pass_that_failed_nothing_is_planned_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was woken for is known to nobody else."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (bench.specs / "twin.json").write_text(json.dumps(greeter("one", "third")))
    with monkeypatch.context() as patch:
        patch.setattr(bench.world._links, "read", fails)
        with pytest.raises(OSError, match="Input/output"):
            await bench.reconciler.run_pass()
    bench.put("one", "second")
    assert not await nearby(bench, files("one"))
    await bench.settle()
    assert "first" in word(bench, "one")


async def test_what_was_read_long_after_it_was_written_is_kept_for_the_next_start(bench: Bench) -> None:
    bench.put("one", "second")
    await asyncio.sleep(0.05)  # its stamp can be believed, so the whole pass reads nothing new
    assert await nearby(bench, files("one"))
    await bench.settle()
    cached = bench.world.state.file_cache()["one.json"]
    assert cached["wanted"]["digest"] == bench.world.record("one").applied


async def test_a_pin_whose_time_is_over_is_told(bench: Bench) -> None:
    bench.put("one", "second")
    await bench.settle()
    Control(bench.world, bench.reconciler).pin(ROOT, "one", seconds=10)
    await bench.settle()
    bench.now += 11
    bench.put("one", "third")
    assert await nearby(bench, files("one"))
    told = [event for event in bench.world.state.history("one") if event.kind == "pin"]
    assert (told[-1].new, "its time is over" in told[-1].because) == ("", True)


async def test_a_pin_that_a_change_ended_is_no_decision_any_more(bench: Bench) -> None:
    """Or a state file that is lost later would bring it back."""
    bench.put("one", "second")
    await bench.settle()
    Control(bench.world, bench.reconciler).rollback(ROOT, "one")
    await bench.settle()
    assert [name for name, _ in bench.world.holds.read()] == ["one"]
    bench.put("one", "third")
    await bench.settle()
    assert [name for name, _ in bench.world.holds.read()] == []


async def test_a_tree_that_cannot_be_read_has_lost_no_release(bench: Bench) -> None:
    links = bench.world.releases.links
    links.rename(links.with_name("away"))
    links.symlink_to(links.name)
    (bench.specs / "one.json").touch()
    before = bench.history("one")
    with pytest.raises(OSError, match="symbolic links"):
        await nearby(bench, files("one"))
    links.unlink()
    links.with_name("away").rename(links)
    assert bench.history("one") == before


async def test_nothing_is_planned_alone_before_a_whole_pass(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        bench.put("one", "first")
        assert not await nearby(bench, files("one"))
        assert bench.world.records == {}


async def test_a_wake_remembers_what_it_was_about() -> None:
    wake = Wake()
    assert wake.take() == Named()
    wake.files(["a.json"])
    wake.workflow("one")
    assert wake.is_set()
    assert await wake.wait()
    assert wake.take() == Named(frozenset(["a.json"]), frozenset(["one"]))
    assert not wake.is_set()


@pytest.mark.parametrize("everything", [Wake.set, lambda wake: wake.files([])], ids=["set", "no names"])
async def test_a_wake_for_everything_names_nothing(everything: object) -> None:
    wake = Wake()
    wake.files(["a.json"])
    everything(wake)  # type: ignore[operator]
    wake.workflow("one")
    assert wake.is_set()
    assert not wake.take()
    wake.files(["b.json"])
    assert wake.take().files == {"b.json"}, "what was is forgotten"
