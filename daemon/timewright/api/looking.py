"""Calls that look, and change nothing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from timewright import views
from timewright.api import models, stream
from timewright.api.answers import LOOKING, problems
from timewright.api.calls import Call, actor_of, context_of, preferred_wait, wait_for
from timewright.api.problems import as_json
from timewright.control import Control
from timewright.core.errors import Code, RequestError
from timewright.core.state import Health, Status

router = APIRouter(prefix="/api/v1", route_class=Call)

_MOST_ID = 2**63 - 1
Last = Annotated[int, Query(ge=1, le=1000, description="So many at most: the newest.")]
After = Annotated[int, Query(ge=0, le=_MOST_ID, description="Only those with a higher id.")]
Prefer = Annotated[
    str | None,
    Header(
        description="`wait` or `wait=SECONDS` (300 at most): answer when it is finished, or after so long.",
        examples=["wait=30"],
    ),
]
NONE_FOUND = problems(*LOOKING, 404)


def _json(content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(as_json(content), 200, headers, "application/json")


def _control(request: Request) -> Control:
    return context_of(request).control


@router.get(
    "/workflows",
    operation_id="listWorkflows",
    summary="All workflows that you see",
    tags=["Workflows"],
    response_model=models.Overview,
    responses=problems(*LOOKING),
)
async def list_workflows(
    request: Request,
    status: Annotated[list[Status] | None, Query(description="Only with one of these statuses.")] = None,
    health: Annotated[list[Health] | None, Query(description="Only with one of these healths.")] = None,
    owner: Annotated[list[str] | None, Query(description="Only of these owners.")] = None,
    undeployed: Annotated[bool, Query(description="Also what is not deployed any more.")] = False,
) -> Response:
    """Where all stand, by id, with what the last read of the source found. Filters are joined by "and"."""
    shown = undeployed or Status.UNDEPLOYED in (status or ())
    overview = _control(request).overview(actor_of(request), undeployed=shown)
    overview["workflows"] = [
        view
        for view in overview["workflows"]
        if (not status or view["status"] in status)
        and (not health or view["health"] in health)
        and (not owner or view["owner"] in owner)
    ]
    return _json(overview)


@router.get(
    "/workflows/{workflow_id}/rollout",
    operation_id="getRollout",
    summary="The versions of its pool, and the rollout of the newest",
    tags=["Workflows"],
    response_model=models.RolloutState,
    responses=NONE_FOUND,
)
async def get_rollout(request: Request, workflow_id: str) -> Response:
    """Which Version of the pool takes which share of new executions, what holds the older ones, and how far
    the rollout of the newest is. Asked of Temporal now; `problem` says where that did not work."""
    return _json(await _control(request).rollout(actor_of(request), workflow_id))


@router.get(
    "/workflows/{workflow_id}",
    operation_id="getWorkflow",
    summary="One workflow",
    tags=["Workflows"],
    response_model=models.Workflow,
    responses=NONE_FOUND,
)
async def get_workflow(request: Request, workflow_id: str) -> Response:
    """Where it stands: status, sync, health, what is live, what failed, what holds it."""
    return _json(_control(request).workflow(actor_of(request), workflow_id))


@router.get(
    "/sources",
    operation_id="listSources",
    summary="What is followed: folders and repositories",
    tags=["Sources"],
    response_model=list[models.Source],
    responses=problems(*LOOKING),
)
async def list_sources(request: Request) -> Response:
    """Each with the commit that it stands at, how far behind the remote it is, and what became of the
    commit."""
    return _json(_control(request).sources(actor_of(request)))


@router.get(
    "/sources/{source}",
    operation_id="getSource",
    summary="One source",
    tags=["Sources"],
    response_model=models.Source,
    responses=NONE_FOUND,
)
async def get_source(
    request: Request,
    source: str,
    revision: Annotated[
        str, Query(pattern="^([0-9a-f]{7,64})?$", description="A commit: is it in what is followed?")
    ] = "",
) -> Response:
    """With `revision`, `contains` says whether that commit is the one followed, or in its history."""
    return _json(await _control(request).source(actor_of(request), source, revision))


@router.get(
    "/workflows/{workflow_id}/history",
    operation_id="getHistory",
    summary="Its releases, and what became of them",
    tags=["Workflows"],
    response_model=list[models.Rollout],
    responses=NONE_FOUND,
)
async def get_history(request: Request, workflow_id: str, last: Last = 50) -> Response:
    """Newest first: release, who, when, revision, `because`, milliseconds by stage, outcome."""
    return _json(_control(request).history(actor_of(request), workflow_id, last=last))


@router.get(
    "/workflows/{workflow_id}/logs",
    operation_id="getWorkflowLogs",
    summary="What happened to one workflow",
    tags=["Logs"],
    response_model=list[models.Event],
    responses=NONE_FOUND,
)
async def get_workflow_logs(
    request: Request, workflow_id: str, after: After = 0, last: Last = 100
) -> Response:
    """The newest lines, in order."""
    control = _control(request)
    return _json(control.events(actor_of(request), workflow_id=workflow_id, after=after, last=last))


@router.get(
    "/workflows/{workflow_id}/diff",
    operation_id="getDiff",
    summary="What differs between two releases",
    tags=["Workflows"],
    response_model=models.AnyObject,
    responses=problems(*LOOKING, 404, 409),
)
async def get_diff(
    request: Request,
    workflow_id: str,
    a: Annotated[str, Query(description="A release's id, `live`, `previous` or `wanted`.")] = "live",
    b: Annotated[str, Query(description="The same.")] = "wanted",
) -> Response:
    """Files, dependencies and bundle."""
    return _json(await _control(request).diff(actor_of(request), workflow_id, a, b))


@router.get(
    "/workflows/{workflow_id}/drift",
    operation_id="getDrift",
    summary="How the live release differs from what was built",
    tags=["Workflows"],
    response_model=models.AnyObject,
    responses=problems(*LOOKING, 404, 409),
)
async def get_drift(request: Request, workflow_id: str) -> Response:
    """Looks at the tree now."""
    return _json(await _control(request).drift(actor_of(request), workflow_id))


@router.get(
    "/logs",
    operation_id="getLogs",
    summary="What happened",
    tags=["Logs"],
    response_model=list[models.Event],
    responses=problems(*LOOKING),
)
async def get_logs(request: Request, after: After = 0, last: Last = 100) -> Response:
    """The newest lines of all workflows that you see, in order."""
    return _json(_control(request).events(actor_of(request), after=after, last=last))


@router.get(
    "/events",
    operation_id="followEvents",
    summary="What happens, as it happens",
    tags=["Logs"],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A stream that doesn't end.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'id: 17\nevent: status\ndata: {"id":17,"workflowId":"hello"}\n\n',
                }
            },
        },
        **NONE_FOUND,
    },
)
async def follow_events(
    request: Request,
    workflow: Annotated[str | None, Query(description="Only of this workflow.")] = None,
    after: Annotated[
        int | None, Query(ge=0, le=_MOST_ID, description="Begin after this id. Without: from now on.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="The last id you have; browsers send it.", examples=["17"])
    ] = None,
) -> Response:
    """Server-sent events: `event` is the kind, `id` the event's id, `data` the same object as in /logs.
    Send the last id (Last-Event-ID, or `after`) and nothing is missed. `reset`: ids have begun anew, since
    the history was lost. A comment comes every 15 s. It ends when the daemon stops, or when you are no longer
    let in."""
    actor = actor_of(request)
    if last_event_id is not None:
        if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id[:20]) <= _MOST_ID):
            raise RequestError(Code.BAD_REQUEST, "Last-Event-ID must be the id of an event, a number")
        after = int(last_event_id[:20])
    if workflow is not None:
        _control(request).workflow(actor, workflow)
    content = stream.events(request, actor, workflow_id=workflow, after=after)
    return StreamingResponse(content, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get(
    "/plan",
    operation_id="getPlan",
    summary="What a pass would do, and why",
    tags=["Workflows"],
    response_model=models.Plan,
    responses=problems(*LOOKING, 409),
)
async def get_plan(request: Request) -> Response:
    """By what was read last. What is held back is there too, with its reason."""
    return _json(await _control(request).plan(actor_of(request)))


@router.get(
    "/operations",
    operation_id="listOperations",
    summary="What was asked for",
    tags=["Operations"],
    response_model=list[models.Operation],
    responses=problems(*LOOKING),
)
async def list_operations(request: Request, last: Last = 100) -> Response:
    """Newest first."""
    return _json(_control(request).operations(actor_of(request), last=last))


@router.get(
    "/operations/{operation_id}",
    operation_id="getOperation",
    summary="One thing that was asked for",
    tags=["Operations"],
    response_model=models.Operation,
    responses=NONE_FOUND,
)
async def get_operation(request: Request, operation_id: str, prefer: Prefer = None) -> Response:
    """With `Prefer: wait=30` the answer comes when it is finished, or after 30 seconds as it is then."""
    view = _control(request).operation(actor_of(request), operation_id)
    seconds = preferred_wait(request)
    if seconds is None:
        return _json(view)
    done = await wait_for(request, operation_id, seconds)
    return _json(views.operation_view(done), {"Preference-Applied": f"wait={seconds:.0f}"})


@router.get(
    "/audit",
    operation_id="getAudit",
    summary="Who asked for what",
    tags=["Operations"],
    response_model=list[models.Audited],
    responses=problems(*LOOKING),
)
async def get_audit(request: Request, after: After = 0, last: Last = 100) -> Response:
    """Every call that would change something, also the refused ones, in order. Kept for ever."""
    return _json(_control(request).audit(actor_of(request), after=after, last=last))
