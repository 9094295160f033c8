"""What goes wrong between a host and its repository: nothing is undeployed, and it mends itself."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.e2e.githost import GitHost
from tests.e2e.gitservers import GitHttpServer, authority, http_server, missing_sshd, ssh_server
from tests.e2e.host import run_workflow
from tests.e2e.remotes import git
from tests.e2e.specs import greeter

needs_sshd = pytest.mark.skipif(bool(missing_sshd()), reason=missing_sshd() or "there is one")


async def _deployed(host: GitHost, url: str | None = None, **settings: Any) -> str:
    """A host that has deployed the first commit."""
    first = host.remote.push("One", {"a.json": greeter("a", "one"), "b.json": greeter("b", "b")})
    host.follow(url, **settings)
    host.start_daemon()
    await host.until_at("a", first)
    await host.until_at("b", first)
    return first


async def _still(host: GitHost, sha: str) -> None:
    assert host.history("a") == host.history("b") == ["DEPLOYING", "DEPLOYED"]
    assert (host.revision("a"), host.revision("b")) == (sha, sha)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("down", "does not answer"),
        ("500", "HTTP 500"),
        ("page", "no commit yet"),
        ("cut", "connection broke off"),
        ("hang", "took longer than 2 s"),
        ("gone", "no such repository"),
    ],
)
async def test_a_remote_that_fails_for_a_while_changes_nothing_and_is_told(
    git_host: GitHost, http: GitHttpServer, fault: str, words: str
) -> None:
    host, remote = git_host, git_host.remote
    first = await _deployed(host, http.url(remote.bare), timeout_s=2.0)
    away = remote.bare.with_name("away.git")
    if fault == "down":
        http.stop()
    elif fault == "gone":
        remote.bare.rename(away)
    else:
        http.fault = fault
    if fault not in ("gone", "down"):
        second = remote.push("Two", {"a.json": greeter("a", "two"), "b.json": None})
    await host.until("it is shown", lambda: words in (host.source()["problem"] or ""))
    assert host.source()["state"] == "Unreachable"
    assert words in host.cli("status").stdout
    await host.until_told("Unreachable", words)
    await _still(host, first)
    done = host.cli("reconcile", "--wait", "--timeout", "5s")
    assert done.returncode == 1
    assert words in done.stderr or fault == "hang", done.stderr

    if fault == "gone":
        away.rename(remote.bare)
    elif fault == "down":
        http.start()
    http.fault = ""
    if fault in ("gone", "down"):
        second = remote.push("Two", {"a.json": greeter("a", "two"), "b.json": None})
    await host.until_at("a", second)
    await host.until_status("b", "UNDEPLOYED")
    await host.until("it is told", lambda: host.source()["state"] == "Synced")
    assert host.source()["problem"] is None


async def test_a_host_that_starts_while_its_remote_is_away_serves_what_it_had(
    git_host: GitHost, http: GitHttpServer, client: Client
) -> None:
    host, remote = git_host, git_host.remote
    host.start_worker()
    first = await _deployed(host, http.url(remote.bare))
    host.stop_daemon()
    host.kill_worker()
    http.stop()
    shutil.rmtree(host.data / "workflows")  # what is desired is known, also without the remote
    host.start_worker()
    host.start_daemon()
    await host.until("it is told", lambda: host.is_ready() and host.source().get("state") == "Unreachable")
    await host.until_served("a")
    assert host.revision("a") == first
    assert await run_workflow(client, "a", "x", queue="a") == "one x"


async def test_a_first_fetch_that_fails_is_told_and_tried_again(
    git_host: GitHost, http: GitHttpServer
) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    http.fault = "500"
    host.follow(http.url(remote.bare))
    host.start_daemon()
    await host.until_told("Unreachable", "HTTP 500")
    assert host.source()["commit"] is None
    http.fault = ""
    await host.until_at("a", first)


async def test_a_token_is_read_again_when_it_changes_and_is_never_shown(
    git_host: GitHost, http: GitHttpServer, tmp_path: Path
) -> None:
    host, remote, token = git_host, git_host.remote, tmp_path / "token"
    old, new = "ghp_oldsecret1234567890", "ghp_newsecret1234567890"
    http.tokens = (old,)
    token.write_text(old + "\n")
    first = await _deployed(host, http.url(remote.bare), token_file=str(token))
    http.tokens = (new,)
    said = await host.until_told("Unreachable", "does not let us in")
    assert "source.token_file" in said
    await _still(host, first)
    aside = tmp_path / "token.new"
    aside.write_text(new)
    aside.replace(token)
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    await host.until_at("a", second)
    token.write_text("")
    await host.until("it is told", lambda: "holds no token" in (host.source()["problem"] or ""))
    seen = host.log_file.read_text() + host.cli("status", "--json").stdout + host.cli("config").stdout
    assert old not in seen
    assert new not in seen
    kept = [
        path for path in host.data.rglob("*") if path.is_file() and b"secret1234567890" in path.read_bytes()
    ]
    assert kept == []


async def test_a_certificate_counts_when_its_authority_does(git_host: GitHost, tmp_path: Path) -> None:
    host, remote = git_host, git_host.remote
    context, certificate = authority(tmp_path)
    with http_server(remote.bare.parent, tls=context) as server:
        first = remote.push("One", {"a.json": greeter("a", "one")})
        host.follow(server.url(remote.bare))
        host.start_daemon()
        await host.until_told("Unreachable", "TLS certificate")
        host.stop_daemon()
        host.start_daemon(GIT_SSL_CAINFO=str(certificate))
        await host.until_at("a", first)


@needs_sshd
async def test_an_ssh_server_that_is_another_one_gets_no_word_from_us(
    git_host: GitHost, tmp_path: Path
) -> None:
    host = git_host
    with ssh_server(tmp_path / "ssh") as server:
        keys: dict[str, Any] = {"ssh_key": str(server.key), "known_hosts": str(server.known_hosts)}
        first = await _deployed(host, server.url(host.remote.bare), **keys)
        server.stop()
        server.another_host_key()
        server.start()
        said = await host.until_told("Unreachable", "ssh host key")
        assert "known_hosts" in said
        await _still(host, first)


@needs_sshd
async def test_an_ssh_key_that_is_no_longer_let_in_is_told(git_host: GitHost, tmp_path: Path) -> None:
    host = git_host
    with ssh_server(tmp_path / "ssh") as server:
        keys: dict[str, Any] = {"ssh_key": str(server.key), "known_hosts": str(server.known_hosts)}
        first = await _deployed(host, server.url(host.remote.bare), **keys)
        (server.home / "authorized").write_text("")
        await host.until_told("Unreachable", "ssh key is not accepted", "source.ssh_key")
        await _still(host, first)


# Our clone -------------------------------------------------------------------------------------


def _flip(clone: Path) -> None:
    """Change a byte in the middle of each object and pack."""
    for path in [*clone.glob("objects/pack/*.pack"), *clone.glob("objects/??/*")]:
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


def _drop_packs(clone: Path) -> None:
    for path in [*clone.glob("objects/pack/*"), *clone.glob("objects/??/*")]:
        path.unlink()


def _drop_index(clone: Path) -> None:
    git(clone, "repack", "-adq")
    for path in clone.glob("objects/pack/*.idx"):
        path.unlink()


def _empty(clone: Path) -> None:
    for path in [
        *clone.glob("objects/pack/*.pack"),
        *clone.glob("objects/??/*"),
        *clone.glob("refs/timewright/*"),
    ]:
        path.chmod(0o644)
        path.write_bytes(b"")


def _no_head(clone: Path) -> None:
    (clone / "HEAD").unlink()


def _evil_config(clone: Path) -> None:
    (clone / "config").write_text("[core\nthis is no config")


DAMAGES = [_flip, _drop_packs, _drop_index, _empty, _no_head, _evil_config, shutil.rmtree]


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
async def test_a_damaged_clone_is_made_anew(
    git_host: GitHost, damage: Callable[[Path], None], running: bool
) -> None:
    host, remote = git_host, git_host.remote
    first = await _deployed(host)
    if not running:
        host.stop_daemon()
    damage(host.clone)
    if not running:
        host.start_daemon()
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    await host.until_at("a", second)
    assert host.revision("b") == first
    assert host.history("b") == ["DEPLOYING", "DEPLOYED"]
    assert git(host.clone, "fsck", "--connectivity-only") == ""
    remote.rewind(first)  # and what it stood at is not forgotten with it
    await host.until_told("Refused", second[:10], first[:10])


@pytest.mark.parametrize("content", ["", "{", '{"format": 99}', "null"])
async def test_a_damaged_note_of_what_was_followed_lets_no_rewind_pass(
    git_host: GitHost, content: str
) -> None:
    host, remote = git_host, git_host.remote
    first = await _deployed(host)
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    await host.until_at("a", second)
    host.stop_daemon()
    (host.data / "sources" / "main" / "adopted.json").write_text(content)
    remote.rewind(first)
    host.start_daemon()
    await host.until_told("Refused", second[:10], first[:10])
    assert host.revision("a") == second
    third = remote.push("Three", {"a.json": greeter("a", "three")})
    remote.rewind(second)
    await host.until("it goes on", lambda: host.source()["state"] == "Synced")
    assert (host.revision("a"), host.revision("b")) == (second, first)
    assert third != second


# Killed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["before-adopt", "after-adopt"])
async def test_a_daemon_killed_while_it_adopts_a_commit_converges_at_its_next_start(
    git_host: GitHost, point: str
) -> None:
    host, remote = git_host, git_host.remote
    first = await _deployed(host)
    host.stop_daemon()
    second = remote.push("Two", {"a.json": greeter("a", "two"), "b.json": None, "c.json": greeter("c", "c")})
    host.start_daemon(TIMEWRIGHT_FAILPOINT=point)
    assert host.daemon is not None
    daemon = host.daemon
    await host.until("the daemon dies at the fault point", lambda: daemon.poll() is not None)
    assert daemon.returncode == -signal.SIGKILL
    assert (host.revision("a"), host.revision("b")) == (first, first)
    host.start_daemon()
    await host.until_at("a", second)
    await host.until_at("c", second)
    await host.until_status("b", "UNDEPLOYED")


@pytest.mark.parametrize("first_clone", [True, False], ids=["first clone", "update"])
async def test_a_daemon_killed_in_mid_fetch_fetches_again_at_its_next_start(
    git_host: GitHost, http: GitHttpServer, first_clone: bool
) -> None:
    host, remote = git_host, git_host.remote
    url = http.url(remote.bare)
    noise = {f"noise/{number}.bin": os.urandom(20_000) for number in range(20)}
    if not first_clone:
        await _deployed(host, url)
    http.fault = "stall"
    gone = {} if first_clone else {"b.json": None}
    second = remote.push("Two", {"a.json": greeter("a", "two"), **gone, **noise})
    if first_clone:
        host.follow(url)
        host.start_daemon()
    await host.until("half of the pack is sent", http.stalled.is_set)
    host.kill_daemon()
    http.fault = ""
    (host.clone / "shallow.lock").write_text("")  # git dies with us, and leaves such things
    (host.clone / "objects" / "pack" / "tmp_pack_left").write_text("half")
    host.start_daemon()
    await host.until_at("a", second)
    if not first_clone:
        await host.until_status("b", "UNDEPLOYED")
    assert git(host.clone, "fsck", "--connectivity-only") == ""
    assert list(host.clone.rglob("tmp_*")) == []


async def test_no_git_of_ours_outlives_a_killed_daemon_for_long(
    git_host: GitHost, http: GitHttpServer
) -> None:
    """A git that goes on writing into the clone beside that of the next daemon would damage it."""
    host, remote = git_host, git_host.remote
    http.fault = "stall"
    remote.push("One", {"a.json": greeter("a", "one"), "noise.bin": os.urandom(200_000)})
    host.follow(http.url(remote.bare))
    host.start_daemon()
    await host.until("half of the pack is sent", http.stalled.is_set)
    assert _gits(host.clone)
    host.kill_daemon()
    await host.until("its git is gone", lambda: not _gits(host.clone), 15)


def _gits(clone: Path) -> list[str]:
    """The command lines of processes that name the clone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(clone) in words and words.startswith("git"):
            found.append(words)
    return found


async def test_the_clone_stays_small_over_many_commits(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    await _deployed(host)
    for number in range(12):
        remote.push("Noise", {"noise.bin": os.urandom(300_000)})
        remote.push("Quiet", {"noise.bin": b""})
        sha = remote.push(f"v{number}", {"a.json": greeter("a", f"v{number}")})
        await host.until_at("a", sha)
    packs = list(host.clone.glob("objects/pack/*.pack"))
    assert len(packs) <= 45
