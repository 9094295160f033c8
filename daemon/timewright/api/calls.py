"""How every call goes: who may, how large, of what type; then, of those that change something: once, and
never without a row in the audit."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from timewright.api.access import Doorkeeper, allow, caller, check_origin
from timewright.api.problems import as_json, outcome_of
from timewright.config import Config
from timewright.control import Actor, Control
from timewright.core.errors import Code, RequestError
from timewright.edge.desk import Operation
from timewright.views import View, operation_view

_MOST_BODY = 64 * 1024  # bytes, but of a spec
_SPEC_MARGIN = 1024  # bytes: what is only a little too large is told so with the spec's own words
_LONGEST_WAIT, _USUAL_WAIT = 300.0, 60.0  # seconds, of `Prefer: wait`
_KEY = re.compile(r"[!-~]{1,255}")
_PREFER = re.compile(r"(?:^|[,;])\s*wait\s*(?:=\s*\"?(\d{1,9})\"?)?\s*(?=$|[,;])", re.IGNORECASE)
_JSON = re.compile(r"application/(json|[\w.+-]+\+json)$")
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass
class Context:
    """What the calls work with. `closing`: the daemon stops; nobody is kept waiting."""

    control: Control
    config: Config
    doorkeeper: Doorkeeper
    metrics: Callable[[], bytes] | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: set[tuple[str, str]] = field(default_factory=set)  # (actor, Idempotency-Key)


@dataclass
class Asked:
    """A call that changes something. `key`: its Idempotency-Key or ''; `digest`: of what it asks for."""

    context: Context
    actor: Actor
    verb: str
    workflow_id: str
    caller: str
    key: str
    digest: str
    settled: bool = False  # it is in the audit

    def granted(self, status: int, body: str, detail: str) -> None:
        """Keep that it was done, before anybody waits for its end."""
        self.audit("ok", detail)
        if self.key:
            self.context.control.world.state.desk.remember(
                self.actor.name,
                self.key,
                self.digest,
                status,
                body,
                now=self.context.control.world.clock(),
            )

    def audit(self, outcome: str, detail: str = "") -> None:
        """One row a call."""
        if self.settled:
            return
        self.settled = True
        world = self.context.control.world
        world.state.desk.audit(
            at=world.clock(),
            actor=self.actor.name,
            role=self.actor.role.name.lower(),
            verb=self.verb,
            workflow_id=self.workflow_id[:128],
            outcome=outcome,
            detail=f"{self.caller}; {detail}" if detail else self.caller,
        )


class Call(APIRoute):
    """A route; what `access.LEAST` says of its operationId holds for it."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        operation = self.operation_id or ""
        changes = "GET" not in (self.methods or ())

        async def call(request: Request) -> Response:
            context, actor = context_of(request), actor_of(request)
            workflow_id = request.path_params.get("workflow_id")
            if not changes:
                allow(actor, operation, context.control, workflow_id)
                return await handle(request)
            where = caller(request.scope)
            asked = Asked(context, actor, operation, workflow_id or "", where, "", "")
            try:
                check_origin(request.headers, request.url.scheme)
                allow(actor, operation, context.control, workflow_id)
                await _take_body(request, spec=operation == "putSpec")
                request.state.asked = asked
                return await _once(request, asked, handle)
            except BaseException as error:
                asked.audit(outcome_of(error))
                raise

        return call


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def actor_of(request: Request) -> Actor:
    actor: Actor = request.state.actor
    return actor


async def answer(
    request: Request, granted: Operation | Sequence[Operation], status: int | None = None
) -> Response:
    """The answer to what was granted: 202 and the operation, or 200 when it is finished."""
    asked: Asked = request.state.asked
    operations = [granted] if isinstance(granted, Operation) else list(granted)
    views = [operation_view(operation) for operation in operations]
    shown = views[0] if isinstance(granted, Operation) else views
    names = ", ".join(operation.id for operation in operations)
    if not asked.workflow_id:
        ids = ", ".join(operation.workflow_id for operation in operations)
        names = f"{ids}; {names}" if ids else names
    asked.granted(_status(views), as_json(shown).decode(), f"operation {names}")
    return await _followed(request, shown)


async def wait_for(request: Request, operation_id: str, seconds: float) -> Operation:
    """The operation when it is done, or after so many seconds, or when the daemon stops."""
    context = context_of(request)
    waiting = asyncio.ensure_future(context.control.finished(operation_id, seconds))
    closing = asyncio.ensure_future(context.closing.wait())
    try:
        await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            return await context.control.finished(operation_id, 0)
        return waiting.result()
    finally:
        for task in (waiting, closing):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def preferred_wait(request: Request) -> float | None:
    """Seconds that the caller would wait (RFC 7240), None for not at all. Nonsense is ignored."""
    found = _PREFER.search(",".join(request.headers.getlist("prefer")))
    if found is None:
        return None
    return min(float(found[1]), _LONGEST_WAIT) if found[1] else _USUAL_WAIT


def is_yaml(request: Request) -> bool:
    return _media_type(request) in _YAML


async def _followed(
    request: Request, shown: View | list[View], headers: dict[str, str] | None = None
) -> Response:
    """What was granted, as it is when the caller has waited as long as they prefer."""
    given = dict(headers or {})
    seconds = preferred_wait(request)
    views = shown if isinstance(shown, list) else [shown]
    if seconds is not None:
        deadline = asyncio.get_running_loop().time() + seconds
        for index, view in enumerate(views):
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            views[index] = operation_view(await wait_for(request, view["id"], left))
        given["Preference-Applied"] = f"wait={seconds:.0f}"
    if not isinstance(shown, list):
        given["Location"] = f"/api/v1/operations/{views[0]['id']}"
    body = views if isinstance(shown, list) else views[0]
    return Response(as_json(body), _status(views), given, "application/json")


def _status(views: Sequence[View]) -> int:
    return 202 if any(view["state"] == "running" for view in views) else 200


async def _once(request: Request, asked: Asked, handle: Handler) -> Response:
    """Do what is asked, or, if it was asked with the same Idempotency-Key before, say again what was said.
    A refusal changes nothing and isn't remembered: the same request is judged anew."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return await handle(request)
    if not _KEY.fullmatch(key):
        raise RequestError(
            Code.BAD_REQUEST, "Idempotency-Key must be 1 to 255 printable ASCII characters, without spaces"
        )
    asked.key, asked.digest = key, await _digest(request)
    mine = (asked.actor.name, key)
    if mine in asked.context.under_way:
        raise RequestError(Code.CONFLICT, "a request with this Idempotency-Key is under way")
    known = asked.context.control.world.state.desk.answer(*mine)
    if known is not None:
        digest, status, body = known
        if digest != asked.digest:
            raise RequestError(
                Code.CONFLICT,
                "this Idempotency-Key was used for another request",
                hint="use a new key for each request, the same one only to try it again",
            )
        asked.audit("ok", "the same answer again")
        return await _replayed(request, status, body)
    asked.context.under_way.add(mine)
    try:
        return await handle(request)
    finally:
        asked.context.under_way.discard(mine)


async def _replayed(request: Request, status: int, body: str) -> Response:
    headers = {"Idempotent-Replayed": "true"}
    shown = json.loads(body)
    if preferred_wait(request) is not None and "fetches" not in shown:
        return await _followed(request, shown, headers)
    if isinstance(shown, dict):
        headers["Location"] = _place_of(shown)
    return Response(body.encode(), status, headers, "application/json")


def _place_of(shown: View) -> str:
    """Where what was granted can be followed."""
    if "fetches" in shown:
        return f"/api/v1/sources/{shown['source']}"
    return f"/api/v1/operations/{shown['id']}"


async def _digest(request: Request) -> str:
    """What is asked for, in one word."""
    whole = hashlib.sha256()
    query = request.scope["query_string"].decode("latin-1")
    for part in (request.method, request.url.path, query, _media_type(request)):
        whole.update(part.encode("utf-8", "replace") + b"\0")
    whole.update(await request.body())
    return whole.hexdigest()


async def _take_body(request: Request, *, spec: bool) -> None:
    """Read the body, as far as it may go. Raises HTTPException 413 and 415."""
    most = context_of(request).config.source.max_spec_bytes + _SPEC_MARGIN if spec else _MOST_BODY
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise HTTPException(413, f"the body is larger than {most} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"the body is larger than {most} bytes")
    request._body = bytes(body)  # where Request.body() keeps it too
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Content-Encoding is not understood; send the body as it is")
    media_type = _media_type(request)
    right = _JSON.match(media_type) or (spec and media_type in ("", *_YAML))
    if (body or spec) and not right:
        wanted = "application/json or application/yaml" if spec else "application/json"
        raise HTTPException(415, f"Content-Type must be {wanted}")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
