"""Events as they happen: server-sent events that can be taken up again where they broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import Request

from timewright.api.calls import Context, context_of
from timewright.api.problems import as_json
from timewright.control import Actor
from timewright.core.errors import RequestError
from timewright.views import View

_STILL_HERE_S = 15.0  # a sign of life, for proxies and for finding out that nobody listens
_BATCH = 500  # events that are read at once for one who was away


async def events(
    request: Request, actor: Actor, *, workflow_id: str | None, after: int | None
) -> AsyncIterator[bytes]:
    """The stream's bytes, until the caller goes, is no longer let in, or the daemon stops.

    `after`: the last id that the caller has; None: only what happens from now on.
    """
    context = context_of(request)
    state = context.control.world.state
    seen = state.last_event() if after is None else after
    yield b"retry: 2000\n\n"
    if seen > state.last_event():  # of a state file that was lost: ids have begun anew
        seen = 0
        yield _event("reset", None, {"because": "the history was lost; event ids have begun anew"})
    while not context.closing.is_set():
        newest = state.last_event()
        found = context.control.events(actor, workflow_id=workflow_id, after=seen, first=_BATCH)
        for view in found:
            yield _event(str(view["kind"]), int(view["id"]), view)
        if len(found) == _BATCH:
            seen = int(found[-1]["id"])
            continue
        seen = newest
        await _wait(context, seen)
        if state.last_event() <= seen:
            yield b": still here\n\n"
        renewed = await _renewed(request, context, actor)
        if renewed is None:
            return
        actor = renewed


async def _renewed(request: Request, context: Context, actor: Actor) -> Actor | None:
    """Who listens, now: tokens are revoked and expire, users lose rights."""
    with suppress(RequestError):
        found = await context.doorkeeper.admit(request.scope)
        return found if found.name == actor.name else None
    return None


async def _wait(context: Context, seen: int) -> None:
    """Until something happens, the daemon stops, or it is time for a sign of life."""
    news = asyncio.ensure_future(context.control.wait_for_event(seen, _STILL_HERE_S))
    closing = asyncio.ensure_future(context.closing.wait())
    try:
        await asyncio.wait({news, closing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (news, closing):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _event(kind: str, number: int | None, data: View) -> bytes:
    """JSON has no line breaks, so one `data` line holds it."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + as_json(data) + b"\n\n"
