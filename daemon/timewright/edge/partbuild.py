"""esbuild for workflows' parts: one process for a release, or one for many that wait.

A process costs some 30 ms, whatever it bundles. Those that go together are of one company (`core.company`):
no file of one is an import of another.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from timewright.core import sourcemap
from timewright.core.errors import DeployError, Reason
from timewright.edge import esbuild, files
from timewright.edge.lines import Lines
from timewright.edge.sdkbase import Base, SdkBases
from timewright.edge.spare import Spare
from timewright.edge.tschild import Limits

#: Releases in one process, and with how many less each goes alone.
_MOST, _FEW = 50, 3
_MANY: Final = 2  # processes; while so many run, others wait for each other
_PATIENCE: Final = 1.0  # seconds: who waits doesn't wait for one that hangs

#: As the SDK's webpack resolves: the browser's side of packages, CommonJS out of it.
_OPTIONS: Final = (
    "--bundle",
    "--format=cjs",
    "--platform=browser",
    "--main-fields=browser,module,main",
    "--conditions=webpack,development,module",
    "--resolve-extensions=.js,.ts,.mjs,.cjs,.json",
    "--target=es2022",
    # An import() of a module outside would reach for the host's loader; inside of the bundle it is a require.
    "--supported:dynamic-import=false",
    "--define:global=globalThis",
    # What webpack puts for them; there are no files in the sandbox.
    '--define:__dirname="/"',
    '--define:__filename="/index.js"',
    # The release's tsconfig has done its work in dist/.
    "--tsconfig-raw={}",
    '--define:process.env.NODE_ENV="development"',
    # Real paths would put this machine's directories into the bundle, and so into the Build ID.
    "--preserve-symlinks",
    "--sourcemap=external",
    # A comment is no change of a workflow: it must not make a new Build ID.
    "--legal-comments=none",
    "--charset=utf8",
    "--log-level=error",
    "--log-limit=50",
    "--color=false",
)

#: esbuild's metafile of one release: file → what it imports, by paths in the release.
Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What is bundled of a release: `dist/workflow.js` of the one in `directory`, into its bundle/."""

    directory: Path
    file: str


class PartBuilder:
    """Writes bundle/workflow.js and its map."""

    def __init__(self, toolchain: Path, bases: SdkBases, limits: Limits) -> None:
        self.binary = esbuild.binary(toolchain)
        self.bases = bases
        self.limits = limits
        self._spare = Spare()
        self._running = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._one = asyncio.Lock()
        self._few = asyncio.Semaphore(_MANY)
        self._lines = Lines(self._turn, self._together, most=_MOST, few=_FEW)

    def start(self) -> None:
        """Be ready for the first."""
        self._spare.soon()

    async def close(self) -> None:
        await self._lines.close()
        await self._spare.close()

    async def build(self, entry: Entry, root: str, company: Callable[[], str]) -> Inputs:
        """Bundle one entry. `company` as in `TypeScriptService.compile`; the bundle is the same with others.

        Raises DeployError: BUNDLE_FAILED, COMPILE_TIMEOUT, COMPILER_UNAVAILABLE.
        """
        # Only a made-up name can be taken out of what esbuild wrote again (`_strip`).
        if not self._calm.is_set() and files.is_unique(entry.directory.name) and (key := company()):
            modules = os.path.realpath(entry.directory / "node_modules")
            inputs = await self._lines.wait((key, modules), entry)
            if inputs is not None:
                return inputs
        async with self._few:  # a shared run that failed leaves its many to themselves, all at once
            with self._counted():
                return await self._alone(entry, root)

    # --- alone ---

    async def _alone(self, entry: Entry, root: str) -> Inputs:
        directory, meta = entry.directory, entry.directory / "bundle" / "meta.json"
        command = [*self._command(await self.bases.get(), meta), entry.file, "--outfile=bundle/workflow.js"]
        finished = await esbuild.run(command, directory, self.limits, spare=self._spare)
        if finished.code != 0:
            said = finished.stderr.decode("utf-8", errors="replace")
            raise esbuild.refused(directory, said, Reason.BUNDLE_FAILED, root)
        return _taken(meta)

    def _command(self, base: Base, meta: Path) -> list[str | Path]:
        outside = (f"--external:{name}" for name in _outside(base))
        return [self.binary, f"--metafile={meta}", *_OPTIONS, *outside]

    # --- together ---

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._one:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._calm.wait(), _PATIENCE)
            with self._counted():
                yield

    async def _together(self, _: None, entries: Sequence[Entry]) -> Sequence[Inputs | None]:
        """What goes wrong is nobody's fault before each was bundled alone."""
        home = Path(os.path.commonpath([entry.directory for entry in entries]))
        names = [entry.directory.relative_to(home).as_posix() for entry in entries]
        meta = entries[0].directory / "bundle" / "meta.json"
        command = self._command(await self.bases.get(), meta)
        for entry, name in zip(entries, names, strict=True):
            command.append(f"{name}/bundle/workflow=./{name}/{entry.file}")
        try:
            finished = await esbuild.run(
                [*command, "--outdir=."], home, self.limits, [entry.directory for entry in entries]
            )
            if finished.code != 0:
                return ()
            found = _taken(meta)
            for entry, name in zip(entries, names, strict=True):
                _strip(entry.directory / "bundle", f"{name}/")
        except (DeployError, OSError, ValueError, KeyError):
            return ()
        return [_of_one(found, f"{name}/") for name in names]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._running += 1
        if self._running >= _MANY:
            self._calm.clear()
        try:
            yield
        finally:
            self._running -= 1
            if self._running < _MANY:
                self._calm.set()


def _outside(base: Base) -> Iterator[str]:
    """What esbuild shall leave as an import, so that we can judge it: Node's modules and the SDK's."""
    yield from ("node:*", "@temporalio/*", "nexus-rpc", "nexus-rpc/*", "assert", "url", "util")
    for name in base.disallowed:
        if not name.startswith("@temporalio/"):
            yield name
            if "/" not in name:
                yield f"{name}/*"


def _taken(meta: Path) -> Inputs:
    try:
        inputs: Inputs = json.loads(meta.read_bytes())["inputs"]
        return inputs
    finally:
        meta.unlink(missing_ok=True)


def _strip(bundle: Path, place: str) -> None:
    """Take the release's place out of the names that esbuild gives to modules, and out of the map, where
    something stands behind one on its line. The place holds a name that was made up for this build: no code
    can have it for another reason."""
    script, map_path = bundle / "workflow.js", bundle / "workflow.js.map"
    lines = script.read_text("utf-8").split("\n")
    found = json.loads(map_path.read_bytes())
    mapped = found["mappings"].split(";")
    for index, line in enumerate(lines):
        at = line.find(place)
        if at >= 0:
            lines[index] = line.replace(place, "")
            if index < len(mapped):
                mapped[index] = sourcemap.closed_up(mapped[index], at, len(line) - len(lines[index]))
    script.write_text("\n".join(lines), "utf-8", newline="")
    found["mappings"] = ";".join(mapped)
    map_path.write_text(json.dumps(found), "utf-8")


def _of_one(inputs: Inputs, place: str) -> Inputs:
    """The part of a metafile that is about one release, by paths in it."""
    found: dict[str, Any] = {}
    for name, about in inputs.items():
        if name.startswith(place):
            imports = [{**item, "path": str(item["path"]).removeprefix(place)} for item in about["imports"]]
            found[name.removeprefix(place)] = {**about, "imports": imports}
    return found
