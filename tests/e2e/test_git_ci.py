"""What CI, a forge and people see of a commit: webhooks, `reconcile --wait`, statuses, and names."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.e2e.githost import GitHost
from tests.e2e.gitservers import http_server
from tests.e2e.host import free_port, run_workflow
from tests.e2e.inbox import Inbox
from tests.e2e.remotes import git
from tests.e2e.specs import greeter

NEVER = 3600.0  # seconds between fetches: only what asks for one has one
SECRET = "it is between us"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as running:
        yield running


# Webhooks --------------------------------------------------------------------------------------


class Hook:
    """The webhook of a host, as a forge calls it."""

    def __init__(self, host: GitHost, home: Path) -> None:
        self.host, self.port, self.secret = host, free_port(), home / "webhook-secret"
        self.secret.write_text(SECRET + "\n")
        listen = {"api": {"listen": f"127.0.0.1:{self.port}"}}
        host.follow(interval_s=NEVER, webhook_secret_file=str(self.secret), more=listen)

    def push(
        self, sha: str, *, secret: str = SECRET, ref: str = "refs/heads/main"
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a push event, as GitHub sends it."""
        body = json.dumps({"ref": ref, "after": sha, "repository": {"full_name": "acme/specs"}}).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-hub-signature-256": f"sha256={signature}", "x-github-event": "push"}
        return {**headers, "content-type": "application/json"}, body

    def send(self, headers: dict[str, str], body: bytes, source: str = "main") -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}/api/v1/webhook/{source}"
        return httpx.post(url, headers=headers, content=body, timeout=30)


async def test_a_signed_webhook_deploys_what_was_pushed_and_nothing_else_does(
    git_host: GitHost, client: Client, tmp_path: Path
) -> None:
    host, remote, hook = git_host, git_host.remote, Hook(git_host, tmp_path)
    first = remote.push("One", {"a.json": greeter("a", "one")})
    host.start_worker()
    host.start_daemon()
    await host.until_at("a", first)
    await host.until_served("a")

    second = remote.push("Two", {"a.json": greeter("a", "two")})
    fetches = host.source()["fetches"]
    wrong = hook.send(*hook.push(second, secret="a guess"))
    assert wrong.status_code == 401
    headers, body = hook.push(second)
    assert hook.send(headers, body.replace(b"acme", b"evil")).status_code == 401
    assert hook.send({"content-type": "application/json"}, body).status_code == 401
    assert hook.send(headers, body, "elsewhere").status_code == 404
    other = hook.send(*hook.push(second, ref="refs/heads/topic"))
    assert (other.status_code, other.json()["woken"]) == (200, False)
    assert (host.source()["fetches"], host.revision("a")) == (fetches, first)

    good = hook.send(headers, body)
    assert (good.status_code, good.json()["woken"]) == (202, True)
    await host.until_at("a", second)
    await host.until_served("a")
    assert await run_workflow(client, "a", "x", queue="a") == "two x"

    fetches = host.source()["fetches"]
    again = hook.send(headers, body)
    assert (again.status_code, again.json()["woken"]) == (200, False)
    host.kill_daemon()
    host.start_daemon()
    await host.until("the API is ready", host.is_ready)
    again = hook.send(headers, body)
    assert (again.status_code, again.json()["woken"]) == (200, False)
    assert SECRET not in host.log_file.read_text()


async def test_a_flood_of_webhooks_is_a_few_fetches(git_host: GitHost, tmp_path: Path) -> None:
    host, remote, hook = git_host, git_host.remote, Hook(git_host, tmp_path)
    remote.push("One", {"a.json": greeter("a", "one")})
    host.start_daemon()
    await host.until_status("a", "DEPLOYED")
    before = host.source()["fetches"]
    answers = [hook.send(*hook.push(f"{number:040x}")).status_code for number in range(1, 61)]
    assert set(answers) == {202}
    sha = remote.push("Two", {"a.json": greeter("a", "two")})
    hook.send(*hook.push(sha))
    await host.until_at("a", sha)
    assert host.source()["fetches"] - before < 30


async def test_a_secret_that_can_not_be_read_is_the_operators_to_know(
    git_host: GitHost, tmp_path: Path
) -> None:
    host, remote, hook = git_host, git_host.remote, Hook(git_host, tmp_path)
    sha = remote.push("One", {"a.json": greeter("a", "one")})
    host.start_daemon()
    await host.until_at("a", sha)
    hook.secret.unlink()
    answer = hook.send(*hook.push(sha))
    assert answer.status_code == 503
    assert str(hook.secret) not in answer.text
    assert str(hook.secret) in host.log_file.read_text()
    hook.secret.write_text("another one")
    assert hook.send(*hook.push(sha)).status_code == 401
    assert hook.send(*hook.push(sha, secret="another one")).status_code == 202


# reconcile --wait ------------------------------------------------------------------------------


async def test_ci_waits_for_its_commit_and_its_exit_code_tells(git_host: GitHost, client: Client) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one"), "b.json": greeter("b", "one")})
    host.follow(interval_s=NEVER)
    host.start_worker()
    host.start_daemon()
    await host.until("it is ready", host.is_ready)
    done = await host.asked("reconcile", "--wait", "--timeout", "60s")
    assert done.returncode == 0, done.stderr + host.tail()
    assert await run_workflow(client, "a", "x", queue="a") == "one x"

    second = remote.push("Two", {"a.json": greeter("a", "two")})
    done = await host.asked("reconcile", "main", "--wait", "--revision", second, "--timeout", "60s")
    assert done.returncode == 0, done.stderr + host.tail()
    assert second[:10] in done.stdout
    assert await run_workflow(client, "a", "x", queue="a") == "two x"  # served, not only live

    broken = greeter("a", "three")
    broken["workflowCode"] += "\nconst n: number = 'x';"
    third = remote.push("Break it", {"a.json": broken, "b.json": greeter("b", "three")})
    done = await host.asked("reconcile", "main", "--wait", "--revision", third, "--timeout", "60s")
    assert done.returncode == 1
    assert "a: TypeCheckFailed" in done.stderr, done.stderr
    assert "TS2322" in done.stderr
    assert await run_workflow(client, "a", "x", queue="a") == "two x"
    await host.until_at("b", third)  # it didn't wait for the others
    await host.until_served("b")
    assert await run_workflow(client, "b", "x", queue="b") == "three x"

    fourth = remote.push("Elsewhere", {"README.md": "no spec\n"})
    done = await host.asked("reconcile", "main", "--wait", "--revision", fourth, "--timeout", "60s")
    assert host.source()["commit"]["sha"] == fourth
    fifth = remote.push("Mend it", {"a.json": greeter("a", "five")})
    done = await host.asked("reconcile", "main", "--wait", "--revision", fifth, "--timeout", "60s", "--json")
    assert (done.returncode, json.loads(done.stdout)["rollout"]["state"]) == (0, "success"), done.stderr


async def test_ci_is_told_why_its_commit_does_not_come(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one")})
    host.follow(interval_s=NEVER)
    host.start_daemon()
    await host.until_status("a", "DEPLOYED")
    topic = remote.commit("On a topic", {"a.json": greeter("a", "topic")})
    remote.publish(ref="HEAD:refs/heads/topic")
    done = await host.asked("reconcile", "main", "--wait", "--revision", topic, "--timeout", "2s")
    assert done.returncode == 1
    assert topic[:10] in done.stderr
    assert "branch" in done.stderr
    done = await host.asked("reconcile", "nothing-of-this-name")
    assert done.returncode == 1
    assert "nothing-of-this-name" in done.stderr
    host.stop_daemon()
    done = await host.asked("reconcile", "main", "--wait")
    assert done.returncode == 1
    assert "Try: " in done.stderr


async def test_a_wait_of_ci_goes_on_over_a_restart_of_the_daemon(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one")})
    host.follow(interval_s=NEVER)
    host.start_worker()
    host.start_daemon()
    await host.until_served("a")
    host.kill_worker()  # nothing becomes healthy meanwhile
    sha = remote.push("Two", {"a.json": greeter("a", "two")})
    waiting = asyncio.create_task(
        host.asked("reconcile", "main", "--wait", "--revision", sha, "--timeout", "90s")
    )
    await host.until_at("a", sha)
    host.kill_daemon()
    await asyncio.sleep(1)
    assert not waiting.done()
    host.start_worker()
    host.start_daemon()
    done = await waiting
    assert done.returncode == 0, done.stderr


async def test_removals_belong_to_a_commit_as_well(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {name: greeter(name[0], "one") for name in ("a.json", "b.json", "c.json")})
    host.follow(interval_s=NEVER)
    host.start_worker()
    host.start_daemon()
    await host.until("it is ready", host.is_ready)
    assert (await host.asked("reconcile", "--wait")).returncode == 0
    sha = remote.push("Drop one", {"b.json": None})
    done = await host.asked("reconcile", "--wait", "--revision", sha, "--timeout", "60s")
    assert done.returncode == 0, done.stderr
    assert (host.release("b"), host.status("b")["status"]) == (None, "UNDEPLOYED")
    sha = remote.push("Drop all", {"a.json": None, "c.json": None})
    done = await host.asked("reconcile", "--wait", "--revision", sha, "--timeout", "60s")
    assert done.returncode == 1
    assert "the source is empty" in done.stderr, done.stderr
    assert None not in (host.release("a"), host.release("c"))


# Names -----------------------------------------------------------------------------------------


async def test_each_release_names_its_commit_wherever_people_look(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    ada, bob = ("Ada Lovelace", "ada@example.org"), ("Bob Hopper", "bob@example.org")
    first = remote.push("Say hello", {"a.json": greeter("a", "one"), "b.json": greeter("b", "b")}, who=ada)
    host.follow()
    host.start_daemon()
    await host.until_at("a", first)
    second = remote.push("Be polite to guests", {"a.json": greeter("a", "two")}, who=bob)
    await host.until_at("a", second)
    await host.until("it has ended", lambda: host.history("a")[-1] == "DEPLOYED")

    for verb in (("history", "a"), ("logs", "a"), ("status", "a"), ("show", "a")):
        said = host.cli(*verb).stdout
        assert second[:10] in said, (verb, said)
        assert "Bob Hopper" in said, (verb, said)
        assert "Be polite to guests" in said, (verb, said)
    rows = json.loads(host.cli("history", "a", "--json").stdout)
    found = [(row["commit"]["sha"], row["commit"]["author"], row["commit"]["subject"]) for row in rows]
    assert found == [(second, "Bob Hopper", "Be polite to guests"), (first, "Ada Lovelace", "Say hello")]
    said = host.cli("status").stdout
    assert second[:10] in said
    view = host.http("GET", "/api/v1/workflows/b").json()
    assert (view["revision"], view["commit"]["subject"]) == (first, "Say hello")
    view = host.http("GET", "/api/v1/sources/main").json()
    assert (view["commit"]["sha"], view["remote"], view["behind"]) == (second, second, 0)
    log = [json.loads(line) for line in host.log_file.read_text().splitlines()]
    assert any(second[:10] in str(line.get("commit")) and line["event"] == "transition" for line in log)
    assert 'timewright_source_commits_behind{source="main"} 0.0' in host.metrics()

    host.stop_daemon()  # without a daemon and without its state file, the receipts know
    for path in host.data.glob("state.db*"):
        path.unlink()
    remote.bare.rename(remote.bare.with_name("away"))
    host.start_daemon()
    await host.until("it is ready", host.is_ready)
    view = host.http("GET", "/api/v1/workflows/a").json()
    assert (view["commit"]["sha"], view["commit"]["author"]) == (second, "Bob Hopper")


async def test_hostile_words_in_a_commit_move_no_cursor_and_forge_no_line(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    evil = "\x1b[2J\x1b]0;owned\x07 \u202e [red]x[/red] ]8;; <script>alert(1)</script> " + "x" * 5000
    git(remote.work, "config", "i18n.commitEncoding", "latin-1")
    sha = remote.push(evil, {"a.json": greeter("a", "one")}, who=("M\x1b[31mallory <b>", "m@example.com"))
    host.follow()
    host.start_daemon()
    await host.until_at("a", sha)
    for verb in (("history", "a"), ("logs",), ("status",), ("show", "a"), ("status", "--json")):
        said = host.cli(*verb)
        assert said.returncode in (0, 1), said.stderr
        assert "Traceback" not in said.stderr
        assert not set(said.stdout) & {"\x1b", "\x07", "\u202e"}, (verb, said.stdout)
    assert "\x1b" not in host.log_file.read_text()


async def test_a_folder_that_is_a_work_tree_names_its_commit_and_whether_it_is_dirty(
    git_host: GitHost,
) -> None:
    host, remote = git_host, git_host.remote
    sha = remote.push("Say hello", {"a.json": greeter("a", "one")})
    host.follow(more={"sources": {"desk": {"path": str(remote.work)}}})
    host.start_daemon()
    await host.until_status("a", "DEPLOYED")
    assert host.status("a")["revision"] == sha
    (remote.work / "a.json").write_text(json.dumps(greeter("a", "two")))
    await host.until("it is dirty", lambda: host.status("a")["revision"].endswith("-dirty"))
    view = host.http("GET", "/api/v1/workflows/a").json()
    assert (view["commit"]["sha"], view["commit"]["dirty"]) == (sha, True)


# Commit statuses -------------------------------------------------------------------------------


def _states(inbox: Inbox, sha: str, key: str) -> list[str]:
    """The states that were reported of a commit, in order, each once."""
    found: list[str] = []
    for path, body in inbox.letters():
        if sha in path and body.get(key) not in found[-1:]:
            found.append(body[key])
    return found


FORGES = {
    "github": ("/repos/remotes/specs/statuses/{}", "state", "authorization", "Bearer s3cr3t-token"),
    "gitea": ("/repos/remotes/specs/statuses/{}", "state", "authorization", "token s3cr3t-token"),
    "gitlab": ("/projects/remotes%2Fspecs/statuses/{}", "state", "private-token", "s3cr3t-token"),
}


@pytest.mark.parametrize("forge", FORGES)
async def test_the_forge_is_told_what_became_of_each_commit(
    git_host: GitHost, inbox: Inbox, tmp_path: Path, forge: str
) -> None:
    host, remote = git_host, git_host.remote
    path, key, header, value = FORGES[forge]
    token = tmp_path / "status-token"
    token.write_text("s3cr3t-token\n")
    inbox.answer = 201
    good = remote.push("One", {"a.json": greeter("a", "one")})
    with http_server(remote.bare.parent.parent) as server:
        reports: dict[str, Any] = {"status": forge, "status_url": inbox.url, "status_token_file": str(token)}
        host.follow(server.url(remote.bare), **reports)
        host.start_worker()
        host.start_daemon()
        await host.until("it is told", lambda: _states(inbox, good, key)[-1:] == ["success"])
        assert path.format(good) in inbox.paths()[0]
        assert value.split()[-1] in inbox.requests[0].headers[header]

        broken = greeter("a", "two")
        broken["workflowCode"] += "\nconst n: number = 'x';"
        inbox.down = True  # the forge is away, and is told later
        bad = remote.push("Break it", {"a.json": broken})
        await host.until_status("a", "DEPLOYMENT_FAILED", revision=bad)
        inbox.down = False
        failed = "failed" if forge == "gitlab" else "failure"
        await host.until("it is told", lambda: _states(inbox, bad, key)[-1:] == [failed], 120)
        last = [body for where, body in inbox.letters() if bad in where][-1]
        assert "TypeCheckFailed" in last["description"], last
        assert len(last["description"]) <= 140
    kept = host.log_file.read_bytes() + b"".join(p.read_bytes() for p in host.data.glob("state.db*"))
    assert b"s3cr3t-token" not in kept
