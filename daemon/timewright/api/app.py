"""The application: all routes, behind the gate."""

from __future__ import annotations

import time
from email.utils import formatdate

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timewright import log
from timewright.api import asking, looking, page, probes, webhook
from timewright.api.access import caller, is_open
from timewright.api.calls import Context
from timewright.api.problems import install, problem, refused, unexpected
from timewright.core.errors import RequestError

_MOST_HEADERS = 32 * 1024  # bytes
_TOLD = (10, 60.0)  # refusals of strangers that are kept, in so many seconds; a flood fills no disk


def make_app(context: Context) -> FastAPI:
    """All routes. `context` is what they work with."""
    app = FastAPI(title="timewright", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.context = context
    app.state.intake = webhook.Intake()
    for router in (looking.router, asking.router, probes.router, probes.open_router, webhook.router):
        app.include_router(router)
    app.router.routes.extend(page.routes())
    app.openapi = lambda: probes.describe(app)  # type: ignore[method-assign]
    install(app)
    return app


class Gate:
    """In front of all routes: who calls, and no answer that isn't ours, whatever happens."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.app: ASGIApp = make_app(context)
        self._strangers = Strangers(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        scope = {**scope, "state": dict(scope.get("state") or {})}
        if scope["method"] == "HEAD" and scope["path"] != "/api/v1/events":
            scope["method"] = "GET"  # the server leaves the body out
        answer = _Answer(send)
        try:
            await self._admit(scope)
            await self.app(scope, receive, answer)
            if (stranger := scope["state"].get("stranger")) is not None:  # let in, and found to be one
                self._strangers.refused(scope, stranger)
        except RequestError as refusal:
            self._strangers.refused(scope, refusal)
            await refused(refusal, scope)(scope, receive, answer)
        except TwoEndsError:
            response = problem(
                400,
                "Content-Length and Transfer-Encoding together tell two ends",
                instance=scope["path"][:200],
                headers={"Connection": "close"},
            )
            await response(scope, receive, answer)
        except TooManyHeadersError:
            response = problem(431, "the headers are too large", instance=scope["path"][:200])
            await response(scope, receive, answer)
        except Exception as error:
            if not answer.started:
                await unexpected(error, scope)(scope, receive, answer)
            elif not scope["state"].get("reported"):
                log.get().error("an answer broke off", path=scope["path"][:200], exc_info=error)

    async def _admit(self, scope: Scope) -> None:
        """Raises RequestError for strangers."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADERS:
            raise TooManyHeadersError
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            raise TwoEndsError
        if not is_open(scope["path"]) and scope["path"] not in page.PATHS:
            scope["state"]["actor"] = await self.context.doorkeeper.admit(scope)


class TooManyHeadersError(Exception):
    """More than anybody needs."""


class TwoEndsError(Exception):
    """A proxy in front may go by the one, and we by the other: then its second request is not ours."""


class _Answer:
    """Passes an answer on, with the headers that all have."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["Date"] = formatdate(usegmt=True)
            headers["Cache-Control"] = "no-store"
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)


class Strangers:
    """Those who were not let in: in the log and, where they wanted to change something, in the audit; but
    not all of a flood."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._since, self._count = 0.0, 0

    def refused(self, scope: Scope, refusal: RequestError) -> None:
        most, seconds = _TOLD
        if time.monotonic() - self._since > seconds:
            if self._count > most:
                log.get().warning("more strangers were refused", calls=self._count - most)
            self._since, self._count = time.monotonic(), 0
        self._count += 1
        if self._count > most:
            return
        what = f"{scope['method']} {scope['path'][:200]}"
        log.get().warning(
            "refused", code=refusal.code, because=refusal.message, call=what, caller=caller(scope)
        )
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            world = self.context.control.world
            world.state.desk.audit(
                at=world.clock(),
                actor="",
                role="",
                verb=scope["method"].lower(),
                workflow_id="",
                outcome=refusal.code,
                detail=f"{what}; {caller(scope)}",
            )
