"""What no client sends: each attack is one answer that says no, or a closed connection; the daemon works on,
has no fault in its log, and has read no more than it must."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import structlog
from timewright import log

from tests.api.conftest import Desk

HEAD = b"Host: x\r\nAuthorization: Bearer TOKEN\r\n"
JSON = b"Content-Type: application/json\r\n"
SUSPEND = b"POST /api/v1/suspend HTTP/1.1\r\n" + HEAD + JSON
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """Errors that were logged; filled at the end."""
    written, found = io.StringIO(), list[str]()
    log.configure("error", "json", written)
    yield found
    structlog.reset_defaults()
    assert [json.loads(line) for line in written.getvalue().splitlines()] == []


async def _said(desk: Desk, sent: bytes, role: str = "admin") -> bytes:
    """All that is answered on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    said = b""
    with suppress(ConnectionError, TimeoutError):
        writer.write(sent.replace(b"TOKEN", desk.token(role).encode()))
        async with asyncio.timeout(10):
            await writer.drain()
            while chunk := await _next(reader, bool(said)):
                said += chunk
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return said


async def _next(reader: asyncio.StreamReader, answered: bool) -> bytes:
    """What comes next; b'' once nothing more comes after an answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3 if answered else 10):
            return await reader.read(65536)
    return b""


def _statuses(said: bytes) -> list[bytes]:
    return [part[1:4] for part in said.split(b"HTTP/1.1")[1:]]


SMUGGLING = {
    "a length and chunks": SUSPEND
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": SUSPEND + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + SMUGGLED,
    "lengths in a list": SUSPEND + b"Content-Length: 2, 40\r\n\r\n{}" + SMUGGLED,
    "a length with a sign": SUSPEND + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
    "a negative length": SUSPEND + b"Content-Length: -2\r\n\r\n{}" + SMUGGLED,
    "a length in hex": SUSPEND + b"Content-Length: 0x2\r\n\r\n{}" + SMUGGLED,
    "a length without end": SUSPEND + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n{}" + SMUGGLED,
    "a space before the colon": SUSPEND + b"Content-Length : 2\r\n\r\n{}" + SMUGGLED,
    "chunks of another kind": SUSPEND + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks twice": SUSPEND
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk that is no number": SUSPEND
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk without end": SUSPEND
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"F" * 40
    + b"\r\n{}\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk longer than it says": SUSPEND
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"
    + SMUGGLED,
    "a NUL in a header": SUSPEND + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "a bare CR in a header": SUSPEND + b"X: a\rContent-Length: 40\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
}


@pytest.mark.parametrize("name", SMUGGLING)
async def test_a_request_whose_end_can_be_read_in_two_ways_is_refused_with_all_behind_it(
    desk: Desk, faults: list[str], name: str
) -> None:
    """A proxy in front may see one request where we see two: the second would have passed by its checks."""
    said = await _said(desk, SMUGGLING[name])
    assert [status for status in _statuses(said) if status != b"400"] == [], said[:2000]
    assert desk.control.world.suspension is None
    assert (await desk.unix().get("/healthz")).status_code == 200


ODD = {
    "a path with a NUL": b"GET /api/v1/workflows/a%00b HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a path with a line break": b"GET /api/v1/workflows/a%0d%0aSet-Cookie:x HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a path that goes up": b"GET /api/v1/workflows/..%2f..%2fetc%2fpasswd HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a path of wrong UTF-8": b"GET /api/v1/workflows/%ff%fe HTTP/1.1\r\n" + HEAD + b"\r\n",
    "half a character": b"GET /api/v1/workflows/%ed%a0%80 HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a query of wrong UTF-8": b"GET /api/v1/history?workflow=%ff&limit=%00 HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a query of digits": b"GET /api/v1/history?limit=" + b"9" * 5000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    "an event of digits": b"GET /api/v1/history?since=1e999&until=nan HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a raw byte in the path": b"GET /api/v1/\xff HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a long path": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    "the address of a proxy": b"GET http://evil.example/api/v1/workflows HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a tunnel": b"CONNECT evil.example:80 HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n",
    "a method of its own": b"A" * 5000 + b" / HTTP/1.1\r\n" + HEAD + b"\r\n",
    "an upgrade": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "a thousand headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "deep JSON": SUSPEND + b"Content-Length: 60000\r\n\r\n" + b"[" * 60_000,
    "deep objects": SUSPEND + b"Content-Length: 60000\r\n\r\n" + b'{"a":' * 12_000,
    "twins": SUSPEND + b'Content-Length: 29\r\n\r\n{"reason":"a","reason":"\\ud8"}',
    "half a character in a body": SUSPEND + b'Content-Length: 19\r\n\r\n{"reason":"\\ud800"}',
    "a NUL in a body": SUSPEND + b'Content-Length: 19\r\n\r\n{"reason":"\\u0000"}',
    "a number without end": SUSPEND + b'Content-Length: 5012\r\n\r\n{"seconds":' + b"9" * 5000 + b"}",
    "an infinite number": SUSPEND + b'Content-Length: 17\r\n\r\n{"seconds":1e999}',
    "deep YAML": b"PUT /api/v1/workflows/a HTTP/1.1\r\n"
    + HEAD
    + b"Content-Type: application/yaml\r\nContent-Length: 20000\r\n\r\n"
    + b"[" * 20_000,
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_request_is_answered_without_a_fault(desk: Desk, faults: list[str], name: str) -> None:
    said = await _said(desk, ODD[name])
    assert all(status[:1] in (b"2", b"3", b"4") for status in _statuses(said)), said[:2000]
    assert b"Set-Cookie" not in said.split(b"\r\n\r\n")[0]
    assert desk.control.world.suspension is None or "half" in name or "NUL" in name
    assert (await desk.unix().get("/healthz")).status_code == 200


async def test_a_gigabyte_is_not_read(desk: Desk, faults: list[str]) -> None:
    """Of a spec, the largest that is taken: it ends where it is too large, whatever was promised."""
    plug = socket.create_connection(("127.0.0.1", desk.port))
    plug.setblocking(False)
    loop = asyncio.get_running_loop()
    head = (
        b"PUT /api/v1/workflows/a HTTP/1.1\r\n" + HEAD.replace(b"TOKEN", desk.token("admin").encode()) + JSON
    )
    sent = 0
    with suppress(ConnectionError):
        await loop.sock_sendall(plug, head + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        async with asyncio.timeout(30):
            while sent < 1 << 30:
                await loop.sock_sendall(plug, piece)
                sent += 65536
    plug.close()
    limit = desk.bench.world.config.source.max_spec_bytes
    assert sent < limit + 96 * 1024 * 1024, "what lies in the kernel's buffers comes on top"
    assert (await desk.unix().get("/healthz")).status_code == 200


async def test_two_thousand_connections_leave_the_socket_of_this_host_free(
    desk: Desk, faults: list[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6000:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    held: list[socket.socket] = []
    try:
        for _ in range(2000):
            plug = socket.socket()
            plug.setblocking(False)
            plug.connect_ex(("127.0.0.1", desk.port))
            held.append(plug)
            if len(held) % 100 == 0:
                await asyncio.sleep(0.01)
        assert (await desk.unix().get("/healthz")).status_code == 200
    finally:
        for plug in held:
            plug.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    async with asyncio.timeout(20):
        while True:
            with suppress(Exception):
                if (await desk.tcp().get("/healthz")).status_code == 200:
                    break
            await asyncio.sleep(0.1)
