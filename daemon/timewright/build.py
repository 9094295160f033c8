"""Makes a release of a spec: packages, sources, checked and compiled code, receipt; or finds it made.

Nothing of it is live until `Applier` links it, and a build that fails leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from timewright import log
from timewright.core.company import company
from timewright.core.digest import SHORT, sha256
from timewright.core.prepare import Prepared, prepare
from timewright.core.spec import package_text
from timewright.core.worlds import Wanted
from timewright.edge import source
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.dependencies import Dependencies
from timewright.edge.failpoint import failpoint
from timewright.edge.releases import Receipt
from timewright.edge.threads import in_thread
from timewright.edge.toolchain import typescripts, version_of
from timewright.world import World, receipt_row


class SupersededError(Exception):
    """The spec changed under our hands; the next pass takes the newer one."""


@dataclass(frozen=True)
class Compiled:
    """What a compile left to say. `typescript`: the version that judged, '' for none."""

    warnings: tuple[str, ...] = ()
    typescript: str = ""


@dataclass(frozen=True)
class Tools:
    """`packages`: the directory whose node_modules the spec gets. `typescript`: what judges it, None
    for ours."""

    packages: Path
    typescript: Path | None = None
    warnings: tuple[str, ...] = ()


async def _nothing(receipt: Receipt, directory: Path) -> None:
    pass


class Builder:
    """Builds releases in the tree of one data directory."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def release(
        self,
        wanted: Wanted,
        revision: str,
        timings: dict[str, float],
        beside: Callable[[Receipt, Path], Coroutine[Any, Any, None]] = _nothing,
    ) -> Receipt:
        """The release of a spec: the one in the tree when it is whole, else a newly built one. `beside`: done
        while that one is sealed, with its receipt and where its files still lie; raises nothing.

        Raises DeployError when it can't be built, SupersededError when the spec isn't what it was.
        """
        found = await self._whole(wanted, timings)
        if found is not None:
            return found
        with timed(timings, "read"):
            prepared = await self._prepare(wanted)
        releases = self.world.releases
        build = releases.begin(wanted.workflow_id)
        try:
            compiled = await self._make(wanted.workflow_id, prepared, build, timings)
            with timed(timings, "seal"):
                receipt = self._receipt(wanted, prepared, compiled, revision, build)
                ahead = asyncio.create_task(beside(receipt, build))
                try:
                    failpoint("before-publish")
                    await in_thread(releases.publish, build, receipt)
                    failpoint("after-publish")
                finally:
                    await ahead
        finally:
            releases.discard(build)
        self.world.state.add_release(
            receipt.digest, receipt.workflow_id, receipt.created, json.dumps(receipt_row(receipt))
        )
        return receipt

    async def _whole(self, wanted: Wanted, timings: dict[str, float]) -> Receipt | None:
        """The release, if it is in the tree as it was built."""
        releases, short = self.world.releases, wanted.digest[:SHORT]
        receipt = releases.receipt(wanted.workflow_id, short)
        if receipt is None or receipt.digest != wanted.digest:
            return None
        with timed(timings, "verify"):
            damage = await asyncio.to_thread(releases.damage, wanted.workflow_id, short)
        if not damage:
            return receipt
        log.get().warning("damaged release", workflow=wanted.workflow_id, release=short, because=damage)
        return None

    async def _prepare(self, wanted: Wanted) -> Prepared:
        host = self.world.host
        try:
            data = await self.world.sources.read(wanted.source, host.limits)
        except source.UnreadableError:
            raise SupersededError from None
        if sha256(data) != wanted.content:
            raise SupersededError
        prepared = self.world.ready.take(wanted.digest, wanted.content, wanted.defaults)
        if prepared is None:
            is_yaml = wanted.source.endswith((".yaml", ".yml"))
            prepared = prepare(data, host, is_yaml=is_yaml, defaults=dict(wanted.defaults))
        if prepared.digest != wanted.digest:
            raise SupersededError  # the host changed under our hands: other packages, other compilers
        return prepared

    async def _make(
        self, workflow_id: str, prepared: Prepared, build: Path, timings: dict[str, float]
    ) -> Compiled:
        """Fill `build`: packages, sources, and the compiled code, from the cache where it is there."""
        world, key = self.world, prepared.needs.key

        def progress(text: str) -> None:
            world.note(world.record(workflow_id), because=text)
            log.get().info("dependencies", workflow=workflow_id, because=text)

        async with world.dependencies.lease(key):
            with timed(timings, "dependencies"):
                tools = await provide(world.dependencies, prepared, progress)
            await in_thread(write_sources, build, prepared, f"../../../dependencies/{key}/node_modules")
            with timed(timings, "cache"):
                found = await asyncio.to_thread(world.cache.take, prepared.compile_key, build)
            if found is not None:
                return Compiled((*tools.warnings, *found["warnings"]), found["typescript"])
            failpoint("before-compile")
            compiled = await compile_release(world.compiler, prepared, build, tools.typescript, timings)
            failpoint("after-compile")
            about = {"warnings": list(compiled.warnings), "typescript": compiled.typescript}
            await asyncio.to_thread(world.cache.put, prepared.compile_key, build, about)
            return replace(compiled, warnings=(*tools.warnings, *compiled.warnings))

    def _receipt(
        self, wanted: Wanted, prepared: Prepared, compiled: Compiled, revision: str, build: Path
    ) -> Receipt:
        spec, part = prepared.spec, build / "bundle" / "workflow.js"
        commit = self.world.commit(revision)
        return Receipt(
            workflow_id=wanted.workflow_id,
            digest=wanted.digest,
            name=spec.name,
            source=wanted.source,
            revision=revision,
            author=commit.author if commit else "",
            subject=commit.subject if commit else "",
            created=self.world.clock(),
            namespace=wanted.placement.namespace,
            task_queue=wanted.placement.task_queue,
            isolation=wanted.placement.isolation,
            compiler=self.world.host.identity(prepared.typescript),
            sdk=self.world.compiler.sdk_version,
            workflow_types=spec.workflow_types,
            activity_names=spec.activity_names,
            workflows=spec.workflows,
            activities=spec.activities,
            worker=spec.worker,
            root=spec.root,
            dependencies=prepared.needs.key,
            typescript=compiled.typescript,
            bundle=sha256(part.read_bytes()) if part.is_file() else None,
            prune=spec.deploy.prune,
            owner=spec.deploy.owner or "",
            depends_on=spec.deploy.depends_on,
            rollout=spec.deploy.rollout.to_text(),
            env=dict(spec.deploy.env),
            warnings=compiled.warnings,
        )


async def provide(
    dependencies: Dependencies, prepared: Prepared, progress: Callable[[str], None] = lambda _: None
) -> Tools:
    """Have a spec's packages and its TypeScript installed. Raises DeployError."""
    installed = await dependencies.get(prepared.needs, progress)
    wanted = prepared.typescript
    if wanted is None:
        return Tools(installed.path, None, installed.warnings)
    home = dict(typescripts(dependencies.toolchain)).get(wanted)
    if home is None:
        home = await dependencies.tool("typescript", wanted, progress)
    return Tools(installed.path, home, installed.warnings)


async def compile_release(
    compiler: Compiler, prepared: Prepared, build: Path, typescript: Path | None, timings: dict[str, float]
) -> Compiled:
    """Check and compile what `write_sources` wrote into `build`. Raises DeployError."""
    spec = prepared.spec
    result = await compiler.compile(
        CompileJob(
            build,
            spec.workflows,
            spec.activities,
            spec.worker,
            root=spec.root,
            typescript=typescript,
            unreached=spec.unreached,
            bundle=_bundle(prepared),
            company=functools.cache(lambda: company(spec, prepared.options)),
        )
    )
    timings.update(result.timings_ms)
    version = version_of(typescript) if typescript is not None else compiler.typescript_version
    return Compiled(result.warnings, version)


def _bundle(prepared: Prepared) -> Literal["serve", "check", "off"]:
    """What the workflow's bundle is for: an own worker makes one itself, by its own rules."""
    if prepared.spec.isolation == "shared":
        return "serve"
    return "off" if prepared.needs.own_sdk else "check"


def write_sources(build: Path, prepared: Prepared, node_modules: str) -> None:
    """Write a spec's files as the compiler wants them: sources, package.json, our own tsconfig.json,
    and the link to the packages."""
    for name, text in prepared.spec.files.items():
        path = build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="")
    (build / "package.json").write_text(package_text(prepared.spec), "utf-8")
    (build / "tsconfig.json").write_text(prepared.tsconfig(), "utf-8")
    (build / "node_modules").symlink_to(node_modules)


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Milliseconds of one stage, on the clock that never jumps."""
    start = time.monotonic()
    try:
        yield
    finally:
        timings[stage] = (time.monotonic() - start) * 1000
