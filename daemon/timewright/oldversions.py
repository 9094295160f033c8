"""Which old versions of a pool go on, and which records of them Temporal may forget."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from timewright import log
from timewright.core.deployments import ROOMY_VERSIONS, Deployment, Old, Routing, crowded, keeping
from timewright.core.visibility import RUNNING, of_version
from timewright.edge.pools import Key, PoolVersion
from timewright.pooled import Pooled
from timewright.rollhandle import described, handle_of
from timewright.world import World

_SETTLE_S: Final = 10.0  # that Temporal's list of open executions may be late
_CALM_S: Final = 30.0  # since the last new code of a pool: nothing is in a hurry to be deleted
_PATIENCE_S: Final = 2.0


class OldVersions:
    """Those of one host's pools."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._deleting: dict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def tidy(self, key: Key, pooled: Pooled, seen: Deployment, version: PoolVersion | None) -> None:
        """Which old versions go on; the records of those that nobody needs are deleted."""
        world, settings = self.world, self.world.config.rollout
        await self.count(key, pooled, seen)
        published = world.pools.published(key)
        newest = version.version if version is not None else ""
        old = tuple(
            Old(
                name,
                one.build_id if one.deployment else "",
                pooled.open.get(one.build_id),
                pooled.empty.get(one.build_id),
            )
            for name, one in published.items()
            if name != newest
        )
        kept = keeping(
            seen,
            old,
            version.build_id if version is not None else "",
            rolling=await self._rolling(key, seen, old),
            sunset=settings.sunset_s,
            most=settings.keep,
            settle=_SETTLE_S,
            now=world.clock(),
        )
        async with world.pool_locks[key]:
            if world.pools.link(key) != (newest or None):
                return  # a deploy has moved it meanwhile
            if kept.serve != world.pools.kept(key):
                world.pools.keep(key, kept.serve)
                await world.worker.sync()
            world.pools.collect(key, {name for name in published if name not in kept.forget} | {newest})
        for build_id in kept.delete:
            if self._is_busy(key, pooled) and len(seen.versions) < ROOMY_VERSIONS:
                break  # with more of them, deploys come too often to wait for calm
            async with self._deleting[key]:
                gone = await world.deployments.delete(key[0], seen.name, build_id)
            if gone:
                log.get().info("version deleted", pool="/".join(key), version=build_id)
        self._warn(pooled, crowded(seen))

    async def quiet(self, key: Key) -> None:
        """Wait for the end of a deletion that is under way: half a second, mostly. A Version that is
        registered or made current beside one waits ten seconds, and so does all that is asked about it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S), self._deleting[key]:
                return

    def _is_busy(self, key: Key, pooled: Pooled) -> bool:
        """Whether new code is on its way, or has just come."""
        since = time.monotonic() - self.world.pooled_at.get(key, -math.inf)
        return bool(self.world.coming[key] or pooled.wish) or since < _CALM_S

    async def _rolling(self, key: Key, seen: Deployment, old: Collection[Old]) -> frozenset[str]:
        """The Build IDs of old versions that may yet be routed to: their rollout does not know by now that it
        has to give way."""
        from temporalio.client import WorkflowExecutionStatus

        found: set[str] = set()
        for build_id in {one.build_id for one in old if one.build_id}:
            if seen.status(build_id) not in (Routing.INACTIVE, Routing.UNKNOWN):
                continue
            client = await self.world.deployments.client(key[0])
            about = await described(handle_of(client, seen.name, build_id))
            if about is not None and about.status is WorkflowExecutionStatus.RUNNING:
                found.add(build_id)
        return frozenset(found)

    async def count(self, key: Key, pooled: Pooled, seen: Deployment, *, all_of_them: bool = False) -> None:
        """Open executions of each Version that may have some; of the current one only where a person
        looks."""
        now = self.world.clock()
        for one in seen.versions:
            if one.status is Routing.DRAINED:
                pooled.open[one.build_id] = 0
                pooled.empty.setdefault(one.build_id, now)
                continue
            if one.status is Routing.INACTIVE or (one.status is Routing.CURRENT and not all_of_them):
                continue
            query = f"{of_version(seen.name, one.build_id)} AND {RUNNING}"
            count = pooled.open[one.build_id] = await self.world.deployments.count(key[0], query)
            if count or one.status is not Routing.DRAINING:
                pooled.empty.pop(one.build_id, None)
            else:
                pooled.empty.setdefault(one.build_id, now)
        for build_id in pooled.open.keys() - {one.build_id for one in seen.versions}:
            pooled.open.pop(build_id)
            pooled.empty.pop(build_id, None)

    def _warn(self, pooled: Pooled, warning: str) -> None:
        if warning and not pooled.told:
            log.get().warning("many versions", because=warning)
        pooled.told = warning
