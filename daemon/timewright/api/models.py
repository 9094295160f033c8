"""The shapes of requests and answers, for OpenAPI. Answers come from `views.py`; tests hold them together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Field names are the JSON keys, as they are.
# ruff: noqa: N815

_ID = "order-saga"
_RELEASE = "8215fbc6ac20"
_TIME = "2026-11-23T05:13:44.120Z"


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Shape):
    """An error (RFC 9457). Programs branch on `code`; `hint` says what to do."""

    type: str = Field(examples=["urn:timewright:error:NOT_FOUND"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no workflow 'order-saga' here"])
    code: Literal[
        "NOT_FOUND", "BAD_REQUEST", "CONFLICT", "UNAUTHORIZED", "FORBIDDEN", "INTERNAL_SERVER_ERROR"
    ]
    hint: str | None = Field(None, examples=["timewright list"])
    problems: list[DocumentProblem] | None = None


class DocumentProblem(Shape):
    """One thing wrong with a spec."""

    where: str | None = Field(None, examples=["src/workflow.ts"])
    message: str
    hint: str | None = None
    line: int | None = None
    column: int | None = None
    code: str | None = Field(None, examples=["TS2345"])


class Failure(Shape):
    reason: str = Field(examples=["TypeCheckFailed"])
    message: str
    problems: list[DocumentProblem]


class Pin(Shape):
    """Why a workflow does not follow its spec."""

    kind: Literal["rollback", "revert", "pin", "undeploy"]
    release: str | None = Field(examples=[_RELEASE])
    by: str
    at: str | None
    reason: str
    until: str | None
    liftedByAChangeOfTheSpec: bool


class Suspension(Shape):
    by: str
    at: str | None
    reason: str
    until: str | None
    scope: Literal["workflow", "all"]


Status = Literal[
    "UNDEPLOYED", "DEPLOYING", "DEPLOYED", "DEPLOYMENT_FAILED", "UNDEPLOYING", "ROLLING_BACK", "ROLLED_BACK"
]
Health = Literal["Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"]


class Workflow(Shape):
    """Where one workflow stands, and why."""

    workflowId: str = Field(examples=[_ID])
    name: str
    owner: str | None
    status: Status
    since: str | None = Field(examples=[_TIME])
    because: str = Field(examples=["release 8215fbc6ac20 is live in pool default/orders and being served"])
    by: str | None
    sync: Literal["Synced", "OutOfSync", "Unknown"]
    health: Health
    healthReason: str
    healthSince: str | None
    source: str = Field(examples=["order-saga.json"])
    revision: str
    lastGoodRead: str | None
    attempted: str | None
    applied: str | None
    release: str | None = Field(examples=[_RELEASE])
    previousRelease: str | None
    pool: str | None = Field(examples=["default/orders"])
    lastError: Failure | None
    attempts: int
    retryAt: str | None
    held: str | None
    heldReason: str | None
    pin: Pin | None
    suspended: Suspension | None
    trialUntil: str | None
    drift: list[str]
    dependsOn: list[str]
    missingSince: str | None
    warnings: list[str]


class Overview(Shape):
    lastPass: str | None
    sourceProblem: str | None
    suspended: Suspension | None
    workflows: list[Workflow]
    refusedFiles: dict[str, Failure]


class Event(Shape):
    """One line of the log. `kind`: status, health, pin, suspension, drift."""

    id: int
    at: str | None
    kind: str
    workflowId: str | None
    old: str | None
    new: str
    because: str
    by: str | None
    release: str | None
    revision: str
    source: str
    error: Failure | None
    timingsMs: dict[str, float]


class Operation(Shape):
    """Something that was asked for. It goes on whether anybody follows it or not."""

    id: str
    kind: Literal[
        "deploy",
        "redeploy",
        "undeploy",
        "rollback",
        "pin",
        "unpin",
        "suspend",
        "resume",
        "prune",
        "put",
        "delete",
    ]
    workflowId: str | None
    by: str
    reason: str
    state: Literal["running", "succeeded", "failed"]
    createdAt: str | None
    finishedAt: str | None
    because: str


class Operations(Shape):
    operations: list[Operation]


class Step(Shape):
    """One step of a plan."""

    action: str = Field(examples=["deploy"])
    workflowId: str | None
    because: str
    release: str | None = None
    source: str | None = None
    reason: str | None = None
    problems: list[DocumentProblem] | None = None


class Plan(Shape):
    complete: bool
    problem: str | None
    actions: list[Step]


class Events(Shape):
    events: list[Event]


class History(Shape):
    releases: list[dict[str, Any]]


class AuditRow(Shape):
    id: int
    at: str | None
    by: str
    role: str
    verb: str
    workflowId: str | None
    outcome: str
    detail: str


class Audit(Shape):
    calls: list[AuditRow]


class Ready(Shape):
    ready: bool
    reason: str | None = None


# Requests --------------------------------------------------------------------------------------


class Why(Shape):
    reason: str = Field("", max_length=500, description="Kept in the history, shown with the effect.")


class Forced(Why):
    force: bool = Field(False, description="Do it although it is suspended, pinned, or live already.")


class ToRelease(Forced):
    release: str = Field(
        "", max_length=64, pattern="^[0-9a-f]*$", description="A release's id, or its first characters."
    )


class PinTo(ToRelease):
    seconds: float | None = Field(None, gt=0, le=3.2e8, description="For how long; without, until unpinned.")


class Suspend(Why):
    seconds: float | None = Field(None, gt=0, le=3.2e8, description="For how long; without, until resumed.")


class Prune(Why):
    workflowIds: list[str] = Field(min_length=1, max_length=10_000)
