"""Receipts kept over a restart: only what is the very same file, and whatever became of the cache."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from timewright.core.digest import sha256
from timewright.edge import receiptcache, receipts
from timewright.edge import releases as module
from timewright.edge.receiptcache import ReceiptCache, stamp_of
from timewright.edge.receipts import RECEIPT, Receipt
from timewright.edge.releases import Releases

from tests.support import make_receipt, publish

NAMES = ("one", "two")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workflows whose receipts were read."""
    found: list[str] = []
    real = receipts.read_receipt

    def read(root: Path) -> bytes:
        found.append(root.parent.name)
        return real(root)

    monkeypatch.setattr(module, "read_receipt", read)
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with two releases, whose receipts were kept by a daemon that has ended."""
    monkeypatch.setattr(receiptcache, "COARSE_RACY_NS", 0)
    releases = started(tmp_path)
    for name in NAMES:
        publish(releases, name, prune=False, depends_on=("three",), env={"A": "b"}, workflows=None)
    live = look(releases)
    (tmp_path / "cache").mkdir()
    releases.remembered.write({f"{name}/{receipt.release}" for name, receipt in live.items() if receipt})
    return tmp_path


def started(home: Path) -> Releases:
    releases = Releases(home)
    releases.prepare()
    releases.remembered.load()
    return releases


def look(releases: Releases) -> dict[str, Receipt | None]:
    return {name: releases.outline(name, make_receipt(name).release) for name in NAMES}


def test_after_a_restart_none_is_read_and_all_say_the_same(home: Path, reads: list[str]) -> None:
    before = {name: Releases(home).receipt(name, make_receipt(name).release) for name in NAMES}
    reads.clear()
    releases = started(home)
    found = look(releases)
    assert reads == []
    assert found == {name: replace(one, files={}) for name, one in before.items() if one}
    assert look(releases)["one"] is found["one"]


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# by hand\n")


def swap(path: Path) -> None:
    """Another file of the same content, size and age."""
    aside = path.with_name("aside")
    shutil.copy2(path, aside)
    aside.replace(path)


@pytest.mark.parametrize("how", [edit, swap, Path.touch])
def test_what_is_another_file_by_now_is_read(
    home: Path, reads: list[str], how: Callable[[Path], None]
) -> None:
    releases = started(home)
    how(releases.path("one", make_receipt("one").release) / RECEIPT)
    look(releases)
    assert reads == ["one"]


def test_what_is_gone_is_not_there(home: Path) -> None:
    releases = started(home)
    shutil.rmtree(releases.path("one", make_receipt("one").release))
    found = look(releases)
    assert found["one"] is None
    assert found["two"] is not None


@pytest.mark.parametrize(
    "how", ["rotten", "cut", "another format", "no row", "unknown key", "gone", "a folder"]
)
def test_whatever_became_of_the_cache_they_are_read_where_they_lie(
    home: Path, reads: list[str], how: str
) -> None:
    path = home / "cache" / "receipts.json"
    text = path.read_bytes()
    _, _, body = text.partition(b"\n")
    if how == "rotten":
        path.write_bytes(text.replace(b"three", b"tree!"))
    elif how == "cut":
        path.write_bytes(text[:-10])
    elif how == "another format":
        path.write_bytes(text.replace(b"1 ", b"9 ", 1))
    elif how in ("no row", "unknown key"):
        other = body.replace(b'"name"', b'"mane"') if how == "unknown key" else b'{"one/x":7,"two/y":[]}'
        path.write_bytes(b"1 " + sha256(other).encode() + b"\n" + other)
    else:
        path.unlink()
        if how == "a folder":
            path.mkdir()
    found = look(started(home))
    assert sorted(reads) == ["one", "two"]
    assert all(found.values())


def test_what_may_change_once_more_under_the_same_stamp_is_not_kept(tmp_path: Path, reads: list[str]) -> None:
    releases = started(tmp_path)
    publish(releases, "one")
    (tmp_path / "cache").mkdir()
    found = releases.outline("one", make_receipt("one").release)
    assert found is not None
    releases.remembered.write({f"one/{found.release}"})
    reads.clear()
    started(tmp_path).outline("one", found.release)
    assert reads == ["one"]


def test_only_what_is_live_is_kept_and_nothing_is_written_where_nothing_is_new(home: Path) -> None:
    path = home / "cache" / "receipts.json"
    releases = started(home)
    look(releases)
    before = path.stat().st_mtime_ns
    releases.remembered.write({f"one/{make_receipt('one').release}"})
    assert path.stat().st_mtime_ns == before
    swap(releases.path("one", make_receipt("one").release) / RECEIPT)
    look(releases)
    releases.remembered.write({f"one/{make_receipt('one').release}"})
    assert b"two/" not in path.read_bytes()


def test_a_disk_that_takes_nothing_is_no_matter(tmp_path: Path) -> None:
    cache = ReceiptCache(tmp_path / "nowhere" / "receipts.json")
    path = tmp_path / "x"
    path.touch()
    os.utime(path, (1, 1))
    stamp = stamp_of(str(path))
    assert stamp is not None
    time.sleep(0.01)
    cache.note("one/x", stamp._replace(ctime_ns=0), make_receipt("one"))
    cache.write({"one/x"})
    assert not cache.path.exists()


def test_what_is_kept_is_outlined_without_reading_it_twice(home: Path, reads: list[str]) -> None:
    """A rollback asks twice what is kept, and fifty releases may be."""
    releases = started(home)
    kept = releases.kept("one")
    outlines = releases.outlines("one")
    assert outlines == [replace(receipt, files={}) for receipt in kept]
    reads.clear()
    assert releases.outlines("one") == outlines
    assert reads == []
    assert releases.outlines("nobody") == []


def test_what_was_collected_takes_no_room_any_more(home: Path) -> None:
    """A daemon that runs for a year deploys more releases than are ever kept."""
    releases = started(home)
    release = make_receipt("one").release
    stamp = stamp_of(str(releases.path("one", release) / RECEIPT))
    assert stamp is not None
    assert [one.release for one in releases.outlines("one")] == [release]
    assert releases.remembered.get(f"one/{release}", stamp) is not None
    (releases.links / "one").unlink(missing_ok=True)
    assert releases.collect("one", (), most=0, older_than=time.time() * 2) == [release]
    assert releases.remembered.get(f"one/{release}", stamp) is None
    assert started(home).outline("one", release) is None
