"""`plan(desired, observed, policy, now)`: what to do, and why. A pure function of values.

Level-based: it looks at the world as it is, never at what an event said. Each action carries
`because`, the one explanation that plan output, log, API and page all show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from timewright.core.digest import SHORT, Placement
from timewright.core.errors import Problem, Reason
from timewright.core.state import Record, Status

# The two worlds --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """One readable spec of the source. `content`: digest of the file; `digest`: of the release."""

    workflow_id: str
    source: str
    content: str
    digest: str
    placement: Placement
    name: str = ""
    workflow_types: tuple[str, ...] = ()
    activity_names: tuple[str, ...] = ()
    prune: bool | None = None
    keep_releases: int | None = None
    warnings: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()  # keys of deploy that policy files gave it
    asked: str = ""  # digest of the source's word alone: unlike `digest`, no upgrade of this host changes it
    owner: str = ""
    depends_on: tuple[str, ...] = ()
    suspend: bool = False
    auto_revert: bool | None = None


@dataclass(frozen=True)
class Broken:
    """One file of the source that is no spec we can deploy. `workflow_id` None: it can't be told."""

    source: str
    content: str
    reason: Reason
    problems: tuple[Problem, ...]
    workflow_id: str | None = None


@dataclass(frozen=True)
class Desired:
    """What the source asks for. `complete` False: not all of it could be read, `problem` says why."""

    complete: bool
    revision: str = ""
    problem: str = ""
    wanted: tuple[Wanted, ...] = ()
    broken: tuple[Broken, ...] = ()
    settling: frozenset[str] = frozenset()  # files still being written: neither there nor gone


@dataclass(frozen=True)
class Live:
    """What the tree holds for one workflow: its current release, by the receipt."""

    workflow_id: str
    digest: str
    placement: Placement
    workflow_types: tuple[str, ...] = ()
    activity_names: tuple[str, ...] = ()
    pooled: bool = False  # its pool's current version serves exactly this release
    prune: bool | None = None  # the last readable spec's own word

    @property
    def release(self) -> str:
        return self.digest[:SHORT]


@dataclass(frozen=True)
class Observed:
    """The world as it is. `busy`: digest that work under way is for, by workflow ('' = undeploy)."""

    records: Mapping[str, Record] = field(default_factory=dict)
    live: Mapping[str, Live] = field(default_factory=dict)
    busy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """`prune`: undeploy what the source no longer has. `max_deletes`: the share of all workflows
    that one pass may undeploy (0.1 = 10 %; one is always allowed). `allow_empty`: an empty source
    may undeploy everything."""

    prune: bool = False
    max_deletes: float = 0.1
    allow_empty: bool = False


# Actions ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfSpec:
    """An action for one wanted spec."""

    wanted: Wanted
    because: str

    @property
    def workflow_id(self) -> str:
        return self.wanted.workflow_id


@dataclass(frozen=True)
class Deploy(_OfSpec):
    """Make `wanted` live. Idempotent: each step that is already done costs nothing."""


@dataclass(frozen=True)
class Settle(_OfSpec):
    """The source asks again for what is live: only the record is behind."""


@dataclass(frozen=True)
class Undeploy:
    """Take everything of a workflow out of service."""

    workflow_id: str
    because: str


@dataclass(frozen=True)
class Refuse:
    """This can't be deployed; what runs stays. `workflow_id` None: a file without a readable id."""

    workflow_id: str | None
    source: str
    content: str
    reason: Reason
    problems: tuple[Problem, ...]
    because: str


@dataclass(frozen=True)
class Hold:
    """Something is not done on purpose; shown as OutOfSync with this reason."""

    workflow_id: str
    reason: Reason
    because: str


Action = Deploy | Undeploy | Settle | Refuse | Hold


def plan(desired: Desired, observed: Observed, policy: Policy, now: float) -> tuple[Action, ...]:
    """The actions that bring the host to what the source asks for. `now`: seconds since the epoch."""
    wanted, refusals = _arbitrate(desired, observed)
    actions: list[Action] = list(refusals)
    for spec in wanted:
        actions += _for_wanted(spec, observed, now)
    actions += _for_missing(desired, wanted, refusals, observed, policy)
    return tuple(actions)


# Specs that stand against each other -----------------------------------------------------------


def _arbitrate(desired: Desired, observed: Observed) -> tuple[list[Wanted], list[Refuse]]:
    """Sort out broken files, twin ids and clashing names; what is left can be deployed."""
    claims, refusals = _claims_on_ids(desired, observed)
    single: list[Wanted] = []
    for twins in claims.values():
        item = next(iter(twins.values()))[0]
        if len(twins) > 1 or any(len(items) > 1 for items in twins.values()):
            everyone = [item for items in twins.values() for item in items]
            refusals += [_refuse_twins(workflow_id, items, everyone) for workflow_id, items in twins.items()]
        elif isinstance(item, Wanted):
            single.append(item)
        else:
            refusals.append(_refuse_broken(item, next(iter(twins))))
    clashes = _clashes(single, observed)
    refusals += [
        _refuse_clash(spec, clashes[spec.workflow_id]) for spec in single if spec.workflow_id in clashes
    ]
    return [spec for spec in single if spec.workflow_id not in clashes], refusals


Claims = dict[str, dict[str, list[Wanted | Broken]]]  # folded id → id → the files that claim it


def _claims_on_ids(desired: Desired, observed: Observed) -> tuple[Claims, list[Refuse]]:
    """Which files claim which workflow id, in the order of their names; and files that claim none."""
    claims: Claims = defaultdict(lambda: defaultdict(list))
    nameless: list[Refuse] = []
    for spec in sorted(desired.wanted, key=lambda item: item.source):
        claims[spec.workflow_id.casefold()][spec.workflow_id].append(spec)
    for item in sorted(desired.broken, key=lambda item: item.source):
        if item.workflow_id is not None:
            claims[item.workflow_id.casefold()][item.workflow_id].append(item)
    latest = sorted(observed.records.values(), key=lambda r: (_is_up(r), r.read_at, r.workflow_id))
    owners = {record.source: record.workflow_id for record in latest}
    for item in sorted(desired.broken, key=lambda item: item.source):
        # The file of a known workflow that can't be read any more is that workflow's, unless
        # another file speaks for it now.
        owner = owners.get(item.source) if item.workflow_id is None else None
        if owner is not None and owner.casefold() not in claims:
            claims[owner.casefold()][owner].append(item)
        elif item.workflow_id is None:
            nameless.append(_refuse_broken(item, None))
    return claims, nameless


def _refuse_broken(item: Broken, owner: str | None) -> Refuse:
    first = str(item.problems[0]) if item.problems else "it is no spec"
    more = f" (and {len(item.problems) - 1} more)" if len(item.problems) > 1 else ""
    because = f"{item.source} is refused: {first}{more}"
    return Refuse(owner, item.source, item.content, item.reason, item.problems, because)


def _refuse_twins(workflow_id: str, items: list[Wanted | Broken], everyone: list[Wanted | Broken]) -> Refuse:
    """One refusal for all files of one id, or the record would go back and forth between them."""
    first, *rest = items
    others = ", ".join([item.source for item in rest] + [i.source for i in everyone if i not in items])
    clash = f"{workflow_id!r} is also used by {others}"
    problem = Problem("workflowId", clash, "give one of them another workflowId")
    broken = [problem for item in items if isinstance(item, Broken) for problem in item.problems]
    because = f"{first.source} is refused: its workflowId {clash}"
    content = ",".join(item.content for item in everyone)
    return Refuse(
        workflow_id, first.source, content, Reason.DUPLICATE_WORKFLOW_ID, (problem, *broken), because
    )


def _refuse_clash(spec: Wanted, message: str) -> Refuse:
    hint = "give one of them another deploy.taskQueue, or rename one"
    return Refuse(
        spec.workflow_id,
        spec.source,
        spec.content,
        Reason.NAME_CONFLICT,
        (Problem("deploy.taskQueue", message, hint),),
        f"{spec.source} is refused: {message}",
    )


def _clashes(specs: Iterable[Wanted], observed: Observed) -> dict[str, str]:
    """Workflow id → why it can't join its pool. One that is live already keeps its place."""
    pools: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
    for spec in specs:
        pools[spec.placement.namespace, spec.placement.task_queue].append(spec)
    clashes: dict[str, str] = {}
    for members in pools.values():
        owners: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
        for spec in members:
            for claim in _claims(spec):
                owners[claim].append(spec)
        for (kind, name), claimants in owners.items():
            clashes.update(_losers(kind, name, claimants, observed))
        clashes.update(_isolation_clashes(members, observed))
    return clashes


def _claims(spec: Wanted) -> Iterator[tuple[str, str]]:
    for name in spec.workflow_types:
        yield "workflow type", name
    for name in spec.activity_names:
        yield "activity", name


def _losers(kind: str, name: str, claimants: list[Wanted], observed: Observed) -> Iterator[tuple[str, str]]:
    if len(claimants) < 2:
        return
    holders = [spec for spec in claimants if _holds(spec, kind, name, observed)]
    keeper = holders[0] if len(holders) == 1 else None
    for spec in claimants:
        if spec is not keeper:
            others = ", ".join(other.workflow_id for other in claimants if other is not spec)
            queue = spec.placement.task_queue
            yield (
                spec.workflow_id,
                f"the {kind} {name!r} is also exported by {others} on task queue {queue!r}",
            )


def _holds(spec: Wanted, kind: str, name: str, observed: Observed) -> bool:
    live = observed.live.get(spec.workflow_id)
    if live is None or live.placement != spec.placement:
        return False
    return name in (live.workflow_types if kind == "workflow type" else live.activity_names)


def _isolation_clashes(members: list[Wanted], observed: Observed) -> Iterator[tuple[str, str]]:
    """A queue is served by one shared pool or by one process: workers that know different types
    on one queue leave tasks hanging (facts.md)."""
    if len(members) < 2 or not any(spec.placement.isolation == "process" for spec in members):
        return
    holders = [
        spec
        for spec in members
        if (live := observed.live.get(spec.workflow_id)) and live.placement == spec.placement
    ]
    keep = holders if len({spec.placement.isolation for spec in holders}) == 1 else []
    if keep and keep[0].placement.isolation == "process":
        keep = keep[:1]
    for spec in members:
        if spec not in keep or (spec.placement.isolation != keep[0].placement.isolation):
            others = ", ".join(other.workflow_id for other in members if other is not spec)
            queue = spec.placement.task_queue
            yield (
                spec.workflow_id,
                f"task queue {queue!r} is also used by {others}; a process of its own needs its own queue",
            )


# One wanted spec -------------------------------------------------------------------------------


def _for_wanted(spec: Wanted, observed: Observed, now: float) -> Iterator[Action]:
    if observed.busy.get(spec.workflow_id) == spec.digest:
        return
    record = observed.records.get(spec.workflow_id) or Record(spec.workflow_id)
    live = observed.live.get(spec.workflow_id)
    because = _why_deploy(spec, record, live, now)
    if because:
        yield Deploy(spec, because)
    elif live is not None and live.digest == spec.digest and live.pooled and _is_behind(spec, record):
        yield Settle(spec, _why_settle(spec, record))


def _is_behind(spec: Wanted, record: Record) -> bool:
    return (
        record.status is not Status.DEPLOYED
        or record.applied != spec.digest
        or record.source != spec.source
        or bool(record.held)
    )


def _why_settle(spec: Wanted, record: Record) -> str:
    if record.status is Status.DEPLOYED and record.source and record.source != spec.source:
        return f"the spec moved from {record.source} to {spec.source}; nothing else changed"
    return f"{spec.source} asks for release {spec.digest[:SHORT]}, which is live"


def _why_deploy(spec: Wanted, record: Record, live: Live | None, now: float) -> str:
    """Why this spec has to be deployed now; '' when it hasn't."""
    failed = record.failure is not None and record.attempted == spec.digest
    if failed and record.status is Status.DEPLOYMENT_FAILED:
        return _why_retry(spec, record, now)
    unfinished = record.status in (Status.DEPLOYING, Status.UNDEPLOYING)
    if unfinished and record.attempted == spec.digest:
        return f"the deploy of {spec.source} was interrupted and is taken up again"
    if live is None:
        return (
            f"new spec {spec.source}"
            if not record.applied
            else f"the tree has lost the release of {spec.source}"
        )
    if live.digest != spec.digest:
        return f"{spec.source} changed: release {live.release} → {spec.digest[:SHORT]}"
    if not live.pooled:
        return f"release {live.release} is not yet in pool {spec.placement.pool}"
    return ""


def _why_retry(spec: Wanted, record: Record, now: float) -> str:
    failure = record.failure
    if failure is None or not failure.transient or record.retry_at is None or now < record.retry_at:
        return ""
    return f"retry {record.attempts} of {spec.source} after {failure.reason}"


# What the source no longer has -----------------------------------------------------------------


def _for_missing(
    desired: Desired, wanted: list[Wanted], refusals: list[Refuse], observed: Observed, policy: Policy
) -> Iterator[Action]:
    present = {spec.workflow_id for spec in wanted} | {item.workflow_id for item in refusals}
    known = {record.workflow_id for record in observed.records.values() if _is_up(record)}
    rewritten = {r.workflow_id for r in observed.records.values() if r.source in desired.settling}
    missing = sorted((known | observed.live.keys()) - present - observed.busy.keys() - rewritten)
    if not missing:
        return
    blocked = _why_blocked(desired, present, missing, observed, policy)
    for workflow_id in missing:
        record = observed.records.get(workflow_id) or Record(workflow_id)
        live = observed.live.get(workflow_id)
        what = record.source or "its spec"
        if live is None and desired.complete:
            yield Undeploy(workflow_id, f"{what} is gone and nothing of it was live")
        elif blocked:
            yield Hold(workflow_id, Reason.PRUNE_BLOCKED, f"{what} is gone, but {blocked}")
        elif live is not None and not _prunes(live, policy):
            yield Hold(workflow_id, Reason.PRUNE_BLOCKED, f"{what} is gone; kept because prune is off")
        else:
            yield Undeploy(workflow_id, f"{what} is gone from the source and prune is on")


def _prunes(live: Live, policy: Policy) -> bool:
    return live.prune if live.prune is not None else policy.prune


def _is_up(record: Record) -> bool:
    return record.status is not Status.UNDEPLOYED


def _why_blocked(
    desired: Desired,
    present: set[str | None] | set[str],
    missing: list[str],
    observed: Observed,
    policy: Policy,
) -> str:
    """Why nothing may be undeployed in this pass; '' when it may."""
    if not desired.complete:
        return f"the source could not be read completely: {desired.problem}"
    live = [observed.live[item] for item in missing if item in observed.live]
    doomed = [item for item in live if _prunes(item, policy)]
    allowed = max(1, int(len(observed.live) * policy.max_deletes))
    if not present and not desired.settling and len(observed.live) > 1 and not policy.allow_empty:
        return "the source is empty, which looks like an accident (--allow-empty if it is meant)"
    if len(doomed) > allowed and not policy.allow_empty:
        return f"{len(doomed)} of {len(observed.live)} at once is more than max_deletes allows ({allowed})"
    return ""
