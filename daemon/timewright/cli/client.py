"""Talks to a daemon: HTTP over its Unix socket, or to `--server URL` with a token.

Python's own http.client, since importing httpx takes longer than `timewright status` may.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from timewright import __version__
from timewright.core.errors import Code, Problem, RequestError, TimewrightError

API = "/api/v1"
_CONNECT_S = 5.0
_ANSWER_S = 60.0  # how long an answer may take, besides what it was asked to wait
_SILENCE_S = 60.0  # a stream that says nothing for so long, not even that it lives, is broken
_MOST = 64 * 1024 * 1024  # bytes: an answer that is larger is not ours
_TRIES = 3  # of a call whose connection breaks: safe, for it carries an Idempotency-Key


class DaemonDownError(TimewrightError):
    """Nobody answers."""


@dataclass(frozen=True)
class Sent:
    """One event of a stream."""

    id: str
    kind: str
    data: Any


class Client:
    """One daemon. `url`: `unix:/path/of.sock`, `http://host:port` or `https://…`, also with a path.

    Refusals are RequestErrors with the daemon's code, words and problems; DaemonDownError when nobody
    answers. The token goes into no error.
    """

    def __init__(self, url: str, *, token: str = "", down_hint: str = "") -> None:
        self.url = url
        self._hint = down_hint
        self._headers = {"Accept": "application/json", "User-Agent": f"timewright/{__version__}"}
        if token:
            if not (token.isascii() and token.isprintable()):
                raise TimewrightError("the token is none: it has characters that no token has")
            self._headers["Authorization"] = f"Bearer {token}"
        self._prefix = "" if url.startswith("unix:") else _checked(url).path.rstrip("/")
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def open(self) -> None:
        """Connect, if we aren't. Raises DaemonDownError."""
        if self._connection is None:
            self._connection = self._connect()

    def get(self, *path: str, wait: float = 0.0, **query: Any) -> Any:
        """The answer to a question. `path`: segments below /api/v1; `wait`: seconds it may take longer."""
        headers = {"Prefer": f"wait={wait:.0f}"} if wait else {}
        return self._call("GET", _address(path, query), headers, wait=wait)

    def post(self, *path: str, body: Mapping[str, Any]) -> Any:
        """Ask for something. A connection that breaks is tried again: the key makes that one request."""
        return self._call("POST", _address(path, {}), {"Idempotency-Key": os.urandom(16).hex()}, body)

    def stream(self, *path: str, last_id: str = "", **query: Any) -> Iterator[Sent]:
        """Server-sent events, until the daemon ends the stream. On a connection of its own."""
        connection = self._connect()
        headers = {**self._headers, "Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            connection.request("GET", self._prefix + _address(path, query), headers=headers)
            if connection.sock is not None:
                connection.sock.settimeout(_SILENCE_S)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(self.url, response.status, response.read(_MOST))
            yield from _events(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._down(error) from None
        finally:
            connection.close()

    def _call(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        *,
        wait: float = 0.0,
    ) -> Any:
        for attempt in range(_TRIES):
            fresh = self._connection is None
            try:
                status, data = self._exchange(method, address, headers, body, wait)
                break
            except TimeoutError:
                self.close()
                raise TimewrightError(
                    f"the daemon at {self.url} does not answer in time", hint="timewright doctor"
                ) from None
            except (ConnectionError, http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
                self.close()
                if attempt == _TRIES - 1:
                    raise self._down(error) from None
                if fresh:  # else it was closed while we were idle
                    time.sleep(0.2 * (attempt + 1))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise self._down(error) from None
        if status >= 300:
            raise _refusal(self.url, status, data)
        try:
            return json.loads(data) if data else None
        except (ValueError, RecursionError):
            raise TimewrightError(f"{self.url} answered something that is no JSON", hint=_IS_IT) from None

    def _exchange(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        wait: float,
    ) -> tuple[int, bytes]:
        connection = self._connection = self._connection or self._connect()
        if connection.sock is not None:
            connection.sock.settimeout(_ANSWER_S + wait)
        sent = {**self._headers, **headers}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection.request(method, self._prefix + address, body=data, headers=sent)
        response = connection.getresponse()
        answer = response.read(_MOST + 1)
        if len(answer) > _MOST:
            self.close()
            raise TimewrightError(f"the answer of {self.url} does not end", hint=_IS_IT)
        if response.length:  # of a read that is limited, http.client doesn't say so
            raise http.client.IncompleteRead(answer, response.length)
        return response.status, answer

    def _connect(self) -> http.client.HTTPConnection:
        """A connection that is open. Raises DaemonDownError."""
        connection = connection_to(self.url)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._down(error) from None
        if connection.sock is not None:
            connection.sock.settimeout(_ANSWER_S)
        return connection

    def _down(self, error: Exception) -> TimewrightError:
        where = self.url.removeprefix("unix:")
        if isinstance(error, PermissionError):
            hint = "use the daemon's user or root, or have your user named in api.peers (and api.socket_mode)"
            return TimewrightError(f"you may not talk to the daemon at {where}", hint=hint)
        if type(error).__name__ == "SSLCertVerificationError":
            said = getattr(error, "verify_message", "") or "it can't be verified"
            hint = "SSL_CERT_FILE=ca.pem names the authority that signed it"
            return TimewrightError(f"the certificate of {where} is not trusted: {said}", hint=hint)
        return DaemonDownError(f"no daemon answers at {where} ({_words(error)})", hint=self._hint)


_IS_IT = "is that timewright's API?"


def _checked(url: str) -> Any:
    parts = urlsplit(url)
    try:
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right or parts.username or parts.query or parts.fragment:
        raise TimewrightError(
            "the server's address must be http://host:port, https://host:port or unix:/path",
            hint="--server or TIMEWRIGHT_SERVER; a token goes into --token-file or TIMEWRIGHT_TOKEN",
        )
    return parts


def connection_to(url: str) -> http.client.HTTPConnection:
    """A connection that is not open yet."""
    if url.startswith("unix:"):
        return _UnixConnection(Path(url.removeprefix("unix:")))
    parts = _checked(url)
    if parts.scheme == "https":
        import ssl

        context = ssl.create_default_context()
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_CONNECT_S, context=context)
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_CONNECT_S)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("timewright", timeout=_CONNECT_S)
        self._path = path

    def connect(self) -> None:
        plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plug.settimeout(_CONNECT_S)
        try:
            with _short(self._path) as path:
                plug.connect(path)
        except BaseException:
            plug.close()
            raise
        self.sock = plug


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A socket's path fits in 107 bytes or can't be used; through its folder's descriptor any depth works
    (Linux)."""
    if len(os.fsencode(path)) <= 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _address(path: tuple[str, ...], query: Mapping[str, Any]) -> str:
    address = API + "".join(f"/{quote(part, safe='')}" for part in path)
    given = {key: _text(value) for key, value in query.items() if value not in (None, "", False)}
    return f"{address}?{urlencode(given)}" if given else address


def _text(value: Any) -> str:
    return "true" if value is True else str(value)


def _refusal(url: str, status: int, data: bytes) -> TimewrightError:
    """What a problem+json says, as an error of ours."""
    try:
        problem = json.loads(data)
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict) or "detail" not in problem:
        return TimewrightError(f"{url} answered HTTP {status}", hint=_IS_IT)
    hint = str(problem.get("hint") or "")
    if status == 401 and not hint:
        hint = "give a token that is valid: --token-file FILE, or TIMEWRIGHT_TOKEN"
    with suppress(ValueError):
        code = Code(str(problem.get("code")))
        return RequestError(code, str(problem["detail"]), hint=hint, problems=_problems(problem))
    return TimewrightError(str(problem["detail"]), hint=hint)


def _problems(view: Mapping[str, Any]) -> list[Problem]:
    found = []
    for item in view.get("problems") or ():
        with suppress(TypeError):
            found.append(Problem(**item))
    return found


def _events(response: http.client.HTTPResponse) -> Iterator[Sent]:
    """The events of a stream, by the rules of the HTML standard that a server of ours can use."""
    fields: dict[str, str] = {}
    while raw := response.readline(_MOST):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
            continue
        if "data" in fields:
            with suppress(ValueError):
                yield Sent(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
        fields = {}


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, http.client.HTTPException | ConnectionError):
        return "it broke off"
    return getattr(error, "strerror", None) or type(error).__name__
