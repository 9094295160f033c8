"""The page: who gets it, what it may load, that its words are those of the command line; and the server of
`timewright dashboard`. What it does in a browser is in test_page_browser.py."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click.testing
import httpx
import pytest
from timewright.api import page
from timewright.cli import drawing
from timewright.cli import loopback as loopback_module
from timewright.cli.common import ago, lasting, left
from timewright.cli.loopback import Loopback
from timewright.cli.main import cli
from timewright.cli.words import notes
from timewright.core.errors import Problem, TimewrightError
from timewright.views import problem_view

from tests.api.conftest import Desk

FOLDER = Path(page.__file__).parent
SCRIPTS = sorted(FOLDER.glob("page*.js"))


# Served ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(page.PATHS))
async def test_the_page_takes_no_token_and_may_load_nothing_but_its_own_files(desk: Desk, path: str) -> None:
    for call in (desk.tcp(), desk.tcp("tw_wrong"), desk.unix()):
        answer = await call.get(path)
        assert answer.status_code == (204 if path == "/favicon.ico" else 200)
        policy = answer.headers["content-security-policy"]
        assert set(policy.split("; ")) == {
            *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
            *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        }
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path", ["/page.py", "/page.html", "/page.js/", "/%2e/page.js", "/page.js%2f..", "/api/v1/"]
)
async def test_nothing_else_is_open(desk: Desk, path: str) -> None:
    assert (await desk.tcp().get(path)).status_code == 401


async def test_the_page_is_only_for_looking_at(desk: Desk) -> None:
    assert (await desk.tcp().post("/")).status_code == 405
    head = await desk.tcp().head("/")
    assert (head.status_code, head.content) == (200, b"")


async def test_the_page_is_no_part_of_the_api(desk: Desk) -> None:
    document = (await desk.unix().get("/openapi.json")).json()
    assert not page.PATHS.intersection(document["paths"])


def test_all_files_that_the_page_names_are_served_and_none_is_somebody_elses() -> None:
    named = set(re.findall(r"""(?:src|href)="(/[^"#]*)""", (FOLDER / "page.html").read_text("utf-8")))
    for script in SCRIPTS:
        text = script.read_text("utf-8")
        named |= {found.removeprefix(".") for found in re.findall(r"from '([^']+)'", text)}
        assert not re.search(r"https?://", text)
    assert named <= page.PATHS
    assert {f"/{script.name}" for script in SCRIPTS} <= page.PATHS


def test_the_page_makes_no_markup_of_text_and_has_no_inline_code() -> None:
    """The browser's test shows it; this keeps whoever changes the page from opening the door again."""
    ways = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser|localStorage"
    )
    for script in SCRIPTS:
        assert not re.search(ways, script.read_text("utf-8")), script.name
    html = (FOLDER / "page.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", html)


# The same words --------------------------------------------------------------------------------

NOW = 1_800_000_000.0
PIN = {
    "release": "0123456789ab",
    "by": "alice",
    "reason": "",
    "until": None,
    "liftedByAChangeOfTheSpec": False,
}
WHO = {"by": "bob", "reason": "a freeze", "until": "2027-01-15T09:30:00.000Z", "scope": "workflow"}
BASE: dict[str, Any] = {"workflowId": "one", "health": "Healthy", "source": "one.json", "held": None}
PROBLEMS = [
    Problem("src/a.ts", "no", line=3, column=9, code="TS1", hint="do"),
    Problem("", "x"),
    Problem("y", "z"),
]


def views() -> Iterator[dict[str, Any]]:
    """Views that have everything to say, alone and together."""
    ways: list[dict[str, Any]] = [
        {"lastError": {"reason": "BundleFailed", "message": "no such file"}},
        {"lastError": {"reason": "X", "message": "y", "problems": [{"where": "a", "message": "b"}]}},
        {"lastError": {"reason": "X", "message": "try `timewright redeploy one`", "problems": [{}]}},
        {"lastError": {"reason": "X", "message": "y"}, "retryAt": "2027-01-15T08:00:20.000Z"},
        {"lastError": {"reason": "X", "message": "y"}, "retryAt": "2027-01-15T07:00:00.000Z"},
        {"suspended": WHO},
        {"suspended": {**WHO, "scope": "all", "until": None, "reason": ""}},
        {"suspended": WHO, "held": "suspended by bob", "heldReason": "Suspended"},
        *({"pin": {**PIN, "kind": kind}} for kind in ("rollback", "revert", "undeploy", "pin")),
        {"pin": {**PIN, "kind": "pin", "liftedByAChangeOfTheSpec": True, "reason": "why"}},
        {"pin": {**PIN, "kind": "pin"}, "held": "pinned here", "heldReason": "Pinned"},
        {"held": "waits for two", "heldReason": "DependencyMissing"},
        {"held": "is gone", "heldReason": "PruneBlocked", "missingSince": "2027-01-01T00:00:00.000Z"},
        {"missingSince": "2027-01-01T00:00:00.000Z"},
        {"missingSince": "2027-01-01T00:00:00.000Z", "source": None},
        {"health": "Degraded", "healthReason": "nobody polls"},
        {"health": "Missing", "healthReason": "it is gone"},
        {"health": "Progressing", "healthReason": "rollout: step 1 of 2"},
        {"health": "Progressing", "healthReason": "it starts"},
        {"health": "Degraded", "healthReason": ""},
        {"drift": ["a", "b"]},
        {"drift": ["a", "b", "c", "d", "e"]},
    ]
    yield BASE
    for first in ways:
        for second in ways:
            yield {**BASE, **first, **second}


async def node(code: str, given: Any) -> Any:
    child = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", code),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate(json.dumps(given).encode())
    assert child.returncode == 0
    return json.loads(out)


def using(tmp_path: Path, expression: str) -> str:
    """Code that answers with an expression of `words` and `given`."""
    copy = tmp_path / "words.mjs"
    copy.write_bytes((FOLDER / "page.words.js").read_bytes())
    return f"""
import * as words from {json.dumps(copy.as_uri())};
import {{ readFileSync }} from 'node:fs';
const given = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify({expression}));
"""


async def test_the_page_says_of_a_workflow_what_the_command_line_says(tmp_path: Path) -> None:
    found = list(views())
    code = using(tmp_path, f"given.map((view) => words.notes(view, {NOW}))")
    said = await node(code, found)
    for view, ours in zip(found, said, strict=True):
        theirs = [{**note.__dict__, "hint": note.hint} for note in notes(view, NOW)]
        assert ours == theirs, view


async def test_times_and_problems_are_told_alike(tmp_path: Path) -> None:
    spans = [0.4, 1, 59.9, 60, 3599, 3600, 3421, 86399, 86400, 82081, 1e6, -5]
    code = using(
        tmp_path,
        f"[given[0].map((s) => [words.lasting(s), words.left({NOW} + s, {NOW}),"
        f" words.ago({NOW} - s, {NOW})]),"
        " given[1].map(words.problemText)]",
    )
    times, problems = await node(code, [spans, [problem_view(problem) for problem in PROBLEMS]])
    assert times == [[lasting(span), left(NOW + span, NOW), ago(NOW - span, NOW)] for span in spans]
    assert problems == [str(problem) for problem in PROBLEMS]


async def test_a_rollout_is_told_alike(tmp_path: Path) -> None:
    spans = [-3, 0, 0.9, 9, 59.9, 60, 750, 3599, 3600, 3900, 86399, 86400, 1e6]
    code = using(tmp_path, "[words.PHASES, given.map(words.remaining)]")
    assert await node(code, spans) == [drawing.PHASES, [drawing.remaining(span) for span in spans]]


async def test_characters_that_steer_are_shown_as_such(tmp_path: Path) -> None:
    hostile = [
        "a\u202eb",
        "a\x00b",
        "a\x1b[31mb",
        "a\u200bb",
        "a\u2028b",
        "a\u2066b",
        "two\nlines",
        "grüße 日本 🙂",
    ]
    said = await node(using(tmp_path, "given.map(words.printable)"), hostile)
    assert said == ["a�b", "a�b", "a�[31mb", "a�b", "a�b", "a�b", "two\nlines", "grüße 日本 🙂"]


# timewright dashboard --------------------------------------------------------------------------


@asynccontextmanager
async def dashboard(socket: Path) -> AsyncIterator[tuple[Loopback, httpx.AsyncClient]]:
    """The server of `timewright dashboard`, and a client of it as a browser is."""
    with Loopback(socket) as served:
        thread = threading.Thread(target=served.serve)
        thread.start()
        try:
            origin = {"origin": served.address}
            async with httpx.AsyncClient(base_url=served.address, headers=origin, timeout=20) as call:
                yield served, call
        finally:
            await asyncio.to_thread(served.stop)
            thread.join()


async def entered(served: Loopback, call: httpx.AsyncClient) -> None:
    answer = await call.post("/session", content=served.secret)
    call.headers["authorization"] = f"Bearer {answer.json()['token']}"


@pytest.fixture
async def board(desk: Desk) -> AsyncIterator[tuple[Loopback, httpx.AsyncClient]]:
    async with dashboard(desk.bench.world.config.api_socket) as found:
        yield found


Board = tuple[Loopback, httpx.AsyncClient]


async def test_the_dashboards_secret_works_once(board: Board) -> None:
    served, call = board
    assert (await call.get("/api/v1/workflows")).status_code == 401
    assert (await call.post("/session", content="wrong")).status_code == 403
    first = await call.post("/session", content=served.secret)
    assert first.status_code == 200
    assert (await call.post("/session", content=served.secret)).status_code == 403
    assert first.json()["token"] != served.secret
    bearer = {"authorization": f"Bearer {served.secret}"}
    assert (await call.get("/api/v1/workflows", headers=bearer)).status_code == 401


async def test_through_the_dashboard_this_user_sees_and_changes(desk: Desk, board: Board) -> None:
    desk.bench.put("one", "x")
    await desk.bench.settle()
    await entered(*board)
    _, call = board
    assert [view["workflowId"] for view in (await call.get("/api/v1/workflows")).json()["workflows"]] == [
        "one"
    ]
    again = {"idempotency-key": "k", "prefer": "wait=10"}
    for replayed in (None, "true"):
        answer = await call.post("/api/v1/workflows/one/suspend", json={"reason": "r"}, headers=again)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.headers.get("idempotent-replayed") == replayed
    assert (await call.get("/api/v1/workflows/none")).json()["code"] == "NOT_FOUND"


async def test_the_dashboard_carries_events_as_they_happen(desk: Desk, board: Board) -> None:
    await entered(*board)
    async with board[1].stream("GET", "/api/v1/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        desk.bench.put("one", "x")
        await desk.bench.settle()
        async for line in lines:
            if line.startswith("data: ") and json.loads(line[6:])["new"] == "DEPLOYED":
                return
    pytest.fail("the stream ended")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example", "origin": "http://evil.example"},  # whose DNS says 127.0.0.1
        {"host": "127.0.0.1.evil.example:80", "origin": "http://127.0.0.1.evil.example:80"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
    ],
)
async def test_another_sites_page_gets_nothing_from_the_dashboard(
    board: Board, headers: dict[str, str]
) -> None:
    served, call = board
    assert (await call.post("/session", content=served.secret, headers=headers)).status_code == 403
    await entered(served, call)
    for path in ("/", "/api/v1/workflows"):
        assert (await call.get(path, headers=headers)).status_code == 403
    assert (await call.post("/api/v1/suspend", json={}, headers=headers)).status_code == 403


async def test_the_dashboard_carries_calls_of_the_api_and_nothing_else(board: Board) -> None:
    await entered(*board)
    _, call = board
    for path in ("/metrics", "/openapi.json", "/healthz", "/page.py", "/api/v2/x"):
        assert (await call.get(path)).status_code == 404
    assert (await call.post("/api/v1/suspend", content=b"x" * 70_000)).status_code == 413
    assert (await call.delete("/api/v1/workflows/one")).status_code == 501


async def test_the_dashboard_says_that_the_daemon_is_down(desk: Desk, board: Board) -> None:
    await entered(*board)
    await desk.server.stop()
    answer = await board[1].get("/api/v1/workflows")
    assert answer.status_code == 502
    assert "Nobody answers" in answer.json()["detail"]
    assert (await board[1].get("/")).status_code == 200


async def test_who_connects_to_the_dashboard_and_says_nothing_keeps_nobody_out(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback_module._Handler, "timeout", 0.1)
    port = httpx.URL(board[0].address).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert (await board[1].get("/")).status_code == 200
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_port_that_is_taken_is_told(board: Board) -> None:
    port = httpx.URL(board[0].address).port or 0
    with pytest.raises(TimewrightError, match=f"can't be served on 127.0.0.1:{port}"):
        Loopback(Path("x"), port)


def test_dashboard_prints_where_the_api_listens(tmp_path: Path) -> None:
    (tmp_path / "timewright.toml").write_text('[api]\nlisten = "0.0.0.0:8233"\n', "utf-8")
    said = click.testing.CliRunner().invoke(
        cli, ["dashboard", "--no-open", "--config", str(tmp_path / "timewright.toml")]
    )
    assert said.exit_code == 0
    assert "http://127.0.0.1:8233/" in said.output


def test_dashboard_without_a_daemon_says_what_to_do(tmp_path: Path) -> None:
    said = click.testing.CliRunner().invoke(cli, ["dashboard", "--no-open", "--data", str(tmp_path)])
    assert isinstance(said.exception, TimewrightError)
    assert said.exception.hint
