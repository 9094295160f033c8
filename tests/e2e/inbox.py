"""A web server that takes what a host sends to others: commit statuses, notifications."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Taken:
    """One request. `headers`: by lower-case name."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Inbox:
    """Takes all that is posted to it. `answer`: with which status; `down`: with 503, and it isn't kept."""

    def __init__(self) -> None:
        self.answer, self.down = 200, False
        self.requests: list[Taken] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if not inbox.down:
                    inbox.requests.append(Taken(self.command, self.path, headers, body))
                self.send_response(503 if inbox.down else inbox.answer)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
                """Quiet: `requests` has them."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Inbox:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def letters(self) -> list[tuple[str, dict[str, Any]]]:
        """(path, body) of all, in order."""
        return [(taken.path, json.loads(taken.body)) for taken in list(self.requests)]

    def paths(self) -> list[str]:
        return [taken.path for taken in list(self.requests)]
