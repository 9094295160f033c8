"""What was prepared to be planned is built from as it is, once, and never from what has changed since."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from timewright import build, desired
from timewright.build import Builder, SupersededError
from timewright.core.prepare import Prepared, Ready, prepare
from timewright.core.state import Status
from timewright.core.worlds import Wanted
from timewright.desired import SourceReader

from tests.support import digest, prepared
from tests.test_reconcile import Bench, _bench

DATA = b"0123456789"
CONTENT = digest("content")
DEFAULTS = (("owner", "me"),)


def spec(number: int = 0) -> Prepared:
    return prepared(workflowId=f"hello-{number}")


# --- what is kept ---


def test_what_was_prepared_is_given_once() -> None:
    ready, one = Ready(), spec()
    ready.keep(DATA, CONTENT, DEFAULTS, one)
    assert ready.take(one.digest, CONTENT, DEFAULTS) is one
    assert ready.take(one.digest, CONTENT, DEFAULTS) is None


@pytest.mark.parametrize(
    ("its_digest", "content", "defaults"),
    [
        (digest("other"), CONTENT, DEFAULTS),
        ("", digest("other content"), DEFAULTS),
        ("", CONTENT, ()),
        ("", CONTENT, (("owner", "you"),)),
        ("", "", ()),
    ],
    ids=["digest", "content", "no defaults", "defaults", "nothing"],
)
def test_what_was_made_of_something_else_is_not_given(
    its_digest: str, content: str, defaults: tuple[tuple[str, Any], ...]
) -> None:
    ready, one = Ready(), spec()
    ready.keep(DATA, CONTENT, DEFAULTS, one)
    assert ready.take(its_digest or one.digest, content, defaults) is None


def test_an_empty_one_has_nothing_to_give() -> None:
    assert Ready().take("", "", ()) is None
    assert Ready().take(spec().digest, CONTENT, DEFAULTS) is None


def kept(ready: Ready, *specs: Prepared) -> list[bool]:
    """Which of them are there; all are taken."""
    return [ready.take(one.digest, CONTENT, ()) is one for one in specs]


def test_the_earliest_stay_where_there_are_too_many() -> None:
    ready, specs = Ready(limit=25), [spec(number) for number in range(4)]
    for one in specs:
        ready.keep(DATA, CONTENT, (), one)
    ready.keep(DATA[:5], CONTENT, (), small := spec(9))
    assert kept(ready, *specs, small) == [True, True, False, False, True]


def test_room_is_given_back() -> None:
    ready, specs = Ready(limit=20), [spec(number) for number in range(3)]
    for turn in range(3):
        for one in specs:
            ready.keep(DATA, CONTENT, (), one)
        assert ready.take(specs[0].digest, digest("other"), ()) is None  # given or not, it goes
        ready.keep(DATA, CONTENT, (), specs[2])
        if turn == 1:
            ready.clear()
            assert kept(ready, *specs) == [False] * 3
        else:
            assert kept(ready, *specs) == [False, True, True]


def test_the_same_release_twice_counts_once_and_is_the_later() -> None:
    ready, first, again, other = Ready(limit=20), spec(), spec(), spec(1)
    assert first.digest == again.digest
    ready.keep(DATA, CONTENT, (), first)
    ready.keep(DATA, CONTENT, (), again)
    ready.keep(DATA, CONTENT, (), other)
    assert kept(ready, again, other) == [True, True]


def test_what_takes_the_place_of_itself_and_is_too_big_is_gone() -> None:
    ready, one = Ready(limit=10), spec()
    ready.keep(DATA, CONTENT, (), one)
    ready.keep(DATA + DATA, CONTENT, (), one)
    assert kept(ready, one) == [False]
    ready.keep(DATA, CONTENT, (), one)
    assert kept(ready, one) == [True]


# --- from the plan to the build ---


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        yield found


class Counted:
    """How often specs were prepared: to be planned, and to be built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.planned = self.built = 0

        def to_plan(*args: Any, **kwargs: Any) -> Prepared:
            self.planned += 1
            return prepare(*args, **kwargs)

        def to_build(*args: Any, **kwargs: Any) -> Prepared:
            self.built += 1
            return prepare(*args, **kwargs)

        monkeypatch.setattr(desired, "prepare", to_plan)
        monkeypatch.setattr(build, "prepare", to_build)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


async def test_a_deploy_prepares_a_spec_once(bench: Bench, counted: Counted) -> None:
    for turn, word in enumerate(("a", "b"), 1):
        for name in ("one", "two"):
            bench.put(name, word)
        await bench.settle()
        assert (counted.planned, counted.built) == (2 * turn, 0)
    assert bench.compiler.jobs == 4
    for name in ("one", "two"):
        record = bench.world.record(name)
        assert record.status is Status.DEPLOYED
        receipt = bench.world.receipts[name]
        assert receipt.digest == record.applied
        written = bench.world.releases.path(name, receipt.digest[:12]) / "src" / "workflow.ts"
        assert "`b ${" in written.read_text()


async def planned(bench: Bench, name: str) -> Wanted:
    """What the plan sees of a workflow, read by a reader of its own."""
    found = await SourceReader(bench.world).read()
    return next(one for one in found.wanted if one.workflow_id == name)


async def test_what_was_let_go_of_is_prepared_again(bench: Bench, counted: Counted) -> None:
    bench.put("one", "a")
    wanted = await planned(bench, "one")
    bench.world.ready.clear()
    receipt = await Builder(bench.world).release(wanted, "r1", {})
    assert receipt.digest == wanted.digest
    assert (counted.planned, counted.built) == (1, 1)


async def test_a_file_that_changed_after_it_was_planned_is_not_built(bench: Bench, counted: Counted) -> None:
    bench.put("one", "a")
    wanted = await planned(bench, "one")
    bench.put("one", "b")
    with pytest.raises(SupersededError):
        await Builder(bench.world).release(wanted, "r1", {})
    (bench.specs / "one.json").unlink()
    with pytest.raises(SupersededError):
        await Builder(bench.world).release(wanted, "r1", {})
    assert bench.world.releases.kept("one") == []
    bench.put("one", "a")  # and back: what was kept is still that
    receipt = await Builder(bench.world).release(wanted, "r1", {})
    assert receipt.digest == wanted.digest
    assert (counted.planned, counted.built) == (1, 0)


async def test_a_policy_that_changed_gives_another_release(bench: Bench, counted: Counted) -> None:
    """The file is the same, but what is made of it isn't."""
    bench.put("one", "a")
    before = await planned(bench, "one")
    (bench.specs / "all.policy.yaml").write_text("deploy: {namespace: other}\n")
    after = await planned(bench, "one")
    assert (before.content, before.defaults == after.defaults) == (after.content, False)
    receipt = await Builder(bench.world).release(after, "r1", {})
    assert (receipt.digest, receipt.namespace) == (after.digest, "other")
    assert (counted.planned, counted.built) == (2, 0)


async def test_nothing_is_kept_of_a_spec_whose_release_is_live(bench: Bench, counted: Counted) -> None:
    bench.put("live", "a")
    await bench.settle()
    assert bench.world.record("live").status is Status.DEPLOYED
    bench.put("new", "a")
    bench.world.state.update_file_cache(
        {}, {"live.json", "new.json"}
    )  # as after an upgrade: all is read again
    live, new = await planned(bench, "live"), await planned(bench, "new")
    assert counted.planned == 3
    ready = bench.world.ready
    assert ready.take(live.digest, live.content, live.defaults) is None
    found = ready.take(new.digest, new.content, new.defaults)
    assert found is not None
    assert found.spec.workflow_id == "new"
