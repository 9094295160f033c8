"""Desired state: the source folder as specs. Parsing is done once for each content of a file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from timewright import log
from timewright.core.digest import Placement, canonical, sha256
from timewright.core.document import UnreadableError
from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.prepare import Defaults, Prepared, prepare
from timewright.core.spec import peek_workflow_id
from timewright.core.worlds import Broken, Desired, Part, Wanted
from timewright.edge import source
from timewright.edge.failpoint import failpoint
from timewright.policies import Policies, PolicyReader, is_policy, refused
from timewright.sourcing import Scanned
from timewright.world import World

#: How often a file may take the daemon down before it is no longer looked at.
_MOST_CRASHES = 3
#: Raised when parsing changes what it finds, so that cached results are thrown away.
_PARSER = 3
#: As many files are taken in one by one; with more, it is quicker to go through all.
_FEW = 200


@dataclass(frozen=True)
class _Entry:
    """What the last scan saw of one file, and what its content means."""

    seen: source.Seen
    parsed: Wanted | Broken
    defaults: Defaults = ()


@dataclass(frozen=True)
class _Unknown:
    """A file to be parsed: its digest, and its defaults (None: `blocked_by`, a policy, can't be read)."""

    digest: str
    defaults: Defaults | None
    blocked_by: str = ""


@dataclass(frozen=True)
class _Read:
    """What a file means, None when it changed meanwhile; and all that was made of it, where it is a spec."""

    item: Wanted | Broken | None
    prepared: Prepared | None = None


class SourceReader:
    """Reads the source folder, again and again; asks the file system for names and stamps, and
    reads content only where those changed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._entries: dict[str, _Entry] | None = None
        self._policies = PolicyReader()
        self._last_policies = Policies()
        self._last: tuple[Scanned, Desired] | None = None
        self._unwritten: set[str] = set()  # what the cache on disk doesn't know yet
        self._young: dict[str, tuple[str, float]] = {}  # half-written files: path → (digest, first seen)

    async def read(self) -> Desired:
        """What the source asks for now. Never raises for what the source holds or lacks."""
        entries = self._load()
        known = {path: entry.seen for path, entry in entries.items()}
        scan = await self.world.sources.scan(known, self.world.host.limits)
        last = self._last
        if last is not None and (few := _differing(last[0], scan)) is not None and not last[1].settling:
            taken = await self._take(few, scan, entries, last[1])
            if taken is not None:
                self._write_down()
                return taken[1]
        desired = await self._desired(scan, entries)
        self._last = (scan, desired)
        return desired

    async def read_named(self, paths: Collection[str]) -> Mapping[str, Wanted] | None:
        """What these files ask for now, by path; all others are as they were at the last read. None where
        that takes a whole read: one of them is new, gone or being written, or is no readable spec."""
        entries, last = self._entries, self._last
        if entries is None or last is None or not all(map(entries.__contains__, paths)):
            return None
        known = {path: entries[path].seen for path in paths}
        found = await self.world.sources.look(known, last[0], self.world.host.limits)
        taken = await self._take(*found, entries, last[1]) if found is not None else None
        return taken[0] if taken is not None else None

    async def _take(
        self, seen: Mapping[str, source.Seen], scan: Scanned, entries: dict[str, _Entry], desired: Desired
    ) -> tuple[Mapping[str, Wanted], Desired] | None:
        """Take in that these files are as they were seen now, and all others as they were before: what these
        ask for, by path, and what all do. None where that takes more than to read them: one of them was or is
        no readable spec, or its defaults can't be told. `scan`: with them in it. `desired`: as last read."""
        specs = {
            path: entry
            for path in seen
            if (entry := entries.get(path)) is not None and isinstance(entry.parsed, Wanted)
        }
        given = {path: self._last_policies.defaults(path) for path in specs}
        if specs.keys() != seen.keys() or None in given.values():
            return None
        unknown = {
            path: _Unknown(digest, given[path])
            for path, one in seen.items()
            if (digest := one.digest) is not None and not _is_known(specs[path], one, given[path])
        }
        parsed = await self._parse_all(unknown)
        asked = {path: parsed.get(path, entry.parsed) for path, entry in specs.items()}
        named = {path: item for path, item in asked.items() if isinstance(item, Wanted)}
        if named.keys() != asked.keys():
            return None
        for path, item in named.items():
            revision = scan.revisions.get(path, item.revision)
            named[path] = item if revision == item.revision else replace(item, revision=revision)
            entries[path] = _Entry(seen[path], named[path], given[path] or ())
            self._unwritten.add(path)
        if any(item is not specs[path].parsed for path, item in named.items()):
            # Else the very same object: who planned on it knows that nothing has changed.
            wanted = tuple(named.get(item.source, item) for item in desired.wanted)
            desired = replace(desired, wanted=wanted, revision=scan.revision, parts=self._parts(scan))
        self._last = (scan, desired)
        return named, desired

    @property
    def desired(self) -> Desired | None:
        """What is asked for, as it was last read."""
        return self._last[1] if self._last is not None else None

    def _parts(self, scan: Scanned) -> tuple[Part, ...]:
        return scan.parts if self.world.config.sources else ()

    def defaults(self, path: str) -> Defaults | None:
        """What the policies, as last read, give to a spec at `path`; None while one can't be read."""
        return self._last_policies.defaults(path)

    async def _desired(self, scan: Scanned, entries: dict[str, _Entry]) -> Desired:
        settling: set[str] = set()
        fresh: dict[str, _Entry] = {}
        policies = await self._read_policies(scan, fresh, settling)
        self._last_policies = policies
        given = {seen.path: policies.defaults(seen.path) for seen in scan.files if not is_policy(seen.path)}
        unknown = {
            seen.path: _Unknown(seen.digest, given[seen.path], policies.blocking(seen.path) or "")
            for seen in scan.files
            if seen.path in given and seen.digest is not None and not seen.busy
            if not _is_known(entries.get(seen.path), seen, given[seen.path])
        }
        parsed_files = await self._parse_all(unknown)
        for seen in scan.files:
            entry = entries.get(seen.path)
            if seen.path not in given:
                continue
            if seen.busy:
                settling.add(seen.path)
            elif seen.digest is None:
                fresh[seen.path] = _Entry(seen, _broken_file(seen))
            elif entry is not None and seen.path not in unknown:
                same = entry.seen is seen  # then so is the entry: telling that costs nothing
                fresh[seen.path] = entry if same else _Entry(seen, entry.parsed, entry.defaults)
            else:
                parsed = parsed_files[seen.path]
                if parsed is None or self._is_settling(seen.path, seen.digest, parsed):
                    settling.add(seen.path)
                else:
                    fresh[seen.path] = _Entry(seen, parsed, given[seen.path] or ())
        fresh |= _with_revisions(fresh, scan.revisions)
        self._store(entries, fresh, scan.complete)
        if scan.complete:
            self._forget_refused(set(fresh) | settling)
        items = [entry.parsed for entry in fresh.values()]
        return Desired(
            complete=scan.complete,
            revision=scan.revision,
            problem=scan.problem,
            wanted=tuple(item for item in items if isinstance(item, Wanted)),
            broken=tuple(item for item in items if isinstance(item, Broken)),
            settling=frozenset(settling),
            parts=self._parts(scan),
        )

    async def _read_policies(self, scan: Scanned, fresh: dict[str, _Entry], settling: set[str]) -> Policies:
        """The policy files; one that is no policy is refused as a file, one being written settles."""
        seen = [one for one in scan.files if is_policy(one.path)]
        contents = await self._read_files(self._policies.unread(seen))
        policies = await asyncio.to_thread(self._policies.read, seen, contents)
        policies = replace(policies, owner=self.world.sources.owner)
        for one in seen:
            if one.path in policies.broken:
                broken = policies.broken[one.path]
                if one.digest is None and not one.busy:
                    fresh[one.path] = _Entry(one, _broken_file(one))
                elif broken is None or self._is_settling(one.path, broken.content, broken):
                    settling.add(one.path)
                else:
                    fresh[one.path] = _Entry(one, broken)
        return policies

    async def _read_files(self, paths: Iterable[str]) -> dict[str, bytes]:
        """What these files hold; one that can't be read now is missing."""
        found: dict[str, bytes] = {}
        for path in paths:
            with suppress(source.UnreadableError):
                found[path] = await self.world.sources.read(path, self.world.host.limits)
        return found

    # parsing

    async def _parse_all(self, unknown: Mapping[str, _Unknown]) -> dict[str, Wanted | Broken | None]:
        """What these files mean. Each is counted, on disk, before it is parsed: one
        that takes the whole process down is parsed alone the next time, and not at all after
        `_MOST_CRASHES`, so that it can't keep the daemon from starting."""
        if not unknown:
            return {}
        crashes: dict[str, int] = self.world.state.fact("parsing") or {}
        together = {path: one for path, one in unknown.items() if one.digest not in crashes}
        alone = {path: one for path, one in unknown.items() if one.digest in crashes}
        parsed = await self._parse_counted(together, crashes)
        for path, one in alone.items():
            if crashes[one.digest] >= _MOST_CRASHES:
                parsed[path] = _quarantined(path, one.digest, crashes[one.digest])
            else:
                parsed.update(await self._parse_counted({path: one}, crashes))
        return parsed

    async def _parse_counted(
        self, files: Mapping[str, _Unknown], crashes: dict[str, int]
    ) -> dict[str, Wanted | Broken | None]:
        if not files:
            return {}
        for one in files.values():
            crashes[one.digest] = crashes.get(one.digest, 0) + 1
        with self.world.state.jotting():
            self.world.state.set_fact("parsing", crashes)
        parsed: dict[str, Wanted | Broken | None] = {}
        in_folders: dict[str, bytes] = {}
        for path, one in files.items():
            self.world.pulse()
            data = (await self._read_files([path])).get(path)
            if data is not None and self.world.sources.home(path) is not None:
                in_folders[path] = data
            read = await asyncio.to_thread(self._parse_safely, path, one, data)
            parsed[path] = read.item
            if data is not None and read.prepared is not None:
                self._keep(data, one, read.prepared)
        commits = await self.world.sources.commits(in_folders)
        for path, revision in commits.items():
            item = parsed[path]
            parsed[path] = None if item is None else replace(item, revision=revision)
        for one in files.values():
            crashes.pop(one.digest, None)
        with self.world.state.jotting():
            self.world.state.set_fact("parsing", crashes)
        return parsed

    def _keep(self, data: bytes, unknown: _Unknown, prepared: Prepared) -> None:
        """For the build, where one is to come."""
        record = self.world.records.get(prepared.spec.workflow_id)
        if record is None or record.applied != prepared.digest:
            self.world.ready.keep(data, unknown.digest, unknown.defaults or (), prepared)

    def _parse_safely(self, path: str, unknown: _Unknown, data: bytes | None) -> _Read:
        """A bug that one spec brings out is that spec's problem, not everybody's."""
        failpoint(f"parse-{Path(path).stem}")
        try:
            return self._parse(path, unknown, data)
        except Exception as error:
            log.get().error("internal error", file=path, exc_info=error)
            problem = Problem(
                "(document)", f"timewright failed on it: {type(error).__name__}", "please report this"
            )
            return _Read(Broken(path, unknown.digest, Reason.INTERNAL_ERROR, (problem,)))

    def _parse(self, path: str, unknown: _Unknown, data: bytes | None) -> _Read:
        """What a file means; nothing when it changed meanwhile."""
        digest, defaults = unknown.digest, unknown.defaults
        host, is_yaml = self.world.host, path.endswith((".yaml", ".yml"))
        if data is None or sha256(data) != digest:
            return _Read(None)
        if defaults is None:
            workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=host.limits)
            return _Read(refused(path, digest, unknown.blocked_by, workflow_id))
        try:
            prepared = prepare(data, host, is_yaml=is_yaml, defaults=dict(defaults))
            return _Read(wanted_of(prepared, path, digest, defaults), prepared)
        except UnreadableError as error:
            return _Read(_Unreadable(path, digest, error.reason, error.problems))
        except DeployError as error:
            workflow_id = peek_workflow_id(data, is_yaml=is_yaml, limits=host.limits)
            problems = error.problems or (Problem("", error.message, error.hint),)
            return _Read(Broken(path, digest, error.reason, problems, workflow_id))

    def _is_settling(self, path: str, digest: str, parsed: Wanted | Broken) -> bool:
        """Text that is no document may be half of one: it gets a grace time, and quietly."""
        whole = self.world.sources.home(path) is None  # a commit is never half of one
        if not isinstance(parsed, _Unreadable) or whole:
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
        host = self.world.host
        parts = [_PARSER, host.identity(None), host.namespace, host.task_queue, host.typescripts, host.judge]
        more = [asdict(host.limits), asdict(host.provided), asdict(host.rules), dict(host.bases)]
        return sha256(canonical([*parts, *more]))[:16]

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
        differ = [
            path
            for path, entry in new.items()
            if entry.seen.digest is not None
            and (path in self._unwritten or (old.get(path) is not entry and old.get(path) != entry))
        ]
        gone = old.keys() - new.keys() if complete else set()
        if differ or gone:
            self._write(new, differ, gone)
        self._unwritten -= new.keys()
        self._entries = new if complete else {**old, **new}

    def _write_down(self) -> None:
        """What was taken in since all was read."""
        entries = self._entries or {}
        if self._unwritten:
            self._write(entries, [path for path in self._unwritten if path in entries], ())
            self._unwritten.clear()

    def _write(self, entries: Mapping[str, _Entry], paths: Iterable[str], gone: Iterable[str]) -> None:
        generation = self._generation()
        changed = {path: _to_row(entries[path], generation) for path in paths}
        self.world.state.update_file_cache(changed, gone)

    def _forget_refused(self, present: set[str]) -> None:
        broken = {path for path, entry in (self._entries or {}).items() if isinstance(entry.parsed, Broken)}
        for path in self.world.state.refused():
            if path not in present or path not in broken:
                self.world.state.unrefuse(path)


def _differing(last: Scanned, scan: Scanned) -> Mapping[str, source.Seen] | None:
    """The files that are not as they were, by path; None where more than what some specs say has changed."""
    if not (last.complete and scan.complete) or len(last.files) != len(scan.files):
        return None
    pairs = [
        (old, new) for old, new in zip(last.files, scan.files, strict=True) if old is not new and old != new
    ]
    moved = _moved(last.revisions, scan.revisions)
    if moved is None or len(pairs) + len(moved) > _FEW:
        return None
    for old, new in pairs:
        if old.path != new.path or new.digest is None or new.busy or is_policy(new.path):
            return None
    found = {new.path: new for _, new in pairs}
    missing = moved - found.keys()
    if missing:
        found |= {seen.path: seen for seen in scan.files if seen.path in missing}
    return found


def _moved(old: Mapping[str, str], new: Mapping[str, str]) -> set[str] | None:
    """The files whose commit is another one; None where they are not the same files."""
    if old is new:
        return set()
    return {path for path in new if old[path] != new[path]} if old.keys() == new.keys() else None


def wanted_of(prepared: Prepared, path: str, content: str, defaults: Defaults = ()) -> Wanted:
    """A prepared spec as the plan looks at it."""
    spec = prepared.spec
    return Wanted(
        workflow_id=spec.workflow_id,
        source=path,
        content=content,
        digest=prepared.digest,
        placement=prepared.placement,
        name=spec.name,
        workflow_types=spec.workflow_types,
        activity_names=spec.activity_names,
        prune=spec.deploy.prune,
        keep_releases=spec.deploy.keep_releases,
        warnings=prepared.warnings,
        defaults=defaults,
        asked=prepared.asked,
        owner=spec.deploy.owner or "",
        depends_on=spec.deploy.depends_on,
        suspend=spec.deploy.suspend,
        auto_revert=spec.deploy.auto_revert,
        rollout=spec.deploy.rollout.to_text(),
    )


class _Unreadable(Broken):
    """Text that is no JSON or YAML (yet)."""


def _is_known(entry: _Entry | None, seen: source.Seen, defaults: Defaults | None) -> bool:
    """Whether the same content was read with the same defaults; with defaults that can't be told now,
    what was read before goes on."""
    if entry is None or entry.seen.digest != seen.digest:
        return False
    return defaults is None or entry.defaults == defaults


def _quarantined(path: str, digest: str, crashes: int) -> Broken:
    message = f"took timewright down {crashes} times and is no longer read"
    problem = Problem("(document)", message, "change the file, and please report this")
    return Broken(path, digest, Reason.QUARANTINED, (problem,))


def _broken_file(seen: source.Seen) -> Broken:
    problem = seen.problem or Problem("", "can't be read")
    return Broken(seen.path, sha256(str(problem).encode()), Reason.INVALID_SPEC, (problem,))


def _with_revisions(entries: Mapping[str, _Entry], revisions: Mapping[str, str]) -> dict[str, _Entry]:
    """The entries whose commit is another one than was known."""
    return {
        path: replace(entry, parsed=replace(entry.parsed, revision=revisions[path]))
        for path, entry in entries.items()
        if path in revisions and entry.parsed.revision != revisions[path]
    }


def _to_row(entry: _Entry, generation: str) -> dict[str, Any]:
    seen, kind = entry.seen, "wanted" if isinstance(entry.parsed, Wanted) else "broken"
    return {
        "generation": generation,
        "stamp": list(seen.stamp or ()),
        "digest": seen.digest,
        "read_at_ns": seen.read_at_ns,
        "defaults": list(entry.defaults),
        kind: asdict(entry.parsed),
    }


def _from_row(path: str, row: Mapping[str, Any]) -> _Entry:
    stamp = source.Stamp(*row["stamp"]) if row["stamp"] else None
    seen = source.Seen(path, stamp, row["digest"], None, row["read_at_ns"])
    defaults: Defaults = tuple((key, value) for key, value in row["defaults"])
    if "wanted" in row:
        values = dict(row["wanted"])
        values["placement"] = Placement(**values["placement"])
        for key in ("workflow_types", "activity_names", "warnings", "depends_on"):
            values[key] = tuple(values[key])
        values["defaults"] = defaults
        return _Entry(seen, Wanted(**values), defaults)
    values = dict(row["broken"])
    values["reason"] = Reason(values["reason"])
    values["problems"] = tuple(Problem(**problem) for problem in values["problems"])
    return _Entry(seen, Broken(**values), defaults)
