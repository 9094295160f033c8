"""On the network: tokens, their file, and TLS."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from timewright import log
from timewright.api.listen import Tls, is_local
from timewright.api.server import ApiServer
from timewright.control import Control
from timewright.core.errors import TimewrightError

from tests.api.conftest import Desk
from tests.test_reconcile import _bench

PATH = "/api/v1/workflows"


@pytest.fixture
def lines() -> Any:
    """What is logged."""
    written = io.StringIO()
    log.configure("info", "json", written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.reset_defaults()


@asynccontextmanager
async def serving(home: Path, **api: Any) -> AsyncIterator[Desk]:
    async with _bench(home) as bench:
        bench.world.config = replace(bench.world.config, api=replace(bench.world.config.api, **api))
        desk = Desk(bench)
        await desk.start()
        yield desk
        await desk.stop()


async def test_a_file_of_tokens_that_cannot_be_read_lets_nobody_in_until_it_is_mended(
    desk: Desk, lines: Any
) -> None:
    token = desk.token("admin")
    good = desk.tokens.path.read_text()
    assert (await desk.tcp(token).get(PATH)).status_code == 200
    desk.tokens.path.write_text(good + "\n[tokens.")
    for _ in range(3):
        answer = await desk.tcp(token).get(PATH)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert (await desk.tcp().get("/healthz")).status_code == 200
    assert (await desk.unix().get(PATH)).status_code == 200, "this host's users are let in as ever"
    said = [line for line in lines() if line["event"] == "no token is accepted"]
    assert len(said) == 1, "once, not at each call"
    assert "tokens.toml: is not TOML" in said[0]["because"]
    desk.tokens.path.write_text(good)
    assert (await desk.tcp(token).get(PATH)).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic {token}", "{token}", "Bearer {token}x", "Bearer x{token}", "bearer"],
)
async def test_only_a_whole_bearer_token_is_one(desk: Desk, header: str) -> None:
    call = desk.tcp(None, authorization=header.format(token=desk.token("admin")))
    answer = await call.get(PATH)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="timewright"'


async def test_two_tokens_in_one_request_are_none(desk: Desk) -> None:
    token = desk.token("admin")
    headers = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
    assert (await desk.tcp().get(PATH, headers=headers)).status_code == 401


async def test_a_token_that_runs_out_is_refused_from_then_on(desk: Desk) -> None:
    call = desk.tcp(desk.token("viewer", expires=time.time() + 2))
    assert (await call.get(PATH)).status_code == 200
    async with asyncio.timeout(10):
        while (await call.get(PATH)).status_code == 200:
            await asyncio.sleep(0.1)


async def test_answers_are_not_held_back_for_more_to_come(desk: Desk) -> None:
    """Without TCP_NODELAY each takes 40 ms more; asyncio sets it on sockets that name their protocol."""
    call = desk.tcp()
    await call.get("/healthz")
    (connection,) = desk.server._states[1].connections
    plug = connection.transport.get_extra_info("socket")
    assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


# TLS -------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", str(key), "-out", str(cert), "-days", "1", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def client(desk: Desk, trusted: Path, token: str | None) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    context = ssl.create_default_context(cafile=str(trusted))
    return httpx.AsyncClient(base_url=f"https://localhost:{desk.port}", verify=context, headers=headers)


async def test_with_a_certificate_it_is_https_and_a_new_one_is_taken_up(tmp_path: Path, lines: Any) -> None:
    cert, key = certificate(tmp_path, "first")
    async with serving(tmp_path, listen="127.0.0.1:0", tls_cert=str(cert), tls_key=str(key)) as desk:
        token = desk.token("admin")
        async with client(desk, cert, token) as call:
            assert (await call.get(PATH)).status_code == 200
        second, its_key = certificate(tmp_path, "second")
        its_key.replace(key)
        cert.write_text("half a certific")
        async with client(desk, second, token) as call:
            with pytest.raises(httpx.ConnectError):
                await call.get(PATH)
        second.replace(cert)
        async with client(desk, cert, token) as call:
            assert (await call.get(PATH)).status_code == 200
    said = [line["event"] for line in lines()]
    assert "the old certificate stays in use" in said
    assert "certificate renewed" in said


async def test_who_speaks_no_tls_is_cut_off_without_a_word(tmp_path: Path, lines: Any) -> None:
    cert, key = certificate(tmp_path, "first")
    async with serving(tmp_path, listen="127.0.0.1:0", tls_cert=str(cert), tls_key=str(key)) as desk:
        before = len(lines())
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert len(lines()) == before


def test_a_certificate_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path, "first")
    _, other = certificate(tmp_path, "second")
    for key in (other, tmp_path / "missing", None):
        with pytest.raises(TimewrightError, match="certificate can't be used") as caught:
            Tls(cert, key)
        assert "api.tls_cert" in caught.value.hint


async def test_a_key_without_a_certificate_is_a_clear_error(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        api = replace(bench.world.config.api, listen="127.0.0.1:0", tls_key="key.pem")
        server = ApiServer(Control(bench.world, bench.reconciler), replace(bench.world.config, api=api))
        with pytest.raises(TimewrightError, match="is set without api"):
            await server.start()
        assert not bench.world.config.api_socket.exists()


@pytest.mark.parametrize(("listen", "loud"), [("0.0.0.0:0", True), ("127.0.0.1:0", False)])
async def test_the_network_without_tls_is_warned_of_loudly(
    tmp_path: Path, lines: Any, listen: str, loud: bool
) -> None:
    async with serving(tmp_path, listen=listen):
        said = [line for line in lines() if "WITHOUT TLS" in line["event"]]
        assert bool(said) is loud


def test_which_addresses_are_this_hosts_own() -> None:
    assert is_local("127.0.0.1")
    assert is_local("::1")
    assert is_local("localhost")
    assert not is_local("0.0.0.0")
    assert not is_local("example.org")
