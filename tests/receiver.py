"""A real HTTP server that takes what Apprise sends to json:// URLs, and can be down, slow or wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """`answers`: path → the HTTP status it is answered with (200 where nothing is said). `hanging`: paths
    that get no answer until `release`."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answers: dict[str, int] = {}
        self.hanging: set[str] = set()
        self.release = threading.Event()
        self.tried: list[tuple[str, dict[str, Any]]] = []
        self.taken: list[tuple[str, dict[str, Any]]] = []

    def url(self, path: str = "/") -> str:
        return f"json://127.0.0.1:{self.server_port}{path}"

    def titles(self, path: str | None = None) -> list[str]:
        """Titles of the messages that were taken."""
        return [body["title"] for at, body in self.taken if path in (None, at)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is none of our faults."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path, status = self.path, self.server.answers.get(self.path, 200)
        self.server.tried.append((path, body))
        if path in self.server.hanging:
            self.send_response_only(200)
            self.flush_headers()
            while not self.server.release.wait(0.5):  # a byte now and then: no read of theirs times out
                self.wfile.write(b"X: y\r\n")
                self.wfile.flush()
        if status == 200:
            self.server.taken.append((path, body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not to the terminal."""


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver that runs, on a port of its own or on the one given."""
    server = Receiver(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def until(done: Any, seconds: float = 30) -> None:
    """Wait for something in another process or thread."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
