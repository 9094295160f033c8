"""Serves the API in the daemon's own event loop: on the Unix socket always, on the network if it is set."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.server import ServerState

from timewright import log
from timewright.api.access import Doorkeeper
from timewright.api.app import Gate
from timewright.api.calls import Context
from timewright.api.listen import Listener, Tls, UnixSocket, is_local, split, tcp_sockets
from timewright.api.protocol import factory
from timewright.config import Config
from timewright.control import Control
from timewright.core.errors import TimewrightError
from timewright.metrics import Metrics
from timewright.reconcile import Reconciler
from timewright.world import World

_GRACE_S = 5.0  # for calls that are under way when the daemon stops
_IDLE_S = 15  # a connection without a request is closed


@asynccontextmanager
async def faces(world: World, reconciler: Reconciler) -> AsyncIterator[None]:
    """The API of a daemon, for as long as it runs."""
    server = ApiServer(Control(world, reconciler), world.config, Metrics(world, reconciler).render)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


class ApiServer:
    """`start` raises TimewrightError when it can't listen or the settings are wrong; `stop` may be called at
    any time. `metrics`: what /metrics answers."""

    def __init__(self, control: Control, config: Config, metrics: Callable[[], bytes] | None = None) -> None:
        self.config = config
        self.context = Context(control, config, Doorkeeper(config), metrics)
        self._unix: UnixSocket | None = None
        self._listeners: list[Listener] = []
        self._states: list[ServerState] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each socket on the network."""
        network = self._listeners[1:]
        return [one.getsockname()[:2] for listener in network for one in listener.sockets]

    async def start(self) -> None:
        _quieten()
        server = uvicorn.Config(
            Gate(self.context),
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_IDLE_S,
        )
        server.load()
        try:
            self._open(server)
        except BaseException:
            await self.stop()
            raise
        log.get().info(
            "the API is up", socket=str(self.config.api_socket), listen=self.config.api.listen or "off"
        )

    async def stop(self) -> None:
        """Streams end at once, calls under way have a moment, then all is closed."""
        self.context.closing.set()
        for listener in self._listeners:
            await listener.close()
        if self._unix is not None:
            self._unix.close()
        connections = [connection for state in self._states for connection in state.connections]
        for connection in connections:
            connection.shutdown()
        tasks = {task for state in self._states for task in state.tasks}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in connections:
            connection.transport.close()
        self._listeners, self._states, self._unix = [], [], None

    def _open(self, server: uvicorn.Config) -> None:
        self._unix = UnixSocket(self.config.api_socket, int(self.config.api.socket_mode, 8))
        self._serve(server, [self._unix.socket], None)
        if self.config.api.listen:
            tls = self._tls()
            self._serve(server, tcp_sockets(self.config.api.listen), tls)
            self._warn(tls)

    def _serve(self, server: uvicorn.Config, sockets: list[socket.socket], tls: Tls | None) -> None:
        state = ServerState()
        listener = Listener(sockets, factory(server, state), tls)
        self._states.append(state)
        self._listeners.append(listener)
        listener.start(lambda: len(state.connections))

    def _tls(self) -> Tls | None:
        cert, key = self.config.api_tls
        if cert is None and key is not None:
            raise TimewrightError("api.tls_key is set without api.tls_cert", hint="set both, or none")
        return Tls(cert, key) if cert is not None else None

    def _warn(self, tls: Tls | None) -> None:
        listen = self.config.api.listen
        if tls is None and not is_local(split(listen)[0]):
            log.get().warning(
                "THE API IS OPEN TO THE NETWORK WITHOUT TLS",
                listen=listen,
                because="tokens and specs can be read on their way; set api.tls_cert and api.tls_key",
            )
        if not self.context.doorkeeper.tokens():
            log.get().warning(
                "nobody can use the API over the network",
                because="there are no tokens; timewright token create makes one",
            )


def _quieten() -> None:
    """What uvicorn would say goes into our log, and only what is a fault of ours: anybody can send what is
    no HTTP."""
    logger = logging.getLogger("uvicorn.error")
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    logger.handlers = [_ToOurLog()]


class _ToOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        log.get().error("http", because=record.getMessage().strip(), exc_info=error)
