"""Reading repositories without a checkout: what is found, and that nothing of a repository runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from timewright.core.gitwords import Fault
from timewright.edge.git import LINK, Git, GitError, find
from timewright.edge.gitremote import Access, Remote


def git(where: Path, *words: str, **env: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=where, check=True, capture_output=True, env={**os.environ, **env}
    )
    return done.stdout.decode().strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work tree with two commits."""
    top = tmp_path / "work"
    top.mkdir()
    git(top, "init", "-q")
    (top / "specs").mkdir()
    (top / "specs" / "a.json").write_text("one")
    (top / "specs" / "b.json").write_text("b")
    git(top, "add", ".")
    git(top, "commit", "-qm", "First\n\nbody")
    (top / "specs" / "a.json").write_text("two")
    git(top, "commit", "-qam", "Say two")
    return top


async def test_a_commits_files_are_listed_below_a_folder(work: Path) -> None:
    repo = Git(work / ".git")
    head = await repo.resolve("HEAD")
    assert head is not None
    assert [entry.path for entry in await repo.tree(head)] == ["specs/a.json", "specs/b.json"]
    assert [(e.path, e.size) for e in await repo.tree(head, "specs/")] == [("a.json", 3), ("b.json", 1)]
    assert await repo.tree(head, "elsewhere") == []


async def test_contents_come_from_the_commit_and_not_from_the_work_tree(work: Path) -> None:
    repo = Git(work / ".git")
    old = await repo.resolve("HEAD~1")
    assert old is not None
    (work / "specs" / "a.json").write_text("three")
    async with repo.reader() as reader:
        assert [await reader.read(entry.oid) for entry in await repo.tree(old)] == [b"one", b"b"]


async def test_it_is_told_who_last_changed_each_file(work: Path) -> None:
    repo = Git(work / ".git")
    head = await repo.resolve("HEAD") or ""
    found = await repo.origins(head, "specs", {"a.json", "b.json"})
    assert {path: commit.subject for path, commit in found.items()} == {
        "a.json": "Say two",
        "b.json": "First",
    }
    assert found["a.json"].author == "Ada"
    since = await repo.resolve("HEAD~1") or ""
    assert set(await repo.origins(head, "specs", {"a.json", "b.json"}, since)) == {"a.json"}
    assert (await repo.commit(since)).subject == "First"


async def test_what_names_no_commit_is_none(work: Path) -> None:
    repo = Git(work / ".git")
    assert await repo.resolve("nowhere") is None
    assert await repo.resolve("--help") is None
    assert not await repo.has("0" * 40)


async def test_a_missing_object_is_damage_of_the_clone(work: Path) -> None:
    with pytest.raises(GitError) as caught:
        await Git(work / ".git").read("1" * 40)
    assert caught.value.fault is Fault.CORRUPT


async def test_links_are_followed_inside_of_the_commit_only(work: Path) -> None:
    (work / "specs" / "good.json").symlink_to("a.json")
    (work / "specs" / "out.json").symlink_to("../../../etc/passwd")
    (work / "specs" / "absolute.json").symlink_to("/etc/passwd")
    (work / "specs" / "round.json").symlink_to("round.json")
    (work / "specs" / "folder.json").symlink_to("../specs")
    (work / "specs" / "gone.json").symlink_to("gone")
    git(work, "add", ".")
    git(work, "commit", "-qm", "Links")
    repo = Git(work / ".git")
    head = await repo.resolve("HEAD") or ""
    links = [entry for entry in await repo.tree(head) if entry.mode == LINK]
    targets = dict(
        zip([e.path for e in links], await repo.follow_links(head, [e.path for e in links]), strict=True)
    )
    a = next(entry.oid for entry in await repo.tree(head) if entry.path == "specs/a.json")
    assert targets.pop("specs/good.json") == a
    assert set(targets.values()) == {None}
    assert len(targets) == 5


async def test_nothing_of_a_repository_runs_when_it_is_read(work: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = f"touch {canary}"
    for key in (
        *("core.fsmonitor", "core.sshCommand", "core.pager", "core.askPass", "gpg.program", "diff.external"),
        *("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "remote.origin.uploadpack"),
        *("credential.helper", "core.alternateRefsCommand", "core.editor", "uploadpack.packObjectsHook"),
    ):
        git(work, "config", key, evil)
    git(work, "config", "log.showSignature", "true")
    git(work, "config", "remote.origin.url", "ext::sh -c touch% " + str(canary))
    git(work, "config", "remote.origin.promisor", "true")
    git(work, "config", "extensions.partialClone", "origin")
    (work / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        path = work / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\n{evil}\n")
        path.chmod(0o755)
    (work / ".gitattributes").write_text("*.json filter=evil diff=evil\n")
    repo = Git(work / ".git")
    head = await repo.resolve("HEAD") or ""
    entries = await repo.tree(head)
    for entry in entries:
        await repo.read(entry.oid)
    await repo.origins(head, "", {entry.path for entry in entries})
    await repo.commit(head)
    with pytest.raises(GitError):
        await repo.read("1" * 40)  # a promised object: git would ask the remote for it
    assert await find(work / "specs") is not None
    assert not canary.exists()


async def test_the_environment_of_a_hook_points_nowhere_else(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "--bare", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", "index")
    place = await find(work / "specs")
    assert place is not None
    assert (place.top, place.prefix) == (work, "specs")
    assert await Git(work / ".git").resolve("HEAD") is not None


async def test_a_folder_in_no_work_tree_has_no_place(tmp_path: Path) -> None:
    assert await find(tmp_path) is None


async def test_a_path_that_is_no_utf8_keeps_its_bytes(work: Path) -> None:
    name = os.fsdecode(b"specs/\xff.json")
    (work / name).write_text("x")
    git(work, "add", ".")
    git(work, "commit", "-qm", "Odd")
    repo = Git(work / ".git")
    head = await repo.resolve("HEAD") or ""
    assert name in [entry.path for entry in await repo.tree(head)]
    assert name in await repo.origins(head, "", {name})


async def test_settings_of_the_folder_that_we_run_in_do_not_count(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    git(work, "config", "core.sshCommand", f"touch {canary}; false")
    git(work, "config", "credential.helper", f"!touch {canary}")
    git(work, "config", "url.ssh://127.0.0.1:1/.insteadOf", f"file://{work}")
    monkeypatch.chdir(work)
    _, refs = await Remote(Access(f"file://{work}"), tmp_path / "clone.git").refs("HEAD")
    assert "HEAD" in refs
    assert not canary.exists()


async def test_the_ssh_command_of_this_users_git_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    settings = tmp_path / "gitconfig"
    settings.write_text(f'[core]\n\tsshCommand = "echo mine >> {said}; false"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    with pytest.raises(GitError):
        await Remote(Access("ssh://git@127.0.0.1:1/x"), tmp_path / "clone.git").refs("HEAD")
    assert said.read_text().startswith("mine")
