"""Commit statuses sent to real servers that play the forges: as they are, and as they are on bad days."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from timewright.core.forges import Repository, StatusRequest, repository, status_request
from timewright.edge import forges
from timewright.edge.forges import ForgeError, send

from tests.api.test_network import certificate
from tests.edge.test_worker_client import Answer, Host, hosting, says

SHA = "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5"
TOKEN = "glpat-CANARY"


class Bench:
    """A forge that answers with one thing, and a token file."""

    def __init__(self, host: Host, token: Path) -> None:
        self.host, self.token = host, token

    async def set(self, forge: str = "gitea", state: str = "success") -> None:
        repo = repository(forge, "git@git.example.org:acme/flows.git", self.host.url)
        await send(repo, status_request(repo, SHA, state, "it is so", "timewright/here"), state, self.token)

    async def fails(self, forge: str = "gitea", state: str = "success") -> ForgeError:
        with pytest.raises(ForgeError) as caught:
            await self.set(forge, state)
        assert TOKEN not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"
        return caught.value

    @property
    def asked(self) -> tuple[str, dict[str, str], Any]:
        return self.host.requests[-1]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    async with hosting(says(201, {"id": 1})) as host:
        yield Bench(host, token)


@pytest.mark.parametrize(
    ("forge", "line", "header", "body"),
    [
        (
            "github",
            f"POST /api/v3/repos/acme/flows/statuses/{SHA}",
            ("authorization", f"Bearer {TOKEN}"),
            {"state": "failure", "description": "it is so", "context": "timewright/here"},
        ),
        (
            "gitlab",
            f"POST /api/v4/projects/acme%2Fflows/statuses/{SHA}",
            ("private-token", TOKEN),
            {"state": "failed", "description": "it is so", "name": "timewright/here"},
        ),
        (
            "gitea",
            f"POST /api/v1/repos/acme/flows/statuses/{SHA}",
            ("authorization", f"token {TOKEN}"),
            {"state": "failure", "description": "it is so", "context": "timewright/here"},
        ),
    ],
)
async def test_each_forge_gets_what_it_takes(
    bench: Bench, forge: str, line: str, header: tuple[str, str], body: dict[str, str]
) -> None:
    await bench.set(forge, "failure")
    asked, headers, sent = bench.asked
    assert (asked, headers[header[0]], sent) == (line, header[1], body)
    assert headers["user-agent"] == "timewright"


async def test_gitlab_that_has_the_state_already_is_content(bench: Bench) -> None:
    bench.host.answer = says(
        400, {"message": "Cannot transition status via :run from :running (Reason(s): …)"}
    )
    await bench.set("gitlab", "pending")
    assert not (await bench.fails("gitlab", "success")).transient


async def test_a_token_that_is_refused_is_told_what_it_needs_and_not_sent_again(bench: Bench) -> None:
    for status in (401, 403, 404, 422):
        bench.host.answer = says(status, {"message": f"no {TOKEN} here"})
        error = await bench.fails("github")
        assert not error.transient
        assert error.hint


async def test_a_forge_that_is_busy_says_when_to_come_again(bench: Bench) -> None:
    bench.host.answer = says(429, {}, "Retry-After: 30")
    error = await bench.fails()
    assert (error.transient, error.after_s) == (True, 30.0)
    bench.host.answer = says(403, {}, "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 99999999999")
    error = await bench.fails("github")
    assert (error.transient, error.after_s) == (True, 3700.0)


async def test_a_forge_that_fails_is_tried_again(bench: Bench) -> None:
    bench.host.answer = says(500, b"<html>oops</html>")
    error = await bench.fails()
    assert error.transient
    assert "answered 500" in error.message
    assert "<html>" not in error.message


async def test_a_forge_that_hangs_is_left_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forges, "_PATIENCE_S", 0.2)

    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n")
        for _ in range(300):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    for answer in (hang, drip):
        bench.host.answer = answer
        error = await bench.fails()
        assert error.transient
        assert "does not answer in" in error.message


async def test_an_answer_without_end_is_not_read(bench: Bench) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 422 X\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    bench.host.answer = endless
    assert "answered 422" in (await bench.fails()).message


async def test_a_forge_that_is_no_forge_or_not_there_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    async def rude(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    bench.host.answer = rude
    assert (await bench.fails()).transient
    bench.host.url = "http://127.0.0.1:1"
    error = await bench.fails()
    assert error.transient
    assert "can't be reached" in error.message


async def test_the_token_does_not_follow_to_another_server(bench: Bench) -> None:
    async with hosting(says(201, {})) as other:
        bench.host.answer = says(307, {}, f"Location: {other.url}/api/v1/repos/acme/flows/statuses/{SHA}")
        error = await bench.fails()
        assert not error.transient
        assert "moved" in error.hint
        assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_repository_that_has_moved_on_the_same_server_is_found(bench: Bench, status: int) -> None:
    answers: list[Answer] = [says(status, {}, "Location: /api/v1/repositories/5"), says(201, {})]

    async def both(writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(writer)

    bench.host.answer = both
    await bench.set()
    first, second = bench.host.requests
    assert second[0] == "POST /api/v1/repositories/5"
    assert second[2] == first[2]
    assert second[1]["authorization"] == f"token {TOKEN}"


async def test_a_redirect_in_a_circle_ends(bench: Bench) -> None:
    bench.host.answer = says(307, {}, "Location: /api/v1/x")
    assert not (await bench.fails()).transient
    assert len(bench.host.requests) == 4


async def test_a_new_token_counts_at_once_and_a_missing_one_is_told(bench: Bench) -> None:
    bench.token.write_text("another")
    await bench.set()
    assert bench.asked[1]["authorization"] == "token another"
    for bad in ("", "two words\x07", "käse"):
        bench.token.write_text(bad)
        assert str(bench.token) in (await bench.fails()).message
    bench.token.unlink()
    error = await bench.fails()
    assert str(bench.token) in error.message
    assert error.transient, "it may be mended"
    assert len(bench.host.requests) == 1


async def test_a_certificate_counts_when_this_host_trusts_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path, "forge")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    server = await asyncio.start_server(bench.host.serve, "127.0.0.1", 0, ssl=tls)
    bench.host.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    error = await bench.fails()
    assert "does not trust" in error.message
    assert bench.host.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    await bench.set()
    assert len(bench.host.requests) == 1
    server.close()


async def test_an_address_that_is_none_is_told(bench: Bench) -> None:
    repo = Repository("gitea", "gopher://x", "acme/flows")
    request = StatusRequest("gopher://x/", {}, {}, ("Authorization", "token "))
    with pytest.raises(ForgeError) as caught:
        await send(repo, request, "success", bench.token)
    assert not caught.value.transient
    json.dumps(caught.value.message)
