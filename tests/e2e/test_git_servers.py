"""The git servers of these tests, by plain git alone: a fault of theirs must not look like one of ours."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.gitservers import GitHttpServer, authority, http_server, missing_sshd, ssh_server
from tests.e2e.remotes import MALLORY, Remote, Signer, environment, git, gpg_signer, ssh_signer

needs_sshd = pytest.mark.skipif(bool(missing_sshd()), reason=missing_sshd() or "there is one")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remotes")
    made.push("Begin", {"specs/a.json": "one", "specs/b.json": {"workflowId": "b"}})
    return made


@pytest.fixture
def server(remote: Remote) -> Iterator[GitHttpServer]:
    with http_server(remote.bare.parent) as running:
        yield running


def refusal(where: Path, *words: str, **env: str) -> str:
    """What git says when it fails."""
    done = subprocess.run(
        ["git", *words],
        cwd=where,
        env=environment(env),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("way", ["file", "http", pytest.param("ssh", marks=needs_sshd)])
def test_a_repository_is_cloned_by_each_way(tmp_path: Path, remote: Remote, way: str) -> None:
    with ssh_server(tmp_path / "ssh") if way == "ssh" else http_server(remote.bare.parent) as server:
        url = remote.file_url if way == "file" else server.url(remote.bare)
        env = {"GIT_SSH_COMMAND": getattr(server, "command", str)()}
        git(tmp_path, "clone", "-q", url, "copy", env=env)
        assert (tmp_path / "copy" / "specs" / "a.json").read_text() == "one"
        sha = remote.push("Say two", {"specs/a.json": "two", "specs/b.json": None})
        git(tmp_path / "copy", "pull", "-q", env=env)
        assert git(tmp_path / "copy", "rev-parse", "HEAD") == sha == remote.head


def test_history_can_be_reverted_rewound_and_tagged(remote: Remote) -> None:
    first = remote.head
    second = remote.push("Say two", {"specs/a.json": "two"}, who=MALLORY)
    third = remote.revert(second)
    assert git(remote.bare, "show", f"{third}:specs/a.json") == "one"
    assert git(remote.bare, "log", "--format=%an", "-n", "1", second) == "Mallory"
    remote.tag("v1.0.0")
    remote.rewind(first)
    assert (remote.head, git(remote.bare, "rev-parse", "v1.0.0")) == (first, third)


@pytest.mark.parametrize("make", [ssh_signer, gpg_signer])
def test_commits_and_tags_are_signed(tmp_path: Path, remote: Remote, make: Callable[..., Signer]) -> None:
    signer = make(tmp_path) if make is ssh_signer else make()
    try:
        sha = remote.push("Sign", {"specs/a.json": "two"}, signer=signer)
        remote.tag("v1.0.0", signer=signer)
        allowed = tmp_path / "allowed"
        allowed.write_text(signer.public)
        trust = f"gpg.ssh.allowedSignersFile={allowed}"
        git(remote.bare, "-c", trust, "verify-commit", sha, env=signer.env)
        git(remote.bare, "-c", trust, "verify-tag", "v1.0.0", env=signer.env)
        assert refusal(remote.bare, "-c", trust, "verify-commit", f"{sha}~1", **signer.env) == ""
    finally:
        signer.close()


@needs_sshd
def test_an_ssh_server_with_another_key_is_refused(tmp_path: Path, remote: Remote) -> None:
    with ssh_server(tmp_path / "ssh") as server:
        server.stop()
        server.another_host_key()
        server.start()
        said = refusal(tmp_path, "ls-remote", server.url(remote.bare), GIT_SSH_COMMAND=server.command())
    assert "HOST IDENTIFICATION HAS CHANGED" in said


def test_a_token_is_asked_for_and_can_be_changed(
    tmp_path: Path, remote: Remote, server: GitHttpServer
) -> None:
    server.tokens = ("old",)
    with_old = server.url(remote.bare).replace("//", "//x:old@")
    assert "terminal prompts disabled" in refusal(tmp_path, "ls-remote", server.url(remote.bare))
    assert remote.head in git(tmp_path, "ls-remote", with_old)
    server.tokens = ("new",)
    assert "Authentication failed" in refusal(tmp_path, "ls-remote", with_old)


def test_http_is_also_there_over_tls(tmp_path: Path, remote: Remote) -> None:
    context, certificate = authority(tmp_path)
    with http_server(remote.bare.parent, tls=context) as server:
        url = server.url(remote.bare)
        assert remote.head in git(tmp_path, "ls-remote", url, env={"GIT_SSL_CAINFO": str(certificate)})
        assert "certificate" in refusal(tmp_path, "ls-remote", url)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("cut", "early EOF"), ("500", "error: 500")],
)
def test_faults_are_seen_by_git_and_end(
    tmp_path: Path, remote: Remote, server: GitHttpServer, fault: str, said: str
) -> None:
    server.fault = fault
    assert said in refusal(tmp_path, "clone", "-q", server.url(remote.bare), "copy")
    server.fault = ""
    git(tmp_path, "clone", "-q", server.url(remote.bare), "copy")


def test_a_web_page_looks_like_a_repository_without_refs(
    tmp_path: Path, remote: Remote, server: GitHttpServer
) -> None:
    """That is what a captive portal or a login page does to git: no error, and nothing there."""
    server.fault = "page"
    assert git(tmp_path, "ls-remote", server.url(remote.bare)) == ""


def test_a_server_that_is_down_comes_back_at_its_address(
    tmp_path: Path, remote: Remote, server: GitHttpServer
) -> None:
    server.stop()
    assert "Failed to connect" in refusal(tmp_path, "ls-remote", server.url(remote.bare))
    server.start()
    assert remote.head in git(tmp_path, "ls-remote", server.url(remote.bare))


@pytest.mark.parametrize("fault", ["stall", "hang", "slow"])
def test_a_server_that_waits_goes_on_when_it_is_let(
    tmp_path: Path, remote: Remote, server: GitHttpServer, fault: str
) -> None:
    server.fault = fault
    words = ["git", "clone", "-q", server.url(remote.bare), "copy"]
    child = subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    if fault == "stall":
        assert server.stalled.wait(20)
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.3)
    server.fault = ""
    assert child.wait(20) == (128 if fault == "hang" else 0)  # its connection ends without an answer
