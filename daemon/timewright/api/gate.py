"""What every call goes through: who it is, how much it sends, was it answered before, and the audit."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timewright.api import problems
from timewright.api.access import UNIX, Access
from timewright.control import Actor
from timewright.core.errors import Code, RequestError
from timewright.edge.desk import Desk

_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN = ("/healthz", "/readyz")  # these say nothing that anybody might not know
_SMALL = 64 * 1024
_BODY_S = 30.0  # seconds for a request's body to arrive
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
}


@dataclass
class _Answered:
    """What went out: kept for the audit, and for a call that comes again."""

    status: int = 500
    body: bytes = b""
    location: str = ""


class Gate:
    """Around the app, as ASGI middleware."""

    def __init__(self, app: ASGIApp, access: Access, desk: Desk, clock: Any, largest_spec: int) -> None:
        self._app, self._access, self._desk, self._clock = app, access, desk, clock
        self._largest_spec = largest_spec
        self._under_way: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._enter(scope, receive, _with_headers(send))
        except RequestError as error:
            await problems.refused(error)(scope, receive, _with_headers(send))

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        scope.setdefault("state", {})
        if scope["path"] in _OPEN:
            return await self._call(scope, receive, send)
        actor = self._access.actor(scope.get("client"), headers.get("authorization"))
        scope["state"]["actor"] = actor
        if scope["method"] in _SAFE:
            return await self._call(scope, receive, send)
        _refuse_browsers(headers, scope)
        body = await self._body(scope, headers, receive)
        return await self._change(scope, headers, body, actor, send)

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises when it is too long, or doesn't come."""
        most = self._largest_spec if scope["method"] == "PUT" else _SMALL
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise problems.TooLargeError(most)
        data = bytearray()
        try:
            async with asyncio.timeout(_BODY_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(Code.BAD_REQUEST, "the request ended before its body did")
                    data += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(data) > most:
                        raise problems.TooLargeError(most)
        except TimeoutError:
            raise RequestError(Code.BAD_REQUEST, f"the body did not arrive in {_BODY_S:.0f} s") from None
        return bytes(data)

    async def _change(self, scope: Scope, headers: Headers, body: bytes, actor: Actor, send: Send) -> None:
        """A call that changes something: once for each Idempotency-Key, and never without an audit row."""
        key = headers.get("idempotency-key", "")
        if key and (len(key) > 200 or not key.isprintable()):
            raise RequestError(Code.BAD_REQUEST, "Idempotency-Key must be printable, 200 characters at most")
        digest = _digest(scope, body)
        if key:
            if replay := self._replayed(actor, key, digest):
                return await replay(scope, _never, send)
            self._under_way.add((actor.name, key))
        answered = _Answered()
        try:
            await self._call(scope, _body_once(body), _recording(send, answered))
        finally:
            self._under_way.discard((actor.name, key))
            self._audit(scope, actor, answered)
        if key and answered.status < 500:
            kept = json.dumps(
                {"body": answered.body.decode("utf-8", "replace"), "location": answered.location}
            )
            self._desk.remember(actor.name, key, digest, answered.status, kept, now=self._clock())
        return None

    def _replayed(self, actor: Actor, key: str, digest: str) -> Response | None:
        if (actor.name, key) in self._under_way:
            raise RequestError(Code.CONFLICT, "a call with this Idempotency-Key is under way")
        known = self._desk.answer(actor.name, key)
        if known is None:
            return None
        request, status, kept = known
        if request != digest:
            raise RequestError(Code.CONFLICT, "this Idempotency-Key was used for another call")
        content = json.loads(kept)
        headers = {"idempotent-replayed": "true"}
        if content["location"]:
            headers["location"] = content["location"]
        media = problems.MEDIA if status >= 400 else "application/json"
        return Response(content["body"], status, headers=headers, media_type=media)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app; whatever it doesn't expect becomes a 500 with a number that the log has."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if not begun:  # the app's own answer to a bug was sent, else
                await problems.unexpected(f"{scope['method']} {scope['path']}", error)(scope, receive, send)

    def _audit(self, scope: Scope, actor: Actor, answered: _Answered) -> None:
        route = scope.get("route")
        outcome = "ok" if answered.status < 400 else _code(answered.body)
        client = scope.get("client")
        peer = (
            f"uid {client[1]} on the socket" if client and client[0] == UNIX else client[0] if client else ""
        )
        self._desk.audit(
            at=self._clock(),
            actor=actor.name,
            role=actor.role.name.lower(),
            verb=getattr(route, "operation_id", None) or f"{scope['method']} (no such call)",
            workflow_id=str(scope.get("path_params", {}).get("workflow_id", ""))[:128],
            outcome=outcome,
            detail=f"from {peer}",
        )


def _refuse_browsers(headers: Headers, scope: Scope) -> None:
    """A page of another site can make a browser call us; it tells its origin."""
    origin = headers.get("origin")
    if origin is not None and origin.split("://")[-1] != headers.get("host"):
        raise RequestError(Code.FORBIDDEN, "this is not for pages of other sites")


def _digest(scope: Scope, body: bytes) -> str:
    head = f"{scope['method']} {scope['path']}?{scope.get('query_string', b'').decode('latin-1')}\n"
    return hashlib.sha256(head.encode() + body).hexdigest()


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return str(Code.INTERNAL_SERVER_ERROR)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in known]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sending


def _recording(send: Send, answered: _Answered) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            for name, value in message.get("headers", []):
                if name.lower() == b"location":
                    answered.location = value.decode("latin-1")
        elif message["type"] == "http.response.body":
            answered.body += message.get("body", b"")
        await send(message)

    return sending


def _body_once(body: bytes) -> Receive:
    sent = False

    async def receiving() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return receiving


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")
