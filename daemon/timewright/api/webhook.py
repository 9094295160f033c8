"""Deliveries of forges: a push wakes the fetch of its source, and does nothing else. The signature tells who
may say so, never a token; what is in a delivery is not trusted beyond that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from timewright import log
from timewright.api import models
from timewright.api.access import WEBHOOKS
from timewright.api.answers import problems
from timewright.api.calls import Context, context_of
from timewright.api.problems import as_json
from timewright.core.errors import Code, RequestError, TimewrightError
from timewright.core.webhooks import Check, Delivery, Refusal
from timewright.edge import secretfile
from timewright.following import Follower

router = APIRouter()

_MOST_BODY = 25 * 1024 * 1024  # bytes: the most that GitHub sends
_MOST_KEPT = (
    1024 * 1024
)  # bytes of a body that are kept to be read; a larger one is checked, and tells no ref
_MOST_KEEPING = 16  # bodies that are kept at once
_DAY_S = 86_400.0
#: Seconds after which a pushed commit that the remote doesn't have yet is looked for again: behind many a
#: forge are several servers, and the one that is asked may not know what another one tells.
_AGAIN_S = (5.0, 30.0)
_TOLD_S = 60.0  # seconds in which one source's fault is logged once, however many knock


class Intake:
    """What deliveries share: room for bodies, so that a flood of them takes no more; and whose fault was
    told when."""

    def __init__(self) -> None:
        self.keeping = 0
        self._told: dict[str, float] = {}
        self._again: dict[str, list[asyncio.TimerHandle]] = {}

    @contextmanager
    def room(self) -> Iterator[int]:
        """Bytes of a body that may be kept."""
        if self.keeping >= _MOST_KEEPING:
            yield 0
            return
        self.keeping += 1
        try:
            yield _MOST_KEPT
        finally:
            self.keeping -= 1

    def expect(self, follower: Follower, commit: str) -> None:
        """Wake once more if this commit was not found; the newest push of a source counts."""

        def look() -> None:
            if follower.remote_sha != commit:
                follower.poke(f"{commit[:10]} was pushed, and not found yet")

        for timer in self._again.get(follower.name, ()):
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._again[follower.name] = [loop.call_later(seconds, look) for seconds in _AGAIN_S]

    def fault(self, source: str, error: TimewrightError) -> None:
        """Tell the operator, and not all that often."""
        now = time.monotonic()
        if now - self._told.get(source, -_TOLD_S) >= _TOLD_S:
            self._told[source] = now
            log.get().error(
                "a webhook can't be checked", source=source, because=error.message, hint=error.hint
            )


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "What the forge sends; 25 MiB at most.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"ref": "refs/heads/main", "after": "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5"},
            },
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": {"payload": {"type": "string"}}}
            },
        },
    }
}


@router.post(
    WEBHOOKS + "{source}",
    operation_id="webhook",
    summary="A forge says that a source has changed",
    tags=["Sources"],
    response_model=models.Woken,
    responses={
        200: {"model": models.Woken, "description": "Understood, and there is nothing to do: `because`."},
        202: {"model": models.Woken, "description": "The source is being fetched."},
        **problems(401, 404, 413, 500, 503),
    },
    openapi_extra=_BODY,
)
async def webhook(request: Request, source: str) -> Response:
    """Takes no token, but a signature with the source's secret: that of GitHub, GitLab, Gitea, Forgejo, Gogs,
    Standard Webhooks, or `X-Signature-256: sha256=HEX`. A delivery counts once a day. 404: there is no such
    source, or it has no secret."""
    context = context_of(request)
    follower = _follower(context, source)
    check = Check(request.headers.items(), _secrets(request, follower), context.control.world.clock())
    if check.refusal is not None:
        raise _stranger(request, check.refusal)
    with request.app.state.intake.room() as room:
        found = check.verdict(await _read(request, check, room))
    if isinstance(found, Refusal):
        raise _stranger(request, found)
    answer = _answer(context, follower, found)
    if answer.status_code == 202 and found.commit and (found.ref or "").startswith("refs/heads/"):
        request.app.state.intake.expect(follower, found.commit)
    return answer


def _follower(context: Context, source: str) -> Follower:
    """Who follows a source. Raises NOT_FOUND, the same for what isn't there and what takes no webhooks."""
    found = context.control.world.sources.followers.get(source)
    if found is None or not found.settings.webhook_secret_file:
        raise RequestError(
            Code.NOT_FOUND,
            "there is no such webhook",
            hint="it is named as its source (main, where it has no name), which has a webhook_secret_file",
        )
    return found


def _secrets(request: Request, follower: Follower) -> tuple[str, ...]:
    """Those of a source. Raises HTTPException 503 when it is our fault, and then the log says more."""
    path = context_of(request).config.path(follower.settings.webhook_secret_file)
    try:
        return secretfile.read(path, "source.webhook_secret_file")
    except TimewrightError as error:
        request.app.state.intake.fault(follower.name, error)
        raise HTTPException(503, "this webhook can't be checked now; the daemon's log says why") from None


async def _read(request: Request, check: Check, room: int) -> bytes | None:
    """Take all of the body; it is returned where there is room for it. Raises HTTPException 413."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > _MOST_BODY:
        raise HTTPException(413, f"the body is larger than {_MOST_BODY} bytes")
    kept, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MOST_BODY:
            raise HTTPException(413, f"the body is larger than {_MOST_BODY} bytes")
        check.take(chunk)
        if size <= room:
            kept += chunk
        else:
            kept.clear()
    return bytes(kept) if size <= room else None


def _stranger(request: Request, refusal: Refusal) -> RequestError:
    """A refusal that is counted among those of strangers."""
    error = RequestError(Code.UNAUTHORIZED, refusal.message, hint=refusal.hint)
    request.state.stranger = error
    return error


def _answer(context: Context, follower: Follower, delivery: Delivery) -> Response:
    """Wake the fetch if there may be something new, and say so. Nothing here waits: of two deliveries at
    once that are the same, one wakes."""
    world = context.control.world
    idle = _idle(context, follower, delivery)
    because = idle or " ".join(
        word for word in (delivery.provider, delivery.event, delivery.ref and f"of {delivery.ref}") if word
    )
    if not idle:
        follower.poke(because)
    status, content = (200 if idle else 202), as_json({"woken": not idle, "because": because})
    if not idle:
        world.state.desk.remember(
            _actor(follower), delivery.key, "", status, content.decode(), now=world.clock(), keep_s=_DAY_S
        )
    log.get().info(
        "webhook",
        source=follower.name,
        provider=delivery.provider,
        change=delivery.event,
        ref=delivery.ref or "",
        commit=(delivery.commit or "")[:10],
        woken=not idle,
        because=because,
    )
    return Response(content, status, None, "application/json")


def _idle(context: Context, follower: Follower, delivery: Delivery) -> str:
    """Why there is nothing to do, '' when there is. What nobody was woken for isn't remembered: it may be
    worth it later, with other settings."""
    if delivery.event == "ping":
        return "a ping; the webhook is set up right"
    if not delivery.is_news:
        return f"{delivery.event} is no push"
    if context.control.world.state.desk.answer(_actor(follower), delivery.key) is not None:
        return "this delivery was seen before"
    if delivery.ref is not None and not follower.follows(delivery.ref):
        return f"{delivery.ref} is not followed"
    return ""


def _actor(follower: Follower) -> str:
    """Under which name its deliveries are remembered; no person's, nor token's."""
    return f"webhook:{follower.name}"
