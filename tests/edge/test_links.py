"""The links of a worker tree are read again when, and only when, one may have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from timewright.edge import links
from timewright.edge.links import Links


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two links, and an hour since then."""
    root = tmp_path / "workflows"
    root.mkdir()
    for name in ("one", "two"):
        (root / name).symlink_to(f"../releases/{name}/aaa")
    return root


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3_600_000_000_000)


def _swap(link: Path, release: str) -> None:
    aside = link.with_name(f".tmp-{link.name}")
    aside.symlink_to(f"../releases/{link.name}/{release}")
    aside.replace(link)


@pytest.mark.usefixtures("later")
def test_links_of_a_directory_that_did_not_change_are_not_read_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Links(tree)
    first = known.read()
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("read again"))
    assert known.read() is first
    assert first == {"one": "aaa", "two": "aaa"}


@pytest.mark.usefixtures("later")
def test_a_link_that_was_swapped_added_or_removed_is_seen_at_once(tree: Path) -> None:
    known = Links(tree)
    changes: list[tuple[Callable[[], None], dict[str, str]]] = [
        (lambda: _swap(tree / "one", "bbb"), {"one": "bbb", "two": "aaa"}),
        (lambda: (tree / "two").unlink(), {"one": "bbb"}),
        (lambda: _swap(tree / "three", "ccc"), {"one": "bbb", "three": "ccc"}),
    ]
    for change, expected in changes:
        known.read()
        time.sleep(0.05)  # longer than a tick of the file system's clock
        change()
        assert known.read() == expected


@pytest.mark.usefixtures("later")
def test_a_directory_whose_times_were_set_back_by_hand_is_read_again(tree: Path) -> None:
    known = Links(tree)
    known.read()
    before = tree.stat()
    time.sleep(0.05)
    _swap(tree / "one", "bbb")
    os.utime(tree, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.read()["one"] == "bbb"


def test_a_directory_that_changed_a_moment_ago_is_not_trusted(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Links(tree)
    stamp = links._stamp(tree)
    monkeypatch.setattr(links, "_stamp", lambda _: stamp)  # a file system whose clock ticks slowly
    known.read()
    _swap(tree / "one", "bbb")
    assert known.read()["one"] == "bbb"


def test_what_is_no_link_of_ours_is_passed_over(tree: Path) -> None:
    (tree / "file").write_text("")
    (tree / ".tmp-x").symlink_to("../releases/.tmp-x/aaa")
    (tree / "other").symlink_to("../releases/one/aaa")
    (tree / "away").symlink_to("/elsewhere")
    assert Links(tree).read() == {"one": "aaa", "two": "aaa"}


def test_a_tree_that_was_removed_has_no_links(tmp_path: Path) -> None:
    assert Links(tmp_path / "none").read() == {}
