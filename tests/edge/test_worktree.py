"""A plain folder that is a git work tree: which commit its files are of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from timewright.core.state import Status
from timewright.edge import worktree
from timewright.edge.worktree import WorkTree, blob_id

from tests.e2e.specs import greeter
from tests.edge.test_git import git
from tests.test_reconcile import Bench, _bench


def repository(top: Path, branch: str = "main") -> None:
    git(top, "init", "-q", "-b", branch)
    git(top, "add", "-A")
    git(top, "commit", "-q", "--allow-empty", "-m", "First")


async def test_a_file_names_the_commit_that_last_changed_it(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.json").write_text("one")
    repository(tmp_path)
    first = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "specs" / "b.json").write_text("two")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "Second")
    found = await WorkTree(tmp_path / "specs").commits({"a.json": b"one", "b.json": b"two"})
    assert {path: (commit.subject, commit.dirty) for path, commit in found.items()} == {
        "a.json": ("First", False),
        "b.json": ("Second", False),
    }
    assert found["a.json"].revision == first


async def test_what_is_in_no_commit_is_dirty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("one")
    repository(tmp_path)
    found = await WorkTree(tmp_path).commits({"a.json": b"changed", "new.json": b"x"})
    assert {(commit.subject, commit.dirty) for commit in found.values()} == {("First", True)}
    assert found["a.json"].revision.endswith("-dirty")
    assert found["a.json"].short.endswith("-dirty")


async def test_a_folder_in_no_work_tree_is_asked_about_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def find(folder: Path) -> None:
        asked.append(folder)

    monkeypatch.setattr(worktree, "find", find)
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "specs").mkdir()
    tree = WorkTree(tmp_path / "specs")
    for _ in range(5):
        assert await tree.commits({"a.json": b""}) == {}
    assert len(asked) == 1


async def test_where_no_folder_above_has_a_git_no_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(folder: Path) -> None:
        raise AssertionError("git was asked")

    monkeypatch.setattr(worktree, "find", find)
    assert await WorkTree(tmp_path).commits({"a.json": b""}) == {}


async def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert await WorkTree(tmp_path).commits({"a.json": b""}) == {}


def test_contents_are_named_as_git_names_them() -> None:
    assert blob_id(b"", 40) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


async def test_a_deploy_from_a_work_tree_names_its_commit_and_whether_it_is_dirty(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "one.json").write_text(json.dumps(greeter("one", "x")))
    repository(tmp_path / "specs")
    async with _bench(tmp_path) as bench:
        await bench.settle()
        commit = bench.world.commit(bench.world.record("one").live_revision)
        assert commit is not None
        assert (commit.subject, commit.dirty, commit.source) == ("First", False, "main")
        assert bench.world.record("one").actor == "git:Ada"
        bench.put("one", "y")
        await bench.settle()
        assert bench.world.record("one").status is Status.DEPLOYED
        commit = bench.world.commit(bench.world.record("one").live_revision)
        assert commit is not None
        assert commit.dirty
        assert bench.world.record("one").actor == "source"  # nobody knows whose change it was


async def test_a_folder_outside_of_git_has_its_digest_as_before(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        _put(bench)
        await bench.settle()
        assert len(bench.world.record("one").live_revision) == 12


def _put(bench: Bench) -> None:
    bench.put("one", "x")
