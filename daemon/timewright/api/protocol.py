"""One connection: uvicorn's HTTP over h11, which also knows who is at the other end of a Unix socket, and
waits for nobody for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from timewright.api.access import Peer
from timewright.api.problems import problem

HEAD_S, BODY_S, STALLED_S = 10.0, 60.0, 30.0
"""Seconds: for a request's head to come whole, for its body, and for an answer to be taken by who asked."""

LINGER_BYTES, LINGER_S = 32 * 1024 * 1024, 10.0
"""What may still come of a body after its answer, so that the answer is read before the connection ends."""

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class Protocol(H11Protocol):
    """A connection with time limits; `scope["state"]["peer"]` is who is there, None on the network."""

    def __init__(self, config: Config, server_state: ServerState) -> None:
        super().__init__(config, server_state, {})
        self._phase: Any = None
        self._clock: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._more = LINGER_BYTES

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"peer": peer_of(transport.get_extra_info("socket"))}
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()
        self._linger(len(data))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()
        self._linger(0)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._clock, self._stalled, self._lingering):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        answer = problem(400, "that is no HTTP request", instance="/")
        headers = [*answer.raw_headers, (b"connection", b"close")]
        with suppress(h11.LocalProtocolError):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """A request that has begun has so long to come; each byte more gives it no more time."""
        phase = self.conn.their_state
        if phase is self._phase and phase is not h11.DONE:
            return
        self._phase = phase
        if self._clock is not None:
            self._clock.cancel()
        limit = {h11.IDLE: HEAD_S, h11.SEND_BODY: BODY_S}.get(phase)
        self._clock = self.loop.call_later(limit, self.transport.abort) if limit else None

    def _linger(self, came: int) -> None:
        """A body that goes on after its answer is thrown away, but not for ever: it may be a gigabyte."""
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
            self._more -= came
            if self._more < 0:
                self.transport.abort()
            elif self._lingering is None:
                self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)
        elif self._lingering is not None:
            self._lingering.cancel()
            self._lingering, self._more = None, LINGER_BYTES


def peer_of(connection: socket.socket | None) -> Peer | None:
    """Who is at the other end of a Unix socket, by the kernel; None on the network."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(data))


def factory(config: Config, state: ServerState) -> Callable[[], Protocol]:
    """Makes the protocol of each connection."""
    return lambda: Protocol(config, state)
