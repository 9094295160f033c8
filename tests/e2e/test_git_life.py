"""Living with a repository: moving to one, other settings, people's decisions, and odd content."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.githost import GitHost
from tests.e2e.gitservers import GitHttpServer, http_server
from tests.e2e.remotes import git
from tests.e2e.specs import greeter

ONCE = ["DEPLOYING", "DEPLOYED"]


async def test_a_host_that_moves_from_a_folder_to_a_repository_deploys_nothing_anew(
    git_host: GitHost,
) -> None:
    """As who had git-sync beside a watched folder does it; and then a second source comes along."""
    host, remote = git_host, git_host.remote
    for name in ("a", "b"):
        (host.specs / f"{name}.json").write_text(json.dumps(greeter(name, "one"), indent=1) + "\n")
    host.follow(more={"sources": {}, "source": {"path": str(host.specs)}})
    host.start_daemon()
    await host.until_status("a", "DEPLOYED")
    await host.until_status("b", "DEPLOYED")
    host.stop_daemon()

    host.follow()  # the repository is empty yet
    host.start_daemon()
    await host.until_told("Unreachable", "no commit yet")
    assert None not in (host.release("a"), host.release("b"))
    sha = remote.push("Begin", {f"{name}.json": greeter(name, "one") for name in ("a", "b")})
    await host.until("it is followed", lambda: host.source()["state"] == "Synced")
    await host.until("it is known", lambda: (host.revision("a"), host.revision("b")) == (sha, sha))
    host.stop_daemon()

    host.follow(
        more={"sources": {"flows": {"git": remote.file_url}, "desk": {"path": str(host.home / "desk")}}}
    )
    host.start_daemon()
    await host.until("it has moved", lambda: host.status("a")["source"] == "flows/a.json")
    await host.until("it has moved", lambda: host.status("b")["source"] == "flows/b.json")
    assert (host.history("a"), host.history("b")) == (ONCE, ONCE)


async def test_other_settings_of_a_source_are_followed_after_a_restart(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    files = {"live/a.json": greeter("a", "one"), "test/b.json": greeter("b", "one")}
    first = remote.push("One", files)
    git(remote.work, "checkout", "-q", "--orphan", "other")
    second = remote.commit("Unrelated", {"live/a.json": greeter("a", "two")})
    remote.publish(ref="other")
    host.follow(subdir="live")
    host.start_daemon()
    await host.until_at("a", first)
    assert host.status("b") == {}
    host.stop_daemon()
    host.follow(subdir="")
    host.start_daemon()
    await host.until_at("b", first)
    host.stop_daemon()
    host.follow(subdir="live", ref="other")  # a person says so: it needs not descend from what was
    host.start_daemon()
    await host.until_at("a", second)


async def test_a_rollback_sticks_over_commits_until_one_changes_that_spec(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one"), "b.json": greeter("b", "one")})
    host.follow()
    host.start_worker()
    host.start_daemon()
    await host.until_served("a")
    old = host.release("a")
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    await host.until_at("a", second)
    await host.until_served("a")
    done = await host.asked("rollback", "a", "-m", "wrong words")
    assert (done.returncode, host.release("a")) == (0, old), done.stderr
    third = remote.push("Not of a", {"b.json": greeter("b", "three")})
    await host.until_at("b", third)
    assert host.release("a") == old
    fourth = remote.push("Of a", {"a.json": greeter("a", "four")})
    await host.until_at("a", fourth)
    assert host.release("a") != old


async def test_ci_is_told_that_all_is_suspended_and_then_it_is_made_up_for(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one")})
    host.follow()
    host.start_worker()
    host.start_daemon()
    await host.until_served("a")
    await host.asked("suspend", "--all", "-m", "frost")
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    done = await host.asked("reconcile", "--wait", "--revision", second, "--timeout", "5s")
    assert done.returncode == 1
    assert "frost" in done.stderr, done.stderr
    await host.asked("resume", "--all")
    await host.until_at("a", second)
    done = await host.asked("reconcile", "--wait", "--revision", second, "--timeout", "60s")
    assert done.returncode == 0, done.stderr


async def test_a_spec_can_not_be_written_past_the_repository(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    host.follow()
    host.start_daemon()
    await host.until_at("a", first)
    for method, path in (("PUT", "a"), ("PUT", "new"), ("DELETE", "a")):
        body = {"json": greeter(path, "two")} if method == "PUT" else {}
        answer = host.http(method, f"/api/v1/workflows/{path}", **body)
        assert answer.status_code in (400, 409), answer.text
        assert "repository" in answer.text or "git" in answer.text
    assert (host.revision("a"), host.status("new")) == (first, {})


async def test_odd_names_and_contents_of_a_repository_are_told_and_harm_nothing(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    odd = ["-rf.json", "a b.json", "ü.json", 'q"uote.json', "$(touch x).json", "new\nline.json", "tab\t.json"]
    for number, name in enumerate(odd):
        (remote.work / name).write_text(json.dumps(greeter(f"odd-{number}", "one")))
    bytes_ = os.fsencode(remote.work) + b"/\xff\xfe.json"
    Path(os.fsdecode(bytes_)).write_text(json.dumps(greeter("no-utf8", "one")))
    files: dict[str, Any] = {
        "huge.json": " " * (9 * 1024 * 1024),
        "half.json": json.dumps(greeter("half", "x"))[:-40],
        "binary.json": b"\x00\xff\xfe" * 100,
        "empty.json": b"",
        "good.json": greeter("good", "one"),
        "same-1.json": greeter("same", "one"),
        "same-2.json": greeter("same", "two"),
    }
    sha = remote.push("Odd", files)
    host.follow()
    host.start_daemon()
    await host.until_at("good", sha)
    await host.until_at("odd-2", sha)
    bad = {"huge.json", "half.json", "binary.json", "empty.json"}
    await host.until("they are refused", lambda: bad <= host.refused().keys())
    refused = host.refused()
    assert "the limit is" in refused["huge.json"]
    assert (await host.until_status("same", "DEPLOYMENT_FAILED"))["lastError"][
        "reason"
    ] == "DuplicateWorkflowId"
    said = host.cli("status").stdout + host.cli("logs").stdout
    assert "new\nline.json" not in said
    sha = remote.push("Mend", {name: None for name in files if name != "good.json"})
    await host.until("they are gone", lambda: not bad & host.refused().keys())


async def test_a_repository_that_is_too_large_is_told_and_takes_no_disk(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    host.follow(max_clone_mib=8)
    host.start_daemon()
    await host.until_at("a", first)
    for number in range(4):
        remote.commit("Film", {f"film-{number}.bin": os.urandom(6_000_000), "a.json": greeter("a", "two")})
    remote.publish()
    said = await host.until_told("Unreachable", "8 MiB")
    assert "max_clone_mib" in said
    assert host.revision("a") == first
    remote.rewind(first)
    second = remote.push("Without films", {"a.json": greeter("a", "three")})
    await host.until_at("a", second)
    taken = sum(path.stat().st_size for path in host.clone.rglob("*") if path.is_file())
    assert taken < 16 * 1024**2


async def test_a_token_is_not_told_to_the_server_that_another_one_points_to(
    git_host: GitHost, http: GitHttpServer, tmp_path: Path
) -> None:
    host, remote = git_host, git_host.remote
    token = tmp_path / "token"
    token.write_text("ghp_1234567890")
    first = remote.push("One", {"a.json": greeter("a", "one")})
    with http_server(remote.bare.parent) as thief:
        thief.tokens = ("what the thief asks for",)
        http.redirect = f"http://127.0.0.1:{thief.port}"
        host.follow(http.url(remote.bare), token_file=str(token))
        host.start_daemon()
        await host.until_told("Unreachable")
        assert thief.requests
        assert thief.passwords == []
        http.redirect, http.tokens = "", ("ghp_1234567890",)
        await host.until_at("a", first)


async def test_without_git_it_is_said_what_to_install(git_host: GitHost, tmp_path: Path) -> None:
    host = git_host
    (tmp_path / "bin").mkdir()
    for name in ("node", "npm", "sh"):
        if found := shutil.which(name):
            (tmp_path / "bin" / name).symlink_to(found)
    host.remote.push("One", {"a.json": greeter("a", "one")})
    host.follow()
    host.start_daemon(PATH=str(tmp_path / "bin"))
    said = await host.until_told("Unreachable", "git can't be run")
    assert "install git" in said


@pytest.mark.parametrize("verb", ["plan", "apply"])
async def test_what_needs_no_daemon_follows_the_repository_as_well(git_host: GitHost, verb: str) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one")})
    host.follow()
    done = await host.asked("apply", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["workflows"][0]["status"] == "DEPLOYED"
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    done = await host.asked(verb)
    assert done.returncode in (0, 3), done.stderr
    if verb == "apply":
        assert host.revision("a") == second
