"""Following git repositories: daemon, worker host, Temporal, git and its servers are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.e2e.githost import GitHost
from tests.e2e.gitservers import SshServer, http_server, missing_sshd, ssh_server
from tests.e2e.host import run_workflow
from tests.e2e.remotes import MALLORY, Remote, git
from tests.e2e.specs import greeter

needs_sshd = pytest.mark.skipif(bool(missing_sshd()), reason=missing_sshd() or "there is one")


@pytest.mark.parametrize("way", ["file", "http", pytest.param("ssh", marks=needs_sshd)])
async def test_a_repository_is_followed_by_each_way(
    git_host: GitHost, client: Client, tmp_path: Path, way: str
) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("Say hello", {"specs/hello.json": greeter("hello", "hello")})
    with ssh_server(tmp_path / "ssh") if way == "ssh" else http_server(remote.bare.parent) as server:
        url = remote.file_url if way == "file" else server.url(remote.bare)
        keys: dict[str, Any] = {}
        if isinstance(server, SshServer):
            keys = {"ssh_key": str(server.key), "known_hosts": str(server.known_hosts)}
        host.follow(url, subdir="specs", **keys)
        host.start_worker()
        host.start_daemon()
        await host.until_at("hello", first)
        await host.until_served("hello")
        assert await run_workflow(client, "hello", "x", queue="hello") == "hello x"

        second = remote.push("Be polite", {"specs/hello.json": greeter("hello", "good day")})
        await host.until_at("hello", second)
        await host.until_served("hello")
        assert await run_workflow(client, "hello", "x", queue="hello") == "good day x"

        third = remote.revert(second)
        await host.until_at("hello", third)
        await host.until_served("hello")
        assert await run_workflow(client, "hello", "x", queue="hello") == "hello x"


async def test_what_a_commit_deletes_is_undeployed_and_what_it_moves_goes_on(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    specs = {f"specs/{name}.json": greeter(name, "hello") for name in ("one", "two", "three")}
    first = remote.push("Begin", specs)
    host.follow()
    host.start_daemon()
    for name in ("one", "two", "three"):
        await host.until_at(name, first)
    release = host.release("two")

    second = remote.push(
        "Drop one, move two",
        {"specs/one.json": None, "specs/two.json": None, "specs/sub/2.json": specs["specs/two.json"]},
    )
    await host.until_status("one", "UNDEPLOYED")
    assert host.release("one") is None
    await host.until("two is where it moved to", lambda: host.status("two")["source"] == "specs/sub/2.json")
    assert host.release("two") == release
    assert (host.revision("two"), host.revision("three")) == (second, first)
    assert host.history("two") == ["DEPLOYING", "DEPLOYED"]

    remote.push("Drop all", {"specs/sub/2.json": None, "specs/three.json": None})
    await host.until("it is held", lambda: "source is empty" in (host.status("two")["held"] or ""))
    assert None not in (host.release("two"), host.release("three"))


async def test_a_broken_spec_in_a_commit_is_told_and_its_neighbours_go_on(
    git_host: GitHost,
) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("Begin", {"a.json": greeter("a", "one"), "b.json": greeter("b", "one")})
    host.follow()
    host.start_daemon()
    await host.until_at("a", first)
    await host.until_at("b", first)
    release = host.release("a")
    broken = greeter("a", "two")
    broken["workflowCode"] += "\nconst n: number = 'x';"
    second = remote.push("Break a", {"a.json": broken, "b.json": greeter("b", "two")})
    await host.until_at("b", second)
    record = await host.until_status("a", "DEPLOYMENT_FAILED", revision=second)
    assert record["lastError"]["reason"] == "TypeCheckFailed"
    assert host.release("a") == release
    third = remote.push("Mend a", {"a.json": greeter("a", "three")})
    await host.until_at("a", third)


async def test_several_sources_are_one_host_and_each_has_its_owner(
    git_host: GitHost, client: Client, tmp_path: Path
) -> None:
    host, ours, theirs = git_host, git_host.remote, Remote(tmp_path / "remotes", "theirs")
    first = ours.push("Ours", {"flows/pay.json": greeter("pay", "paid"), "flows/x.json": greeter("x", "x")})
    begun = theirs.push(
        "Theirs", {"mail.json": greeter("mail", "sent", owner="post-office"), "y.json": greeter("y", "y")}
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "local.json").write_text(json.dumps(greeter("local", "here")))
    sources = {
        "payments": {"git": ours.file_url, "subdir": "flows", "owner": "team-pay"},
        "mail": {"git": theirs.file_url, "owner": "team-mail"},
        "desk": {"path": str(folder)},
    }
    host.follow(more={"sources": sources})
    host.start_worker()
    host.start_daemon()
    for name in ("pay", "x", "mail", "y", "local"):
        await host.until(f"{name} is known", lambda name=name: bool(host.status(name)))  # type: ignore[misc]
    await host.until_at("y", begun)
    await host.until_served("mail")
    await host.until_served("local")
    owners = {name: host.status(name)["owner"] for name in ("mail", "y", "x")}
    assert owners == {"mail": "post-office", "y": "team-mail", "x": "team-pay"}
    assert host.status("x")["source"] == "payments/x.json"
    assert host.status("local")["source"] == "desk/local.json"

    # Another source wants the name of what is deployed: it stays with the one that has it, and that is told.
    await host.until_at("pay", first)
    await host.until_served("pay")
    theirs.push("Take ours", {"pay.json": greeter("pay", "stolen")}, who=MALLORY)
    await host.until("the other is refused", lambda: "mail/pay.json" in host.refused())
    assert "payments/pay.json, which is deployed" in host.refused()["mail/pay.json"]
    assert host.status("pay")["status"] == "DEPLOYED"
    assert await run_workflow(client, "pay", "x", queue="pay") == "paid x"


async def test_a_source_that_can_not_be_reached_holds_up_no_other_one(
    git_host: GitHost, tmp_path: Path
) -> None:
    host, theirs = git_host, Remote(tmp_path / "remotes", "theirs")
    first = host.remote.push("Ours", {"one.json": greeter("one", "one")})
    theirs.push("Theirs", {"two.json": greeter("two", "two"), "three.json": greeter("three", "three")})
    sources = {"ours": {"git": host.remote.file_url}, "theirs": {"git": theirs.file_url}}
    host.follow(more={"sources": sources})
    host.start_daemon()
    await host.until_at("one", first)
    await host.until_status("two", "DEPLOYED")
    await host.until_status("three", "DEPLOYED")
    theirs.bare.rename(tmp_path / "away")
    await host.until_told("Unreachable", "source theirs", "no such repository")
    second = host.remote.push("Ours again", {"one.json": None, "four.json": greeter("four", "four")})
    await host.until_at("four", second)
    await host.until_status("one", "UNDEPLOYED")
    assert None not in (host.release("two"), host.release("three"))


async def test_the_newest_version_in_a_range_is_followed(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    one = remote.push("One", {"a.json": greeter("a", "one")})
    remote.tag("v1.2.0")
    remote.push("Two", {"a.json": greeter("a", "two")})
    remote.tag("v2.0.0")
    host.follow(ref="semver:^1.2")
    host.start_daemon()
    await host.until_at("a", one)
    remote.push("Half", {"a.json": greeter("a", "half")})
    remote.tag("v1.3.0-rc.1")
    newer = remote.push("Better", {"a.json": greeter("a", "better")})
    remote.tag("v1.10.0")
    await host.until_at("a", newer)
    assert "v1.10.0" in await host.until_told("Synced")


async def test_a_tag_or_a_commit_stays_where_it_is(git_host: GitHost, tmp_path: Path) -> None:
    host, remote = git_host, git_host.remote
    one = remote.push("One", {"a.json": greeter("a", "one"), "b.json": greeter("b", "one")})
    remote.tag("stable")
    two = remote.push("Two", {"a.json": greeter("a", "two"), "b.json": greeter("b", "two")})
    remote.push("Three", {"a.json": greeter("a", "three"), "b.json": greeter("b", "three")})
    host.follow(ref="stable")
    host.start_daemon()
    await host.until_at("a", one)
    host.stop_daemon()
    host.follow(ref=two)
    host.start_daemon()
    await host.until_at("a", two)


async def test_only_a_little_history_is_fetched_where_that_is_asked(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    for number in range(5):
        head = remote.push(f"v{number}", {"a.json": greeter("a", f"v{number}")})
    host.follow(depth=1)
    host.start_daemon()
    await host.until_at("a", head)
    assert git(host.clone, "rev-list", "--count", head) == "1"
    for number in range(5, 9):  # between two fetches there are more commits than depth has
        head = remote.commit(f"v{number}", {"a.json": greeter("a", f"v{number}")})
    remote.publish()
    await host.until_at("a", head)
    assert [event.new for event in host.events()] == ["Synced", "Synced"]
    remote.rewind(git(remote.bare, "rev-parse", "HEAD~6"))
    await host.until_told("Refused", "rewound or force-pushed", head[:10])


async def test_the_logs_name_commit_author_and_subject(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    sha = remote.push("Say hello to all", {"a.json": greeter("a", "one")}, who=MALLORY)
    host.follow()
    host.start_daemon()
    await host.until_at("a", sha)
    said = host.cli("logs").stdout
    for word in (sha[:10], "Mallory", "Say hello to all"):
        assert word in said, said
