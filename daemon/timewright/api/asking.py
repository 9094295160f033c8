"""Calls that change something: each is granted as an operation to follow, or refused."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from timewright.api import models
from timewright.api.answers import ASKING, operations, problems
from timewright.api.calls import Call, actor_of, answer, context_of, is_yaml
from timewright.api.looking import Prefer
from timewright.api.problems import as_json
from timewright.control import Control

router = APIRouter(prefix="/api/v1", route_class=Call)

Key = Annotated[
    str | None,
    Header(
        description="Any text of your own, new for each request: sent again within a day with the same"
        " key, the request is not done again.",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        examples=["4f9d7c1e"],
    ),
]
_ONE: dict[str, Any] = {"response_model": models.Operation, "responses": operations(models.Operation)}
_SPEC: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A spec: see docs/spec.md.",
        "content": {
            name: {
                "schema": {"type": "object"},
                "example": {"workflowId": "hello", "files": {"src/workflow.ts": "export async function …"}},
            }
            for name in ("application/json", "application/yaml")
        },
    }
}


def _control(request: Request) -> Control:
    return context_of(request).control


@router.put(
    "/workflows/{workflow_id}",
    operation_id="putSpec",
    summary="Write its spec into the source folder, and deploy it",
    tags=["Specs"],
    openapi_extra=_SPEC,
    **_ONE,
)
async def put_spec(request: Request, workflow_id: str, prefer: Prefer = None, key: Key = None) -> Response:
    """It is checked first: 400 has everything that is wrong, and nothing is written. A deployer's spec must
    say `deploy.owner`."""
    body = await request.body()
    control, actor = _control(request), actor_of(request)
    operation = await control.put_spec(actor, workflow_id, body, is_yaml=is_yaml(request))
    return await answer(request, operation)


@router.delete(
    "/workflows/{workflow_id}",
    operation_id="deleteSpec",
    summary="Remove its spec from the source folder, and undeploy it",
    tags=["Specs"],
    **_ONE,
)
async def delete_spec(
    request: Request,
    workflow_id: str,
    force: Annotated[bool, Query(description="Also while it is suspended.")] = False,
    reason: Annotated[str, Query(max_length=1000, description="Why; kept in history and audit.")] = "",
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """Others that depend on it refuse that."""
    control, actor = _control(request), actor_of(request)
    return await answer(request, control.delete_spec(actor, workflow_id, force=force, reason=reason))


@router.post(
    "/workflows/{workflow_id}/deploy",
    operation_id="deploy",
    summary="Deploy what the source asks for, now",
    tags=["Workflows"],
    **_ONE,
)
async def deploy(
    request: Request,
    workflow_id: str,
    body: models.Forced | None = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """Ends a wait for a retry, and an undeploy by hand. 409: deployed already, pinned, suspended, or known
    as bad; `force` overrides. 400: its spec is invalid or not compiled."""
    given = body or models.Forced()
    control, actor = _control(request), actor_of(request)
    operation = control.deploy(actor, workflow_id, force=given.force, reason=given.reason)
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/undeploy",
    operation_id="undeploy",
    summary="Take it out of service, whatever the source says",
    tags=["Workflows"],
    **_ONE,
)
async def undeploy(
    request: Request,
    workflow_id: str,
    body: models.Forced | None = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """Until `deploy`. 409: it isn't deployed, or is suspended."""
    given = body or models.Forced()
    control, actor = _control(request), actor_of(request)
    operation = control.undeploy(actor, workflow_id, force=given.force, reason=given.reason)
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/redeploy",
    operation_id="redeploy",
    summary="Deploy it again, even if nothing has changed",
    tags=["Workflows"],
    **_ONE,
)
async def redeploy(
    request: Request, workflow_id: str, body: models.Why | None = None, prefer: Prefer = None, key: Key = None
) -> Response:
    """The release is checked, published and loaded anew."""
    given = body or models.Why()
    operation = _control(request).redeploy(actor_of(request), workflow_id, reason=given.reason)
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/rollback",
    operation_id="rollback",
    summary="Go back to an earlier release",
    tags=["Workflows"],
    **_ONE,
)
async def rollback(
    request: Request,
    workflow_id: str,
    body: models.WhichRelease | None = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """To the one before, or to `release`. It stays so until the source changes the spec. Compiles nothing."""
    given = body or models.WhichRelease()
    operation = _control(request).rollback(
        actor_of(request), workflow_id, given.release, force=given.force, reason=given.reason
    )
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/rollout",
    operation_id="steerRollout",
    summary="Promote or abort the rollout of its newest version, or run its gate again",
    tags=["Workflows"],
    **_ONE,
)
async def steer_rollout(
    request: Request, workflow_id: str, body: models.Steer, prefer: Prefer = None, key: Key = None
) -> Response:
    """`promote`: to the next step, or with `full` to all new executions. `abort`: all go to the version
    before, and what this one changes is remembered as bad. 409: no rollout is under way, or Temporal is
    away."""
    operation = await _control(request).steer(
        actor_of(request), workflow_id, body.action, full=body.full, reason=body.reason
    )
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/pin",
    operation_id="pin",
    summary="Hold it at a release, whatever the source says",
    tags=["Workflows"],
    **_ONE,
)
async def pin(
    request: Request,
    workflow_id: str,
    body: models.PinFor | None = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """At the live one, or at `release`; until `unpin`, or for `seconds`."""
    given = body or models.PinFor()
    operation = _control(request).pin(
        actor_of(request),
        workflow_id,
        given.release,
        force=given.force,
        reason=given.reason,
        seconds=given.seconds,
    )
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/unpin",
    operation_id="unpin",
    summary="Follow the source again",
    tags=["Workflows"],
    **_ONE,
)
async def unpin(
    request: Request, workflow_id: str, body: models.Why | None = None, prefer: Prefer = None, key: Key = None
) -> Response:
    """409: it isn't pinned."""
    given = body or models.Why()
    operation = _control(request).unpin(actor_of(request), workflow_id, reason=given.reason)
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/suspend",
    operation_id="suspend",
    summary="Deploy and undeploy nothing of it",
    tags=["Workflows"],
    **_ONE,
)
async def suspend(
    request: Request,
    workflow_id: str,
    body: models.SuspendFor | None = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """Until `resume`, or for `seconds`. What runs goes on."""
    given = body or models.SuspendFor()
    operation = _control(request).suspend(
        actor_of(request), workflow_id, reason=given.reason, seconds=given.seconds
    )
    return await answer(request, operation)


@router.post(
    "/workflows/{workflow_id}/resume",
    operation_id="resume",
    summary="End its suspension",
    tags=["Workflows"],
    **_ONE,
)
async def resume(
    request: Request, workflow_id: str, body: models.Why | None = None, prefer: Prefer = None, key: Key = None
) -> Response:
    """409: it isn't suspended."""
    given = body or models.Why()
    operation = _control(request).resume(actor_of(request), workflow_id, reason=given.reason)
    return await answer(request, operation)


@router.post(
    "/suspend",
    operation_id="suspendAll",
    summary="Deploy and undeploy nothing at all",
    tags=["Everything"],
    **_ONE,
)
async def suspend_all(
    request: Request, body: models.SuspendFor | None = None, prefer: Prefer = None, key: Key = None
) -> Response:
    """Until `resume`, or for `seconds`. What runs goes on."""
    given = body or models.SuspendFor()
    operation = _control(request).suspend(actor_of(request), None, reason=given.reason, seconds=given.seconds)
    return await answer(request, operation)


@router.post(
    "/resume",
    operation_id="resumeAll",
    summary="End the suspension of everything",
    tags=["Everything"],
    **_ONE,
)
async def resume_all(
    request: Request, body: models.Why | None = None, prefer: Prefer = None, key: Key = None
) -> Response:
    """Suspensions of single workflows stay. 409: there is none of everything."""
    given = body or models.Why()
    operation = _control(request).resume(actor_of(request), None, reason=given.reason)
    return await answer(request, operation)


@router.post(
    "/prune",
    operation_id="prune",
    summary="Confirm that these, whose specs are gone, may be undeployed",
    tags=["Everything"],
    response_model=list[models.Operation],
    responses=operations(list[models.Operation]),
)
async def prune(
    request: Request, body: models.PruneThese, prefer: Prefer = None, key: Key = None
) -> Response:
    """All of them, or none: 409 when the spec of one is there, 404 when you don't see one."""
    wanted = list(dict.fromkeys(body.workflow_ids))
    found = _control(request).prune(actor_of(request), wanted, reason=body.reason)
    return await answer(request, found)


@router.post(
    "/sources/{source}/reconcile",
    operation_id="reconcile",
    summary="Fetch a repository, or look at a folder, now",
    tags=["Sources"],
    status_code=202,
    response_model=models.Reconciling,
    responses={202: {"description": "It is under way."}, **problems(*ASKING)},
)
async def reconcile(
    request: Request, source: str, body: models.Reconcile | None = None, key: Key = None
) -> Response:
    """Follow it with `GET /sources/{source}`: done when its `fetches` is at least the one of this answer."""
    given = body or models.Reconcile()
    granted = _control(request).reconcile(
        actor_of(request),
        source,
        allow_rewind=given.allow_rewind,
        revision=given.revision,
        reason=given.reason,
    )
    text = as_json(granted)
    rewind = f", rewind to {given.revision or 'anything'} allowed" if given.allow_rewind else ""
    why = f": {given.reason}" if given.reason else ""
    request.state.asked.granted(202, text.decode(), f"source {source}{rewind}{why}")
    return Response(text, 202, {"Location": f"/api/v1/sources/{source}"}, "application/json")
