"""The shapes of requests and answers, for those who call. Answers are made by views.py; a test holds the two
equal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from pydantic.alias_generators import to_camel

from timewright.core.errors import Code, Reason
from timewright.core.history import Outcome
from timewright.core.landing import Landing
from timewright.core.state import Health, Pinned, Status, Sync

_MOST_SECONDS = 10 * 366 * 86_400  # ten years: longer is a typing error
Text = Annotated[StrictStr, Field(max_length=1000)]
Seconds = Annotated[float, Field(gt=0, le=_MOST_SECONDS, allow_inf_nan=False, strict=True)]
Digest = Annotated[str, Field(examples=["7cc54c69e260" + "0" * 52])]
Release = Annotated[str, Field(examples=["7cc54c69e260"])]
Moment = Annotated[datetime, Field(examples=["2026-11-23T05:13:44.120Z"])]


class _Body(BaseModel):
    """What a caller sends. Nothing is guessed: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Why(_Body):
    reason: Text = Field(
        default="", description="Why; kept in history and audit.", examples=["the fix is in"]
    )


class Forced(Why):
    force: StrictBool = Field(
        default=False, description="Also if it is suspended, held, or known as bad.", examples=[False]
    )


class Steer(Why):
    action: Literal["promote", "abort", "retry-gate"] = Field(examples=["promote"])
    full: StrictBool = Field(
        default=False, description="Promote to all new executions, past all steps.", examples=[False]
    )


class WhichRelease(Forced):
    release: Text = Field(
        default="", description="Its id, or the first characters (4 or more).", examples=["7cc54c69e260"]
    )


class PinFor(WhichRelease):
    seconds: Seconds | None = Field(
        default=None, description="For how long; without: until unpin.", examples=[7200]
    )


class SuspendFor(Why):
    seconds: Seconds | None = Field(
        default=None, description="For how long; without: until resume.", examples=[7200]
    )


class Reconcile(Why):
    allow_rewind: StrictBool = Field(
        default=False,
        description="Follow what is found even if it does not descend from what is followed; once, and for"
        " admins only.",
    )
    revision: Annotated[StrictStr, Field(pattern="^([0-9a-f]{7,64})?$")] = Field(
        default="", description="With `allowRewind`: only this commit.", examples=["3e46aed914066144"]
    )


class PruneThese(Why):
    workflow_ids: list[Annotated[StrictStr, Field(min_length=1, max_length=128)]] = Field(
        min_length=1, max_length=1000, examples=[["hello"]]
    )


class _View(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Woken(_View):
    """What became of a webhook's delivery. `woken`: its source is fetched."""

    woken: bool
    because: str = Field(examples=["github push of refs/heads/main"])


class SpecProblem(_View):
    """One thing wrong, and where. `line` and `column` count from 1."""

    where: str = Field(default="", examples=["src/workflow.ts"])
    message: str = Field(
        examples=["Argument of type 'number' is not assignable to parameter of type 'string'."]
    )
    hint: str = ""
    line: int | None = None
    column: int | None = None
    code: str = Field(default="", examples=["TS2345"])


class ProblemDetails(_View):
    """RFC 9457. `code` is for programs, `detail` and `hint` are for people."""

    type: str = Field(examples=["urn:timewright:problem:conflict"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["hello is deployed already, at release 7cc54c69e260"])
    code: Code
    hint: str = Field(default="", examples=["timewright redeploy hello does it again"])
    problems: list[SpecProblem] = []
    instance: str = Field(examples=["/api/v1/workflows/hello/deploy"])


class Failure(_View):
    reason: Reason
    message: str
    problems: list[SpecProblem]


class Pin(_View):
    """It is held at a release; null: out of service."""

    kind: Pinned
    release: Release | None
    by: str
    at: Moment | None
    reason: str
    until: Moment | None
    lifted_by_a_change_of_the_spec: bool


class Suspension(_View):
    """Nothing is deployed or undeployed. `scope`: workflow, or all."""

    by: str
    at: Moment | None
    reason: str
    until: Moment | None
    scope: str = Field(examples=["workflow"])


class Commit(_View):
    """A commit of a source. `dirty`: a work tree at this commit, with changes that are in none."""

    sha: str = Field(examples=["3e46aed914066144f3e54fae2528db3f367b67d0"])
    short: str = Field(examples=["3e46aed914"])
    author: str = Field(examples=["Ada Lovelace"])
    subject: str = Field(examples=["Greet in the morning"])
    at: Moment | None
    source: str | None = Field(examples=["main"])
    dirty: bool


class SourceRollout(_View):
    """What became of the commit that a source stands at. `state`: pending, success or failure; `workflows`:
    whose specs it changed; `failed`: those of them that are not as it asks; `final`: it changes no more by
    itself."""

    commit: str | None
    state: Landing
    description: str
    workflows: list[str]
    failed: list[str]
    final: bool


class Source(_View):
    """One source. `state`: Synced, Fetching, Unreachable, Refused, Never. `behind`: commits that the remote
    has and that are not followed. `fetches`: tries that have ended; of a folder, passes. `contains`:
    whether `revision` is in the history of what is followed, when one was asked for."""

    name: str = Field(examples=["main"])
    kind: str = Field(examples=["git"])
    location: str = Field(examples=["https://git.example.org/team/flows.git"])
    ref: str | None
    tag: str | None
    owner: str | None
    state: str = Field(examples=["Synced"])
    problem: str | None
    hint: str | None
    commit: Commit | None
    remote: str | None
    behind: int | None
    specs: int | None
    adopted_at: Moment | None
    last_fetch: Moment | None
    next_fetch: Moment | None
    fetches: int
    rollout: SourceRollout | None
    contains: bool | None = None


class RolloutStep(_View):
    """One share of new executions. `gate`: whether a gate is run after its pause."""

    ramp_percentage: float = Field(examples=[10.0])
    pause_s: float = Field(examples=[300.0])
    gate: bool


class RolloutHosts(_View):
    """The hosts that have to serve the version first, and those that do."""

    expected: list[str] = Field(examples=[["h1", "h2"]])
    arrived: list[str] = Field(examples=[["h1"]])


class VersionRollout(_View):
    """The rollout of a pool's newest version. `step`: 0-based, -1 before the first. `workflows`: those whose
    code it changes; `guilty`: those that it failed for."""

    id: str = Field(examples=["timewright-rollout/orders/3f2a90c1d4e5"])
    build_id: str = Field(examples=["3f2a90c1d4e5"])
    from_: str = Field(alias="from", examples=["91c0a7be2210"])
    phase: str = Field(examples=["pausing"])
    strategy: str = Field(examples=["Progressive"])
    step: int = Field(examples=[0])
    steps: list[RolloutStep]
    percent: float = Field(examples=[10.0])
    next_at: Moment | None
    started_at: Moment | None
    ended_at: Moment | None
    because: str = Field(examples=["step 1 of 3: 10 % of new executions"])
    hosts: RolloutHosts
    workflows: list[str] = Field(examples=[["hello"]])
    guilty: list[str] = Field(examples=[[]])


class Version(_View):
    """One Version of a pool. `status`: Temporal's word. `pollers`: host → how many. `open`: its open
    executions, null where that is not known. `served`: by this host."""

    build_id: str = Field(examples=["3f2a90c1d4e5"])
    status: str = Field(examples=["Current"])
    percent: float = Field(examples=[100.0])
    releases: dict[str, str] = Field(examples=[{"hello": "7cc54c69e260"}])
    pollers: dict[str, int] = Field(examples=[{"h1": 1}])
    open: int | None
    since: Moment | None
    served: bool


class RolloutState(_View):
    """The versions of a workflow's pool. `manager`: who says that they route its Worker Deployment."""

    workflow_id: str = Field(examples=["hello"])
    namespace: str = Field(examples=["default"])
    task_queue: str = Field(examples=["orders"])
    deployment: str = Field(examples=["orders"])
    versioned: bool
    manager: str = Field(examples=["timewright"])
    problem: str = Field(examples=[""])
    rollout: VersionRollout | None
    versions: list[Version]


class Reconciling(_View):
    """It was asked for; it is done when `fetches` of the source is at least this."""

    source: str = Field(examples=["main"])
    fetches: int = Field(examples=[17])


class Workflow(_View):
    """Where one workflow stands. `status` is what was last done, `sync` whether that is what the source asks
    for, `health` whether it works."""

    workflow_id: str = Field(examples=["hello"])
    name: str = Field(examples=["Hello"])
    owner: str | None = Field(examples=["team-a"])
    status: Status
    since: Moment | None
    because: str = Field(examples=["release 7cc54c69e260 is live in pool default/hello and being served"])
    by: str | None = Field(examples=["alice"])
    sync: Sync
    health: Health
    health_reason: str
    health_since: Moment | None
    source: str = Field(examples=["hello.json"])
    revision: str
    commit: Commit | None
    live_revision: str | None
    live_commit: Commit | None
    last_good_read: Moment | None
    attempted: Digest | None
    applied: Digest | None
    release: Release | None
    previous_release: Release | None
    pool: str | None = Field(examples=["default/hello"])
    last_error: Failure | None
    attempts: int
    retry_at: Moment | None
    held: str | None
    held_reason: str | None
    pin: Pin | None
    suspended: Suspension | None
    trial_until: Moment | None
    drift: list[str]
    depends_on: list[str]
    missing_since: Moment | None
    warnings: list[str]


class Overview(_View):
    """All workflows that you see. `passProblem`: why nothing can be changed now, such as a full disk.
    `refusedFiles`: files of the source without a readable workflow id."""

    last_pass: Moment | None
    pass_problem: str | None
    source_problem: str | None
    settings_problem: str | None
    suspended: Suspension | None
    sources: list[Source]
    workflows: list[Workflow]
    refused_files: dict[str, Failure]


class Event(_View):
    """Something that happened. `kind`: status, health, pin, suspension, drift, …"""

    id: int = Field(examples=[17])
    at: Moment | None
    kind: str = Field(examples=["status"])
    workflow_id: str | None = Field(examples=["hello"])
    old: str | None = Field(examples=["DEPLOYING"])
    new: str = Field(examples=["DEPLOYED"])
    because: str
    by: str | None
    release: Release | None
    revision: str
    commit: Commit | None
    source: str
    error: Failure | None
    timings_ms: dict[str, float]


class Rollout(_View):
    """One attempt to change what is live, and what became of it. `kept`: it can be gone back to."""

    id: int
    kind: str = Field(examples=["deploy"])
    release: Release | None
    digest: Digest | None
    outcome: Outcome
    live: bool
    kept: bool
    by: str | None
    because: str
    result: str
    started_at: Moment | None
    finished_at: Moment | None
    tries: int
    stages_ms: dict[str, float]
    revision: str
    commit: Commit | None
    source: str
    error: Failure | None
    ended_at: Moment | None
    ended_because: str | None
    replaced_by: Release | None


class Operation(_View):
    """Something that was asked for. `state`: running, succeeded or failed; `because` says why."""

    id: str = Field(examples=["0d3f1c9e8b7a4d2f9c1e5a6b7c8d9e0f"])
    kind: str = Field(examples=["deploy"])
    workflow_id: str | None = Field(examples=["hello"])
    by: str = Field(examples=["alice"])
    reason: str
    state: str = Field(examples=["running"])
    created_at: Moment | None
    finished_at: Moment | None
    because: str


class Audited(_View):
    """One call that would change something. `outcome`: ok, or the code of its refusal."""

    id: int
    at: Moment | None
    by: str = Field(examples=["token:ci"])
    role: str = Field(examples=["deployer"])
    verb: str = Field(examples=["deploy"])
    workflow_id: str | None
    outcome: str = Field(examples=["ok"])
    detail: str


class Action(_View):
    """One step of a plan, and why."""

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True)

    action: str = Field(examples=["deploy"])
    workflow_id: str | None
    because: str


class Plan(_View):
    """What a pass would do. `complete`: whether the whole source could be read; `problem`: why not."""

    complete: bool
    problem: str | None
    actions: list[Action]


class Alive(_View):
    alive: bool = True


class Ready(_View):
    ready: bool
    because: str = Field(description="Why it isn't; '' when it is.")


AnyObject = dict[str, Any]
