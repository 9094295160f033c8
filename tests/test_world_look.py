"""What the world remembers of its last look at the tree: only what is as it was then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import publish
from tests.test_reconcile import Bench, _bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as found:
        for name in ("one", "two"):
            found.put(name, "x")
        await found.settle()
        yield found


async def test_what_is_as_it_was_is_the_very_same_object(bench: Bench) -> None:
    first, second = bench.world.look(), bench.world.look()
    assert {name: id(live) for name, live in first.items()} == {
        name: id(live) for name, live in second.items()
    }


async def test_a_link_that_was_moved_by_hand_is_seen(bench: Bench) -> None:
    bench.world.look()
    other = publish(bench.world.releases, "one", "other")
    bench.world.releases.make_live("one", other.release)
    assert bench.world.look()["one"].release == other.release
    assert bench.world.look()["two"].release != other.release


async def test_another_word_about_pruning_is_seen(bench: Bench) -> None:
    before = bench.world.look()["one"].prune
    bench.world.note(bench.world.record("one"), prune=not before)
    assert bench.world.look()["one"].prune is not before


@pytest.mark.parametrize("lost", ["the link", "the version"])
async def test_a_pool_that_no_longer_serves_it_is_seen(bench: Bench, lost: str) -> None:
    world = bench.world
    receipt = world.receipts["one"]
    key = (receipt.namespace, receipt.task_queue)
    assert world.look()["one"].pooled
    if lost == "the link":
        world.pools.drop(key)
    else:
        world.pools.make_current(key, "0" * 12)
    world.pool_links.pop(key, None)
    world.pool_versions.pop(key, None)
    assert not world.look()["one"].pooled


async def test_a_release_that_is_gone_with_its_link_is_seen_and_one_that_is_busy_is_left_alone(
    bench: Bench,
) -> None:
    bench.world.look()
    (bench.world.releases.links / "one").unlink()
    assert "one" in bench.world.look(busy={"one"})
    assert "one" not in bench.world.look()
