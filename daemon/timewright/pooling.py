"""Makes a pool's current version hold exactly the live releases of its task queue."""

from __future__ import annotations

import asyncio

from timewright.edge.bundle import Part
from timewright.edge.failpoint import failpoint
from timewright.edge.pools import Key
from timewright.edge.releases import Receipt
from timewright.world import World


class Pooling:
    """Joins what is already built: a pool version costs milliseconds, whatever the pool's size."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def refresh(self, key: Key) -> None:
        """Make the pool's current version hold exactly the live releases of its queue. Many
        deploys at once share one new version: who waits for the lock finds the work done."""
        async with self.world.pool_locks[key]:
            members = [r for r in self.world.receipts.values() if (r.namespace, r.task_queue) == key]
            wanted = {receipt.workflow_id: receipt.release for receipt in members}
            current = self.world.pools.current(key)
            if current is not None and dict(current.members) == wanted:
                self._remember(key)
                return
            if not members:
                self.world.pools.drop(key)
            else:
                await self._publish(key, members)
            self._remember(key)

    async def _publish(self, key: Key, members: list[Receipt]) -> None:
        world = self.world
        sdk = world.compiler.sdk_version
        content = world.pools.describe(key, members, sdk=sdk, releases=world.releases.root)
        version = str(content["pool_version"])
        if not world.pools.has(key, version):
            build = world.pools.begin(key)
            try:
                if "bundle" in content:
                    await world.compiler.join([_part(world, r) for r in members if r.bundle], build)
                await asyncio.to_thread(world.pools.publish, key, build, content)
            finally:
                world.releases.discard(build)
        failpoint("before-pool-link")
        before = world.pools.link(key)
        world.pools.make_current(key, version)
        failpoint("after-pool-link")
        world.pools.collect(key, {version, before or version})

    def _remember(self, key: Key) -> None:
        link, version = self.world.pools.link(key), self.world.pools.current(key)
        if link is None or version is None:
            self.world.pool_links.pop(key, None)
            self.world.pool_versions.pop(key, None)
        else:
            self.world.pool_links[key], self.world.pool_versions[key] = link, version


def _part(world: World, receipt: Receipt) -> Part:
    directory = world.releases.path(receipt.workflow_id, receipt.release) / "bundle"
    return Part(receipt.workflow_id, receipt.workflow_types, directory / "workflow.js")
