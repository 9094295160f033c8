"""From a push to code that runs, by webhook; daemon, git and their talk are real."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import httpx

from tests.e2e.githost import GitHost
from tests.e2e.host import free_port
from tests.e2e.specs import greeter

SECRET = "s3cret-of-the-webhook"


class Forge:
    """Delivers what GitHub would. The host fetches once an hour otherwise."""

    def __init__(self, host: GitHost) -> None:
        self.host, port = host, free_port()
        self._url = f"http://127.0.0.1:{port}/api/v1/webhook/main"
        secret = host.home / "webhook.secret"
        secret.write_text(SECRET)
        listen = {"api": {"listen": f"127.0.0.1:{port}"}}
        host.follow(interval_s=3600.0, webhook_secret_file=str(secret), more=listen)

    async def tells(self, ref: str, sha: str, secret: str = SECRET) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"ref": ref, "after": sha}).encode()
        right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-github-event": "push", "x-hub-signature-256": f"sha256={right}"}
        async with httpx.AsyncClient() as client:
            answer = await client.post(self._url, content=body, headers=headers)
        return answer.status_code, answer.json()

    def fetches(self) -> int:
        """How many fetches have ended."""
        return int(self.host.source()["fetches"])

    async def rests(self) -> int:
        """The number of fetches, when there was none for longer than a fetch is put off."""
        before = -1
        while (now := self.fetches()) != before:
            before = now
            await asyncio.sleep(1.5)
        return now


async def test_a_push_is_deployed_when_its_webhook_is_right_and_only_then(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("Begin", {"hello.json": greeter("hello", "hello")})
    forge = Forge(host)
    host.start_daemon()
    await host.until_at("hello", first)

    second = remote.push("Be polite", {"hello.json": greeter("hello", "good day")})
    fetches = await forge.rests()
    assert (await forge.tells("refs/heads/main", second, "another"))[0] == 401
    assert (await forge.tells("refs/heads/other", second))[1]["woken"] is False
    assert await forge.rests() == fetches
    assert host.revision("hello") == first

    assert (await forge.tells("refs/heads/main", second))[0] == 202
    await host.until_at("hello", second)

    fetches = await forge.rests()
    again = await forge.tells("refs/heads/main", second)
    assert again == (200, {"woken": False, "because": "this delivery was seen before"})
    host.kill_daemon()
    host.start_daemon()
    await host.until("the daemon is back", host.is_ready)
    fetches = await forge.rests()
    assert (await forge.tells("refs/heads/main", second))[1]["woken"] is False
    assert await forge.rests() == fetches
    assert SECRET not in host.log_file.read_text()


async def test_a_flood_of_deliveries_is_a_fetch_a_second(git_host: GitHost) -> None:
    host, remote = git_host, git_host.remote
    first = remote.push("Begin", {"hello.json": greeter("hello", "hello")})
    forge = Forge(host)
    host.start_daemon()
    await host.until_at("hello", first)
    before = await forge.rests()
    answers = await asyncio.gather(*(forge.tells("refs/heads/main", f"{n:040x}") for n in range(1, 101)))
    assert {status for status, _ in answers} == {202}
    assert await forge.rests() - before < 20
