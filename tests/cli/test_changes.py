"""`timewright plan --from REF --to REF`, on real repositories."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from timewright.cli.comment import MARKER

from tests.cli.conftest import Shell
from tests.e2e.specs import greeter
from tests.edge.test_git import git

Files = Mapping[str, Any]


class Repo:
    """A work tree with specs in flows/."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir()
        git(top, "init", "-q")

    def commit(self, subject: str, files: Files) -> str:
        """None removes a file; what is no text becomes JSON."""
        for name, content in files.items():
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        git(self.top, "add", "-A")
        git(self.top, "commit", "-qm", subject)
        return git(self.top, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Repo:
    made = Repo(tmp_path / "repo")
    specs = {f"flows/{name}.json": greeter(name, "hello") for name in ("a", "b", "c")}
    made.commit("Begin", specs)
    monkeypatch.chdir(made.top)
    return made


def plan(shell: Shell, *words: str) -> tuple[int, dict[str, Any]]:
    done = shell.run("plan", "--path", "flows", "--json", *words)
    assert done.out, done.err
    return done.code, json.loads(done.out)


def told(view: dict[str, Any]) -> dict[str, str]:
    return {action["workflowId"] or action["source"]: action["change"] for action in view["actions"]}


def test_what_a_merge_changes_is_told_by_the_planner(repo: Repo, shell: Shell) -> None:
    repo.commit(
        "Much",
        {
            "flows/a.json": greeter("a", "good day"),
            "flows/b.json": None,
            "flows/moved/c.json": greeter("c", "hello"),
            "flows/c.json": None,
            "flows/new.json": greeter("new", "hello"),
        },
    )
    code, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert code == 3
    assert told(view) == {"a": "update", "b": "undeploy", "c": "move", "new": "new"}
    [update] = [action for action in view["actions"] if action["change"] == "update"]
    assert [file["path"] for file in update["files"]] == ["src/workflow.ts"]
    assert "diff" not in update["files"][0]
    assert view["from"]["commit"]["subject"] == "Begin"
    _, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD", "--diff")
    [update] = [action for action in view["actions"] if action["change"] == "update"]
    assert "+" in update["files"][0]["diff"]


def test_nothing_changed_is_exit_code_0(repo: Repo, shell: Shell) -> None:
    repo.commit("Elsewhere", {"README.md": "x"})
    assert plan(shell, "--from", "HEAD~1", "--to", "HEAD")[0] == 0
    done = shell.run("plan", "--path", "flows", "--from", "HEAD~1", "--to", "HEAD")
    assert "Nothing changes: 3 specs." in done.out


def test_without_to_it_is_the_work_tree(repo: Repo, shell: Shell) -> None:
    (repo.top / "flows" / "d.json").write_text(json.dumps(greeter("d", "x")))
    code, view = plan(shell, "--from", "HEAD")
    assert (code, told(view), view["to"]["title"]) == (3, {"d": "new"}, "the work tree")


def test_what_is_refused_is_exit_code_1_and_what_was_refused_before_is_not(repo: Repo, shell: Shell) -> None:
    repo.commit("Break", {"flows/bad.json": "{"})
    code, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert (code, told(view)) == (1, {"bad.json": "refuse"})
    repo.commit("Go on", {"flows/d.json": greeter("d", "x")})
    code, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert (code, view["actions"][0]["before"]) == (3, True)
    done = shell.run("plan", "--path", "flows", "--format", "github", "--from", "HEAD~1", "--to", "HEAD")
    assert "::warning file=flows/bad.json" in done.out


def test_two_files_of_one_workflow_are_refused(repo: Repo, shell: Shell) -> None:
    repo.commit("Twins", {"flows/again.json": greeter("a", "hello")})
    code, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert (code, told(view)) == (1, {"a": "refuse"})


def test_a_changed_policy_changes_the_specs_below_it(repo: Repo, shell: Shell) -> None:
    repo.commit("Policy", {"flows/all.policy.yaml": "match: 'a.json'\ndeploy: {namespace: other}\n"})
    _, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert told(view) == {"a": "update"}


def test_prune_off_keeps_what_is_gone(repo: Repo, shell: Shell) -> None:
    repo.commit("Drop", {"flows/a.json": None})
    assert told(plan(shell, "--from", "HEAD~1", "--to", "HEAD")[1]) == {"a": "undeploy"}
    assert told(plan(shell, "--from", "HEAD~1", "--to", "HEAD", "--no-prune")[1]) == {"a": "hold"}


def test_too_much_at_once_is_held_as_it_would_be(repo: Repo, shell: Shell) -> None:
    repo.commit("Drop two", {"flows/a.json": None, "flows/b.json": None})
    code, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert (code, told(view)) == (0, {"a": "hold", "b": "hold"})


def test_the_merge_base_is_where_the_branch_began(repo: Repo, shell: Shell) -> None:
    git(repo.top, "checkout", "-qb", "branch")
    repo.commit("Mine", {"flows/mine.json": greeter("mine", "x")})
    git(repo.top, "checkout", "-q", "-")
    repo.commit("Theirs", {"flows/theirs.json": greeter("theirs", "x")})
    _, view = plan(shell, "--from", "HEAD", "--to", "branch")
    assert told(view) == {"mine": "new", "theirs": "undeploy"}
    _, view = plan(shell, "--from", "HEAD", "--to", "branch", "--merge-base")
    assert told(view) == {"mine": "new"}


def test_a_shared_pool_is_told(repo: Repo, shell: Shell) -> None:
    shared = {"deploy": {"taskQueue": "shared"}}
    both = {name: {**greeter(name, "x"), **shared} for name in ("p", "q")}
    repo.commit("Pool", {"flows/p.json": both["p"], "flows/q.json": both["q"]})
    changed = {**greeter("p", "y"), **shared}
    repo.commit("Change p", {"flows/p.json": changed})
    _, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert view["pools"] in ([], [{"pool": "default/shared", "changed": ["p"], "others": ["q"]}])


def test_the_comment_can_be_found_again_and_holds_no_markup_of_strangers(repo: Repo, shell: Shell) -> None:
    hostile = {**greeter("a", "x"), "deploy": {"taskQueue": "<img src=x> @everyone | [x](http://evil)"}}
    repo.commit("Hostile", {"flows/a.json": hostile})
    out = shell.run("plan", "--path", "flows", "--format", "markdown", "--from", "HEAD~1", "--to", "HEAD").out
    assert out.startswith(MARKER)
    assert "<img" not in out
    assert "@everyone" not in out
    assert "\n| updated | `a` |" in out
    assert "\\[x\\](http:\u200b//evil)" in out


def test_a_missing_commit_says_what_to_fetch(repo: Repo, shell: Shell) -> None:
    done = shell.run("plan", "--path", "flows", "--from", "origin/main", "--to", "HEAD")
    assert done.code == 1
    assert "no commit 'origin/main' in this clone" in done.err
    assert "fetch-depth: 0" in done.err


def test_outside_of_a_repository_it_says_so(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = shell.run("plan", "--from", "HEAD")
    assert done.code == 1
    assert "no git work tree" in done.err
    assert shell.run("plan", "--to", "HEAD").code == 2


def test_nothing_of_the_repository_runs(repo: Repo, shell: Shell, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for key in (
        "core.fsmonitor",
        "core.pager",
        "diff.external",
        "filter.x.smudge",
        "filter.x.clean",
        "gpg.program",
    ):
        git(repo.top, "config", key, f"touch {canary}")
    git(repo.top, "config", "log.showSignature", "true")
    hostile = {".gitattributes": "*.json filter=x\n", "flows/d.json": greeter("d", "x")}
    for name, content in hostile.items():
        (repo.top / name).write_text(content if isinstance(content, str) else json.dumps(content))
    canary.unlink(missing_ok=True)
    code, view = plan(shell, "--from", "HEAD")
    assert (code, told(view)) == (3, {"d": "new"})
    assert not canary.exists()


def test_a_link_out_of_the_repository_is_refused(repo: Repo, shell: Shell) -> None:
    (repo.top / "flows" / "x.json").symlink_to("/etc/passwd")
    subprocess.run(["git", "add", "-A"], cwd=repo.top, check=True)
    git(repo.top, "commit", "-qm", "Link")
    code, view = plan(shell, "--from", "HEAD~1", "--to", "HEAD")
    assert (code, told(view)) == (1, {"x.json": "refuse"})
