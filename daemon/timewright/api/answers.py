"""What calls may answer, as the OpenAPI description says it: one list, so that no call forgets one."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from timewright.api.models import ProblemDetails
from timewright.api.problems import code_of

_EXAMPLES: Mapping[int, str] = {
    400: "body.seconds: Input should be greater than 0",
    401: "this takes a valid token",
    403: "vic is a viewer; this takes a deployer",
    404: "there is no workflow 'hello' here",
    409: "hello is deployed already, at release 7cc54c69e260",
    413: "the body is larger than 65536 bytes",
    415: "Content-Type must be application/json",
    500: "something went wrong in the daemon; its log has it under 0d3f1c9e8b7a4d2f9c1e5a6b7c8d9e0f",
    503: "this webhook can't be checked now; the daemon's log says why",
}
_MEANING: Mapping[int, str] = {
    400: "The request, or the spec in it, is wrong; `problems` has everything that is.",
    401: "No token, or none that is valid. On the network only.",
    403: "Your role doesn't reach, or you are nobody here.",
    404: "There is no such thing, or you may not see it.",
    409: "It can't be done as things stand; nothing was changed.",
    413: "The body is too large.",
    415: "The body is of another type than is understood.",
    500: "A fault of the daemon; the log has it under the id in `instance`.",
    503: "It can't be done now; try again later.",
}
#: Of a call that looks at something, and of one that changes something.
LOOKING, ASKING = (400, 401, 403, 500), (400, 401, 403, 404, 409, 413, 415, 500)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route for these problems."""
    return {status: _problem(status) for status in sorted(statuses)}


def operations(model: Any) -> dict[int | str, dict[str, Any]]:
    """`responses` of a call that starts something."""
    location = {"Location": _header("Where to follow the operation.")} if isinstance(model, type) else {}
    headers = {
        **location,
        "Preference-Applied": _header("How long was waited, where `Prefer: wait` was sent."),
        "Idempotent-Replayed": _header("true: this was done before, with the same Idempotency-Key."),
    }
    return {
        200: {
            "model": model,
            "headers": headers,
            "description": "It is finished: look at `state`, which is failed where it failed.",
        },
        202: {"model": model, "headers": headers, "description": "It is under way."},
        **problems(*ASKING),
    }


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _problem(status: int) -> dict[str, Any]:
    code = code_of(status)
    example = {
        "type": f"urn:timewright:problem:{code.lower().replace('_', '-')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _EXAMPLES[status],
        "code": code,
        "instance": "/api/v1/workflows/hello/deploy",
    }
    content = {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}, "example": example}
    answer: dict[str, Any] = {
        "description": _MEANING[status],
        "content": {"application/problem+json": content},
    }
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": _header("Bearer")}
    return answer
