"""Serves the page to this host's own browser, and carries its calls to the daemon's Unix socket: as this
user, while `timewright dashboard` runs."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
from hmac import compare_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from timewright.api import page
from timewright.api.problems import problem
from timewright.cli.client import connection_to
from timewright.core.errors import TimewrightError

_HOSTS = frozenset({"127.0.0.1", "localhost"})
_CARRIED = ("Accept", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer")
_ANSWERED = ("Content-Type", "Location", "Preference-Applied", "Idempotent-Replayed", "Allow")
_MOST_BODY = 64 * 1024  # bytes
_MOST_DRAINED = 1024 * 1024
_IDLE_S = 30.0  # who connects and says nothing
_ANSWER_S = 330.0  # the daemon keeps a call for 300 s at most, and a stream says something every 15 s
_PIECE = 64 * 1024  # bytes


class Loopback:
    """A server on 127.0.0.1. `secret` is worth a token, once; all calls of the API take that token.

    Raises TimewrightError when the port is taken.
    """

    def __init__(self, daemon: Path, port: int = 0) -> None:
        self.secret = secrets.token_urlsafe(32)
        self._token = ""
        self._lock = threading.Lock()
        self.daemon = daemon
        try:
            self._server = _Server(("127.0.0.1", port), self)
        except OSError as error:
            raise TimewrightError(
                f"the page can't be served on 127.0.0.1:{port}: {error.strerror or error}",
                hint="choose another --port, or none",
            ) from None
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Loopback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()

    def serve(self) -> None:
        """Until `stop`, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        self._server.shutdown()

    def exchange(self, presented: bytes) -> str:
        """The token for the secret; '' if it is wrong or was used."""
        with self._lock:
            if self._token or not compare_digest(presented, self.secret.encode()):
                return ""
            self._token = secrets.token_urlsafe(32)
            return self._token

    def admits(self, authorization: str) -> bool:
        presented = authorization.removeprefix("Bearer ").encode("utf-8", "replace")
        return bool(self._token) and compare_digest(presented, self._token.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], loopback: Loopback) -> None:
        self.loopback = loopback
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing: people read this terminal."""

    def version_string(self) -> str:
        return "timewright"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._is_ours():
            self._refuse(403, "calls from another site's page are refused")
        elif path in page.PATHS:
            content, media_type = page.asset(path)
            self._answer(200 if content else 204, content, {**page.HEADERS, "Content-Type": media_type})
        else:
            self._carry(b"")

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            self._refuse(413, "the body is too large, or has no length")
        elif not self._is_ours() or not self.headers.get("Origin"):
            self._refuse(403, "calls from another site's page are refused")
        elif self.path == "/session":
            token = self.server.loopback.exchange(body)
            if not token:
                self._refuse(403, "this address was used already")
                return
            self._answer(200, json.dumps({"token": token}).encode(), {"Content-Type": "application/json"})
        else:
            self._carry(body)

    def _is_ours(self) -> bool:
        """Not by a name that somebody else's DNS gives to this host, and not by another site's page."""
        hosts, origins = self.headers.get_all("Host") or [], self.headers.get_all("Origin") or []
        if len(hosts) != 1 or hosts[0].partition(":")[0] not in _HOSTS:
            return False
        return all(origin == f"http://{hosts[0]}" for origin in origins)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            return None
        if len(length) < 9 and int(length) <= _MOST_BODY:
            return self.rfile.read(int(length))
        self.rfile.read(min(int(length[:9]), _MOST_DRAINED))  # or the refusal may not be read
        return None

    def _carry(self, body: bytes) -> None:
        """To the daemon and back. Only calls of the API, only with our token."""
        if not self.server.loopback.admits(self.headers.get("Authorization", "")):
            self._refuse(401, "start `timewright dashboard` again: this address was used, or it has ended")
            return
        path = urlsplit(self.path).path
        if not path.startswith("/api/v1/") or not self.path.isascii():
            self._refuse(404, f"there is no {self.command} {path[:200]}")
            return
        given = {name: self.headers[name] for name in _CARRIED if name in self.headers}
        connection = connection_to(f"unix:{self.server.loopback.daemon}")
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(_ANSWER_S)
            connection.request(self.command, self.path, body=body or None, headers=given)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._refuse(502, f"Nobody answers at {self.server.loopback.daemon}.")
            return
        try:
            self._pass_on(answer)
        finally:
            connection.close()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        """Piece by piece, as it comes: a stream has no end."""
        self.close_connection = True
        self.send_response(answer.status)
        for name in _ANSWERED:
            if value := answer.headers.get(name):
                self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while piece := answer.read1(_PIECE):
                self.wfile.write(piece)
        except (OSError, http.client.HTTPException):
            return  # the connection ends, and the page takes it up again

    def _refuse(self, status: int, detail: str) -> None:
        made = problem(status, detail, instance=self.path[:200])
        headers = {"Content-Type": "application/problem+json", "Connection": "close"}
        self._answer(status, bytes(made.body), headers)
        self.close_connection = True

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
