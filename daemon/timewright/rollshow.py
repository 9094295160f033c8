"""How a pool's versions and its rollout stand, in the words and shape that CLI, API and page show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from timewright.core.deployments import Deployment, Routing, hosts_of, rollout_id
from timewright.core.orders import Order, Progress
from timewright.edge.deployments import TemporalAwayError
from timewright.edge.pools import Key, PoolVersion
from timewright.pooled import Pooled, Told
from timewright.rollouts import Rollouts
from timewright.views import View, iso

Sees = Callable[[str], bool]


async def rollout_view(rollouts: Rollouts, workflow_id: str, key: Key, sees: Sees) -> View:
    """One workflow's pool. `sees`: whether the one who asks may know of a workflow."""
    world = rollouts.world
    newest = world.pool_versions.get(key)
    view: View = {
        "workflowId": workflow_id,
        "namespace": key[0],
        "taskQueue": key[1],
        "deployment": newest.deployment if newest is not None else "",
        "versioned": newest is not None and bool(newest.deployment),
        "manager": "",
        "problem": "",
        "rollout": None,
        "versions": [],
    }
    if newest is None or not newest.deployment:
        return view
    published = {one.build_id: one for one in world.pools.published(key).values() if one.deployment}
    published[newest.build_id] = newest
    served = {*world.pools.kept(key), newest.version}
    try:
        pooled = await rollouts.look(key)
        seen = pooled.seen or Deployment(newest.deployment)
        polls = await world.deployments.polls_by_build(key[0], key[1], newest.deployment)
    except TemporalAwayError as error:
        pooled = rollouts.pools.get(key) or Pooled()
        seen, polls = pooled.seen or Deployment(newest.deployment), {}
        view["problem"] = str(error)
    view["manager"] = seen.manager
    last = pooled.last
    if pooled.wish and (last is None or last.build_id != pooled.wish):
        last = Told(pooled.wish, pooled.order, pooled.progress or Progress(because="it begins"))
    if last is not None:
        view["rollout"] = _rollout(newest.deployment, last.build_id, last.order, last.progress, sees)
    builds = [one.build_id for one in seen.versions]
    builds += [build for build in published if build not in builds]
    view["versions"] = [
        _version(build, seen, published.get(build), pooled, polls.get(build, {}), served, sees)
        for build in builds
    ]
    return view


def _rollout(deployment: str, build_id: str, order: Order | None, progress: Progress, sees: Sees) -> View:
    return {
        "id": rollout_id(deployment, build_id),
        "buildId": build_id,
        "from": progress.previous,
        "phase": str(progress.phase),
        "strategy": str(order.strategy) if order is not None else "",
        "step": progress.step,
        "steps": [
            {"rampPercentage": step.percent, "pauseS": step.pause, "gate": bool(step.gates)}
            for step in (order.steps if order is not None else ())
        ],
        "percent": progress.percent,
        "nextAt": iso(progress.next_at or None),
        "startedAt": iso(progress.started or None),
        "endedAt": iso(progress.ended or None),
        "because": progress.because,
        "hosts": {
            "expected": list(order.hosts) if order is not None else [],
            "arrived": list(progress.arrived),
        },
        "workflows": [name for name in (order.workflows if order is not None else ()) if sees(name)],
        "guilty": [name for name in progress.guilty if sees(name)],
    }


def _version(
    build: str,
    seen: Deployment,
    published: PoolVersion | None,
    pooled: Pooled,
    polls: Mapping[str, float],
    served: set[str],
    sees: Sees,
) -> View:
    found = seen.version(build)
    percent = 0.0
    if build == seen.current:
        percent = 100.0 - (seen.percent if seen.ramping else 0.0)
    elif build == seen.ramping:
        percent = seen.percent
    members = published.members if published is not None else {}
    return {
        "buildId": build,
        "status": str(found.status if found is not None else Routing.UNKNOWN),
        "percent": percent,
        "releases": {name: release for name, release in members.items() if sees(name)},
        "pollers": hosts_of(polls, ""),
        "open": pooled.open.get(build),
        "since": iso(found.since or None) if found is not None else None,
        "served": published is not None and published.version in served,
    }
