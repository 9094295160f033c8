"""The Unix socket and the connections on it: whose it is, who is at the other end, and that nobody can keep
it busy."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.api import listen, protocol
from timewright.api.access import rules
from timewright.api.listen import UnixSocket, split
from timewright.api.server import ApiServer
from timewright.control import Control, Role
from timewright.core.errors import TimewrightError

from tests.api.conftest import Desk
from tests.support import python
from tests.test_reconcile import _bench

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

CALL = """
import http.client, json, os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
for method, path in (("GET", "/api/v1/workflows"), ("POST", "/api/v1/suspend")):
    plug = socket.socket(socket.AF_UNIX); plug.connect(sys.argv[3])
    call = http.client.HTTPConnection("x"); call.sock = plug
    call.request(method, path, headers={"Authorization": "Bearer " + sys.argv[4]})
    answer = call.getresponse()
    print(json.dumps([answer.status, json.loads(answer.read())]))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="tw-api-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def _call_as(user: str, path: Path, token: str = "none") -> list[tuple[int, Any]]:
    """Status and body of a look and of a change, by a process of another user."""
    found = pwd.getpwnam(user)
    child = await asyncio.create_subprocess_exec(
        *python(CALL, str(found.pw_uid), str(found.pw_gid), path, token),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    return [tuple(json.loads(line)) for line in out.splitlines()]


async def _serving(home: Path, **api: Any) -> AsyncIterator[Desk]:
    async with _bench(home) as bench:
        bench.world.config = replace(bench.world.config, api=replace(bench.world.config.api, **api))
        desk = Desk(bench)
        await desk.start()
        yield desk
        await desk.stop()


@ROOT_ONLY
@pytest.mark.parametrize(
    ("peers", "look", "change"),
    [
        ([], 403, 403),
        (["somebody=admin"], 403, 403),
        (["nobody=viewer"], 200, 403),
        (["@nogroup=viewer"], 200, 403),
        (["nobody=deployer:team-a"], 200, 403),
        (["nobody=admin"], 200, 200),
    ],
    ids=str,
)
async def test_another_user_of_this_host_may_what_the_settings_say(
    tmp_path: Path, open_folder: Path, peers: list[str], look: int, change: int
) -> None:
    path = open_folder / "api.sock"
    async for desk in _serving(tmp_path, socket=str(path), socket_mode="0666", peers=peers):
        admin = desk.token("admin")
        looked, changed = await _call_as("nobody", path, admin)  # on the socket a token is nothing
        assert (looked[0], changed[0]) == (look, change)
        if look == 403:
            assert "user nobody may not use timewright here" in looked[1]["detail"]
        if change == 200:
            assert changed[1]["by"] == "nobody"


@ROOT_ONLY
async def test_other_users_cannot_even_connect_by_default(tmp_path: Path, open_folder: Path) -> None:
    path = open_folder / "api.sock"
    async for _ in _serving(tmp_path, socket=str(path)):
        assert await _call_as("nobody", path) == []


def test_the_socket_is_never_open_wider_than_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, change = [], os.chmod

    def chmod(path: str, mode: int) -> None:
        seen.append(Path(path).stat().st_mode & 0o777)
        change(path, mode)

    monkeypatch.setattr(os, "chmod", chmod)
    old = os.umask(0)
    try:
        made = UnixSocket(tmp_path / "api.sock", 0o660)
    finally:
        os.umask(old)
    assert seen == [0o600]
    assert (tmp_path / "api.sock").stat().st_mode & 0o777 == 0o660
    assert [path.name for path in tmp_path.iterdir()] == ["api.sock"]
    made.close()
    assert not list(tmp_path.iterdir())


def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "api.sock"))
    dead.close()
    UnixSocket(tmp_path / "api.sock", 0o600).close()


def test_the_socket_of_a_daemon_that_runs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = UnixSocket(path, 0o600)
    with pytest.raises(TimewrightError, match="another process answers at"):
        UnixSocket(path, 0o600)
    assert path.is_socket()
    first.close()


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "api.sock").write_text("precious")
    with pytest.raises(TimewrightError, match="is no socket"):
        UnixSocket(tmp_path / "api.sock", 0o600)
    assert (tmp_path / "api.sock").read_text() == "precious"


def test_a_socket_that_somebody_else_has_put_there_since_is_not_removed(tmp_path: Path) -> None:
    made = UnixSocket(tmp_path / "api.sock", 0o600)
    (tmp_path / "api.sock").rename(tmp_path / "old")
    (tmp_path / "api.sock").write_text("another's")
    made.close()
    assert (tmp_path / "api.sock").read_text() == "another's"


@pytest.mark.skipif(sys.platform != "linux", reason="through /proc/self/fd")
async def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 60] * 3)
    async for desk in _serving(tmp_path, socket=str(deep / "api.sock")):
        folder = os.open(deep, os.O_RDONLY)
        _, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/api.sock")
        os.close(folder)
        writer.close()
        assert desk.server.addresses == []
    assert not list(deep.iterdir())


def test_a_socket_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TimewrightError, match="can't be made"):
        UnixSocket(tmp_path / "file" / "api.sock", 0o600)


async def test_a_port_that_is_taken_is_a_clear_error_and_leaves_no_socket(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        async with _bench(tmp_path) as bench:
            taken = f"127.0.0.1:{other.getsockname()[1]}"
            config = replace(bench.world.config, api=replace(bench.world.config.api, listen=taken))
            server = ApiServer(Control(bench.world, bench.reconciler), config)
            with pytest.raises(TimewrightError, match="the API can't listen on"):
                await server.start()
    assert not config.api_socket.exists()


@pytest.mark.parametrize("text", ["8233", ":8233", "::1:8233", "host:", "host:99999", "host:eight", "h:٣"])
def test_an_address_that_is_none_is_a_clear_error(text: str) -> None:
    with pytest.raises(TimewrightError, match="must be host:port"):
        split(text)


def test_addresses_of_both_kinds_are_understood() -> None:
    assert split("127.0.0.1:1") == ("127.0.0.1", 1)
    assert split("[::1]:0") == ("::1", 0)


def test_peers_rules_are_read() -> None:
    alice, bob, ops = rules(["alice=admin", "bob = deployer: team-a,team-b", "@ops=viewer:*"])
    assert (alice.name, alice.role, alice.owners) == ("alice", Role.ADMIN, None)
    assert (bob.role, bob.owners) == (Role.DEPLOYER, frozenset({"team-a", "team-b"}))
    assert (ops.name, ops.of_group, ops.owners) == ("ops", True, None)


def test_every_bad_rule_of_peers_is_named() -> None:
    with pytest.raises(TimewrightError) as caught:
        rules(["alice", "=admin", "bob=root", "eve=deployer:", "@=viewer", "mia=admin:team-a"])
    assert caught.value.message.count("api.peers: ") == 6


# Connections that are kept busy ----------------------------------------------------------------


async def _raw(desk: Desk) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", desk.port)


async def _is_alive(desk: Desk) -> bool:
    return (await desk.unix().get("/healthz")).status_code == 200


async def _dribble(writer: asyncio.StreamWriter, byte: bytes) -> None:
    while not writer.is_closing():
        writer.write(byte)
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("phase", ["nothing", "head", "body"])
async def test_one_who_sends_byte_by_byte_is_cut_off(
    desk: Desk, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_S", 0.3)
    reader, writer = await _raw(desk)
    if phase == "head":
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    if phase == "body":
        token = desk.token("admin")
        writer.write(
            b"PUT /api/v1/workflows/one HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\nContent-Type: application/json\r\n\r\n"
        )
    sending = asyncio.create_task(_dribble(writer, b"a")) if phase != "nothing" else None
    try:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionError:
        pass
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        writer.close()
    assert await _is_alive(desk)


async def test_one_who_asks_and_never_reads_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_S", 0.3)
    plug = socket.create_connection(("127.0.0.1", desk.port))
    plug.setblocking(False)
    request = f"GET /openapi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {desk.token('admin')}\r\n\r\n"
    loop = asyncio.get_running_loop()

    async def ask_on() -> None:
        while True:
            await loop.sock_sendall(plug, request.encode() * 20)
            await asyncio.sleep(0.02)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(ask_on(), 20)
    plug.close()
    assert await _is_alive(desk)


async def test_more_connections_than_there_is_room_for_are_closed_and_the_socket_still_answers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "_MOST_CONNECTIONS", 3)
    held = [await _raw(desk) for _ in range(3)]
    await asyncio.sleep(0.1)
    reader, writer = await _raw(desk)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert await _is_alive(desk)
    for _, one in held:
        one.close()
        await one.wait_closed()
    await asyncio.sleep(0.1)
    assert (await desk.tcp().get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000, b"400"),
    ],
    ids=["no HTTP", "no Host", "large headers", "headers that do not end"],
)
async def test_what_is_no_request_is_a_problem(desk: Desk, sent: bytes, status: bytes) -> None:
    reader, writer = await _raw(desk)
    writer.write(sent)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.split()[1] == status
    assert b"application/problem+json" in head
    writer.close()


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(desk: Desk) -> None:
    reader, writer = await _raw(desk)
    head = f"Authorization: Bearer {desk.token('admin')}\r\nContent-Type: application/json\r\n\r\n"
    writer.write(b"POST /api/v1/suspend HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n" + head.encode())
    assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == b"413"
    writer.close()


async def test_a_body_of_unknown_length_is_read_only_so_far(desk: Desk) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 1000

    call = desk.tcp(desk.token("admin"))
    headers = {"content-type": "application/json"}
    answer = await call.post("/api/v1/suspend", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "BAD_REQUEST")
    most = desk.bench.world.config.source.max_spec_bytes
    answer = await call.put("/api/v1/workflows/one", content=b" " * (most + 2000), headers=headers)
    assert answer.status_code == 413
