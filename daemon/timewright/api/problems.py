"""Errors as `application/problem+json` (RFC 9457), with our closed list of codes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from timewright import log
from timewright.core.errors import Code, RequestError
from timewright.views import problem_view

STATUS = {
    Code.BAD_REQUEST: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.INTERNAL_SERVER_ERROR: 500,
}
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    500: "Internal server error",
    503: "Not ready",
}
MEDIA = "application/problem+json"


class TooLargeError(RequestError):
    """More was sent than is taken."""

    def __init__(self, most: int) -> None:
        super().__init__(Code.BAD_REQUEST, f"the body is over {most} bytes")


class ProblemResponse(JSONResponse):
    """One error. `code` is what programs branch on."""

    media_type = MEDIA


def problem(
    status: int,
    code: Code,
    detail: str,
    *,
    hint: str = "",
    problems: tuple[Any, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """An error's answer. `problems`: what is wrong with a document, each with its place in it."""
    body: dict[str, Any] = {
        "type": f"urn:timewright:error:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if hint:
        body["hint"] = hint
    if problems:
        body["problems"] = [problem_view(item) for item in problems]
    return ProblemResponse(body, status, headers=dict(headers or {}))


def refused(error: RequestError) -> ProblemResponse:
    """The answer to a refused request."""
    headers = {"www-authenticate": "Bearer"} if error.code is Code.UNAUTHORIZED else None
    return problem(
        413 if isinstance(error, TooLargeError) else STATUS[error.code],
        error.code,
        error.message,
        hint=error.hint,
        problems=error.problems,
        headers=headers,
    )


def unexpected(call: str, error: Exception) -> ProblemResponse:
    """The answer to what nobody expected: a number under which the log says more."""
    number = uuid.uuid4().hex[:12]
    log.get().error("internal error", call=call, id=number, exc_info=error)
    detail = f"timewright failed on this; its log says more under {number}"
    return problem(500, Code.INTERNAL_SERVER_ERROR, detail)


def of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """The answer where the framework refuses: no such route, method, or media type."""
    code = {404: Code.NOT_FOUND, 401: Code.UNAUTHORIZED, 403: Code.FORBIDDEN, 409: Code.CONFLICT}.get(
        status, Code.BAD_REQUEST if status < 500 else Code.INTERNAL_SERVER_ERROR
    )
    return problem(status, code, detail, headers=headers)
