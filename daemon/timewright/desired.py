"""Desired state: the source folder as specs. Parsing is done once for each content of a file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timewright import log
from timewright.apply import limits_of
from timewright.core.digest import Placement, canonical, options_of, place, release_digest, sha256
from timewright.core.document import UnreadableError
from timewright.core.errors import Problem, Reason, SpecError
from timewright.core.plan import Broken, Desired, Wanted
from timewright.core.spec import peek_workflow_id, read_spec
from timewright.edge import source
from timewright.edge.failpoint import failpoint
from timewright.world import World

#: How often a file may take the daemon down before it is no longer looked at.
_MOST_CRASHES = 3
#: Raised when parsing changes what it finds, so that cached results are thrown away.
_PARSER = 1


@dataclass(frozen=True)
class _Entry:
    """What the last scan saw of one file, and what its content means."""

    seen: source.Seen
    parsed: Wanted | Broken


class SourceReader:
    """Reads the source folder, again and again; asks the file system for names and stamps, and
    reads content only where those changed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._entries: dict[str, _Entry] | None = None
        self._young: dict[str, tuple[str, float]] = {}  # half-written files: path → (digest, first seen)

    async def read(self) -> Desired:
        """What the source asks for now. Never raises for what the source holds or lacks."""
        entries = self._load()
        root = self.world.config.source_path
        known = {path: entry.seen for path, entry in entries.items()}
        limits = limits_of(self.world)
        scan = await asyncio.to_thread(source.scan, root, known, limits=limits, now_ns=time.time_ns())
        return await self._desired(root, scan, entries)

    async def _desired(self, root: Path, scan: source.Scan, entries: dict[str, _Entry]) -> Desired:
        settling: set[str] = set()
        fresh: dict[str, _Entry] = {}
        unknown = {
            seen.path: seen.digest
            for seen in scan.files
            if seen.digest is not None and not seen.busy and not _is_known(entries.get(seen.path), seen)
        }
        parsed_files = await self._parse_all(root, unknown)
        for seen in scan.files:
            entry = entries.get(seen.path)
            if seen.busy:
                settling.add(seen.path)
            elif seen.digest is None:
                fresh[seen.path] = _Entry(seen, _broken_file(seen))
            elif entry is not None and _is_known(entry, seen):
                fresh[seen.path] = _Entry(seen, entry.parsed)
            else:
                parsed = parsed_files[seen.path]
                if parsed is None or self._is_settling(seen.path, seen.digest, parsed):
                    settling.add(seen.path)
                else:
                    fresh[seen.path] = _Entry(seen, parsed)
        self._store(entries, fresh, scan.complete)
        if scan.complete:
            self._forget_refused(set(fresh) | settling)
        items = [entry.parsed for entry in fresh.values()]
        return Desired(
            complete=scan.complete,
            revision=_revision(scan),
            problem=scan.problem,
            wanted=tuple(item for item in items if isinstance(item, Wanted)),
            broken=tuple(item for item in items if isinstance(item, Broken)),
            settling=frozenset(settling),
        )

    # parsing

    async def _parse_all(self, root: Path, unknown: Mapping[str, str]) -> dict[str, Wanted | Broken | None]:
        """What these files (path → digest) mean. Each is counted, on disk, before it is parsed: one
        that takes the whole process down is parsed alone the next time, and not at all after
        `_MOST_CRASHES`, so that it can't keep the daemon from starting."""
        if not unknown:
            return {}
        crashes: dict[str, int] = self.world.state.fact("parsing") or {}
        together = {path: digest for path, digest in unknown.items() if digest not in crashes}
        alone = {path: digest for path, digest in unknown.items() if digest in crashes}
        parsed = await self._parse_counted(root, together, crashes)
        for path, digest in alone.items():
            if crashes[digest] >= _MOST_CRASHES:
                parsed[path] = _quarantined(path, digest, crashes[digest])
            else:
                parsed.update(await self._parse_counted(root, {path: digest}, crashes))
        return parsed

    async def _parse_counted(
        self, root: Path, files: Mapping[str, str], crashes: dict[str, int]
    ) -> dict[str, Wanted | Broken | None]:
        if not files:
            return {}
        for digest in files.values():
            crashes[digest] = crashes.get(digest, 0) + 1
        self.world.state.set_fact("parsing", crashes)
        parsed = {
            path: await asyncio.to_thread(self._parse_safely, root, path, digest)
            for path, digest in files.items()
        }
        for digest in files.values():
            crashes.pop(digest, None)
        self.world.state.set_fact("parsing", crashes)
        return parsed

    def _parse_safely(self, root: Path, path: str, digest: str) -> Wanted | Broken | None:
        """A bug that one spec brings out is that spec's problem, not everybody's."""
        failpoint(f"parse-{Path(path).stem}")
        try:
            return self._parse(root, path, digest)
        except Exception as error:
            log.get().error("internal error", file=path, exc_info=error)
            problem = Problem(
                "(document)", f"timewright failed on it: {type(error).__name__}", "please report this"
            )
            return Broken(path, digest, Reason.INTERNAL_ERROR, (problem,))

    def _parse(self, root: Path, path: str, digest: str) -> Wanted | Broken | None:
        """What a file means; None when it changed meanwhile."""
        is_yaml, limits = path.endswith((".yaml", ".yml")), limits_of(self.world)
        try:
            data = source.read_file(root, path, limits_of(self.world)).data
        except source.UnreadableError:
            return None
        if sha256(data) != digest:
            return None
        try:
            spec = read_spec(data, is_yaml=is_yaml, limits=limits)
        except UnreadableError as error:
            return _Unreadable(path, digest, error.reason, error.problems)
        except SpecError as error:
            workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=limits)
            return Broken(path, digest, error.reason, error.problems, workflow_id)
        defaults = self.world.config.temporal
        placement = place(spec, namespace=defaults.namespace, task_queue=defaults.task_queue)
        return Wanted(
            workflow_id=spec.workflow_id,
            source=path,
            content=digest,
            digest=release_digest(spec, placement, self.world.compiler.identity),
            placement=placement,
            name=spec.name,
            workflow_types=spec.workflow_types,
            activity_names=spec.activity_names,
            prune=spec.deploy.prune,
            keep_releases=spec.deploy.keep_releases,
            warnings=(*spec.warnings, *options_of(spec).ignored),
        )

    def _is_settling(self, path: str, digest: str, parsed: Wanted | Broken) -> bool:
        """Text that is no document may be half of one: it gets a grace time, and quietly."""
        if not isinstance(parsed, _Unreadable):
            self._young.pop(path, None)
            return False
        known, since = self._young.get(path, ("", 0.0))
        now = time.monotonic()
        if known != digest:
            self._young[path] = (digest, now)
            return True
        return now - since < self.world.config.source.settle_s

    # the cache

    def _generation(self) -> str:
        """Everything besides a file's content that its parsed form depends on."""
        defaults = self.world.config.temporal
        parts = [_PARSER, self.world.compiler.identity, defaults.namespace, defaults.task_queue]
        return sha256(canonical([*parts, asdict(limits_of(self.world))]))[:16]

    def _load(self) -> dict[str, _Entry]:
        if self._entries is None:
            generation = self._generation()
            stored = self.world.state.file_cache()
            self._entries = {
                path: _from_row(path, row)
                for path, row in stored.items()
                if row.get("generation") == generation
            }
        return self._entries

    def _store(self, old: dict[str, _Entry], new: dict[str, _Entry], complete: bool) -> None:
        generation = self._generation()
        changed = {
            path: _to_row(entry, generation)
            for path, entry in new.items()
            if old.get(path) != entry and entry.seen.digest is not None
        }
        gone = old.keys() - new.keys() if complete else set()
        if changed or gone:
            self.world.state.update_file_cache(changed, gone)
        self._entries = new if complete else {**old, **new}

    def _forget_refused(self, present: set[str]) -> None:
        broken = {path for path, entry in (self._entries or {}).items() if isinstance(entry.parsed, Broken)}
        for path in self.world.state.refused():
            if path not in present or path not in broken:
                self.world.state.unrefuse(path)


class _Unreadable(Broken):
    """Text that is no JSON or YAML (yet)."""


def _is_known(entry: _Entry | None, seen: source.Seen) -> bool:
    return entry is not None and entry.seen.digest == seen.digest


def _quarantined(path: str, digest: str, crashes: int) -> Broken:
    message = f"took timewright down {crashes} times and is no longer read"
    problem = Problem("(document)", message, "change the file, and please report this")
    return Broken(path, digest, Reason.QUARANTINED, (problem,))


def _broken_file(seen: source.Seen) -> Broken:
    problem = seen.problem or Problem("", "can't be read")
    return Broken(seen.path, sha256(str(problem).encode()), Reason.INVALID_SPEC, (problem,))


def _revision(scan: source.Scan) -> str:
    """The revision of a folder: a digest of its names and contents."""
    return sha256(canonical([(seen.path, seen.digest) for seen in scan.files]))[:12]


def _to_row(entry: _Entry, generation: str) -> dict[str, Any]:
    seen, kind = entry.seen, "wanted" if isinstance(entry.parsed, Wanted) else "broken"
    return {
        "generation": generation,
        "stamp": list(seen.stamp or ()),
        "digest": seen.digest,
        "read_at_ns": seen.read_at_ns,
        kind: asdict(entry.parsed),
    }


def _from_row(path: str, row: Mapping[str, Any]) -> _Entry:
    stamp = source.Stamp(*row["stamp"]) if row["stamp"] else None
    seen = source.Seen(path, stamp, row["digest"], None, row["read_at_ns"])
    if "wanted" in row:
        values = dict(row["wanted"])
        values["placement"] = Placement(**values["placement"])
        for key in ("workflow_types", "activity_names", "warnings"):
            values[key] = tuple(values[key])
        return _Entry(seen, Wanted(**values))
    values = dict(row["broken"])
    values["reason"] = Reason(values["reason"])
    values["problems"] = tuple(Problem(**problem) for problem in values["problems"])
    return _Entry(seen, Broken(**values))
