"""The watcher on real inotify, with the faults made for real. Rows of the fault matrix in brackets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from timewright.core.document import Limits
from timewright.edge import watch
from timewright.edge.source import scan
from timewright.edge.watch import Watcher, survey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

DAEMON = str(Path(watch.__file__).parents[2])
QUIET = 0.3  # seconds without a wake that count as none; a wake takes 3 ms


class Wakes:
    """Counts the wakes of one watcher and waits for them."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.named: list[frozenset[str]] = []
        self._event = asyncio.Event()

    def __call__(self, names: frozenset[str]) -> None:
        self.times.append(time.monotonic())
        self.named.append(names)
        self._event.set()

    async def settle(self) -> None:
        """Wait until it is quiet, and forget what was."""
        while await self.came(QUIET):
            pass

    async def came(self, seconds: float = 5) -> bool:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Rig(SimpleNamespace):
    wakes: Wakes
    watcher: Watcher
    root: Path


Start = Callable[[Path], Awaitable[Rig]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "specs"
    path.mkdir()
    return path


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    """Start watchers that are stopped when the test ends."""
    watchers: list[Watcher] = []

    async def begin(root: Path) -> Rig:
        wakes = Wakes()
        watcher = Watcher(root, wakes, retry_s=0)
        watchers.append(watcher)
        await watcher.start()
        assert watcher.problem == ""
        assert watcher.mode == "inotify"
        return Rig(wakes=wakes, watcher=watcher, root=root)

    yield begin
    for watcher in watchers:
        await watcher.stop()


# What wakes --------------------------------------------------------------------------------------


def _create(root: Path) -> None:
    (root / "new.json").write_text("{}")


def _overwrite(root: Path) -> None:
    (root / "x.json").write_text("two")


def _rename_over(root: Path) -> None:
    (root / ".x.tmp").write_text("two")
    (root / ".x.tmp").rename(root / "x.json")


def _delete(root: Path) -> None:
    (root / "x.json").unlink()


def _move_out(root: Path) -> None:
    (root / "x.json").rename(root.parent / "x.json")


def _move_in(root: Path) -> None:
    (root.parent / "ready.yaml").rename(root / "ready.yaml")


def _case_rename(root: Path) -> None:
    (root / "x.json").rename(root / "X.json")


def _nested(root: Path) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "c" / "x.json").write_text("{}")


def _directory_in(root: Path) -> None:
    (root.parent / "team").rename(root / "team")


def _link(root: Path) -> None:
    (root / "y.json").symlink_to("x.json")


def _like_vim(root: Path) -> None:
    (root / "x.json").rename(root / "x.json~")
    (root / "x.json").write_text("two")
    (root / "x.json~").unlink()


@pytest.mark.parametrize(
    "change",
    [
        _create, _overwrite, _rename_over, _delete, _move_out, _move_in, _case_rename, _nested,
        _directory_in, _link, _like_vim,
    ],
)  # fmt: skip
async def test_each_way_to_change_a_spec_wakes(
    start: Start, root: Path, change: Callable[[Path], None]
) -> None:
    """[D3, D9, D11]"""
    (root / "x.json").write_text("one")
    (root.parent / "ready.yaml").write_text("a: 1")
    (root.parent / "team").mkdir()
    (root.parent / "team" / "t.json").write_text("{}")
    rig = await start(root)
    change(root)
    assert await rig.wakes.came()


@pytest.mark.parametrize(
    ("change", "name"),
    [(_create, "new.json"), (_overwrite, "x.json"), (_rename_over, "x.json"), (_move_in, "ready.yaml")],
)
async def test_a_spec_that_was_written_or_came_is_named(
    start: Start, root: Path, change: Callable[[Path], None], name: str
) -> None:
    (root / "x.json").write_text("one")
    (root.parent / "ready.yaml").write_text("a: 1")
    rig = await start(root)
    change(root)
    await rig.wakes.settle()
    assert set(rig.wakes.named) == {frozenset([name])}


async def test_a_spec_is_named_by_its_path_in_the_source(start: Start, root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    rig = await start(root)
    (root / "a" / "b" / "x.json").write_text("{}")
    await rig.wakes.settle()
    assert set(rig.wakes.named) == {frozenset(["a/b/x.json"])}


def _policy(root: Path) -> None:
    (root / "team.policy.yaml").write_text("defaults: {}")


@pytest.mark.parametrize("change", [_delete, _move_out, _case_rename, _directory_in, _like_vim, _policy])
async def test_where_anything_else_happened_nothing_is_named(
    start: Start, root: Path, change: Callable[[Path], None]
) -> None:
    (root / "x.json").write_text("one")
    (root.parent / "team").mkdir()
    (root.parent / "team" / "t.json").write_text("{}")
    rig = await start(root)
    change(root)
    await rig.wakes.settle()
    assert frozenset() in rig.wakes.named


async def test_a_burst_of_many_files_names_none(start: Start, root: Path) -> None:
    rig = await start(root)
    for number in range(50):
        (root / f"{number}.json").write_text("{}")
    await rig.wakes.settle()
    assert frozenset() in rig.wakes.named


@pytest.mark.parametrize("change", [_nested, _directory_in])
async def test_files_below_a_directory_that_came_later_wake_too(
    start: Start, root: Path, change: Callable[[Path], None]
) -> None:
    """[D9]"""
    (root.parent / "team").mkdir()
    rig = await start(root)
    change(root)
    await rig.wakes.settle()
    deepest = root / "a" / "b" / "c" if change is _nested else root / "team"
    (deepest / "late.json").write_text("{}")
    assert await rig.wakes.came()


async def test_a_file_moved_out_holds_nothing_back(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watchdog would hold it, and all behind it, back for 0.5 s, here for a minute: vim's backup folder."""
    grouper = pytest.importorskip(
        "watchdog.observers.inotify_move_event_grouper", reason="watchdog 6 has no cure"
    ).InotifyMoveEventGrouper
    monkeypatch.setattr(grouper, "delay", 60.0)
    (root / "x.json").write_text("one")
    rig = await start(root)
    _move_out(root)
    assert await rig.wakes.came()


async def test_what_a_scan_ignores_wakes_nobody(start: Start, root: Path) -> None:
    (root / "node_modules" / "pkg").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "x.json").write_text("{}")
    rig = await start(root)
    names = (".hidden.json", "x.json~", ".x.json.swp", "4913", "x.json.part", "README.md")
    for name in (*names, ".git/x.json", "node_modules/pkg/x.json"):
        (root / name).write_text("{}")
    (root / ".cache").mkdir()
    (root / "x.json").touch()
    (root / "x.json").chmod(0o600)
    assert not await rig.wakes.came(QUIET)
    (root / "x.json").write_text("two")
    assert await rig.wakes.came()


async def test_our_own_scans_wake_nobody(start: Start, root: Path) -> None:
    """[D16] No OPEN, ACCESS or CLOSE_NOWRITE is asked for, or each scan would lead to the next."""
    for number in range(20):
        (root / f"{number}.json").write_text("{}")
    rig = await start(root)
    for _ in range(5):
        assert scan(root, {}, limits=Limits(), now_ns=time.time_ns()).read == 20
    assert not await rig.wakes.came(QUIET)


async def test_a_configmap_swap_wakes(start: Start, root: Path) -> None:
    """[D5] All of its names are hidden."""
    for version in ("..2026_1", "..2026_2"):
        (root / version).mkdir()
        (root / version / "x.json").write_text(version)
    (root / "..data").symlink_to("..2026_1")
    (root / "x.json").symlink_to("..data/x.json")
    rig = await start(root)
    (root / "..data_tmp").symlink_to("..2026_2")
    (root / "..data_tmp").rename(root / "..data")
    assert await rig.wakes.came()


@pytest.mark.parametrize(
    "name", [b"bad\xff.json", b"two\nlines.json", b"\x1b[31m.json", b"x" * 250 + b".json"]
)
async def test_no_name_ends_the_watching(start: Start, root: Path, name: bytes) -> None:
    """[D13] One such name kills watchfiles for good."""
    rig = await start(root)
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    path.write_text("{}")
    assert await rig.wakes.came()
    await rig.wakes.settle()
    path.unlink()
    assert await rig.wakes.came()
    await rig.wakes.settle()
    (root / "good.json").write_text("{}")
    assert await rig.wakes.came()


# How often ---------------------------------------------------------------------------------------


async def test_a_burst_wakes_at_once_then_seldom_and_once_after_its_end(start: Start, root: Path) -> None:
    """[D14] 5,000 specs at once, another 1,000 changes to one of them."""
    rig = await start(root)
    deadline = time.monotonic() + 60

    def write() -> float:
        """The last changes go on until a wake is seen: one that comes after a burst only is never seen."""
        for number in range(5000):
            (root / f"{number}.json").write_text("{}")
        left = 1000
        while left > 0 or (not rig.wakes.times and time.monotonic() < deadline):
            (root / "0.json").write_text(str(left))
            left -= 1
        return time.monotonic()

    ended = await asyncio.to_thread(write)
    await rig.wakes.settle()
    times = rig.wakes.times
    assert times[0] < ended
    assert times[-1] >= ended
    assert len(times) <= (times[-1] - times[0]) / 0.05 + 2


async def test_a_lone_event_wakes_once(start: Start, root: Path) -> None:
    (root / "x.json").write_text("{}")
    rig = await start(root)
    (root / "x.json").unlink()
    await rig.wakes.settle()
    assert len(rig.wakes.times) == 1


# Roots that move ---------------------------------------------------------------------------------


async def _writes_wake(rig: Rig, path: Path) -> bool:
    await rig.wakes.settle()
    (path / "later.json").write_text("{}")
    return await rig.wakes.came()


async def test_a_missing_root_is_no_problem_and_is_followed_when_it_appears(
    start: Start, tmp_path: Path
) -> None:
    """[D7]"""
    rig = await start(tmp_path / "a" / "b" / "specs")
    (tmp_path / "a" / "b" / "specs").mkdir(parents=True)
    assert await rig.wakes.came()
    assert await _writes_wake(rig, tmp_path / "a" / "b" / "specs")


async def test_a_root_deleted_and_made_again_is_followed(start: Start, root: Path) -> None:
    """[D7]"""
    (root / "x.json").write_text("{}")
    rig = await start(root)
    shutil.rmtree(root)
    assert await rig.wakes.came()
    await rig.wakes.settle()
    assert rig.watcher.mode == "inotify"
    root.mkdir()
    assert await rig.wakes.came()
    assert await _writes_wake(rig, root)


async def test_a_root_renamed_away_is_left_and_its_successor_followed(start: Start, root: Path) -> None:
    """[D7]"""
    rig = await start(root)
    root.rename(root.parent / "old")
    assert await rig.wakes.came()
    root.mkdir()
    assert await _writes_wake(rig, root)
    await rig.wakes.settle()
    (root.parent / "old" / "stale.json").write_text("{}")
    assert not await rig.wakes.came(QUIET)


@pytest.mark.parametrize("below", ["", "team/specs"])
async def test_a_swap_of_a_link_on_the_way_is_followed(start: Start, tmp_path: Path, below: str) -> None:
    """[D6] git-sync: watching through the link gives no event in any library."""
    for name in ("one", "two"):
        (tmp_path / "trees" / name / below).mkdir(parents=True)
    (tmp_path / "current").symlink_to("trees/one")
    rig = await start(tmp_path / "current" / below)
    (tmp_path / "next").symlink_to("trees/two")
    (tmp_path / "next").rename(tmp_path / "current")
    assert await rig.wakes.came()
    assert await _writes_wake(rig, tmp_path / "trees" / "two" / below)
    await rig.wakes.settle()
    (tmp_path / "trees" / "one" / below / "stale.json").write_text("{}")
    assert not await rig.wakes.came(QUIET)


async def test_a_root_moved_with_its_grandparent_is_found_by_refresh(start: Start, tmp_path: Path) -> None:
    """[D7] Nobody watches that high, so the periodic scan's check has to see it."""
    root = tmp_path / "a" / "b" / "specs"
    root.mkdir(parents=True)
    rig = await start(root)
    assert not await rig.watcher.refresh()
    (tmp_path / "a").rename(tmp_path / "old")
    root.mkdir(parents=True)
    assert not await rig.wakes.came(QUIET)
    assert await rig.watcher.refresh()
    assert await _writes_wake(rig, root)
    assert not await rig.watcher.refresh()


async def test_a_swap_while_we_attach_is_not_missed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "next").symlink_to("two")
    attach = watch._attach

    def late(*args: Any) -> Any:
        if (tmp_path / "next").is_symlink():
            (tmp_path / "next").rename(tmp_path / "current")
        return attach(*args)

    monkeypatch.setattr(watch, "_attach", late)
    rig = await start(tmp_path / "current")
    (tmp_path / "two" / "x.json").write_text("{}")
    assert await rig.wakes.came()


async def test_a_root_that_is_a_loop_or_a_file_is_no_crash(start: Start, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for name in ("loop", "file"):
        rig = await start(tmp_path / name)
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        assert await rig.wakes.came()
        assert await _writes_wake(rig, tmp_path / name)


async def test_a_wake_comes_after_a_new_root_is_watched(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written between the first wake and the new watch would be lost until the next scan."""
    rig = await start(root)
    attach = watch._attach
    watched: list[float] = []

    def slowly(*args: Any) -> Any:
        time.sleep(0.2)
        attached = attach(*args)
        watched.append(time.monotonic())
        return attached

    monkeypatch.setattr(watch, "_attach", slowly)
    root.rename(root.parent / "old")
    root.mkdir()
    await rig.wakes.settle()
    assert watched
    assert rig.wakes.times[-1] > watched[-1]


def test_a_survey_names_each_entry_whose_swap_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "trees" / "one" / "specs").mkdir(parents=True)
    (tmp_path / "current").symlink_to(tmp_path / "trees" / ".." / "trees" / "one")
    found = survey(tmp_path / "current" / "specs")
    real = tmp_path / "trees" / "one" / "specs"
    assert found.real == real
    assert found.identity == (real.stat().st_dev, real.stat().st_ino)
    assert found.anchors == ((tmp_path, "current"), (real.parent, "specs"))


# Deafness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["InotifyFD", "InotifyEmitter"])
async def test_a_thread_of_watchdog_that_died_is_noticed_by_refresh(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rig = await start(root)
    attached = rig.watcher._attached
    assert attached is not None
    victims = [thread for thread in attached.threads if type(thread).__name__ == kind]
    if not victims:
        pytest.skip(f"this watchdog has no {kind}")
    for victim in victims:  # leaves its loop at the next event, and cleans nothing up
        monkeypatch.setattr(victim, "should_keep_running", lambda: False)
    (root / "x.json").write_text("{}")
    await rig.wakes.settle()
    assert not all(victim.is_alive() for victim in victims)
    assert await rig.watcher.refresh()
    assert await _writes_wake(rig, root)


PRELUDE = """
import asyncio, json, logging, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from timewright.core.document import Limits
from timewright.edge.source import scan
from timewright.edge.watch import Watcher
logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
root = Path(sys.argv[1])
wake = None

def say(**facts):
    print(json.dumps(facts), flush=True)

async def main():
    global wake
    wake = asyncio.Event()
    watcher = Watcher(root, lambda _: wake.set(), retry_s=0)
    await watcher.start()
    await story(watcher)
    await watcher.stop()

def state(watcher):
    return {"mode": watcher.mode, "problem": watcher.problem}
"""


def run_confined(setup: str, story: str, root: Path, *flags: str) -> list[dict[str, Any]]:
    """Run a story in namespaces of its own, after `setup` (shell); returns what it says."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", *flags, "true"], check=False).returncode:
        pytest.skip(f"unshare {' '.join(flags)} is not permitted here")
    script = PRELUDE + story + "\nasyncio.run(main())\n"
    shell = f'{setup} && exec "$0" -W error -c "$@"'
    command = ["unshare", *flags, "sh", "-c", shell, sys.executable, script, str(root), DAEMON]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_a_reached_watch_limit_at_start_means_polling_and_says_the_cure(root: Path) -> None:
    """[D2] Watchdog starts without an error then, and hears half."""
    for number in range(8):
        (root / str(number)).mkdir()
    (said,) = run_confined(
        "echo 4 > /proc/sys/user/max_inotify_watches",
        "async def story(watcher): say(**state(watcher))",
        root,
        "-Ur",
    )
    assert said["mode"] == "polling"
    assert "sysctl -w fs.inotify.max_user_watches=" in said["problem"]


def test_a_watch_limit_reached_later_means_polling_until_there_is_room_again(root: Path) -> None:
    """[D2]"""
    story = """
async def story(watcher):
    say(**state(watcher))
    for number in range(8):
        (root / str(number)).mkdir()
    await asyncio.sleep(0.2)
    await watcher.refresh()
    say(**state(watcher))
    for number in range(8):
        (root / str(number)).rmdir()
    await watcher.refresh()
    say(**state(watcher))
    wake.clear()
    (root / "x.json").write_text("{}")
    await asyncio.wait_for(wake.wait(), 5)
"""
    before, full, after = run_confined("echo 4 > /proc/sys/user/max_inotify_watches", story, root, "-Ur")
    assert before == {"mode": "inotify", "problem": ""}
    assert full["mode"] == "polling"
    assert "max_user_watches" in full["problem"]
    assert after == {"mode": "inotify", "problem": ""}


def test_a_reached_instance_limit_means_polling_and_says_the_cure(root: Path) -> None:
    """[D2, C6]"""
    (said,) = run_confined(
        "echo 0 > /proc/sys/user/max_inotify_instances",
        "async def story(watcher): say(**state(watcher))",
        root,
        "-Ur",
    )
    assert said["mode"] == "polling"
    assert "sysctl -w fs.inotify.max_user_instances=" in said["problem"]


def test_a_mount_over_the_root_is_found_by_refresh(root: Path) -> None:
    """[D7] It sends no event at all."""
    story = """
import subprocess
async def story(watcher):
    subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
    await asyncio.sleep(0.2)
    say(woken=wake.is_set(), again=await watcher.refresh())
    (root / "x.json").write_text("{}")
    await asyncio.wait_for(wake.wait(), 5)
    wake.clear()
    subprocess.run(["umount", root], check=True)
    say(again=await watcher.refresh())
    (root / "y.json").write_text("{}")
    await asyncio.wait_for(wake.wait(), 5)
"""
    mounted, unmounted = run_confined("true", story, root, "-Urm")
    assert mounted == {"woken": False, "again": True}
    assert unmounted == {"again": True}


def test_an_overflow_of_the_queue_loses_nothing_for_longer_than_a_scan(root: Path) -> None:
    """[D1] SIGSTOP, 20,001 writes, SIGCONT; then a directory that was made while nobody listened."""
    story = """
async def story(watcher):
    say(ready=True)
    count = 0
    while count < 20_001:
        await asyncio.wait_for(wake.wait(), 20)
        wake.clear()
        count = len(scan(root, {}, limits=Limits(), now_ns=time.time_ns()).files)
    await asyncio.sleep(0.5)
    await watcher.refresh()
    wake.clear()
    say(count=count)
    await asyncio.wait_for(wake.wait(), 20)
    say(late=(root / "late" / "x.json").exists(), **state(watcher))
"""
    script = PRELUDE + story + "\nasyncio.run(main())\n"
    command = [sys.executable, "-c", script, str(root), DAEMON]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert "ready" in child.stdout.readline()
        os.kill(child.pid, signal.SIGSTOP)
        for number in range(20_001):
            (root / f"{number}.json").touch()
        (root / "late").mkdir()
        os.kill(child.pid, signal.SIGCONT)
        lines: list[str] = []
        for line in child.stdout:
            lines.append(line)
            if "count" in line:
                (root / "late" / "x.json").write_text("{}")
    assert any("overflow" in line for line in lines), "the queue was long enough: the test proves nothing"
    assert json.loads(lines[-1]) == {"late": True, "mode": "inotify", "problem": ""}


async def test_a_platform_without_inotify_polls(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "sys", SimpleNamespace(platform="sunos5"))
    watcher = Watcher(root, lambda _: None)
    await watcher.start()
    assert watcher.mode == "polling"
    assert "Linux only" in watcher.problem
    assert not await watcher.refresh()
    await watcher.stop()


# The end -----------------------------------------------------------------------------------------


def _ours() -> set[str]:
    """Threads, but not those of asyncio's pool, which the loop ends itself."""
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


def _descriptors() -> list[str]:
    entries = Path("/proc/self/fd").iterdir()
    links = [str(entry.readlink()) for entry in entries if entry.is_symlink()]
    return [link for link in links if "inotify" in link]


async def test_stop_leaves_no_thread_no_descriptor_and_no_wake(root: Path) -> None:
    before, opened = _ours(), _descriptors()
    wakes = Wakes()
    watcher = Watcher(root, wakes, first_s=0.2)
    await watcher.start()
    assert _ours() > before
    (root / "x.json").write_text("{}")
    await asyncio.sleep(0.1)  # its wake is due, but not yet come
    await watcher.stop()
    (root / "y.json").write_text("{}")
    await asyncio.sleep(QUIET)
    assert _ours() == before
    assert _descriptors() == opened
    assert wakes.times == []


async def test_many_attachments_leave_no_thread_and_no_descriptor(start: Start, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("one")
    rig = await start(tmp_path / "current")
    before, opened = len(_ours()), len(_descriptors())
    for turn in range(10):
        (tmp_path / "next").symlink_to("two" if turn % 2 == 0 else "one")
        (tmp_path / "next").rename(tmp_path / "current")
        await rig.wakes.settle()
    assert (len(_ours()), len(_descriptors())) == (before, opened)


async def test_stop_in_the_middle_of_a_storm_of_swaps_is_clean(tmp_path: Path) -> None:
    before = _ours()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("one")
    watcher = Watcher(tmp_path / "current", lambda _: None, again_s=0.001)
    await watcher.start()
    for turn in range(100):
        (tmp_path / "next").symlink_to("two" if turn % 2 == 0 else "one")
        (tmp_path / "next").rename(tmp_path / "current")
        await asyncio.sleep(0.001)
    await watcher.stop()
    assert _ours() == before


async def test_stop_without_start_is_fine(root: Path) -> None:
    watcher = Watcher(root, lambda _: None)
    await watcher.stop()
    assert not await watcher.refresh()
