"""File events of the worker tree, from the kernel itself."""

from __future__ import annotations

import asyncio
import ctypes
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from timewright.edge.treewatch import ALL, TreeWatch


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
async def watch(told: list[str]) -> AsyncIterator[TreeWatch]:
    made = TreeWatch(told.append)
    made.start()
    yield made
    made.stop()


async def heard(told: list[str]) -> list[str]:
    """What came within a moment."""
    for _ in range(100):
        await asyncio.sleep(0.005)
        if told:
            break
    found = sorted(set(told))
    told.clear()
    return found


async def test_each_event_is_told_to_whom_it_is_about(
    tmp_path: Path, watch: TreeWatch, told: list[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "src").mkdir(parents=True)
        watch.watch(name, [tmp_path / name, tmp_path / name / "src"])
    (tmp_path / "two" / "src" / "x").touch()
    assert await heard(told) == ["two"]
    (tmp_path / "one" / "src").chmod(0o700)
    assert await heard(told) == ["one"]


async def test_a_link_is_told_by_its_name_and_our_temporary_ones_are_not(
    tmp_path: Path, watch: TreeWatch, told: list[str]
) -> None:
    watch.watch_links([tmp_path])
    (tmp_path / ".tmp-hello-1").symlink_to("x")
    (tmp_path / ".tmp-hello-1").rename(tmp_path / "hello")
    assert await heard(told) == ["hello"]


async def test_reading_is_no_event(tmp_path: Path, watch: TreeWatch, told: list[str]) -> None:
    (tmp_path / "f").write_text("x")
    watch.watch("one", [tmp_path])
    watch.watch_links([tmp_path])
    watch.watch("one", [tmp_path])
    for _ in range(3):
        (tmp_path / "f").read_text()
        list(tmp_path.iterdir())
    await asyncio.sleep(0.05)
    assert told == []


async def test_what_is_no_longer_kept_is_no_longer_told(
    tmp_path: Path, watch: TreeWatch, told: list[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        watch.watch(name, [tmp_path / name, tmp_path / "nowhere"])
    watch.keep(["two"])
    (tmp_path / "one" / "x").touch()
    (tmp_path / "two" / "x").touch()
    assert await heard(told) == ["two"]
    assert len(watch._owners) == 1


async def test_a_folder_that_goes_is_told_and_forgotten(
    tmp_path: Path, watch: TreeWatch, told: list[str]
) -> None:
    (tmp_path / "one").mkdir()
    watch.watch("one", [tmp_path / "one"])
    (tmp_path / "one").rmdir()
    assert await heard(told) == ["one"]
    assert watch._owners == {}


async def test_lost_events_are_told_as_all(watch: TreeWatch) -> None:
    assert watch._owner(-1, 0x4000, "") == {ALL}


@pytest.mark.parametrize(("call", "number"), [("inotify_add_watch", errno.ENOSPC), ("inotify_init1", 24)])
async def test_a_limit_that_is_reached_is_a_problem_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    watch = TreeWatch(lambda _: None)
    monkeypatch.setattr(watch._libc, call, refuse)
    watch.start()
    watch.watch("one", [tmp_path])
    watch.watch_links([tmp_path])
    watch.keep([])
    assert watch.problem.startswith("the limit of inotify ")
    assert "Try: sysctl -w fs.inotify.max_user_" in watch.problem
    watch.stop()
