"""What is not followed: rewound branches, commits without a trusted signature, tricks of a repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.e2e.githost import GitHost
from tests.e2e.host import run_workflow
from tests.e2e.remotes import MALLORY, Signer, git, gpg_signer, ssh_signer
from tests.e2e.specs import greeter


async def test_a_force_push_is_refused_with_both_commits_named_until_a_person_allows_it(
    git_host: GitHost, client: Client
) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    host.follow()
    host.start_worker()
    host.start_daemon()
    await host.until_at("a", second)
    await host.until_served("a")

    remote.rewind(first)
    other = remote.commit("Other", {"a.json": greeter("a", "other")}, who=MALLORY)
    remote.publish(force=True)
    said = await host.until_told("Refused", second[:10], other[:10])
    assert "--allow-rewind" in said
    status = host.cli("status")
    assert "Refused" in status.stdout
    assert other[:10] in status.stdout, status.stdout
    assert second[:10] in status.stdout
    done = host.cli("reconcile", "--wait", "--timeout", "30s")
    assert done.returncode == 1
    assert "rewound or force-pushed" in done.stderr
    assert "--allow-rewind" in done.stderr
    assert await run_workflow(client, "a", "x", queue="a") == "two x"

    host.kill_daemon()  # what was refused stays so over a restart
    host.start_daemon()
    await host.until("the API is ready", host.is_ready)
    done = host.cli("reconcile", "--wait", "--timeout", "30s")
    assert (done.returncode, host.revision("a")) == (1, second)

    done = host.cli(
        "reconcile", "main", "--allow-rewind", "--wait", "--timeout", "60s", "--reason", "it is meant"
    )
    assert done.returncode == 0, done.stderr
    assert host.revision("a") == other
    assert await run_workflow(client, "a", "x", queue="a") == "other x"
    assert "it is meant" in host.cli("audit").stdout

    remote.rewind(first)  # that was for once
    await host.until_told("Refused", other[:10], first[:10])
    assert host.revision("a") == other


async def test_a_rewind_is_allowed_to_the_commit_that_was_named_only(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    host.follow()
    host.start_daemon()
    await host.until_at("a", second)
    remote.rewind(first)
    sneaky = remote.push("Sneaky", {"a.json": greeter("a", "sneaky")}, who=MALLORY)
    await host.until_told("Refused", sneaky[:10])
    done = host.cli("reconcile", "main", "--allow-rewind", "--revision", first, "--wait", "--timeout", "10s")
    assert done.returncode == 1
    assert host.revision("a") == second


async def test_a_deleted_branch_undeploys_nothing(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    host.follow(ref="main")
    host.start_daemon()
    await host.until_at("a", first)
    git(remote.bare, "update-ref", "-d", "refs/heads/main")
    said = await host.until_told("Unreachable", "no branch or tag 'main'")
    assert "source.ref" in said
    assert host.release("a") is not None


@pytest.fixture(params=["ssh", "gpg"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Signer, Signer, dict[str, Any]]]:
    """Ada's key, Mallory's, and the settings by which a host trusts Ada's."""
    if request.param == "ssh":
        ada, mallory, trust = ssh_signer(tmp_path), ssh_signer(tmp_path, MALLORY), tmp_path / "signers"
    else:
        ada, mallory, trust = gpg_signer(), gpg_signer(MALLORY), tmp_path / "keyring.asc"
    trust.write_text(ada.public)
    yield ada, mallory, {"signers" if request.param == "ssh" else "keyring": str(trust)}
    ada.close()
    mallory.close()


async def test_only_commits_that_a_trusted_key_signed_are_followed(
    git_host: GitHost, keys: tuple[Signer, Signer, dict[str, Any]]
) -> None:
    host, remote, (ada, mallory, trust) = git_host, git_host.remote, keys
    remote.push("Unsigned", {"a.json": greeter("a", "zero")})
    host.follow(verify="head", **trust)
    host.start_daemon()
    await host.until_told("Refused", "is not signed")
    assert host.status("a") == {}

    good = remote.push("Signed", {"a.json": greeter("a", "one")}, signer=ada)
    await host.until_at("a", good)
    release = host.release("a")

    foreign = remote.push("Foreign", {"a.json": greeter("a", "evil")}, signer=mallory, who=MALLORY)
    said = await host.until_told("Refused", foreign[:10], "not among the trusted ones")
    assert f"{good[:10]} goes on" in said
    assert (host.release("a"), host.source()["behind"]) == (release, 1)

    forged = remote.commit("Forged", {"a.json": greeter("a", "forged")}, signer=ada)
    forged = _altered(host, forged)
    said = await host.until_told("Refused", forged[:10], "changed after it was signed")
    assert host.release("a") == release

    better = remote.push("Signed again", {"a.json": greeter("a", "two")}, signer=ada)
    await host.until_at("a", better)
    await host.until("it is told", lambda: host.source()["state"] == "Synced")


def _altered(host: GitHost, sha: str) -> str:
    """A commit with another message under the same signature, pushed."""
    work = host.remote.work
    content = git(work, "cat-file", "commit", sha).replace("\nForged", "\nFORGED")
    made = git(work, "hash-object", "-t", "commit", "-w", "--stdin", text=content + "\n")
    git(work, "reset", "-q", "--hard", made)
    host.remote.publish()
    return made


async def test_each_commit_since_the_last_one_needs_its_signature_where_that_is_asked(
    git_host: GitHost, keys: tuple[Signer, Signer, dict[str, Any]]
) -> None:
    host, remote, (ada, mallory, trust) = git_host, git_host.remote, keys
    good = remote.push("Signed", {"a.json": greeter("a", "one")}, signer=ada)
    host.follow(verify="all-since-last", **trust)
    host.start_daemon()
    await host.until_at("a", good)
    hidden = remote.commit("Hidden", {"a.json": greeter("a", "evil")}, signer=mallory, who=MALLORY)
    remote.push("On top", {"b.json": greeter("b", "b")}, signer=ada)
    await host.until_told("Refused", hidden[:10], "Mallory")
    assert (host.revision("a"), host.status("b")) == (good, {})
    remote.rewind(good)
    better = remote.push("Without it", {"b.json": greeter("b", "b")}, signer=ada)
    await host.until_at("b", better)


async def test_a_tag_needs_the_signature_of_a_trusted_key(
    git_host: GitHost, keys: tuple[Signer, Signer, dict[str, Any]]
) -> None:
    host, remote, (ada, mallory, trust) = git_host, git_host.remote, keys
    good = remote.push("One", {"a.json": greeter("a", "one")})
    remote.tag("v1.0.0", signer=ada)
    host.follow(verify="tag", ref="semver:^1", **trust)
    host.start_daemon()
    await host.until_at("a", good)
    remote.push("Two", {"a.json": greeter("a", "two")})
    remote.tag("v1.1.0")
    await host.until_told("Refused", "v1.1.0", "not an annotated tag")
    remote.tag("v1.2.0", signer=mallory)
    await host.until_told("Refused", "v1.2.0", "not among the trusted ones")
    assert host.revision("a") == good
    remote.tag("v1.3.0", signer=ada)
    await host.until_at("a", remote.head)


async def test_a_lost_file_of_signers_trusts_nobody(git_host: GitHost, tmp_path: Path) -> None:
    host, remote, ada = git_host, git_host.remote, ssh_signer(tmp_path)
    (tmp_path / "signers").write_text(ada.public)
    good = remote.push("One", {"a.json": greeter("a", "one")}, signer=ada)
    host.follow(verify="head", signers=str(tmp_path / "signers"))
    host.start_daemon()
    await host.until_at("a", good)
    (tmp_path / "signers").rename(tmp_path / "away")
    remote.push("Two", {"a.json": greeter("a", "two")}, signer=ada)
    await host.until("it is told", lambda: "no signature can be checked" in (host.source()["problem"] or ""))
    assert host.revision("a") == good
    (tmp_path / "away").rename(tmp_path / "signers")
    await host.until_at("a", remote.head)


async def test_links_of_a_repository_lead_nowhere_outside_of_it(git_host: GitHost, tmp_path: Path) -> None:
    host, remote = git_host, git_host.remote
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(greeter("secret", "the password of the host")))
    specs = remote.work / "specs"
    specs.mkdir()
    links = {
        "absolute.json": str(secret),
        "climbs.json": "../../../secret.json",
        "daemon.json": "/proc/self/environ",
        "nowhere.json": "gone.json",
        "circle.json": "circle.json",
        "folder.json": ".",
        "fine.json": "../shared/fine.json",
    }
    for name, target in links.items():
        (specs / name).symlink_to(target)
    (specs / "outside").symlink_to(tmp_path)
    sha = remote.push(
        "Links", {"shared/fine.json": greeter("fine", "fine"), "specs/b.json": greeter("b", "b")}
    )
    host.follow(subdir="specs")
    host.start_daemon()
    await host.until_at("b", sha)
    await host.until_at("fine", sha)
    assert host.status("secret") == {}
    refused = json.loads(host.cli("status", "--json").stdout)["refusedFiles"]
    assert sorted(refused) == sorted(links.keys() - {"fine.json"})
    assert "the password of the host" not in json.dumps(refused)
    assert "the password of the host" not in host.log_file.read_text()


async def test_nothing_that_a_repository_holds_is_ever_run(git_host: GitHost, tmp_path: Path) -> None:
    """Hooks, filters, diff and merge drivers, submodules, and the settings of a repository in the repository:
    each would leave a file behind."""
    host, remote, canary = git_host, git_host.remote, tmp_path / "canary"
    run = f"sh -c 'echo \"$0 $*\" >> {canary}; cat'"
    config = "".join(
        f'[{section}]\n\t{key} = "{run.replace(chr(34), chr(92) + chr(34))}"\n'
        for section, key in (
            ('filter "evil"', "smudge"),
            ('filter "evil"', "clean"),
            ('filter "evil"', "process"),
            ('diff "evil"', "textconv"),
            ('diff "evil"', "command"),
            ('merge "evil"', "driver"),
            ("core", "fsmonitor"),
            ("core", "sshCommand"),
            ("core", "pager"),
            ("uploadpack", "packObjectsHook"),
            ("gpg", "program"),
        )
    )
    hooks = {
        f".githooks/{name}": f"#!/bin/sh\necho {name} >> {canary}\n"
        for name in ("post-checkout", "post-merge")
    }
    modules = f'[submodule "sub"]\n\tpath = sub\n\turl = ext::{run}\n\tupdate = !{run}\n'
    files: dict[str, Any] = {
        ".gitattributes": "*.json filter=evil diff=evil merge=evil export-subst ident\n*.txt filter=lfs\n",
        ".gitmodules": modules,
        ".gitconfig": config,
        ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:1\n",
        "a.json": greeter("a", "$Id$ one"),
        **hooks,
    }
    inner = {
        f"nested.git/{name}": text for name, text in (("HEAD", "ref: refs/heads/x\n"), ("config", config))
    }
    for name in (*hooks, "nested.git/hooks/post-checkout"):
        path = remote.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {name} >> {canary}\n")
        path.chmod(0o755)
    remote.commit("Tricks", {**files, **inner})
    git(remote.work, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    first = remote.seal("A submodule")
    remote.publish()
    host.follow()
    host.start_daemon()
    await host.until_at("a", git(remote.bare, "rev-parse", f"{first}~1"))
    second = remote.push("Again", {"a.json": greeter("a", "$Id$ two")})
    await host.until_at("a", second)
    assert "$Id$ two" in (host.data / "workflows" / "a" / "src" / "workflow.ts").read_text()
    assert not canary.exists(), canary.read_text()


async def test_what_git_would_run_for_a_hostile_url_is_not_run(git_host: GitHost, tmp_path: Path) -> None:
    host, canary = git_host, tmp_path / "canary"
    host.remote.push("One", {"a.json": greeter("a", "one")})
    for url in (
        f"ext::sh -c touch% {canary}",
        f"--upload-pack=touch {canary}",
        "ssh://-oProxyCommand=touch%20x/y",
    ):
        host.follow(url)
        done = host.cli("apply")
        assert done.returncode != 0, url
    assert not canary.exists()
