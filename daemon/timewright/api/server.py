"""Listens: a Unix socket for this host's users, and TCP where asked for. Runs in the daemon's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from timewright import log
from timewright.api.access import UNIX, Access
from timewright.api.app import make_app
from timewright.config import Config
from timewright.control import Control
from timewright.core.errors import TimewrightError
from timewright.edge.tokens import Tokens
from timewright.reconcile import Reconciler
from timewright.world import World

_FIRST_LINE_S = 15.0  # seconds for a request's head to arrive
_MOST_HEAD = 32 * 1024


@contextlib.asynccontextmanager
async def faces(world: World, reconciler: Reconciler) -> AsyncIterator[None]:
    """The API of a daemon, for as long as the body lasts."""
    server = ApiServer(Control(world, reconciler), world.config)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


class ApiServer:
    """The API of one daemon. `metrics`: makes the text of /metrics."""

    def __init__(self, control: Control, config: Config, metrics: Callable[[], bytes] | None = None) -> None:
        self._config = config
        access = Access(Tokens(config.tokens_path), config.api.peers, os.geteuid())
        self._stopping = asyncio.Event()
        self._app = make_app(control, access, metrics, self._stopping)
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []
        self._directory: int | None = None

    async def start(self) -> None:
        """Listen. Raises TimewrightError when an address can't be had."""
        self._serve(self._unix_socket(), tls=False)
        if self._config.api.listen:
            self._serve(self._tcp_socket(), tls=bool(self._config.api.tls_cert))
        for server, _ in self._servers:
            await server.listening.wait()

    async def stop(self) -> None:
        """Stop listening; streams end at once."""
        self._stopping.set()
        for server, _ in self._servers:
            server.should_exit = True
        for _, task in self._servers:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._config.api_socket.unlink(missing_ok=True)
        if self._directory is not None:
            os.close(self._directory)

    def _serve(self, listener: socket.socket, *, tls: bool) -> None:
        base = self._config.base
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            limit_concurrency=512,
            h11_max_incomplete_event_size=_MOST_HEAD,
            ssl_certfile=str(base / self._config.api.tls_cert) if tls else None,
            ssl_keyfile=str(base / self._config.api.tls_key) if tls and self._config.api.tls_key else None,
        )
        try:
            config.load()
        except OSError as error:
            message = f"api.tls_cert or api.tls_key can't be used: {error.strerror or error}"
            raise TimewrightError(message, hint="PEM files that this user may read") from None
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="api")
        self._servers.append((server, task))

    def _unix_socket(self) -> socket.socket:
        """Never open wider than it shall be, not even for an instant."""
        path = self._config.api_socket
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listener.bind(self._short(path))
        except OSError as error:
            listener.close()
            raise TimewrightError(f"api.socket {path} can't be made: {error.strerror}") from None
        finally:
            os.umask(before)
        path.chmod(int(self._config.api.socket_mode, 8))
        listener.listen(128)
        return listener

    def _short(self, path: Path) -> str:
        """A socket's path fits in 107 bytes or not at all; through its directory any depth works (Linux)."""
        if len(os.fsencode(path)) <= 100:
            return str(path)
        self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{path.name}"

    def _tcp_socket(self) -> socket.socket:
        host, _, port = self._config.api.listen.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            family, kind, _, _, address = found[0]
            listener = socket.socket(family, kind | socket.SOCK_CLOEXEC)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except (OSError, ValueError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            hint = "is another process there? `ss -ltnp` tells"
            raise TimewrightError(f"api.listen {self._config.api.listen}: {why}", hint=hint) from None
        if not self._config.api.tls_cert and not ipaddress.ip_address(str(address[0])).is_loopback:
            log.get().warning(
                "api", because=f"{self._config.api.listen} takes tokens in plain text: set api.tls_cert"
            )
        return listener


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The daemon handles signals, not its API."""
        yield


class _Protocol(H11Protocol):
    """Knows the user at the other end of a Unix socket, and doesn't wait for ever for a request's head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            size = struct.calcsize("3i")
            _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
            self.client = (UNIX, uid)
        self._patience = asyncio.get_running_loop().call_later(_FIRST_LINE_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(_FIRST_LINE_S + 30, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def _clear(path: Path) -> None:
    """Remove a socket that nobody answers at. Raises TimewrightError when somebody does."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise TimewrightError(f"api.socket {path} is there and is no socket", hint="move it away")
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.settimeout(1)
        probe.connect(str(path))
    except OSError:
        path.unlink(missing_ok=True)
    else:
        raise TimewrightError(f"another daemon answers at {path}", hint="stop it, or set api.socket")
    finally:
        probe.close()
