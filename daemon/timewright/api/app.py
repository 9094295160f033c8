"""The calls: what each takes, who may make it, what it answers. `control.py` does the work.

All of them are coroutines: what they touch belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Body, Depends, FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from timewright import __version__, views
from timewright.api import models, problems
from timewright.api.access import Access
from timewright.api.gate import Gate
from timewright.control import Actor, Control, Role
from timewright.core.errors import Code, RequestError
from timewright.edge.desk import Operation

F = TypeVar("F", bound=Callable[..., Any])

ROOT = "/api/v1"
#: The least role for each call; a test holds this list to the routes and to docs/api.md.
ROLES = {
    **dict.fromkeys(
        (
            *(
                "listWorkflows",
                "getWorkflow",
                "getHistory",
                "getWorkflowLogs",
                "getLogs",
                "getDiff",
                "getDrift",
            ),
            *("getPlan", "listOperations", "getOperation", "streamEvents", "getMetrics"),
        ),
        Role.VIEWER,
    ),
    **dict.fromkeys(
        (
            *("putWorkflow", "deleteWorkflow", "deploy", "redeploy", "undeploy", "rollback", "pin", "unpin"),
            *("suspend", "resume", "prune"),
        ),
        Role.DEPLOYER,
    ),
    **dict.fromkeys(("suspendAll", "resumeAll", "getAudit"), Role.ADMIN),
}
_LONGEST_WAIT_S = 300.0
_KEEP_ALIVE_S = 15.0
_BATCH = 500

WorkflowId = Annotated[str, Path(max_length=128, examples=["order-saga"])]
Last = Annotated[int, Query(ge=1, le=1000, description="How many, the newest.")]
After = Annotated[int, Query(ge=0, le=2**62, description="Only those with a higher id.")]
Release = Annotated[str, Query(max_length=64, description="A release's id, or `live`, `previous`, `wanted`.")]
Prefer = Annotated[
    str | None,
    Header(description="`wait` or `wait=SECONDS`: answer when it is done.", examples=["wait=60"]),
]
IdempotencyKey = Annotated[
    str | None,
    Header(description="The same call with the same key is done once; its answer is given again for a day."),
]
_NOTE = "`Prefer: wait` answers 200 with the finished operation, else 202 with one to follow."


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What else a call may answer."""
    words = {
        400: "What was sent is wrong: `detail` and `problems` say where.",
        401: "No token, or none that is in force.",
        403: "The caller's role is too low.",
        404: "There is none, or it is someone else's.",
        409: "It can't be done now: `detail` says why, `hint` how it can.",
        413: "Too large.",
        415: "Neither JSON nor YAML.",
        500: "timewright failed; its log says more.",
    }
    content = {problems.MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    chosen = sorted({401, 403, 500, *statuses})
    return {status: {"description": words[status], "content": content} for status in chosen}


def make_app(
    control: Control, access: Access, metrics: Callable[[], bytes] | None, stopping: asyncio.Event
) -> Any:
    """The ASGI app. `stopping`: set when streams shall end."""
    app = FastAPI(
        title="timewright",
        version=__version__,
        description="GitOps for Temporal workflows on a plain host: docs/api.md.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        default_response_class=JSONResponse,
    )
    _handle_errors(app)
    _looking(app, control, stopping)
    _asking(app, control)
    _about(app, control, metrics)
    _describe(app)
    largest = control.world.config.source.max_spec_bytes + 1024
    return Gate(app, access, control.world.state.desk, control.world.clock, largest)


def need(call: str) -> Any:
    """The caller, if their role is high enough for a call."""

    async def actor(request: Request) -> Actor:
        who: Actor = request.state.actor
        if who.role < ROLES[call]:
            words = f"{who.name} is a {who.role.name.lower()}; that takes a {ROLES[call].name.lower()}"
            raise RequestError(Code.FORBIDDEN, words)
        return who

    return Depends(actor)


# Looking ---------------------------------------------------------------------------------------


def _looking(app: FastAPI, control: Control, stopping: asyncio.Event) -> None:
    def get(path: str, call: str, model: Any, summary: str, *errors: int, **more: Any) -> Callable[[F], F]:
        return app.get(
            ROOT + path,
            operation_id=call,
            summary=summary,
            responses={200: {"model": model}, **_errors(400, *errors)},
            tags=["looking"],
            **more,
        )

    @get("/workflows", "listWorkflows", models.Overview, "Where all workflows stand")
    async def list_workflows(
        who: Annotated[Actor, need("listWorkflows")],
        status: Annotated[models.Status | None, Query()] = None,
        health: Annotated[models.Health | None, Query()] = None,
        owner: Annotated[str | None, Query(max_length=200)] = None,
        undeployed: Annotated[bool, Query(description="Also those that are out of service.")] = False,
    ) -> Any:
        view = control.overview(who, undeployed=undeployed or status == "UNDEPLOYED")
        wishes = {"status": status, "health": health, "owner": owner}
        given = {key: value for key, value in wishes.items() if value is not None}
        rows = [row for row in view["workflows"] if all(row[key] == value for key, value in given.items())]
        return JSONResponse({**view, "workflows": rows})

    @get("/workflows/{workflow_id}", "getWorkflow", models.Workflow, "Where one stands, and why", 404)
    async def get_workflow(who: Annotated[Actor, need("getWorkflow")], workflow_id: WorkflowId) -> Any:
        return JSONResponse(control.workflow(who, workflow_id))

    @get("/workflows/{workflow_id}/history", "getHistory", models.History, "Its releases, newest first", 404)
    async def get_history(
        who: Annotated[Actor, need("getHistory")], workflow_id: WorkflowId, last: Last = 50
    ) -> Any:
        return JSONResponse({"releases": control.history(who, workflow_id, last=last)})

    @get("/workflows/{workflow_id}/logs", "getWorkflowLogs", models.Events, "What happened to it", 404)
    async def get_workflow_logs(
        who: Annotated[Actor, need("getWorkflowLogs")],
        workflow_id: WorkflowId,
        after: After = 0,
        last: Last = 100,
    ) -> Any:
        return JSONResponse({"events": control.events(who, workflow_id=workflow_id, after=after, last=last)})

    @get("/logs", "getLogs", models.Events, "What happened")
    async def get_logs(who: Annotated[Actor, need("getLogs")], after: After = 0, last: Last = 100) -> Any:
        return JSONResponse({"events": control.events(who, after=after, last=last)})

    @get(
        "/workflows/{workflow_id}/diff", "getDiff", dict[str, Any], "What differs between releases", 404, 409
    )
    async def get_diff(
        who: Annotated[Actor, need("getDiff")],
        workflow_id: WorkflowId,
        a: Release = "previous",
        b: Release = "live",
    ) -> Any:
        return JSONResponse(await control.diff(who, workflow_id, a, b))

    @get("/workflows/{workflow_id}/drift", "getDrift", dict[str, Any], "What was changed by hand", 404, 409)
    async def get_drift(who: Annotated[Actor, need("getDrift")], workflow_id: WorkflowId) -> Any:
        return JSONResponse(await control.drift(who, workflow_id))

    @get("/plan", "getPlan", models.Plan, "What a pass would do, and what it holds back", 409)
    async def get_plan(who: Annotated[Actor, need("getPlan")]) -> Any:
        return JSONResponse(await control.plan(who))

    @get("/operations", "listOperations", models.Operations, "What was asked for, newest first")
    async def list_operations(who: Annotated[Actor, need("listOperations")], last: Last = 100) -> Any:
        return JSONResponse({"operations": control.operations(who, last=last)})

    @get("/operations/{operation_id}", "getOperation", models.Operation, "How one goes", 404)
    async def get_operation(
        request: Request,
        who: Annotated[Actor, need("getOperation")],
        operation_id: Annotated[str, Path(max_length=64)],
        prefer: Prefer = None,
    ) -> Any:
        control.operation(who, operation_id)
        seconds = _patience(request)
        if seconds:
            await control.finished(operation_id, seconds)
        return JSONResponse(control.operation(who, operation_id))

    @get("/audit", "getAudit", models.Audit, "Who asked for what")
    async def get_audit(who: Annotated[Actor, need("getAudit")], after: After = 0, last: Last = 100) -> Any:
        return JSONResponse({"calls": control.audit(who, after=after, last=last)})

    @app.get(
        ROOT + "/events",
        operation_id="streamEvents",
        summary="What happens, as it happens",
        description="Server-sent events: `event` is its kind, `id` the number to resume after.",
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
                "description": "A stream.",
            },
            **_errors(400, 404),
        },
        tags=["looking"],
    )
    async def stream_events(
        who: Annotated[Actor, need("streamEvents")],
        after: Annotated[int | None, Query(ge=0, le=2**62, description="0: from the beginning.")] = None,
        workflow: Annotated[str | None, Query(max_length=128)] = None,
        last_event_id: Annotated[str | None, Header(examples=["42"])] = None,
    ) -> Any:
        if workflow is not None:
            control.workflow(who, workflow)
        start = after
        if last_event_id is not None:
            if not re.fullmatch(r"\d{1,18}", last_event_id):
                raise RequestError(Code.BAD_REQUEST, "Last-Event-ID must be a number")
            start = int(last_event_id)
        stream = _stream(control, who, workflow, start, stopping)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _stream(
    control: Control, who: Actor, workflow: str | None, after: int | None, stopping: asyncio.Event
) -> AsyncIterator[str]:
    """Events after one, for ever; a comment now and then shows that we are there."""
    seen = control.world.state.last_event() if after is None else after
    yield "retry: 2000\n\n"
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while not stopping.is_set():
            batch = control.events(who, workflow_id=workflow, after=seen, first=_BATCH)
            for event in batch:
                seen = event["id"]
                yield f"id: {seen}\nevent: {event['kind']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
            if len(batch) == _BATCH:
                continue
            newest = control.world.state.last_event()
            news = asyncio.ensure_future(control.wait_for_event(newest, _KEEP_ALIVE_S))
            await asyncio.wait({news, stop}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if not batch and control.world.state.last_event() == newest:
                yield ": still here\n\n"
    finally:
        stop.cancel()


# Asking ----------------------------------------------------------------------------------------


def _asking(app: FastAPI, control: Control) -> None:
    def change(
        method: str, path: str, call: str, summary: str, *errors: int, **more: Any
    ) -> Callable[[F], F]:
        return app.api_route(
            ROOT + path,
            methods=[method],
            operation_id=call,
            summary=summary,
            description=more.pop("description", _NOTE),
            status_code=202,
            responses={
                200: {"model": models.Operation, "description": "It is done; `state` says how it went."},
                202: {"model": models.Operation, "description": "It goes on: follow `Location`."},
                **_errors(400, 404, 409, 413, *errors),
            },
            tags=["asking"],
            **more,
        )

    async def answer(operation: Operation, request: Request) -> Response:
        return await _answer(control, operation, request)

    def verb(name: str, model: Any, summary: str, act: Callable[[Actor, str, Any], Operation]) -> None:
        async def call(
            request: Request,
            workflow_id: WorkflowId,
            who: Actor = need(name),  # noqa: B008 - FastAPI's way of saying it
            body: Any = Body(default_factory=model),  # noqa: B008
            prefer: Prefer = None,
            idempotency_key: IdempotencyKey = None,
        ) -> Any:
            return await answer(act(who, workflow_id, body), request)

        call.__annotations__["body"] = model
        call.__annotations__["who"] = Actor
        change("POST", f"/workflows/{{workflow_id}}/{name}", name, summary)(call)

    c = control
    verb(
        "deploy",
        models.Forced,
        "Deploy what the source asks for, now",
        lambda who, name, b: c.deploy(who, name, force=b.force, reason=b.reason),
    )
    verb(
        "redeploy",
        models.Why,
        "Check, publish and load the live release again, in a fresh process",
        lambda who, name, b: c.redeploy(who, name, reason=b.reason),
    )
    verb(
        "undeploy",
        models.Forced,
        "Take it out of service until it is deployed again",
        lambda who, name, b: c.undeploy(who, name, force=b.force, reason=b.reason),
    )
    verb(
        "rollback",
        models.ToRelease,
        "Go back to an earlier release until the source changes the spec",
        lambda who, name, b: c.rollback(who, name, b.release, force=b.force, reason=b.reason),
    )
    verb(
        "pin",
        models.PinTo,
        "Hold it at a release, whatever the source says",
        lambda who, name, b: c.pin(who, name, b.release, force=b.force, reason=b.reason, seconds=b.seconds),
    )
    verb(
        "unpin",
        models.Why,
        "Follow the source again",
        lambda who, name, b: c.unpin(who, name, reason=b.reason),
    )
    verb(
        "suspend",
        models.Suspend,
        "Leave it as it is until resumed",
        lambda who, name, b: c.suspend(who, name, reason=b.reason, seconds=b.seconds),
    )
    verb(
        "resume",
        models.Why,
        "End its suspension",
        lambda who, name, b: c.resume(who, name, reason=b.reason),
    )

    @change("POST", "/suspend", "suspendAll", "Leave everything as it is until resumed")
    async def suspend_all(
        request: Request,
        who: Annotated[Actor, need("suspendAll")],
        body: Annotated[models.Suspend, Body(default_factory=models.Suspend)],
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Any:
        return await answer(control.suspend(who, None, reason=body.reason, seconds=body.seconds), request)

    @change("POST", "/resume", "resumeAll", "End the suspension of everything")
    async def resume_all(
        request: Request,
        who: Annotated[Actor, need("resumeAll")],
        body: Annotated[models.Why, Body(default_factory=models.Why)],
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Any:
        return await answer(control.resume(who, None, reason=body.reason), request)

    @app.post(
        ROOT + "/prune",
        operation_id="prune",
        summary="Confirm that workflows whose specs are gone may be undeployed",
        status_code=202,
        responses={202: {"model": models.Operations}, **_errors(400, 404, 409, 413)},
        tags=["asking"],
    )
    async def prune(
        who: Annotated[Actor, need("prune")],
        body: models.Prune,
        idempotency_key: IdempotencyKey = None,
    ) -> Any:
        operations = control.prune(who, body.workflowIds, reason=body.reason)
        shown = [views.operation_view(operation) for operation in operations]
        return JSONResponse({"operations": shown}, 202)

    spec = {
        "schema": {"type": "object"},
        "example": {"workflowId": "order-saga", "files": {"src/workflow.ts": "…"}},
    }

    @change(
        "PUT",
        "/workflows/{workflow_id}",
        "putWorkflow",
        "Write a spec into the source folder",
        415,
        description=f"The file is replaced atomically, then deployed as any other. {_NOTE}",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": spec, "application/yaml": spec},
            }
        },
    )
    async def put_workflow(
        request: Request,
        workflow_id: WorkflowId,
        who: Annotated[Actor, need("putWorkflow")],
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Any:
        kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
        if kind not in ("application/json", "application/yaml", "application/x-yaml", "text/yaml"):
            raise HTTPException(415, f"{kind!r} is neither application/json nor application/yaml")
        data = await request.body()
        operation = await control.put_spec(who, workflow_id, data, is_yaml="yaml" in kind)
        return await answer(operation, request)

    @change(
        "DELETE",
        "/workflows/{workflow_id}",
        "deleteWorkflow",
        "Remove its spec from the source folder and undeploy it",
    )
    async def delete_workflow(
        request: Request,
        workflow_id: WorkflowId,
        who: Annotated[Actor, need("deleteWorkflow")],
        force: Annotated[bool, Query(description="Although it is suspended.")] = False,
        prefer: Prefer = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Any:
        return await answer(control.delete_spec(who, workflow_id, force=force), request)


async def _answer(control: Control, operation: Operation, request: Request) -> Response:
    """202 with the operation to follow; 200 with the finished one for who prefers to wait."""
    seconds = _patience(request)
    if seconds and operation.state == "running":
        operation = await control.finished(operation.id, seconds)
    done = operation.state != "running"
    headers = {"location": f"{ROOT}/operations/{operation.id}"}
    if seconds:
        headers["preference-applied"] = "wait"
    return JSONResponse(views.operation_view(operation), 200 if done else 202, headers=headers)


def _patience(request: Request) -> float:
    """Seconds that the caller prefers to wait; 0 for not at all."""
    found = re.search(
        r"(?:^|[,;\s])wait(?:\s*=\s*\"?(\d{1,6})\"?)?(?:$|[,;\s])", request.headers.get("prefer", "")
    )
    if found is None:
        return 0.0
    return min(float(found[1]) if found[1] else _LONGEST_WAIT_S, _LONGEST_WAIT_S)


# About the daemon ------------------------------------------------------------------------------


def _about(app: FastAPI, control: Control, metrics: Callable[[], bytes] | None) -> None:
    @app.get("/healthz", operation_id="healthz", summary="Whether the daemon is alive", tags=["about"])
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether the daemon follows its source",
        responses={200: {"model": models.Ready}, 503: {"model": models.Ready}},
        tags=["about"],
    )
    async def readyz() -> Any:
        reason = control.ready()
        body = {"ready": not reason, "reason": reason or None}
        return JSONResponse(body, 503 if reason else 200)

    @app.get(
        "/metrics",
        operation_id="getMetrics",
        summary="Prometheus metrics",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_errors()},
        response_class=PlainTextResponse,
        tags=["about"],
    )
    async def get_metrics(who: Annotated[Actor, need("getMetrics")]) -> Any:
        if who.owners is not None:
            raise RequestError(
                Code.FORBIDDEN, "metrics are of all workflows: that takes a caller who sees all"
            )
        text = metrics() if metrics is not None else b""
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


# Errors and the description --------------------------------------------------------------------


def _handle_errors(app: FastAPI) -> None:
    async def on_request_error(_: Request, error: RequestError) -> Response:
        return problems.refused(error)

    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        first, *rest = error.errors()
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(rest)} more)" if rest else ""
        return problems.problem(400, Code.BAD_REQUEST, f"{where}: {first['msg']}{more}")

    async def on_http(_: Request, error: HTTPException) -> Response:
        details = {404: "there is no such call", 405: "this call takes another method"}
        detail = details.get(error.status_code, str(error.detail))
        return problems.of_status(error.status_code, detail, error.headers)

    async def on_bug(request: Request, error: Exception) -> Response:
        return problems.unexpected(f"{request.method} {request.url.path}", error)

    handlers: dict[type[Exception], Any] = {
        RequestError: on_request_error,
        RequestValidationError: on_invalid,
        HTTPException: on_http,
        Exception: on_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _describe(app: FastAPI) -> None:
    """OpenAPI with our errors instead of the framework's, and with how callers show who they are."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        description = make()
        schemas = description["components"]["schemas"]
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        for kind in (models.Problem,):
            shape = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(shape.pop("$defs", {}))
            schemas[kind.__name__] = shape
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        description["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"token": []}]
        for name in ("/healthz", "/readyz"):
            description["paths"][name]["get"]["security"] = []
        return description

    app.openapi = openapi  # type: ignore[method-assign]
