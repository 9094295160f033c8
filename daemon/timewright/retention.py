"""Retention: what is old and not needed goes. It fails no deploy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from timewright import log
from timewright.core.digest import SHORT
from timewright.edge.releases import Receipt
from timewright.world import World

#: Seconds between two looks for packages that nobody needs, and how old those must be.
_COLLECT_S = 3600.0


class Retention:
    """Collects, in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._collected = world.clock()

    async def packages(self) -> None:
        """Now and then: packages that no release needs any more."""
        world = self.world
        if world.clock() - self._collected < _COLLECT_S:
            return
        self._collected = world.clock()
        try:
            keep = await asyncio.to_thread(world.releases.packages)
            gone = world.dependencies.collect(keep, world.clock() - _COLLECT_S)
        except OSError as error:
            log.get().warning("packages not collected", because=str(error))
            return
        if gone:
            log.get().info("packages collected", sets=gone, because="no release needs them")

    def _served(self, workflow_id: str) -> Iterator[str]:
        """Releases in versions of pools that open executions may still need."""
        pools = self.world.pools
        for key in pools.keys():  # noqa: SIM118 - a method, of no mapping
            for version in (pools.read(key, name) for name in pools.kept(key)):
                if version is not None and workflow_id in version.members:
                    yield version.members[workflow_id]

    def releases(self, receipt: Receipt, keep_releases: int | None) -> None:
        """Retention: what is old and not needed goes. It fails no deploy."""
        settings, world = self.world.config.releases, self.world
        record = world.record(receipt.workflow_id)
        pinned = record.pin.digest if record.pin else ""
        try:
            back = world.earlier(record)
            needed = {digest[:SHORT] for digest in (record.previous, record.proven, back, pinned) if digest}
            needed |= set(self._served(receipt.workflow_id))
            gone = world.releases.collect(
                receipt.workflow_id,
                {receipt.release, *needed},
                most=(keep_releases or settings.keep) + 1,
                older_than=world.clock() - settings.min_age_h * 3600,
            )
            world.state.drop_releases(receipt.workflow_id, gone)
        except OSError as error:
            log.get().warning("retention failed", workflow=receipt.workflow_id, because=str(error))
