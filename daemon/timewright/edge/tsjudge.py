"""Who checks a release: the TypeScript that the spec pins, or ours.

none, or our version   the warm native service (`tsservice.py`)
5.x, 6.x               a warm Node host for that version (`tsnode.py`)
any other 7.x          a cold `tsc -p` of that version
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.sources import TYPESCRIPT
from timewright.edge.sdkbase import package_version
from timewright.edge.tschild import ChildGoneError, Limits, machine
from timewright.edge.tsjob import Checked, Early, Job
from timewright.edge.tsnode import NodeHosts, in_time, installed_version
from timewright.edge.tsservice import TypeScriptService

#: Seconds for a look at files that no entry point reaches: more is not worth anybody's time.
_PATIENCE: Final = 1.0
_SHOWN: Final = 5


class Judges:
    """Type checks by version. `start` before, `close` after."""

    def __init__(
        self, toolchain: Path, cache: Path, node: str, limits: Limits, trees: Sequence[Path] = ()
    ) -> None:
        """`trees` as in `TypeScriptService`."""
        self.toolchain = toolchain.resolve()
        self.limits = limits
        self.version = package_version(toolchain, "typescript")
        self.service = TypeScriptService(toolchain, cache, limits, trees)
        self.hosts = NodeHosts(toolchain, node, limits, trees=trees)
        self.patience = _PATIENCE
        self._cold = asyncio.Semaphore(2)

    async def start(self) -> None:
        """Warm up ours. Raises DeployError(COMPILER_UNAVAILABLE)."""
        await self.service.start()

    async def close(self) -> None:
        await asyncio.gather(self.service.close(), self.hosts.close())

    async def compile(
        self,
        directory: Path,
        root: str = "src",
        typescript: Path | None = None,
        company: Callable[[], str] = lambda: "",
        early: Early | None = None,
    ) -> Checked:
        """Check and emit, as `TypeScriptService.compile` says, by the `typescript` package in a directory."""
        version = self._version(typescript)
        if typescript is None or version == self.version:
            return await self.service.compile(directory, root, company, early)
        if _major(version) <= 6:
            return await self.hosts.compile(self._job(directory, root, typescript), typescript, version)
        binary = _native(typescript, version)
        job = self._job(directory, root, binary.parent.parent)
        async with self._cold, in_time(self.limits.timeout):
            return await job.cold([binary])

    async def unreached(
        self, directory: Path, names: Sequence[str], root: str = "src", typescript: Path | None = None
    ) -> tuple[str, ...]:
        """Errors in files that no entry point reaches, as a few lines. Never raises, never takes long."""
        names = [name for name in names if name.endswith(TYPESCRIPT)]
        if not names:
            return ()
        try:
            async with asyncio.timeout(self.patience):
                found = await self._more(directory, root, names, typescript)
        except (TimeoutError, ChildGoneError, DeployError, OSError, ValueError, KeyError, TypeError):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return (f"not checked in time, and reached by no entry point: {', '.join(names[:3])}{more}",)
        wrong = [problem for problem in found if problem.where in set(names)]
        if not wrong:
            return ()
        many = "1 error" if len(wrong) == 1 else f"{len(wrong)} errors"
        shown = (str(problem).split("\n", 1)[0] for problem in wrong[:_SHOWN])
        return (f"{many} in files that no entry point reaches; they fail nothing", *shown)

    async def _more(
        self, directory: Path, root: str, names: Sequence[str], typescript: Path | None
    ) -> Sequence[Problem]:
        version = self._version(typescript)
        if typescript is None or version == self.version:
            return await self.service.unreached(self._job(directory, root), names)
        if _major(version) <= 6:
            job = self._job(directory, root, typescript)
            return await self.hosts.unreached(job, typescript, version, names)
        binary = _native(typescript, version)
        return await self._job(directory, root, binary.parent.parent).cold_more([binary], names)

    def _version(self, typescript: Path | None) -> str:
        return self.version if typescript is None else installed_version(typescript)

    def _job(self, directory: Path, root: str, package: Path | None = None) -> Job:
        library = package / "lib" if package is not None else None
        return Job(directory.resolve(), self.toolchain, self.limits, root, library)


def _major(version: str) -> int:
    head = version.split(".", 1)[0]
    return int(head) if head.isdigit() else 0


def _native(package: Path, version: str) -> Path:
    """The native compiler beside a `typescript` 7 package, as npm installs it."""
    home = package.resolve().parent
    binary = home / "@typescript" / f"typescript-{sys.platform}-{machine()}" / "lib" / "tsc"
    if not binary.is_file():
        raise DeployError(
            Reason.COMPILER_UNAVAILABLE,
            f"TypeScript {version} has no compiler for this machine",
            hint="its optional dependency @typescript/typescript-… was not installed",
        )
    return binary
