"""Makes a pool's current version hold exactly the live releases of its task queue.

A pool is replaced in place, or it has Versions (Temporal's Worker Versioning): then the version before goes
on beside the new one, for as long as `rollouts.py` says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from timewright.core.errors import DeployError
from timewright.edge.bundle import Part
from timewright.edge.failpoint import failpoint
from timewright.edge.pools import Key, PoolVersion, versioning_of
from timewright.edge.releases import Receipt
from timewright.edge.threads import in_thread
from timewright.world import World

#: Seconds that a deploy waits for others of its pool that are on their way: they share one new version then,
#: and not each has its own, which holds the code of all. With Versions each has a process that lives for
#: minutes; in place, it is one more swap.
_GATHER_S, _GATHER_IN_PLACE_S = 3.0, 1.0
_FEW = 8  # who wait may ask often


@dataclass(frozen=True)
class _Ahead:
    """A version that lies written under a name that nobody looks at, and what it was made of."""

    members: Mapping[str, Receipt]
    deployment: str
    content: Mapping[str, Any]
    build: Path

    def is_of(self, members: Iterable[Receipt], deployment: str) -> bool:
        return (self.members, self.deployment) == (_by_id(members), deployment)


class Pooling:
    """Joins what is already built: a pool version costs milliseconds, whatever the pool's size."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._ahead: dict[Key, _Ahead] = {}

    async def refresh(self, key: Key) -> None:
        """Make the pool's current version hold exactly the live releases of its queue. Many
        deploys at once share one new version: who waits for the lock finds the work done."""
        async with self.world.pool_locks[key]:
            members = self.members(key)
            wanted = {receipt.workflow_id: receipt.release for receipt in members}
            deployment = self.world.deployment(key, members)
            current = self.world.pools.current(key)
            if current is not None and (dict(current.members), current.deployment) == (wanted, deployment):
                self._remember(key)
                return
            if not members:
                self._keep(key, current)
                self.world.pools.drop(key)
            else:
                await self._publish(key, members, deployment)
            self._remember(key)

    def members(self, key: Key) -> list[Receipt]:
        """The live releases of a task queue."""
        return [r for r in self.world.receipts.values() if (r.namespace, r.task_queue) == key]

    async def gather(self, key: Key) -> None:
        """Let other deploys of the pool catch up, for a moment: until so long after its last new version, so
        that all who wait go on at once, and one of them makes the next for all."""
        if not (coming := self.world.coming[key]):
            return
        most = _GATHER_S if self.world.versioning else _GATHER_IN_PLACE_S
        now = time.monotonic()
        last = self.world.pooled_at.get(key, 0.0)
        end = (last if last > now - most else now) + most
        while coming and time.monotonic() < end:  # noqa: ASYNC110 - for seconds, at most
            await asyncio.sleep(0.02 if len(coming) < _FEW else 0.2)

    async def _publish(self, key: Key, members: list[Receipt], deployment: str) -> None:
        world = self.world
        ahead = self._ahead.get(key)
        if ahead is not None and not ahead.is_of(members, deployment):
            ahead = None
        # A thousand members take longer to describe than all else that is left to do.
        content = ahead.content if ahead is not None else self._describe(key, members, deployment)
        version = str(content["pool_version"])
        if not world.pools.has(key, version):
            if ahead is not None:
                build = self._ahead.pop(key).build
            else:
                build = await self._write(key, members, deployment, content)
            try:
                await asyncio.to_thread(world.pools.publish, key, build, content)
            finally:
                world.releases.discard(build)
        failpoint("before-pool-link")
        before, current = world.pools.link(key), world.pools.current(key)
        if current is not None and current.lane != (content["build_id"] if deployment else ""):
            self._keep(key, current)
        world.pools.make_current(key, version)
        world.pooled_at[key] = time.monotonic()
        failpoint("after-pool-link")
        kept = world.pools.kept(key)
        if version in kept:
            world.pools.keep(key, [name for name in kept if name != version])
        if not deployment and not kept:
            world.pools.collect(key, {version, before or version})

    # a version's files

    async def ahead(self, receipt: Receipt, directory: Path) -> None:
        """Write the version that is to hold a release while that is sealed: to go live takes a rename and a
        link then. It is a guess. What comes otherwise, or fails here, is done in its turn as if this had not
        been. `directory`: where the release's files lie now.
        """
        world, key = self.world, (receipt.namespace, receipt.task_queue)
        self.give_up(key)
        if world.coming[key] - {receipt.workflow_id}:
            return  # they will share a version
        members = [r for r in self.members(key) if r.workflow_id != receipt.workflow_id] + [receipt]
        deployment = world.deployment(key, members)
        content = self._describe(key, members, deployment)
        if world.pools.has(key, str(content["pool_version"])):
            return
        with suppress(DeployError, OSError):
            build = await self._write(key, members, deployment, content, {receipt.workflow_id: directory})
            self._ahead[key] = _Ahead(_by_id(members), deployment, content, build)

    def give_up(self, key: Key) -> None:
        """What was written ahead for a pool, and is not its next version after all, goes."""
        if (found := self._ahead.pop(key, None)) is not None:
            self.world.releases.discard(found.build)

    async def _write(
        self,
        key: Key,
        members: Iterable[Receipt],
        deployment: str,
        content: Mapping[str, Any],
        lying: Mapping[str, Path] = MappingProxyType({}),
    ) -> Path:
        """A version's files, durable, under a name that nobody looks at. `lying`: workflow id → where the
        release lies that has no name of its own yet. Raises DeployError, OSError."""
        world = self.world
        default = world.config.rollout.versioning if deployment else ""
        build = world.pools.begin(key)
        try:
            if "bundle" in content:
                homes = [(r, lying.get(r.workflow_id) or _home(world, r)) for r in members if r.bundle]
                await world.compiler.join([_part(r, home, default) for r, home in homes], build)
            await in_thread(world.pools.seal, build, content)
        except BaseException:
            world.releases.discard(build)
            raise
        return build

    def _describe(self, key: Key, members: Iterable[Receipt], deployment: str) -> dict[str, Any]:
        world = self.world
        return world.pools.describe(
            key,
            members,
            sdk=world.compiler.sdk_version,
            releases=world.releases.root,
            deployment=deployment,
            versioning=world.config.rollout.versioning,
        )

    # what is current

    def _keep(self, key: Key, current: PoolVersion | None) -> None:
        """What is current goes on beside the new version: the list says so before the link moves, so that
        nobody ever sees a tree in which it has ended."""
        if current is None or (not current.deployment and not self.world.deployment(key, self.members(key))):
            return
        kept = self.world.pools.kept(key)
        if current.version not in kept:
            self.world.pools.keep(key, [*kept, current.version])

    def _remember(self, key: Key) -> None:
        link, version = self.world.pools.link(key), self.world.pools.current(key)
        if link is None or version is None:
            self.world.pool_links.pop(key, None)
            self.world.pool_versions.pop(key, None)
        else:
            self.world.pool_links[key], self.world.pool_versions[key] = link, version


def _by_id(members: Iterable[Receipt]) -> dict[str, Receipt]:
    return {receipt.workflow_id: receipt for receipt in members}


def _home(world: World, receipt: Receipt) -> Path:
    return world.releases.path(receipt.workflow_id, receipt.release)


def _part(receipt: Receipt, home: Path, versioning: str) -> Part:
    said = versioning_of(receipt, versioning) if versioning else ""
    return Part(receipt.workflow_id, receipt.workflow_types, home / "bundle" / "workflow.js", said)
