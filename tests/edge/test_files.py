from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from timewright.edge import files

from tests.support import leftovers


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [None, b"old"])
def test_replace_puts_the_new_content_in_place(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "f"
    if before is not None:
        path.write_bytes(before)
    files.replace(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_replace_that_fails_leaves_the_old_content_and_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    else:
        monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_writing_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        files.write(tmp_path / "link", b"x")
    assert not (tmp_path / "target").exists()


def make_link(path: Path) -> None:
    path.symlink_to("old")


def make_dangling_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_file(path: Path) -> None:
    path.write_text("old")


@pytest.mark.parametrize("before", [None, make_link, make_dangling_loop, make_file])
def test_point_makes_a_link_whatever_name_was_there(
    tmp_path: Path, before: Callable[[Path], None] | None
) -> None:
    link = tmp_path / "link"
    if before:
        before(link)
    files.point(link, "../somewhere")
    assert files.read_link(link) == "../somewhere"
    assert leftovers(tmp_path) == []


def test_point_does_not_remove_a_directory_that_somebody_made(tmp_path: Path) -> None:
    (tmp_path / "link" / "precious").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.point(tmp_path / "link", "x")
    assert (tmp_path / "link" / "precious").is_dir()
    assert leftovers(tmp_path) == []


def test_point_works_beside_the_leftover_of_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git-sync's fixed temporary name hangs on this for ever (faults.md finding 5)."""
    with monkeypatch.context() as crash:
        crash.setattr(Path, "replace", no_space)
        crash.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(OSError, match="No space"):
            files.point(tmp_path / "link", "old")
    assert len(leftovers(tmp_path)) == 1
    files.point(tmp_path / "link", "new")
    assert files.read_link(tmp_path / "link") == "new"


def test_read_link_knows_links_from_other_things(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.read_link(tmp_path / "file") is None
    assert files.read_link(tmp_path / "none") is None


def test_temporary_names_are_ours_and_never_the_same() -> None:
    made = {files.unique("x-") for _ in range(100)}
    assert len(made) == 100
    assert all(name.startswith(".tmp-x-") for name in made)


def test_remove_takes_files_links_and_trees_and_leaves_what_links_point_at(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    (tmp_path / "tree" / "out").symlink_to(kept)
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "file").touch()
    for name in ("tree", "link", "file", "none"):
        files.remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "deep").is_dir()


def test_a_tree_vanishes_from_its_name_before_it_is_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    seen: list[bool] = []
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: seen.append(tree.exists()))
    files.remove(tree)
    assert seen == [False]
    assert files.sweep(tmp_path) == 1


def test_sweep_removes_our_leftovers_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-dir" / "a").mkdir(parents=True)
    (tmp_path / ".tmp-file").touch()
    (tmp_path / ".tmp-link").symlink_to("nowhere")
    (tmp_path / "keep.tmp-").touch()
    (tmp_path / ".hidden").touch()
    assert files.sweep(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "keep.tmp-"]
    assert files.sweep(tmp_path / "none") == 0


def test_sync_tree_syncs_every_file_and_directory_and_follows_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").touch()
    (tmp_path / "tree" / "link").symlink_to("/etc/passwd")
    (tmp_path / "tree" / "dirlink").symlink_to("/etc")
    synced: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(str(Path(f"/proc/self/fd/{fd}").readlink())))
    files.sync_tree(tmp_path / "tree")
    tree = tmp_path / "tree"
    assert synced == {str(tree), str(tree / "sub"), str(tree / "sub" / "file")}


def test_an_error_of_sync_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        files.sync_tree(tmp_path)
    with pytest.raises(OSError, match="No space"):
        files.sync_directory(tmp_path)


@pytest.mark.parametrize("can", [True, False])
def test_two_names_change_places_whether_the_kernel_helps_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can: bool
) -> None:
    if not can:
        monkeypatch.setattr(files, "_exchanged", lambda a, b: False)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "f").write_text("new")
    (tmp_path / "old").write_text("old")
    files.exchange(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "f").read_text() == "new"
    assert (tmp_path / "new").read_text() == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("can", [True, False])
def test_an_exchange_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can: bool
) -> None:
    if not can:
        monkeypatch.setattr(files, "_exchanged", lambda a, b: False)
    (tmp_path / "old").write_text("old")
    with pytest.raises(FileNotFoundError):
        files.exchange(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("path", ["link/f", "a/link", "../f", "/etc/passwd", "a//f", "."])
def test_a_file_beneath_a_folder_is_opened_through_no_link_and_no_way_out(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "f").write_text("inside")
    (tmp_path / "f").write_text("outside")
    (root / "link").symlink_to(tmp_path)
    (root / "a" / "link").symlink_to(tmp_path / "f")
    with pytest.raises(OSError, match=r".+"):
        files.open_beneath(root, path)
    descriptor = files.open_beneath(root, "a/f")
    assert os.read(descriptor, 10) == b"inside"
    os.close(descriptor)


def test_a_folder_where_a_file_should_be_is_refused_and_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "release.toml").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(IsADirectoryError):
            os.fdopen(files.open_beneath(tmp_path, "release.toml"), "rb")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
