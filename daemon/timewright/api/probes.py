"""Calls about the daemon itself, outside of /api/v1."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from timewright import __version__
from timewright.api import models
from timewright.api.access import is_open
from timewright.api.answers import LOOKING, problems
from timewright.api.calls import Call, context_of
from timewright.api.problems import as_json

open_router = APIRouter()
router = APIRouter(route_class=Call)

_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@open_router.get(
    "/healthz",
    operation_id="getHealth",
    summary="Is the daemon alive?",
    tags=["Daemon"],
    response_model=models.Alive,
)
async def get_health() -> Response:
    """Anybody may ask. It says nothing of workflows: a bad spec is no reason to restart a daemon."""
    return Response(as_json({"alive": True}), 200, None, "application/json")


@open_router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Does it follow its source?",
    tags=["Daemon"],
    response_model=models.Ready,
    responses={503: {"model": models.Ready, "description": "It doesn't; `because` says why."}},
)
async def get_readiness(request: Request) -> Response:
    """Anybody may ask."""
    because = context_of(request).control.ready()
    content = as_json({"ready": not because, "because": because})
    return Response(content, 503 if because else 200, None, "application/json")


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    tags=["Daemon"],
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Its text format."},
        **problems(*LOOKING, 404),
    },
)
async def get_metrics(request: Request) -> Response:
    """For those who see all workflows."""
    metrics = context_of(request).metrics
    if metrics is None:
        raise HTTPException(404)
    return Response(metrics(), 200, None, _METRICS)


@router.get(
    "/openapi.json",
    operation_id="getOpenApi",
    summary="This description",
    tags=["Daemon"],
    response_model=models.AnyObject,
    responses=problems(*LOOKING),
)
async def get_openapi_document(request: Request) -> Response:
    """OpenAPI 3.1."""
    return Response(as_json(request.app.openapi()), 200, None, "application/json")


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: what FastAPI makes of the routes, with our problems in place of its own."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="timewright",
            version=__version__,
            summary="Deploys Temporal TypeScript workflows from a folder of specs onto this host.",
            routes=app.routes,
        )
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas.update(_schemas())
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in document["paths"].items():
            for call in methods.values():
                call["responses"].pop("422", None)
                if not is_open(path):
                    call["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _schemas() -> dict[str, Any]:
    """Those of problems, which FastAPI doesn't see: their media type is not its own."""
    schema = models.ProblemDetails.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    inner: dict[str, Any] = schema.pop("$defs", {})
    return {**inner, models.ProblemDetails.__name__: schema}
