"""Temporal's Worker Deployments as values: what routes where. And what of a pool's old versions is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Temporal holds at most 100 Versions of a Deployment (`matching.maxVersionsInDeployment`).
MOST_VERSIONS: Final = 100
WARN_VERSIONS: Final = 75
#: From here on no new one is begun until old ones are gone: at the limit, polls of new workers fail.
FULL_VERSIONS: Final = 95
ROOMY_VERSIONS: Final = FULL_VERSIONS // 2  # with less, nothing about their number is in a hurry
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MOST_NAME: Final = 100


class Routing(StrEnum):
    """Temporal's word for a Version."""

    INACTIVE = "Inactive"
    RAMPING = "Ramping"
    CURRENT = "Current"
    DRAINING = "Draining"
    DRAINED = "Drained"
    UNKNOWN = "Unknown"  # we have it, and Temporal does not (yet)


@dataclass(frozen=True)
class Version:
    """A Version as Temporal tells. Times are seconds since the epoch, 0.0 for never. `created`: when it was
    first polled for; `since`: when it got this status; `left`: when it last stopped taking new executions."""

    build_id: str
    status: Routing
    created: float = 0.0
    since: float = 0.0
    left: float = 0.0


@dataclass(frozen=True)
class Deployment:
    """A Deployment as Temporal tells. `current`, `ramping`: Build IDs, '' for none (unversioned workers).
    `percent`: of new executions that go to the ramping one. `manager`: who says that nobody else may route.
    `token`: proves that what we change is what we saw."""

    name: str
    current: str = ""
    ramping: str = ""
    percent: float = 0.0
    manager: str = ""
    token: bytes = b""
    versions: tuple[Version, ...] = ()

    def version(self, build_id: str) -> Version | None:
        return next((one for one in self.versions if one.build_id == build_id), None)

    def status(self, build_id: str) -> Routing:
        found = self.version(build_id)
        return found.status if found is not None else Routing.UNKNOWN


def deployment_name(task_queue: str) -> str:
    """The Deployment of a pool: its task queue's name, as far as Temporal allows it for a Deployment."""
    safe = _UNSAFE.sub("-", task_queue).strip("-")[:_MOST_NAME]
    if safe == task_queue:
        return safe
    return f"{safe or 'queue'}-{hashlib.sha256(task_queue.encode()).hexdigest()[:8]}"


def rollout_id(deployment: str, build_id: str) -> str:
    """The id of the workflow that rolls a Version out: one in the namespace, wherever it runs."""
    return f"timewright-rollout/{deployment}/{build_id}"


# Which old versions go on -----------------------------------------------------------------------


@dataclass(frozen=True)
class Old:
    """An old pool version of this host. `build_id` '': it has no Version, and is replaced in place.
    `running`: open executions of its Version, None where that is not known. `empty_since`: since when none
    was seen (seconds since the epoch), None for not."""

    version: str
    build_id: str
    running: int | None = None
    empty_since: float | None = None


@dataclass(frozen=True)
class Keeping:
    """`serve`: pool versions that go on being served, oldest first; `forget`: those that nobody can need any
    more; `delete`: Build IDs whose record in Temporal can go."""

    serve: tuple[str, ...]
    forget: tuple[str, ...]
    delete: tuple[str, ...]


def keeping(
    deployment: Deployment,
    old: tuple[Old, ...],
    newest: str,
    *,
    rolling: Collection[str] = (),
    sunset: float,
    most: int,
    settle: float,
    now: float,
) -> Keeping:
    """What becomes of a pool's old versions. `newest`: the Build ID that the pool's current version has.
    `rolling`: Build IDs whose rollout is not over, though they are old: they may still be routed to.

    A Version that takes new executions, or has open ones, goes on whatever happens. A drained one ends
    after `sunset` seconds: until then closed executions can be queried. One that drains and has no open
    execution (for `settle` seconds: Temporal's list is a little late) ends earlier where more than `most` of
    them wait: hosts that deploy often would run out of memory before Temporal says "drained", which takes
    minutes. Workers without Versions end when a Version takes what they did.
    """
    serve: list[str] = []
    forget: list[str] = []
    idle: list[tuple[float, str]] = []
    for one in old:
        if not one.build_id:
            (serve if not deployment.current else forget).append(one.version)
            continue
        if one.build_id == newest:
            forget.append(one.version)  # another pool version of the same code has taken over
            continue
        found = deployment.version(one.build_id)
        if one.build_id in rolling:
            serve.append(one.version)
        elif found is None or (found.status is Routing.INACTIVE):
            # Never routed to, and not the newest: superseded before it took an execution.
            forget.append(one.version)
        elif found.status is Routing.DRAINED:
            (serve if now < found.since + sunset else forget).append(one.version)
            if one.version in serve:
                idle.append((found.since, one.version))
        else:
            serve.append(one.version)
            empty = one.running == 0 and one.empty_since is not None and now - one.empty_since >= settle
            if found.status is Routing.DRAINING and empty:
                idle.append((found.left or found.since, one.version))
    for _, version in sorted(idle)[: max(0, len(idle) - most)]:
        serve.remove(version)
    have = {one.build_id for one in old if one.version in serve} | {newest}
    gone = tuple(
        one.build_id
        for one in deployment.versions
        if one.build_id not in have
        and one.build_id not in (deployment.current, deployment.ramping)
        and one.status in (Routing.DRAINED, Routing.INACTIVE)
    )
    return Keeping(tuple(serve), tuple(forget), gone)


def crowded(deployment: Deployment) -> str:
    """A warning about the number of Versions, '' for none."""
    count = len(deployment.versions)
    if count < WARN_VERSIONS:
        return ""
    return f"deployment {deployment.name} has {count} of the {MOST_VERSIONS} Versions that Temporal keeps"


def hosts_of(identities: Mapping[str, float], version: str) -> dict[str, int]:
    """Host name → how many pollers it has for a pool version (or, for '', at all). `identities`: of pollers,
    `pid@host/timewright/version`, with their age in seconds; a worker.ts of its own has the SDK's
    `pid@host`."""
    found: dict[str, int] = {}
    for identity in identities:
        _, _, rest = identity.partition("@")
        host, _, end = rest.partition("/timewright/")
        if host and (not version or not end or end == version):
            found[host] = found.get(host, 0) + 1
    return found
