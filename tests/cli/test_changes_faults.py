"""`timewright plan --from REF --to REF`, where it could mislead a reviewer or a CI job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.cli.test_changes import Repo, plan, repo, told
from tests.e2e.specs import greeter
from tests.edge.test_git import git

__all__ = ["repo"]  # the fixture
_LAST = ("--from", "HEAD~1", "--to", "HEAD")


def show(shell: Shell, form: str, *more: str) -> str:
    return shell.run("plan", "--path", "flows", "--format", form, *_LAST, *more).out


# What is refused -------------------------------------------------------------------------------


def test_a_dependency_that_was_missing_before_fails_no_later_change(repo: Repo, shell: Shell) -> None:
    repo.commit("Needy", {"flows/d.json": greeter("d", "x", dependsOn=["nowhere"])})
    code, view = plan(shell, *_LAST)
    assert (code, told(view)) == (1, {"d": "refuse"})
    repo.commit("Elsewhere", {"README.md": "x"})
    code, view = plan(shell, *_LAST)
    assert (code, view["actions"][0]["before"]) == (0, True)


def test_what_was_refused_and_is_mended_is_deployed_anew(repo: Repo, shell: Shell) -> None:
    repo.commit("Needy", {"flows/d.json": greeter("d", "x", dependsOn=["nowhere"])})
    repo.commit("Mend", {"flows/d.json": greeter("d", "x", dependsOn=["a"])})
    assert told(plan(shell, *_LAST)[1]) == {"d": "new"}


def test_an_annotation_has_the_line_of_its_problem(repo: Repo, shell: Shell) -> None:
    spec = greeter("bad", "x", taskQueu="q")
    repo.commit("Break", {"flows/bad.json": spec})
    lines = (repo.top / "flows" / "bad.json").read_text().split("\n")
    line = next(number for number, text in enumerate(lines, 1) if "taskQueu" in text and "Queue" not in text)
    assert f"::error file=flows/bad.json,line={line},title=InvalidSpec::" in show(shell, "github")


def test_the_annotation_of_what_is_gone_names_no_file(repo: Repo, shell: Shell) -> None:
    repo.commit("Drop", {"flows/a.json": None})
    assert show(shell, "github").startswith("::warning title=Plan::a: a.json is gone")


# What waits for another one --------------------------------------------------------------------


def test_a_change_that_waits_for_another_one_is_shown_as_a_change(repo: Repo, shell: Shell) -> None:
    first = {"flows/m.json": greeter("m", "x"), "flows/n.json": greeter("n", "x", dependsOn=["m"])}
    repo.commit("Both new", first)
    assert told(plan(shell, *_LAST)[1]) == {"m": "new", "n": "new"}
    second = {"flows/m.json": greeter("m", "y"), "flows/n.json": greeter("n", "z", dependsOn=["m"])}
    repo.commit("Both changed", second)
    _, view = plan(shell, *_LAST, "--diff")
    assert told(view) == {"m": "update", "n": "update"}
    waiting = view["actions"][1]
    assert waiting["because"] == "n.json changed; waits for m, which is not deployed yet"
    assert "+  return `z" in waiting["files"][0]["diff"]


def test_a_change_that_waits_for_a_refused_one_is_held_back(repo: Repo, shell: Shell) -> None:
    good, bad = greeter("n", "x", dependsOn=["m"]), greeter("m", "x", taskQueu="q")
    repo.commit("Both new", {"flows/m.json": bad, "flows/n.json": good})
    code, view = plan(shell, *_LAST)
    assert (code, told(view)) == (1, {"m": "refuse", "n": "hold"})


def test_what_goes_with_its_dependent_goes_after_it(repo: Repo, shell: Shell) -> None:
    many = {f"flows/x{i}.json": greeter(f"x{i}", "x") for i in range(17)}
    pair = {"flows/m.json": greeter("m", "x"), "flows/n.json": greeter("n", "x", dependsOn=["m"])}
    repo.commit("Many", {**many, **pair})
    repo.commit("Drop two", dict.fromkeys(pair))
    assert told(plan(shell, *_LAST)[1]) == {"m": "undeploy", "n": "undeploy"}


# What is said ----------------------------------------------------------------------------------


def test_a_change_of_the_owner_alone_makes_no_release(repo: Repo, shell: Shell) -> None:
    repo.commit("Mine", {"flows/o.json": greeter("o", "x", owner="me")})
    repo.commit("Yours", {"flows/o.json": greeter("o", "x", owner="you")})
    assert told(plan(shell, *_LAST)[1]) == {"o": "settings"}


def test_no_release_is_named_that_no_host_has(repo: Repo, shell: Shell) -> None:
    repo.commit("Change", {"flows/a.json": greeter("a", "good day"), "flows/z.json": greeter("z", "x")})
    _, view = plan(shell, *_LAST)
    assert all("release" not in action for action in view["actions"])
    assert [action["because"] for action in view["actions"]] == ["a.json changed", "new spec z.json"]


def test_a_refused_spec_does_not_count_as_left_as_it_is(repo: Repo, shell: Shell) -> None:
    repo.commit("Needy", {"flows/d.json": greeter("d", "x", dependsOn=["nowhere"])})
    assert show(shell, "text").endswith("1 refused, 3 as they are\n")


# The comment -----------------------------------------------------------------------------------


def test_code_can_not_end_its_fence_and_write_the_comment(repo: Repo, shell: Shell) -> None:
    spec = greeter("a", "hello")
    spec["workflowCode"] = "/*\n" + "`" * 12 + "\n## Approved\n*/" + spec["workflowCode"]
    repo.commit("Hostile", {"flows/a.json": spec})
    comment = show(shell, "markdown", "--diff")
    fence = re.search(r"^(`+)diff$", comment, re.MULTILINE)
    assert fence is not None
    assert len(fence[1]) == 13
    inside = comment.split(fence[0])[1].split(f"\n{fence[1]}\n")[0]
    assert "## Approved" in inside


def test_a_comment_on_a_thousand_changes_fits(repo: Repo, shell: Shell) -> None:
    repo.commit("Many", {f"flows/f{i}.json": greeter(f"f{i}", "hello") for i in range(1000)})
    repo.commit("Policy", {"flows/all.policy.yaml": "deploy: {namespace: other}\n"})
    comment = show(shell, "markdown", "--diff")
    assert len(comment) < 65_000
    assert re.search(r"… and \d+ more, for which a comment has no room\.", comment)
    assert comment.endswith("1003 updated, 0 as they are\n")


def test_one_of_a_thousand_is_found(repo: Repo, shell: Shell) -> None:
    repo.commit("Many", {f"flows/f{i}.json": greeter(f"f{i}", "hello") for i in range(1000)})
    repo.commit("One", {"flows/f7.json": greeter("f7", "good day")})
    code, view = plan(shell, *_LAST)
    assert (code, told(view), view["unchanged"]) == (3, {"f7": "update"}, 1002)


# Clones and folders ----------------------------------------------------------------------------


def test_a_folder_without_specs_is_an_error_and_not_nothing_to_do(repo: Repo, shell: Shell) -> None:
    repo.commit("Change", {"flows/a.json": greeter("a", "x")})
    done = shell.run("plan", "--path", "flwos", *_LAST)
    assert done.code == 1
    assert "neither HEAD~1 nor HEAD has specs in flwos" in done.err


def test_the_first_specs_of_a_repository_are_new(repo: Repo, shell: Shell) -> None:
    repo.commit("Elsewhere", {"other/z.json": greeter("z", "x")})
    done = shell.run("plan", "--path", "other", *_LAST)
    assert done.code == 3
    assert "1 deployed anew" in done.out


def test_a_shallow_clone_says_what_to_fetch(
    repo: Repo, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = git(repo.top, "rev-parse", "HEAD")
    repo.commit("Change", {"flows/a.json": greeter("a", "x")})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo.top}", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    done = shell.run("plan", "--path", "flows", "--from", old, "--to", "HEAD")
    assert done.code == 1
    assert f"no commit '{old}' in this clone" in done.err
    assert "git fetch --unshallow" in done.err


def test_a_partial_clone_fetches_nothing_and_says_so(
    repo: Repo, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit("Change", {"flows/a.json": greeter("a", "x")})
    git(repo.top, "config", "uploadpack.allowFilter", "true")
    words = ("clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo.top}", "partial")
    git(tmp_path, *words)
    monkeypatch.chdir(tmp_path / "partial")
    done = shell.run("plan", "--path", "flows", *_LAST)
    assert done.code == 1
    assert "clone without a filter" in done.err


def test_a_linked_work_tree_and_a_folder_in_it_will_do(
    repo: Repo, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit("Change", {"flows/a.json": greeter("a", "x")})
    git(repo.top, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), "HEAD")
    monkeypatch.chdir(tmp_path / "linked" / "flows")
    done = shell.run("plan", "--path", ".", *_LAST)
    assert done.code == 3
    assert "a.json changed" in done.out


def test_names_that_steer_a_terminal_are_refused_and_shown_escaped(repo: Repo, shell: Shell) -> None:
    repo.commit("Hostile", {"flows/e\x1b[2J.json": greeter("e", "x"), "flows/l\nl.json": greeter("l", "x")})
    for form in ("text", "markdown", "github"):
        out = show(shell, form)
        assert "\x1b" not in out
        assert "\nl.json" not in out
        assert "rename it" in out
