"""What people are told, through Apprise's own JSON plugin and a real web server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.githost import GitHost
from tests.e2e.inbox import Inbox
from tests.e2e.remotes import MALLORY
from tests.e2e.specs import greeter

PATH = "/hook/s3cr3t-path"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as running:
        yield running


def _notify(inbox: Inbox, home: Path, **settings: Any) -> dict[str, Any]:
    urls = home / "urls"
    urls.write_text(f"# the people on call\njson://127.0.0.1:{inbox.port}{PATH}\n")
    urls.chmod(0o600)
    return {"notify": {"urls_file": str(urls), "settle_s": 2.0, **settings}}


def _told(inbox: Inbox, *words: str) -> int:
    """How many messages have all of these words."""
    texts = [f"{body.get('title')}\n{body.get('message')}" for _, body in inbox.letters()]
    return sum(all(word in text for word in words) for text in texts)


def _all(inbox: Inbox) -> list[str]:
    return [f"{body.get('title')} | {body.get('message')}" for _, body in inbox.letters()]


def _broken(word: str) -> dict[str, Any]:
    spec = greeter("a", word)
    spec["workflowCode"] += "\nconst n: number = 'x';"
    return spec


async def test_people_are_told_what_failed_in_which_commit_by_whom_and_once(
    git_host: GitHost, inbox: Inbox, tmp_path: Path
) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one")})
    host.follow(more=_notify(inbox, tmp_path))
    host.start_worker()
    host.start_daemon()
    await host.until_served("a")
    bad = remote.push("Break the greeting", {"a.json": _broken("two")}, who=MALLORY)
    words = ("TypeCheckFailed", "TS2322", bad[:10], "Mallory", "Break the greeting")
    await host.until(f"it is told: {words}", lambda: _told(inbox, *words) == 1)
    remote.push("Elsewhere", {"README.md": "no spec"})
    host.kill_daemon()
    host.start_daemon()
    good = remote.push("Mend it", {"a.json": greeter("a", "three")})
    await host.until_at("a", good)
    await host.until("it is told", lambda: _told(inbox, "a", "recovered") == 1)
    assert _told(inbox, "TypeCheckFailed") == 1, _all(inbox)
    assert inbox.requests[0].path == PATH
    seen = host.log_file.read_text() + host.cli("status", "--json").stdout + host.cli("config").stdout
    assert "s3cr3t-path" not in seen


async def test_a_refused_commit_and_an_unreachable_remote_are_told(
    git_host: GitHost, inbox: Inbox, tmp_path: Path
) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("One", {"a.json": greeter("a", "one")})
    second = remote.push("Two", {"a.json": greeter("a", "two")})
    host.follow(more=_notify(inbox, tmp_path))
    host.start_daemon()
    await host.until_at("a", second)
    remote.rewind(first)
    await host.until("it is told", lambda: _told(inbox, second[:10], first[:10], "--allow-rewind") == 1)
    remote.bare.rename(tmp_path / "away.git")
    await host.until("it is told", lambda: _told(inbox, "no such repository") == 1)
    await asyncio.sleep(3)
    assert _told(inbox, "no such repository") == 1, _all(inbox)


async def test_what_could_not_be_told_is_told_later_and_once(
    git_host: GitHost, inbox: Inbox, tmp_path: Path
) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one"), "b.json": greeter("b", "one")})
    host.follow(more=_notify(inbox, tmp_path))
    host.start_daemon()
    await host.until_status("a", "DEPLOYED")
    inbox.down = True
    bad = remote.push("Break it", {"a.json": _broken("two"), "b.json": greeter("b", "two")})
    await host.until_status("a", "DEPLOYMENT_FAILED")
    await host.until_at("b", bad)  # nobody waited for the message
    await asyncio.sleep(1)
    host.kill_daemon()
    inbox.down = False
    host.start_daemon()
    await host.until("it is told", lambda: _told(inbox, "TypeCheckFailed", bad[:10]) == 1, 120)
    await asyncio.sleep(2)
    assert _told(inbox, "TypeCheckFailed", bad[:10]) == 1, _all(inbox)


async def test_a_killed_worker_that_comes_back_soon_wakes_nobody_and_one_that_stays_away_does(
    git_host: GitHost, inbox: Inbox, tmp_path: Path
) -> None:
    host, remote = git_host, git_host.remote
    remote.push("One", {"a.json": greeter("a", "one")})
    host.follow(more=_notify(inbox, tmp_path, settle_s=6.0))
    host.start_worker()
    host.start_daemon()
    await host.until_served("a")
    host.kill_worker()
    await host.until_status("a", "DEPLOYED", health="Degraded")
    host.start_worker()
    await host.until_served("a")
    host.kill_worker()
    await host.until("it is told", lambda: _told(inbox, "a", "degraded") == 1)
    host.start_worker()
    await host.until("it is told", lambda: _told(inbox, "a", "recovered") == 1)
    assert len(inbox.requests) == 2, _all(inbox)
