"""Webhooks at a live API: what is rightly signed wakes a fetch, once; nothing else does anything."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from timewright import log
from timewright.api import app as gate
from timewright.api import webhook as receiving
from timewright.config import Followed, Source, load
from timewright.following import Follower

from tests.api.conftest import Desk
from tests.api.test_network import serving
from tests.core.test_webhooks import PUSH, SECRET, SENDERS, SIGNING, Headers, github, gitlab, plain, standard
from tests.support import ROOT, until

MAIN = "/api/v1/webhook/main"
DOCUMENT = (ROOT / "docs" / "webhooks.md").read_text("utf-8")


class Sources:
    """Two repositories: main, with a secret, and plain, without; and what main was woken for."""

    def __init__(self, desk: Desk, secret: Path) -> None:
        self.secret = secret
        self.woken: list[str] = []
        world = desk.bench.world
        for name, path in (("main", str(secret)), ("plain", "")):
            settings = Source(git="https://forge.example/o/r.git", ref="main", webhook_secret_file=path)
            follower = Follower(world, Followed("" if name == "main" else name, settings, True, 0.0))
            vars(follower)["poke"] = self.woken.append
            world.sources.followers[name] = follower


@pytest.fixture
def sources(desk: Desk, tmp_path: Path) -> Sources:
    secret = tmp_path / "webhook.secret"
    secret.write_text(f"{SECRET}\n\n{SIGNING}\n")
    return Sources(desk, secret)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    written = io.StringIO()
    log.configure("debug", "json", written)
    yield written
    structlog.reset_defaults()


async def send(
    desk: Desk, headers: Headers, body: bytes = PUSH, path: str = MAIN, **more: Any
) -> httpx.Response:
    return await desk.tcp().post(path, content=body, headers=headers, **more)


def now(desk: Desk) -> float:
    return desk.bench.world.clock()


def other(name: str, desk: Desk) -> Headers:
    """What this forge sends now."""
    headers = SENDERS[name](PUSH)
    signed = any(header == "webhook-id" for header, _ in headers)
    plain = [item for item in headers if "webhook" not in item[0]]
    return [*plain, *standard(at=now(desk))] if signed else headers


@pytest.mark.parametrize("name", SENDERS)
async def test_a_push_wakes_the_fetch_of_its_source_without_a_token(
    desk: Desk, sources: Sources, name: str
) -> None:
    answer = await send(desk, other(name, desk))
    assert (answer.status_code, answer.json()["woken"]) == (202, True)
    [because] = sources.woken
    assert because.startswith(name.split(",")[0])
    assert because.endswith("of refs/heads/main")


@pytest.mark.parametrize("name", SENDERS)
async def test_the_same_delivery_again_wakes_nothing(desk: Desk, sources: Sources, name: str) -> None:
    for _ in range(2):
        answer = await send(desk, other(name, desk))
    assert answer.status_code == 200
    assert answer.json() == {"woken": False, "because": "this delivery was seen before"}
    assert len(sources.woken) == 1


async def test_many_that_are_the_same_at_once_wake_once(desk: Desk, sources: Sources) -> None:
    answers = await asyncio.gather(*(send(desk, github()) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len(sources.woken) == 1


async def test_a_delivery_is_known_again_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    statuses = []
    for _ in range(2):
        async with serving(tmp_path, listen="127.0.0.1:0") as desk:
            Sources(desk, tmp_path / "secret")
            statuses.append((await send(desk, github())).status_code)
    assert statuses == [202, 200]


async def test_a_delivery_is_forgotten_after_a_day(desk: Desk, sources: Sources) -> None:
    await send(desk, github())
    desk.bench.now += 86_000
    await send(desk, plain(b"{}"), b"{}")
    assert (await send(desk, github())).status_code == 200
    desk.bench.now += 500
    await send(desk, plain(b"{ }"), b"{ }")
    assert (await send(desk, github())).status_code == 202


async def test_a_pushed_commit_that_is_not_found_is_looked_for_again(
    desk: Desk, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a forge there may be several servers; one of them answers the fetch."""
    monkeypatch.setattr(receiving, "_AGAIN_S", (0.05, 0.1))
    await send(desk, github())
    await until(lambda: len(sources.woken) == 3)
    assert "not found yet" in sources.woken[-1]

    body = json.dumps({"ref": "refs/heads/main", "after": "b" * 40}).encode()
    desk.bench.world.sources.followers["main"].remote_sha = "b" * 40
    await send(desk, github(body), body)
    await asyncio.sleep(0.3)
    assert sources.woken[3:] == ["github push of refs/heads/main"]


async def test_what_is_no_news_wakes_nothing_and_is_not_remembered(desk: Desk, sources: Sources) -> None:
    branch = b'{"ref": "refs/heads/other"}'
    for headers, body, because in (
        (github(event="ping"), PUSH, "a ping; the webhook is set up right"),
        (github(event="issues"), PUSH, "issues is no push"),
        (plain(branch), branch, "refs/heads/other is not followed"),
    ):
        answer = await send(desk, headers, body)
        assert (answer.status_code, answer.json()) == (200, {"woken": False, "because": because})
    assert sources.woken == []
    assert (await send(desk, github())).status_code == 202


async def test_a_signed_body_that_tells_no_ref_wakes_to_be_sure(desk: Desk, sources: Sources) -> None:
    for body in (b"", b"\xff", b"[]"):
        assert (await send(desk, plain(body), body)).status_code == 202
    assert sources.woken == ["generic"] * 3


async def test_a_wrong_signature_is_refused_audited_and_told_to_the_operator(
    desk: Desk, sources: Sources, logged: io.StringIO
) -> None:
    for headers in (github(b"other"), [], [*github(), *github()], [("X-Gitlab-Token", "x")], standard(at=1)):
        answer = await send(desk, headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED"), headers
    assert sources.woken == []
    audit = (await desk.unix().get("/api/v1/audit")).json()
    assert [row["outcome"] for row in audit] == ["UNAUTHORIZED"] * 5
    told = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert "does not fit" in told[0]["because"]
    assert told[0]["call"] == f"POST {MAIN}"


async def test_a_flood_of_wrong_signatures_fills_neither_audit_nor_log(
    desk: Desk, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_TOLD", (3, 3600.0))
    for _ in range(20):
        assert (await send(desk, github(b"other"))).status_code == 401
    assert len((await desk.unix().get("/api/v1/audit")).json()) == 3


async def test_an_unknown_source_and_one_without_a_secret_are_the_same(desk: Desk, sources: Sources) -> None:
    answers = set()
    for name in ("plain", "nobody", "MAIN", "mainx", "\u00e9"):
        for headers in (github(), github(b"other"), []):
            answer = await send(desk, headers, path=f"/api/v1/webhook/{name}")
            assert answer.status_code == 404
            answers.add((answer.json()["detail"], answer.json()["hint"]))
    assert len(answers) == 1
    assert sources.woken == []


async def test_a_daemon_that_follows_no_sources_has_no_webhook(desk: Desk) -> None:
    assert (await send(desk, github())).status_code == 404


@pytest.mark.parametrize("fault", ["missing", "empty", "unreadable", "binary", "huge"])
async def test_a_secret_file_that_can_not_be_used_is_the_operators_business(
    desk: Desk, sources: Sources, logged: io.StringIO, fault: str
) -> None:
    good = sources.secret.read_bytes()
    sources.secret.unlink()
    bad = {"empty": b"\n \n", "binary": b"\xff\xfe", "huge": b"x\n" * 70_000}
    if fault == "unreadable":  # for root too
        sources.secret.mkdir()
    elif fault in bad:
        sources.secret.write_bytes(bad[fault])
    for _ in range(3):
        answer = await send(desk, github())
        assert answer.status_code == 503
        assert str(sources.secret) not in answer.text
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    [told] = [line for line in lines if line["event"] == "a webhook can't be checked"]
    assert str(sources.secret) in told["because"]
    assert sources.woken == []
    if fault == "unreadable":
        sources.secret.rmdir()
    sources.secret.write_bytes(good)
    assert (await send(desk, github())).status_code == 202, "the file is read at each call"


async def test_a_new_secret_counts_at_once_and_the_old_one_no_more(desk: Desk, sources: Sources) -> None:
    sources.secret.write_text("another")
    assert (await send(desk, github())).status_code == 401
    assert (await send(desk, [("X-Gitlab-Token", "another")])).status_code == 202


async def test_a_large_body_is_checked_though_it_is_not_kept(desk: Desk, sources: Sources) -> None:
    body = b'{"ref": "refs/heads/other", "more": "' + b"x" * (2 * 1024 * 1024) + b'"}'
    assert (await send(desk, github(body[:-1]), body)).status_code == 401
    answer = await send(desk, github(body), body)
    assert (answer.status_code, answer.json()["because"]) == (202, "github push")
    assert (await send(desk, github(body), body)).status_code == 200


async def test_a_body_for_which_there_is_no_room_is_checked_all_the_same(
    desk: Desk, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_MOST_KEEPING", 0)
    assert (await send(desk, github(b"other"))).status_code == 401
    assert (await send(desk, github())).json()["because"] == "github push"


async def test_a_body_without_end_is_refused(
    desk: Desk, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_MOST_BODY", 100_000)
    body = b"x" * 100_001
    assert (await send(desk, github(body), body)).status_code == 413

    async def pieces() -> AsyncIterator[bytes]:  # no Content-Length
        for _ in range(3):
            yield body[:40_000]

    answer = await desk.tcp().post(MAIN, content=pieces(), headers=github(body))
    assert answer.status_code == 413
    assert sources.woken == []


async def test_an_unsigned_body_is_not_even_read(desk: Desk, sources: Sources) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    writer.write(f"POST {MAIN} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n".encode())
    assert b"401" in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()


async def test_a_sender_that_goes_away_in_mid_body_wakes_nothing(desk: Desk, sources: Sources) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in gitlab())
    writer.write(f"POST {MAIN} HTTP/1.1\r\nhost: x\r\n{head}content-length: 999\r\n\r\n{{".encode())
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    assert (await send(desk, gitlab())).status_code == 202
    assert len(sources.woken) == 1


async def test_no_secret_is_in_any_log_answer_or_audit(
    desk: Desk, sources: Sources, logged: io.StringIO
) -> None:
    all_kinds: tuple[Headers, ...] = (
        github(),
        github(b"other"),
        gitlab(),
        gitlab()[:1],
        standard(at=now(desk)),
        [],
    )
    texts = [(await send(desk, headers)).text for headers in all_kinds]
    sources.secret.write_text("\xff")
    texts.append((await send(desk, github())).text)
    texts.append((await desk.unix().get("/api/v1/audit")).text)
    for text in (*texts, logged.getvalue()):
        assert SECRET not in text
        assert SIGNING not in text


async def test_nothing_but_a_post_is_open_there(desk: Desk, sources: Sources) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert (await desk.tcp().request(method, MAIN)).status_code == 405
    assert (await desk.tcp().post("/api/v1/webhook")).status_code == 401
    assert (await desk.tcp().post(f"{MAIN}/../../workflows/one/deploy")).status_code in (401, 404)
    assert (await desk.tcp().get("/api/v1/webhook/../workflows")).status_code in (401, 404)


async def test_the_script_of_the_documentation_is_understood(
    desk: Desk, sources: Sources, tmp_path: Path
) -> None:
    [script] = [block for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL) if "curl" in block]
    sources.secret.write_text("s3cret\n")
    running = await asyncio.create_subprocess_exec(
        *("sh", "-c", script.replace("https://HOST:8233", f"http://127.0.0.1:{desk.port}")),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await running.communicate()
    assert json.loads(out) == {"woken": True, "because": "generic of refs/heads/main"}


def test_the_settings_of_the_documentation_are_settings(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "timewright.toml").write_text(block)
        assert load(tmp_path / "timewright.toml", {}).source.git
