"""The client of the worker host against real sockets: whatever answers, or doesn't, is an answer in time."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from timewright.core.verdict import Serving, Slot
from timewright.edge.worker import Reloaded, WorkerHost

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Host:
    """A worker host that does one thing, and remembers what it was asked."""

    answer: Answer
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := (await reader.readline()).decode().rstrip():
                headers: dict[str, str] = {}
                while header := (await reader.readline()).decode().rstrip():
                    name, _, value = header.partition(": ")
                    headers[name.lower()] = value
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((line.removesuffix(" HTTP/1.1"), headers, json.loads(body or "null")))
                await self.answer(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def hosting(answer: Answer, socket: Path | None = None) -> AsyncIterator[Host]:
    host = Host(answer)
    if socket is None:
        server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
        host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(host.serve, socket)
        host.url = f"unix:{socket}"
    try:
        yield host
    finally:
        server.close()


@asynccontextmanager
async def client(url: str, *, token: str = "", timeout: float = 5.0) -> AsyncIterator[WorkerHost]:
    worker = WorkerHost(url, token=token, timeout=timeout)
    try:
        yield worker
    finally:
        await worker.close()


def says(status: int, body: Any, *headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(data)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + data)

    return answer


async def hangs(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drops(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n{"success":')
    await writer.drain()
    writer.close()


async def never_ends(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def talks_nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()
    writer.close()


async def reload(host: Host, **kwargs: Any) -> Reloaded:
    async with client(host.url, **kwargs) as worker:
        return await worker.reload("hello", action="deploy", release="r1", version="p1")


# What is asked ---------------------------------------------------------------------------------


async def test_a_reload_says_what_changed_and_who_asks() -> None:
    async with hosting(says(200, {"success": True})) as host:
        assert await reload(host, token="secret") == Reloaded(True)
    ((line, headers, body),) = host.requests
    assert line == "POST /workflows/reload"
    assert headers["authorization"] == "Bearer secret"
    assert body == {"workflowId": "hello", "action": "deploy", "release": "r1", "poolVersion": "p1"}


async def test_an_undeploy_names_no_release() -> None:
    async with hosting(says(200, {"success": True})) as host, client(host.url) as worker:
        assert (await worker.reload("hello", action="undeploy")).ok
    assert host.requests[0][2] == {"workflowId": "hello", "action": "undeploy"}
    assert "authorization" not in host.requests[0][1]


async def test_a_sync_is_answered_or_not() -> None:
    for status, ok in ((200, True), (503, False)):
        async with hosting(says(status, {})) as host, client(host.url) as worker:
            assert await worker.sync() is ok
    async with hosting(drops) as host, client(host.url) as worker:
        assert await worker.sync() is False


@pytest.mark.parametrize("depth", [0, 12])
async def test_a_unix_socket_works_at_any_depth(
    tmp_path: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path.joinpath(*["a-long-folder-name"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    assert (len(str(folder / "worker.sock")) > 107) is (depth > 0)
    async with (
        hosting(says(200, {"success": True}), Path("worker.sock")),
        client(f"unix:{folder}/worker.sock") as worker,
    ):
        assert (await worker.reload("hello", action="deploy")).ok


async def test_a_host_that_comes_up_later_is_found(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a-long-folder-name"] * 12)
    async with client(f"unix:{folder}/worker.sock") as worker:
        assert (await worker.reload("hello", action="deploy")).reason == "Unreachable"
        short = tmp_path / "s"
        short.symlink_to(folder)
        async with hosting(says(200, {"success": True}), short / "worker.sock"):
            assert (await worker.reload("hello", action="deploy")).ok


# What comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"success": True, "state": "polling"}, Reloaded(True)),
        (200, b"OK", Reloaded(True)),  # a plain worker that knows only this call
        (200, {"success": False}, Reloaded(False, "HTTP 200")),
        (
            422,
            {
                "success": False,
                "reason": "LoadFailed",
                "error": "no",
                "failed": [{"workflowId": "a", "error": "e"}],
            },
            Reloaded(False, "LoadFailed", "no", {"a": "e"}),
        ),
        (422, {"reason": "LoadFailed", "failed": ["x", {"error": "e"}, 7]}, Reloaded(False, "LoadFailed")),
        (422, {"reason": "LoadFailed", "failed": "x"}, Reloaded(False, "LoadFailed")),
        (409, {"reason": "Superseded", "error": "newer"}, Reloaded(False, "Superseded", "newer")),
        (503, {"reason": "TemporalUnreachable"}, Reloaded(False, "TemporalUnreachable")),
        (500, b"<html>Internal Server Error</html>", Reloaded(False, "HTTP 500")),
        (500, {"error": "x" * 100_000}, Reloaded(False, "HTTP 500", "x" * 2000)),
        (401, [], Reloaded(False, "HTTP 401")),
        (404, b"\xff\xfe", Reloaded(False, "HTTP 404")),
        (500, b"[" * 100_000, Reloaded(False, "HTTP 500")),
        (500, b'{"error":' * 20_000, Reloaded(False, "HTTP 500")),
    ],
)
async def test_an_answer_is_taken_as_it_is_meant(status: int, body: Any, expected: Reloaded) -> None:
    async with hosting(says(status, body)) as host:
        assert await reload(host) == expected


async def test_a_redirect_is_not_followed() -> None:
    async with hosting(says(302, b"", "location: /workflows/reload")) as host:
        assert await reload(host) == Reloaded(False, "HTTP 302")
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hangs, "does not answer in time"),
        (drips, "does not answer in time"),
        (drops, "broke off"),
        (never_ends, "does not end"),
        (talks_nonsense, "broke off"),
        (says(200, b" " * (9 << 20)), "does not end"),
    ],
    ids=["hangs", "drips", "drops", "never ends", "talks nonsense", "too much"],
)
async def test_a_host_without_an_answer_costs_bounded_time_and_fails_nothing(
    answer: Answer, words: str
) -> None:
    start = time.monotonic()
    async with hosting(answer) as host, client(host.url, timeout=0.3) as worker:
        found, serving = await asyncio.gather(worker.reload("hello", action="deploy"), worker.serving())
    assert (found.ok, found.reason) == (False, "Unreachable")
    assert words in found.error
    assert not serving.reachable
    assert words in serving.error
    assert time.monotonic() - start < 15


async def test_an_answer_that_was_packed_small_is_not_unpacked() -> None:
    packed = gzip.compress(b'{"pools": []}' + b" " * 100_000)
    async with hosting(says(200, packed, "content-encoding: gzip")) as host, client(host.url) as worker:
        assert (await worker.serving()).error == "it answered HTTP 200 to GET /workflows"
    assert host.requests[0][1]["accept-encoding"] == "identity"


async def test_nobody_listening_is_said_to_be_so(tmp_path: Path) -> None:
    async with hosting(hangs) as host:
        url = host.url
    for where in (url, f"unix:{tmp_path}/none.sock"):
        async with client(where) as worker:
            assert await worker.serving() == Serving(False, error="nobody answers there")
            assert await worker.reload("x", action="deploy") == Reloaded(
                False, "Unreachable", "nobody answers there"
            )


# What the host runs ----------------------------------------------------------------------------


def pool(state: str, *releases: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"state": state, "current": True, "releases": list(releases), **more}


def release(workflow_id: str, **more: Any) -> dict[str, Any]:
    return {"workflowId": workflow_id, "release": f"{workflow_id}-r1", **more}


async def slots(*pools: Any) -> tuple[Slot, ...]:
    """What is told of these rows."""
    async with hosting(says(200, {"pools": list(pools)})) as host, client(host.url) as worker:
        found = await worker.serving()
    assert found.reachable
    return found.slots


async def test_what_a_worker_process_serves_is_told_with_its_troubles() -> None:
    row = pool("backoff", release("a"), release("b", error="no such export"), pid=7, restarts=3)
    more = {
        "namespace": "n",
        "taskQueue": "q",
        "poolVersion": "v",
        "lastError": "boom\n",
        "unreachable": True,
    }
    (slot,) = await slots({**row, **more, "startedAt": "2020-01-01T00:00:00.000Z"})
    assert (slot.key, slot.version, slot.state, slot.current) == (("n", "q"), "v", "backoff", True)
    assert slot.releases == {"a": "a-r1", "b": "b-r1"}
    assert slot.failed == {"b": "no such export"}
    assert (slot.pid, slot.restarts, slot.error, slot.unreachable) == (7, 3, "boom\n", True)
    assert slot.age > 1e8


async def test_rows_that_make_no_sense_are_told_as_far_as_they_do() -> None:
    found = await slots("x", {}, {"releases": 7}, {"releases": ["x", {}]}, {"pid": "7", "startedAt": 3})
    assert [(slot.releases, slot.pid, slot.state) for slot in found] == [({}, 0, "")] * 4


async def test_a_host_that_can_not_reach_temporal_says_so() -> None:
    body = {"pools": [], "temporal": {"reachable": False, "address": "t:7233"}}
    async with hosting(says(200, body)) as host, client(host.url) as worker:
        assert (await worker.serving()).temporal == "Temporal at t:7233 does not answer"


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_plain_worker_without_a_list_is_reachable_and_no_more(status: int) -> None:
    async with hosting(says(status, b"no")) as host, client(host.url) as worker:
        assert await worker.serving() == Serving(True, plain=True)


@pytest.mark.parametrize(("status", "body"), [(200, b"garbage"), (200, {"pools": "x"}), (500, {}), (200, [])])
async def test_a_list_that_is_none_is_no_list(status: int, body: Any) -> None:
    async with hosting(says(status, body)) as host, client(host.url) as worker:
        assert await worker.serving() == Serving(False, error=f"it answered HTTP {status} to GET /workflows")
