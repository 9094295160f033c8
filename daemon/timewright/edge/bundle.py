"""Workflow bundles: each release's part is built once, by esbuild; a pool's bundle joins parts.

    release: dist/workflow.js ─ esbuild ─► bundle/workflow.js      a function (module, exports, require)
                                           bundle/workflow.js.map  to src/*.ts, and how to rebase it
    pool:    SDK base + parts ─ join ────► workflows.js            with an inline source map

The base is bundled by the SDK's own bundler (`sdkbase.py`); what a part may import is judged by the
SDK's own list. In the joined bundle a workflow type is a getter: only the part that owns the type
an execution asks for is evaluated, anew for each execution, and what fails there fails there only.

The map is flat, not an index of sections: for an enhanced stack trace the SDK looks its `sources`
and `sourcesContent` up itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from timewright.core import sourcemap
from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.sourcemap import Rebasable
from timewright.edge import esbuild, files
from timewright.edge.partbuild import Entry, PartBuilder
from timewright.edge.sdkbase import SPECIFIERS, Base, SdkBases
from timewright.edge.tschild import Limits

_OURS: Final = "x_timewright"
_REMEMBERED: Final = 64 * 1024 * 1024  # bytes of parts kept in memory between joins

_PROLOGUE: Final = b"""\
;globalThis.__timewright__ = (() => {
  const parts = [];
  // What the spec says, where the code (setWorkflowOptions) says nothing itself.
  const versioned = (workflow, versioningBehavior) => {
    if (versioningBehavior === undefined || typeof workflow !== 'function') return workflow;
    const said = workflow.workflowDefinitionOptions;
    const silent = typeof said !== 'function' && said?.versioningBehavior === undefined;
    if (silent && Object.isExtensible(workflow)) {
      workflow.workflowDefinitionOptions = { ...said, versioningBehavior };
    }
    return workflow;
  };
  // One call for each execution: the SDK evaluates the module that calls it anew each time.
  const workflows = (require) => {
    const found = Object.create(null);
    for (const [types, run, versioning] of parts) {
      let module;
      // Kept before it runs, as every module system does: a part that asks for itself gets what there is.
      const load = () => {
        if (module === undefined) {
          module = { exports: {} };
          run(module, module.exports, require);
        }
        return module.exports;
      };
      for (const type of types) {
        const get = () => versioned(load()[type], versioning);
        Object.defineProperty(found, type, { enumerable: true, get });
      }
    }
    return found;
  };
  workflows.add = (...part) => { parts.push(part); };
  return workflows;
})();
"""
# Each line of it maps to itself, so that a stack trace never shows a frame from nowhere.
_GLUE_SOURCE: Final = "timewright/parts.js"
_GLUE_CONTENT: Final = json.dumps(_PROLOGUE.decode())
_GLUE: Final = sourcemap.cut(";".join(["AAAA", *["AACA"] * (_PROLOGUE.count(b"\n") - 1)]))
_EPILOGUE: Final = b"delete globalThis.__timewright__.add;\n"


@dataclass(frozen=True)
class Part:
    """One release in a pool's bundle. `path`: its bundle/workflow.js, with the map beside it.

    `workflow_types`: the exported functions that the pool serves. `versioning`: PINNED, AUTO_UPGRADE, or ''
    where the pool has no Versions.
    """

    workflow_id: str
    workflow_types: tuple[str, ...]
    path: Path
    versioning: str = ""


@dataclass(frozen=True)
class _Loaded:
    """A part as the join needs it: text, how its mappings are rebased, sources with their texts."""

    code: bytes
    mappings: Rebasable
    sources: tuple[str, ...]
    contents: str  # the JSON of sourcesContent, without its brackets
    names: tuple[str, ...]
    requires: frozenset[str]

    @property
    def size(self) -> int:
        return len(self.code) + len(self.contents) + len(self.mappings.tail)


class Bundler:
    """Builds parts and joins them."""

    def __init__(self, toolchain: Path, bases: SdkBases, limits: Limits) -> None:
        self.bases = bases
        self._builder = PartBuilder(toolchain.resolve(), bases, limits)
        self._parts: OrderedDict[tuple[str, int, int], _Loaded] = OrderedDict()
        self._kept = 0

    def start(self) -> None:
        """Be ready for the first part."""
        self._builder.start()

    async def close(self) -> None:
        """End what many wait for; no part may be in the making."""
        await self._builder.close()

    async def part(
        self, directory: Path, entry: str, root: str = "src", company: Callable[[], str] = lambda: ""
    ) -> None:
        """Bundle `entry` (`dist/workflow.js`) of the release in `directory` into its bundle/.

        `root`: where the sources lie (`src` or `.`), for the places of problems. `company`: which others may
        be bundled by one process with it (`core.company`), asked only where some wait.

        Raises DeployError: BUNDLE_FAILED with each import that workflow code can't have, as a
        problem with its place in src/; COMPILE_TIMEOUT; COMPILER_UNAVAILABLE.
        """
        base = await self.bases.get()
        out = directory / "bundle"
        files.remove(out)
        out.mkdir()
        inputs = await self._builder.build(Entry(directory, entry), root, company)
        requires = _judge(_Graph(directory, entry, inputs, root), base)
        if requires - set(SPECIFIERS):
            await self.bases.get(requires)
        _finish(directory, out, requires)

    # --- a pool's bundle ---

    async def join(self, parts: Iterable[Part], out: Path) -> None:
        """Write `out`/workflows.js from these parts: the same bytes whatever their order.

        Raises DeployError: NAME_CONFLICT for a workflow type that two parts have, BUNDLE_FAILED for a
        part that is missing or damaged, and what making a base may raise.
        """
        ordered = sorted(parts, key=lambda part: part.workflow_id)
        _no_conflicts(ordered)
        loaded = await asyncio.to_thread(lambda: [self._load(part) for part in ordered])
        base = await self.bases.get(frozenset().union(*(part.requires for part in loaded)))
        data = await asyncio.to_thread(_join, base, list(zip(ordered, loaded, strict=True)))
        out.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread((out / "workflows.js").write_bytes, data)

    def _load(self, part: Part) -> _Loaded:
        """A part from disk, or as it was at the last join: a release never changes."""
        try:
            stat = part.path.stat()
            key = (str(part.path), stat.st_mtime_ns, stat.st_size)
            found = self._parts.pop(key, None)
            if found is None:
                found = _read_part(part.path)
                self._kept += found.size
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeployError(
                Reason.BUNDLE_FAILED,
                f"the bundle of {part.workflow_id} is missing or damaged: {type(error).__name__}",
                hint=f"redeploy {part.workflow_id}",
            ) from error
        self._parts[key] = found
        while self._kept > _REMEMBERED and len(self._parts) > 1:
            _, old = self._parts.popitem(last=False)
            self._kept -= old.size
        return found


def _finish(directory: Path, out: Path, requires: Iterable[str]) -> None:
    """Make the part of what esbuild wrote: the code as a function, the map with portable names."""
    script, map_path = out / "workflow.js", out / "workflow.js.map"
    code = script.read_text("utf-8")
    found = json.loads(map_path.read_bytes())
    cut = sourcemap.cut(found["mappings"])
    sources = _distinct(_source(directory, out, name) for name in found["sources"])
    texts = found.get("sourcesContent") or [None] * len(sources)
    kept = {
        "version": 3,
        "file": "workflow.js",
        "sources": sources,
        # Packages keep their positions, not their texts: every worker holds this in memory.
        "sourcesContent": [
            None if _of_package(name) else text for name, text in zip(sources, texts, strict=True)
        ],
        "names": found["names"],
        # The line that opens the function comes before esbuild's first.
        "mappings": ";" + found["mappings"],
        _OURS: {"requires": sorted(requires), **sourcemap.to_json(_shifted(cut))},
    }
    script.write_text(f"function (module, exports, require) {{\n{code}}}\n", "utf-8", newline="")
    map_path.write_text(json.dumps(kept, ensure_ascii=False, separators=(",", ":")), "utf-8")


def _shifted(cut: Rebasable) -> Rebasable:
    return Rebasable(";" + cut.head, cut.first, cut.middle, cut.named, cut.tail, cut.end)


def _source(directory: Path, out: Path, name: str) -> str:
    """A source as people know it: relative to the release, or to node_modules; never absolute."""
    parts: list[str] = []
    for part in (out / name).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    path = PurePosixPath(*parts)
    if path.is_relative_to(directory):
        return path.relative_to(directory).as_posix()
    text = path.as_posix()
    at = text.find("/node_modules/")
    return text[at + 1 :] if at >= 0 else path.name


def _of_package(name: str) -> bool:
    return name.startswith("node_modules/") or "/node_modules/" in name


def _distinct(names: Iterable[str]) -> list[str]:
    """Two sources of one name would be one to the SDK, with the text of the first."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = count = seen.get(name, 0) + 1
        result.append(name if count == 1 else f"{name}?{count}")
    return result


# --- what a part may import ---


@dataclass(frozen=True)
class _Graph:
    """esbuild's metafile: which file imports what."""

    directory: Path
    entry: str
    inputs: Mapping[str, Any]
    root: str

    def outside(self) -> Iterator[tuple[str, str]]:
        """(file, specifier) of each import that was left out of the bundle."""
        for name, about in self.inputs.items():
            for item in about["imports"]:
                if item.get("external"):
                    yield name, str(item["path"])

    def way_to(self, name: str) -> list[str]:
        """The shortest chain of imports from the entry to a file, both included; as in src/."""
        before: dict[str, str] = {self.entry: ""}
        queue = [self.entry]
        for current in queue:
            for item in self.inputs.get(current, {}).get("imports", ()):
                path = str(item["path"])
                if path not in before and not item.get("external"):
                    before[path] = current
                    queue.append(path)
        way = []
        while name:
            way.append(esbuild.source_of(self.directory, name, self.root))
            name = before.get(name, "")
        return way[::-1]


def _judge(graph: _Graph, base: Base) -> frozenset[str]:
    """What the part needs from the base. Raises DeployError with all that it may not have."""
    requires, problems = set(), []
    for name, specifier in graph.outside():
        if specifier.startswith("node:") or _matches(specifier, base.disallowed):
            if not _only_probed(esbuild.read(graph.directory, name), specifier):
                problems.append(_disallowed(graph, name, specifier))
        else:
            requires.add(specifier)
    if problems:
        problems = sorted(set(problems), key=lambda item: (item.where, item.line or 0, item.message))
        raise esbuild.failed(Reason.BUNDLE_FAILED, problems)
    return frozenset(requires)


def _matches(specifier: str, modules: Iterable[str]) -> bool:
    """The SDK's own rule: the module itself or anything below it."""
    return any(specifier == name or specifier.startswith(f"{name}/") for name in modules)


def _only_probed(text: str, specifier: str) -> bool:
    """Whether every require of it says webpackIgnore, which the SDK's bundler honours (protobufjs does so).

    At run time such a require fails, as it does in the SDK's bundle, and the caller expects that.
    """
    quoted = rf"""['"]{re.escape(specifier)}['"]"""
    probes = len(re.findall(rf"require\(\s*/\*\s*webpackIgnore:\s*true\s*\*/\s*{quoted}", text))
    return 0 < probes == len(re.findall(quoted, text))


def _disallowed(graph: _Graph, name: str, specifier: str) -> Problem:
    way = graph.way_to(name)
    where = way[-1]
    through = f" (imported by {' → '.join(way[:-1])})" if len(way) > 1 else ""
    if len(way) > 1 and not _of_package(where):
        hint = f"use `import type` for {where}, or call it as an activity"
    else:
        hint = "use an activity for it"
    line, column = esbuild.place(graph.directory, where, specifier)
    message = f"{specifier} can't be used in workflow code{through}"
    return Problem(where, message, hint, line, column)


# --- joining ---


def _no_conflicts(parts: Sequence[Part]) -> None:
    owners: dict[str, str] = {}
    for part in parts:
        for workflow_type in part.workflow_types:
            other = owners.setdefault(workflow_type, part.workflow_id)
            if other != part.workflow_id:
                raise DeployError(
                    Reason.NAME_CONFLICT,
                    f"{other} and {part.workflow_id} both have the workflow type {workflow_type}",
                    hint=f"rename one, or give {part.workflow_id} a task queue of its own",
                )


def _read_part(path: Path) -> _Loaded:
    found = json.loads(path.with_name(f"{path.name}.map").read_bytes())
    ours = found[_OURS]
    contents = json.dumps(found["sourcesContent"], ensure_ascii=False, separators=(",", ":"))[1:-1]
    return _Loaded(
        code=path.read_bytes(),
        mappings=sourcemap.from_json(ours, found["mappings"]),
        sources=tuple(found["sources"]),
        contents=contents,
        names=tuple(found["names"]),
        requires=frozenset(ours["requires"]),
    )


def _join(base: Base, parts: Sequence[tuple[Part, _Loaded]]) -> bytes:
    """The whole bundle. Every piece of code ends its line, so a piece's lines are its newlines."""
    joined = _Joined(base)
    joined.add(_PROLOGUE, _GLUE, (_GLUE_SOURCE,), _GLUE_CONTENT, ())
    for part, loaded in parts:
        types = json.dumps(sorted({*part.workflow_types} - {"default"}), ensure_ascii=False)
        joined.plain(f"globalThis.__timewright__.add({types},\n".encode())
        sources = [f"{part.workflow_id}/{source}" for source in loaded.sources]
        joined.add(loaded.code, loaded.mappings, sources, loaded.contents, loaded.names)
        joined.plain(f", {json.dumps(part.versioning)});\n".encode() if part.versioning else b");\n")
    joined.plain(_EPILOGUE)
    return joined.finish()


class _Joined:
    """The bundle as it grows: code, and mappings that always stand at the start of the next line."""

    def __init__(self, base: Base) -> None:
        code = base.code if base.code.endswith(b"\n") else base.code + b"\n"
        self.code = [code]
        self.mappings = [base.mappings, ";" * (code.count(b"\n") - base.mapped)]
        self.sources, self.names = list(base.sources), list(base.names)
        self.contents = ["null"] * len(base.sources)
        self.state = base.end

    def plain(self, code: bytes) -> None:
        """Code that nobody needs to find: no mappings."""
        self.code.append(code)
        self.mappings.append(";" * code.count(b"\n"))

    def add(
        self,
        code: bytes,
        mappings: Rebasable,
        sources: Sequence[str],
        contents: str,
        names: Sequence[str],
    ) -> None:
        text, self.state = mappings.after(self.state, len(self.sources), len(self.names))
        self.code.append(code)
        self.mappings += [text, ";" * (code.count(b"\n") - text.count(";"))]
        self.sources += sources
        self.contents += [contents] if sources else []
        self.names += names

    def finish(self) -> bytes:
        head = {"version": 3, "file": "workflows.js", "sources": self.sources, "names": self.names}
        text = (
            json.dumps(head, ensure_ascii=False)[:-1]
            + f',"sourcesContent":[{",".join(self.contents)}],"mappings":"{"".join(self.mappings)}"}}'
        )
        mark = b"//# sourceMappingURL=data:application/json;charset=utf-8;base64,"
        return b"".join((*self.code, mark, base64.b64encode(text.encode("utf-8", "surrogatepass")), b"\n"))
