"""A daemon for the tests of the command line: real HTTP on a real Unix socket (or TCP), answers made of the
real views. It decides nothing; tests say what it holds and how what is asked for ends."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from timewright.core.landing import Landing, Outcome
from timewright.core.sourcestate import SourceState
from timewright.core.state import Health, Record, Status
from timewright.edge.desk import Operation
from timewright.edge.statefile import Event
from timewright.views import event_view, iso, operation_view, source_view, workflow_view

View = dict[str, Any]
DIGEST = "7cc54c69e260" + "0" * 52
OLDER = "302632518e67" + "0" * 52


def workflow(workflow_id: str = "hello", **changes: Any) -> View:
    """A workflow that is deployed and healthy, as the daemon shows it; say what differs."""
    values: dict[str, Any] = {
        "status": Status.DEPLOYED,
        "since": time.time() - 200,
        "because": "hello.json changed",
        "source": f"{workflow_id}.json",
        "attempted": DIGEST,
        "applied": DIGEST,
        "previous": OLDER,
        "health": Health.HEALTHY,
        "pool": "default/default",
    }
    return workflow_view(Record(workflow_id, **{**values, **changes}))


def event(number: int, workflow_id: str = "hello", **changes: Any) -> View:
    """One line of the log, as the daemon shows it."""
    values: dict[str, Any] = {
        "at": 1_700_000_000.0 + number,
        "old": "DEPLOYING",
        "new": "DEPLOYED",
        "because": f"event {number}",
        "digest": DIGEST,
        "revision": "",
        "source": "hello.json",
        "failure": None,
        "timings": {},
    }
    return event_view(Event(number, workflow_id=workflow_id, **{**values, **changes}))


@dataclass
class Request:
    """What the daemon was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Refusal:
    """An answer that is a problem."""

    status: int
    code: str
    detail: str
    more: View = field(default_factory=dict)


@dataclass
class FakeDaemon:
    """`ends`: verb → how its operation ends (state, because), None: never; `looks`: how often it is still
    running before. `refusals`: path → problem. `breaks`: so many connections break after the request."""

    workflows: dict[str, View] = field(default_factory=dict)
    history: dict[str, list[View]] = field(default_factory=dict)
    events: list[View] = field(default_factory=list)
    operations: dict[str, View] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    ends: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    looks: int = 1
    refusals: dict[str, Refusal] = field(default_factory=dict)
    breaks: int = 0
    forgets: bool = False  # what a stream was asked to go on from
    suspended: View | None = None
    sources: list[View] = field(default_factory=lambda: [folder_view()])
    fetches: int = 1
    source_problem: str | None = None
    pass_problem: str | None = None
    rollouts: list[View] = field(default_factory=list)  # what each look at the rollout sees; the last stays
    requests: list[Request] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)  # the Last-Event-ID of each
    stopped: threading.Event = field(default_factory=threading.Event)
    cut: threading.Event = field(default_factory=threading.Event)  # ends the streams that are open
    answered: dict[str, Any] = field(default_factory=dict)  # by Idempotency-Key

    def __post_init__(self) -> None:
        self._looked: dict[str, int] = {}

    def posts(self) -> list[tuple[str, Any]]:
        return [(item.path, item.body) for item in self.requests if item.method == "POST"]

    # the routes

    def answer(self, request: Request) -> tuple[int, Any]:
        if refusal := self.refusals.get(request.path):
            problem = {"title": refusal.code, "status": refusal.status, "detail": refusal.detail}
            return refusal.status, {**problem, "code": refusal.code, **refusal.more}
        if request.path in self.answers:
            return 200, self.answers[request.path]
        parts = request.path.strip("/").split("/")
        known = any(view["name"] in parts for view in self.sources)
        if request.method == "POST" and parts[0] == "sources" and known:
            return 202, {"source": parts[1], "fetches": self.fetches}
        unknown = len(parts) == 3 and parts[1] not in self.workflows
        if request.method == "POST" and not unknown and parts[0] != "sources":
            return 202, self._once(request, parts)
        return self._get(parts, request.query)

    def _once(self, request: Request, parts: list[str]) -> Any:
        key = request.headers.get("idempotency-key", "")
        if key not in self.answered:
            if parts == ["prune"]:
                self.answered[key] = [self._begin("prune", name) for name in request.body["workflowIds"]]
            else:
                self.answered[key] = self._begin(parts[-1], parts[1] if len(parts) == 3 else "")
        return self.answered[key]

    def _begin(self, verb: str, workflow_id: str) -> View:
        number = f"op{len(self.operations) + 1}"
        view = operation_view(Operation(number, verb, workflow_id, "alice", "", time.time()))
        self.operations[number] = view
        return view

    def _get(self, parts: list[str], query: dict[str, str]) -> tuple[int, Any]:
        last = int(query.get("last", 100))
        match parts:
            case ["workflows"]:
                shown = [
                    view
                    for view in self.workflows.values()
                    if view["status"] != "UNDEPLOYED" or query.get("undeployed") == "true"
                ]
                return 200, {
                    "lastPass": iso(time.time()),
                    "passProblem": self.pass_problem,
                    "sourceProblem": self.source_problem,
                    "settingsProblem": None,
                    "suspended": self.suspended,
                    "sources": self.sources,
                    "workflows": shown,
                    "refusedFiles": {},
                }
            case ["sources"]:
                return 200, self.sources
            case ["sources", name]:
                found = [view for view in self.sources if view["name"] == name]
                if found:
                    return 200, found[0]
                return 404, {"code": "NOT_FOUND", "detail": f"there is no source {name!r} here"}
            case ["workflows", workflow_id, *_] if workflow_id not in self.workflows:
                problem = {"code": "NOT_FOUND", "detail": f"there is no workflow {workflow_id!r}"}
                return 404, {**problem, "hint": "timewright list"}
            case ["workflows", workflow_id]:
                return 200, self.workflows[workflow_id]
            case ["workflows", _, "rollout"] if self.rollouts:
                return 200, self.rollouts.pop(0) if len(self.rollouts) > 1 else self.rollouts[0]
            case ["workflows", workflow_id, "history"]:
                return 200, self.history.get(workflow_id, [])[:last]
            case ["workflows", workflow_id, "logs"]:
                return 200, [item for item in self.events if item["workflowId"] == workflow_id][-last:]
            case ["logs"]:
                return 200, self.events[-last:]
            case ["operations"]:
                return 200, list(self.operations.values())[-last:]
            case ["operations", number]:
                return 200, self._look(number)
        return 404, {"code": "NOT_FOUND", "detail": "there is no such route"}

    def _look(self, number: str) -> View:
        operation = self.operations[number]
        self._looked[number] = self._looked.get(number, 0) + 1
        end = self.ends.get(operation["kind"], ("succeeded", f"{operation['kind']} is done"))
        if end is not None and self._looked[number] > self.looks:
            operation |= {"state": end[0], "because": end[1]}
        return operation


def folder_view() -> View:
    outcome = Outcome(Landing.SUCCESS, "2 workflows applied and healthy", ("hello", "bad"), (), True)
    state = SourceState("main", "folder", "/srv/specs", "Synced", fetches=1, outcome=outcome)
    return {**source_view(state), "contains": None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        daemon = self.server.daemon
        parts = urlsplit(self.path)
        prefix = "/api/v1"
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = Request(
            self.command,
            unquote(parts.path).removeprefix(prefix),
            {key: values[0] for key, values in parse_qs(parts.query).items()},
            {key.lower(): value for key, value in self.headers.items()},
            json.loads(body) if body else None,
        )
        daemon.requests.append(request)
        if request.path == "/events":
            self._stream(daemon, request)
            return
        status, answer = daemon.answer(request)
        if daemon.breaks:
            daemon.breaks -= 1
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, daemon: FakeDaemon, request: Request) -> None:
        daemon.streams.append(request.headers.get("last-event-id", ""))
        seen = 0 if daemon.forgets else int(request.headers.get("last-event-id") or 0)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        daemon.cut.clear()
        while not daemon.cut.is_set() and not daemon.stopped.is_set():
            for item in [item for item in daemon.events if item["id"] > seen]:
                seen = item["id"]
                self._chunk(f"id: {item['id']}\nevent: {item['kind']}\ndata: {json.dumps(item)}\n\n")
            self._chunk(": alive\n\n")
            daemon.cut.wait(0.02)

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Any, daemon: FakeDaemon, family: socket.AddressFamily) -> None:
        self.address_family = family
        self.daemon = daemon
        self.open: list[socket.socket] = []
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "timewright", 0

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = self.socket.accept()
        self.open.append(connection)
        return connection, ("peer", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # a client that goes away


@contextmanager
def serving(daemon: FakeDaemon, path: Path | None = None) -> Iterator[str]:
    """The daemon on a Unix socket, or on a free port of 127.0.0.1; the URL to reach it by."""
    daemon.stopped.clear()
    if path is None:
        server = _Server(("127.0.0.1", 0), daemon, socket.AF_INET)
        url = "http://{}:{}".format(*server.socket.getsockname())
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        server = _Server(f"/proc/self/fd/{folder}/{path.name}", daemon, socket.AF_UNIX)
        os.close(folder)
        url = f"unix:{path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield url
    finally:
        daemon.stopped.set()
        server.shutdown()
        server.server_close()
        for connection in server.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()
        if path is not None:
            path.unlink(missing_ok=True)
