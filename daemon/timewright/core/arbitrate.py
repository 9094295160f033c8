"""Specs that stand against each other: twin ids, names that clash on a queue, files that can't be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from timewright.core.actions import Refuse
from timewright.core.errors import Problem, Reason
from timewright.core.state import Status
from timewright.core.worlds import Broken, Desired, Observed, Wanted


def arbitrate(desired: Desired, observed: Observed) -> tuple[list[Wanted], list[Refuse]]:
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
    if desired.parts:
        nameless += _newcomers(claims, desired, observed)
    latest = sorted(
        observed.records.values(), key=lambda r: (r.status is not Status.UNDEPLOYED, r.read_at, r.workflow_id)
    )
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


def _newcomers(claims: Claims, desired: Desired, observed: Observed) -> Iterator[Refuse]:
    """Files that claim a workflow which another source has deployed: it stays with that one. Takes them out
    of `claims`."""
    for twins in claims.values():
        everyone = [item for items in twins.values() for item in items]
        homes = {r.source for name in twins if (r := observed.records.get(name)) is not None}
        holder = next((item for item in everyone if item.source in homes), None)
        if holder is None or len(everyone) < 2:
            continue
        home = desired.part(holder.source).name
        for workflow_id, items in list(twins.items()):
            for item in [item for item in items if desired.part(item.source).name != home]:
                items.remove(item)
                clash = f"{workflow_id!r} is that of {holder.source}, which is deployed"
                problem = Problem("workflowId", clash, "give it another workflowId")
                because = f"{item.source} is refused: its workflowId {clash}"
                yield Refuse(
                    None, item.source, item.content, Reason.DUPLICATE_WORKFLOW_ID, (problem,), because
                )
            if not items:
                del twins[workflow_id]


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
        if _is_peaceful(members):
            continue
        owners: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
        for spec in members:
            for claim in _claims(spec):
                owners[claim].append(spec)
        for (kind, name), claimants in owners.items():
            clashes.update(_losers(kind, name, claimants, observed))
        clashes.update(_isolation_clashes(members, observed))
    return clashes


def _is_peaceful(members: list[Wanted]) -> bool:
    """A quick look for the usual case, of which a host has thousands: no name stands twice on the queue, and
    nobody wants a process of its own beside others."""
    types = [name for spec in members for name in spec.workflow_types]
    activities = [name for spec in members for name in spec.activity_names]
    unique = len(types) == len({*types}) and len(activities) == len({*activities})
    return unique and (len(members) < 2 or all(spec.placement.isolation != "process" for spec in members))


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
