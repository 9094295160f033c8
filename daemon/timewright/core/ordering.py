"""`dependsOn`: which specs wait for others, and which of them can never have what they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from timewright.core.actions import Refuse
from timewright.core.errors import Problem, Reason
from timewright.core.state import Health, Record, Status
from timewright.core.worlds import Desired, Observed, Wanted

_WORKS = (Health.HEALTHY, Health.UNKNOWN)  # unknown: a plain worker tells nothing of itself


def refuse_unordered(
    wanted: list[Wanted], refused: Iterable[Refuse], desired: Desired
) -> tuple[list[Wanted], list[Refuse]]:
    """Split off the specs that depend on something that isn't there, or on themselves in a circle; each is
    refused with its own error, and no other spec is held up by it. One that is live stays so.
    While not all of the source could be read nothing counts as missing: it is waited for.
    """
    by_id = {spec.workflow_id: spec for spec in wanted}
    known = by_id.keys() | {item.workflow_id for item in refused}
    whole = desired.complete and not desired.settling
    circles = _circles(by_id)
    refusals: dict[str, Refuse] = {}
    for spec in wanted:
        missing = [name for name in spec.depends_on if name not in known and whole]
        if missing:
            refusals[spec.workflow_id] = _refuse_missing(spec, missing)
        elif spec.workflow_id in circles:
            refusals[spec.workflow_id] = _refuse_circle(spec, circles[spec.workflow_id])
    return [spec for spec in wanted if spec.workflow_id not in refusals], list(refusals.values())


def _refuse_missing(spec: Wanted, missing: list[str]) -> Refuse:
    names = ", ".join(repr(name) for name in missing)
    message = f"needs {names}, which the source doesn't have"
    problem = Problem("deploy.dependsOn", message, "add that spec, or take the name out")
    because = f"{spec.source} is refused: it depends on {names}, which the source doesn't have"
    return _refusal(spec, Reason.DEPENDS_ON_MISSING, problem, because)


def _refuse_circle(spec: Wanted, circle: tuple[str, ...]) -> Refuse:
    words = " → ".join([*circle, circle[0]])
    problem = Problem("deploy.dependsOn", f"goes round in a circle: {words}", "take one of these names out")
    return _refusal(
        spec, Reason.DEPENDS_ON_CYCLE, problem, f"{spec.source} is refused: dependsOn is a circle: {words}"
    )


def _refusal(spec: Wanted, reason: Reason, problem: Problem, because: str) -> Refuse:
    return Refuse(spec.workflow_id, spec.source, spec.content, reason, (problem,), because)


def _circles(specs: Mapping[str, Wanted]) -> dict[str, tuple[str, ...]]:
    """Workflow id → the circle that it is part of, beginning with it. Work is linear in specs and names."""
    circles: dict[str, tuple[str, ...]] = {}
    done: set[str] = set()
    for start in specs:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            name, at = stack.pop()
            if at == 0:
                if name in done:
                    continue
                on_path[name] = len(path)
                path.append(name)
            names = specs[name].depends_on
            if at == len(names):
                done.add(name)
                del on_path[path.pop()]
                continue
            stack.append((name, at + 1))
            following = names[at]
            if following in on_path:
                found = path[on_path[following] :]
                for index, member in enumerate(found):
                    circles.setdefault(member, (*found[index:], *found[:index]))
            elif following in specs and following not in done:
                stack.append((following, 0))
    return circles


def why_wait(spec: Wanted, wanted: Mapping[str, Wanted], observed: Observed) -> str:
    """What a spec has to wait for before it is deployed; '' when all that it depends on is there."""
    for name in spec.depends_on:
        record = observed.records.get(name) or Record(name)
        reason = _why_not_ready(record, wanted.get(name), observed)
        if reason:
            return f"waits for {name}, which {reason}"
    return ""


def _why_not_ready(record: Record, spec: Wanted | None, observed: Observed) -> str:
    live = observed.live.get(record.workflow_id)
    if spec is None:
        return "has no readable spec"
    if record.status is Status.DEPLOYMENT_FAILED and record.failure is not None:
        return f"failed ({record.failure.reason})"
    if record.status is Status.ROLLED_BACK:
        return "is rolled back"
    if record.status is not Status.DEPLOYED or live is None or live.digest != spec.digest:
        return "is not deployed yet"
    if record.health not in _WORKS:
        return f"is {record.health}" + (f": {record.health_reason}" if record.health_reason else "")
    return ""


def dependents(workflow_id: str, missing: list[str], observed: Observed) -> str:
    """Why something can't go yet: who still needs it. '' when nobody does."""
    users = [
        other
        for other in observed.live
        if other != workflow_id and workflow_id in (observed.records.get(other) or Record(other)).depends_on
    ]
    if not users:
        return ""
    waiting = all(user in missing for user in users)
    names = ", ".join(sorted(users)[:5])
    return f"{names} {'goes' if len(users) == 1 else 'go'} first" if waiting else f"{names} depends on it"
