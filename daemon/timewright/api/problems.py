"""Errors as RFC 9457 has them: application/problem+json, with `code` from a closed list and what to do."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from timewright import log
from timewright.core.errors import Code, Problem, RequestError
from timewright.edge.statefile import storage_trouble
from timewright.views import problem_view

STATUS: Mapping[Code, int] = {
    Code.BAD_REQUEST: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.INTERNAL_SERVER_ERROR: 500,
}
_CODES = {status: code for code, status in STATUS.items()}
_MEDIA_TYPE = "application/problem+json"


def as_json(content: Any) -> bytes:
    """JSON in UTF-8; what came from outside and is no Unicode text is shown as '?'."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def problem(
    status: int,
    detail: str,
    *,
    instance: str,
    hint: str = "",
    problems: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that says what is wrong. `instance`: the call, or the id of the error in the log."""
    code = code_of(status)
    content: dict[str, Any] = {
        "type": f"urn:timewright:problem:{code.lower().replace('_', '-')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if hint:
        content["hint"] = hint
    if listed := [problem_view(item) for item in problems]:
        content["problems"] = listed
    given = dict(headers or {})
    if status == 401:
        given["WWW-Authenticate"] = 'Bearer realm="timewright"'
    return Response(as_json({**content, "instance": instance}), status, given, _MEDIA_TYPE)


def code_of(status: int) -> Code:
    """The code of an HTTP status; what has none of its own is a BAD_REQUEST."""
    return _CODES.get(status, Code.BAD_REQUEST if status < 500 else Code.INTERNAL_SERVER_ERROR)


def refused(error: RequestError, scope: Scope) -> Response:
    """A refusal as an answer."""
    return problem(
        STATUS[error.code],
        error.message,
        instance=scope["path"],
        hint=error.hint,
        problems=error.problems,
    )


def unexpected(error: Exception, scope: Scope) -> Response:
    """A bug, or a disk that is full: the log has everything, the caller an id to ask about."""
    scope["state"]["reported"] = True
    number = uuid.uuid4().hex
    log.get().error(
        "a call failed", id=number, method=scope["method"], path=scope["path"][:200], exc_info=error
    )
    what = storage_trouble(error) if isinstance(error, sqlite3.Error) else ""
    return problem(
        500,
        f"{what or 'something went wrong in the daemon'}; its log has it under {number}",
        instance=f"urn:uuid:{uuid.UUID(number)}",
    )


def outcome_of(error: BaseException) -> str:
    """The code that a call which ends with this error gets."""
    if isinstance(error, RequestError):
        return error.code
    if isinstance(error, RequestValidationError | ClientDisconnect):
        return Code.BAD_REQUEST
    if isinstance(error, HTTPException):
        return code_of(error.status_code)
    return Code.INTERNAL_SERVER_ERROR


def install(app: FastAPI) -> None:
    """Make all errors of an app problems."""

    @app.exception_handler(RequestError)
    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)  # noqa: S101 - tells the type
        return refused(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def on_bad_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - tells the type
        found = [Problem(_place(item["loc"]), _plain(item)) for item in error.errors()]
        return problem(
            400,
            str(found[0]) + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""),
            instance=request.url.path,
            problems=found,
        )

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - tells the type
        headers = dict(error.headers or {})
        detail = str(error.detail)
        if error.status_code == 404:
            detail = f"there is no {request.method} {request.url.path[:200]}"
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request.url.path))
            detail = f"{request.url.path[:200]} has no {request.method}; it has {headers['Allow']}"
        return problem(error.status_code, detail, instance=request.url.path, headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def on_gone(request: Request, _: Exception) -> Response:
        return problem(400, "the request broke off", instance=request.url.path)  # nobody reads it

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        return unexpected(error, request.scope)


def _methods(app: FastAPI, path: str) -> list[str]:
    """What can be done with a path, by all its routes."""
    return sorted(
        {m for route in routes_of(app.routes) if route.path_regex.match(path) for m in route.methods}
    )


def routes_of(found: Iterable[Any]) -> Iterator[Any]:
    """All routes, also those of routers inside."""
    for route in found:
        inner = getattr(getattr(route, "original_router", route), "routes", None)
        if inner is not None:
            yield from routes_of(inner)
        else:
            yield route


def _place(location: Iterable[Any]) -> str:
    """`("body", "seconds")` → `body.seconds`."""
    return ".".join(str(part) for part in location)


def _plain(item: Mapping[str, Any]) -> str:
    """What a validator says, without what it was given."""
    return str(item["msg"]).removeprefix("Value error, ")[:300]
