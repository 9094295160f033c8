"""The sources of a host, folders and repositories, as one tree; that of a named one lies below its name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from timewright import log
from timewright.config import Followed, Source
from timewright.core.commits import Commit
from timewright.core.digest import canonical, sha256
from timewright.core.document import Limits
from timewright.core.errors import Problem
from timewright.core.gitwords import Fault
from timewright.core.worlds import Part
from timewright.edge import source
from timewright.edge.git import GitError
from timewright.edge.source import Seen, UnreadableError
from timewright.edge.worktree import WorkTree
from timewright.following import Follower

if TYPE_CHECKING:
    from timewright.world import World


@dataclass(frozen=True)
class Scanned:
    """All sources, as they were at one time. `files`: by path, that of a named source begins with its name;
    a file of a source that could not be read is missing, and its part not complete."""

    parts: tuple[Part, ...]
    files: tuple[Seen, ...]
    revisions: Mapping[str, str] = field(default_factory=dict)  # path → commit, of repositories' files

    @property
    def complete(self) -> bool:
        return all(part.complete for part in self.parts)

    @property
    def problem(self) -> str:
        """The first source that can't be read, and why."""
        bad = [part for part in self.parts if not part.complete]
        return next((f"{part.name}: {part.problem}" if part.name else part.problem for part in bad), "")

    @property
    def revision(self) -> str:
        if len(self.parts) == 1:
            return self.parts[0].revision
        return sha256(canonical([(part.name, part.revision) for part in self.parts]))[:12]


class _Revised(NamedTuple):
    """A folder's revision, and what it was made of: of each file its path and digest as canonical text."""

    files: tuple[Seen, ...] = ()
    lines: Sequence[bytes] = ()
    revision: str = ""


class Sources:
    """All that is followed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.followed = world.config.followed
        git = [one for one in self.followed if one.settings.git]
        self.followers = {one.title: Follower(world, one) for one in git}
        self._revised: dict[str, _Revised] = {}
        self._trees = {
            one.title: WorkTree(world.config.path(one.settings.path))
            for one in self.followed
            if one not in git
        }

    def start(self) -> None:
        """Take up what was adopted before."""
        for follower in self.followers.values():
            follower.start()

    async def close(self) -> None:
        for follower in self.followers.values():
            await follower.blobs.close()

    # what a pass reads

    async def scan(self, known: Mapping[str, Seen], limits: Limits) -> Scanned:
        """All files of all sources; contents are read only where they may have changed. Never raises."""
        parts, found = [], []
        for one in self.followed:
            part, files = await self._scan_one(one, known, limits)
            parts.append(part)
            found.append(files)
        files = found[0] if len(found) == 1 else tuple(seen for files in found for seen in files)
        return Scanned(tuple(parts), files, self._revisions())

    async def _scan_one(
        self, one: Followed, known: Mapping[str, Seen], limits: Limits
    ) -> tuple[Part, tuple[Seen, ...]]:
        if one.settings.git:
            return self._listed(one, known)
        root = self.world.config.path(one.settings.path)
        own = {seen.path: seen for seen in _bared(known, one.prefix)} if one.prefix else known
        scan = await asyncio.to_thread(source.scan, root, own, limits=limits, now_ns=time.time_ns())
        part = Part(one.name, scan.complete, scan.problem, self._revise(one, scan.files))
        return part, tuple(_prefixed(one.prefix, scan.files, known))

    async def look(
        self, known: Mapping[str, Seen], last: Scanned, limits: Limits
    ) -> tuple[dict[str, Seen], Scanned] | None:
        """These files of folders as they are now, by path, and the last scan with them; None where one can't
        be read just now."""
        found: dict[str, Seen] = {}
        parts = list(last.parts)
        for index, one in enumerate(self.followed):
            own = {path: seen for path, seen in known.items() if self.find(path)[0] == one}
            before = self._revised.get(one.name)
            if not own:
                continue
            if one.settings.git or before is None or not last.parts[index].complete:
                return None
            bare = {item.path: item for item in _bared(own, one.prefix)}
            root, now = self.world.config.path(one.settings.path), time.time_ns()
            seen = await asyncio.to_thread(source.scan_named, root, bare, limits=limits, now_ns=now)
            by_path = {item.path: item for item in seen if item.digest is not None}
            if by_path.keys() != bare.keys():
                return None
            revision = self._revise(one, tuple(by_path.get(item.path, item) for item in before.files))
            parts[index] = replace(parts[index], revision=revision)
            found |= {item.path: item for item in _prefixed(one.prefix, seen, known)}
        if found.keys() != known.keys():
            return None
        files = tuple(found.get(item.path, item) for item in last.files)
        return found, replace(last, parts=tuple(parts), files=files)

    def _revise(self, one: Followed, files: tuple[Seen, ...]) -> str:
        """A folder's revision: which files it holds, and what is in them."""
        before = self._revised.get(one.name, _Revised())
        if before.files != files or not before.revision:
            lines = _lines(before, files)
            before = self._revised[one.name] = _Revised(files, lines, sha256(b"[%s]" % b",".join(lines))[:12])
        return before.revision

    def _listed(self, one: Followed, known: Mapping[str, Seen]) -> tuple[Part, tuple[Seen, ...]]:
        follower = self.followers[one.title]
        problem = follower.problem_of_read()
        if follower.adopted is None or problem:
            return Part(one.name, False, problem), ()
        files = tuple(_prefixed(one.prefix, follower.adopted.seen, known))
        return Part(one.name, True, "", follower.adopted.commit.sha), files

    async def read(self, path: str, limits: Limits) -> bytes:
        """One file's content, as it is now. Raises UnreadableError; `busy` in it when it may well be readable
        in a moment."""
        one, rest = self.find(path)
        if one is None:
            raise UnreadableError(Problem(path, "belongs to a source that is no longer followed"))
        follower = self.followers.get(one.title)
        if follower is None:
            root = self.world.config.path(one.settings.path)
            return (await asyncio.to_thread(source.read_file, root, rest, limits)).data
        listed = follower.adopted.files.get(rest) if follower.adopted is not None else None
        if listed is None or listed.digest is None:
            raise UnreadableError(Problem(path, "is not in the commit that is followed"), busy=True)
        try:
            data = await follower.blobs.read(listed.oid)
        except (GitError, OSError) as error:
            if isinstance(error, GitError) and error.fault is Fault.CORRUPT:
                follower.damaged()
            raise UnreadableError(
                Problem(path, f"can't be read from the clone: {error}"), busy=True
            ) from error
        if sha256(data) != listed.digest:
            follower.damaged()
            raise UnreadableError(Problem(path, "is damaged in our clone"), busy=True)
        return data

    # who is who

    def find(self, path: str) -> tuple[Followed | None, str]:
        """The source that a path belongs to, and the path in it."""
        if len(self.followed) == 1 and not self.followed[0].name:
            return self.followed[0], path
        name, _, rest = path.partition("/")
        return next((one for one in self.followed if one.name == name), None), rest

    def owner(self, path: str) -> str:
        """Whose the specs of a source are that name no owner."""
        one, _ = self.find(path)
        return one.settings.owner if one is not None else ""

    def home(self, path: str) -> Path | None:
        """Where a file of a folder lies, None for one of a repository."""
        one, rest = self.find(path)
        if one is None or one.settings.git:
            return None
        return self.world.config.path(one.settings.path) / rest

    def adopted(self, path: str) -> str | None:
        """The digest of a repository's file in the commit that is followed."""
        one, rest = self.find(path)
        follower = self.followers.get(one.title) if one is not None else None
        listed = follower.adopted.files.get(rest) if follower is not None and follower.adopted else None
        return listed.digest if listed is not None else None

    def folder(self) -> Followed | None:
        """The source that new specs of the API are written into; None where all are repositories."""
        return next((one for one in self.followed if not one.settings.git), None)

    def _revisions(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for follower in self.followers.values():
            adopted, prefix = follower.adopted, follower.followed.prefix
            if adopted is not None and not prefix:
                return adopted.origins
            if adopted is not None:
                found |= {prefix + path: sha for path, sha in adopted.origins.items()}
        return found

    async def commits(self, read: Mapping[str, bytes]) -> Mapping[str, str]:
        """Path → revision of files that were read from folders, where a folder is a work tree; the commits
        are kept in the state file. `read`: what was found in the files."""
        found: dict[str, Commit] = {}
        for one in self.followed:
            tree = self._trees.get(one.title)
            own = {
                path.removeprefix(one.prefix): data
                for path, data in read.items()
                if self.find(path)[0] == one
            }
            if tree is not None and own:
                commits = await tree.commits(own)
                found |= {one.prefix + path: replace(c, source=one.title) for path, c in commits.items()}
        if found:
            self.world.state.add_commits(set(found.values()))
        return {path: commit.revision for path, commit in found.items()}

    # following

    async def update(self) -> None:
        """Fetch all repositories once, for who makes one pass and ends."""
        for follower in self.followers.values():
            if await follower.update():
                await follower.tidy()
            if follower.problem:
                log.get().warning(
                    "source", source=follower.name, because=follower.problem, hint=follower.hint
                )

    def wake_all(self, because: str) -> None:
        for follower in self.followers.values():
            follower.poke(because)

    def settings(self, name: str) -> Source | None:
        """The settings of a source, by the name that people know it by."""
        return next((one.settings for one in self.followed if one.title == name), None)

    def follows(self, name: str, ref: str) -> bool:
        """Whether a push to `ref` may be news of a source."""
        return name in self.followers and self.followers[name].follows(ref)

    def wake(self, name: str, because: str) -> None:
        """Have a source looked at soon."""
        if name in self.followers:
            self.followers[name].poke(because)


def _lines(before: _Revised, files: tuple[Seen, ...]) -> list[bytes]:
    """Of ten thousand files most are those of the last time."""
    known = dict(zip(map(id, before.files), before.lines, strict=True))
    return [known.get(id(seen)) or canonical((seen.path, seen.digest)) for seen in files]


def _bared(known: Mapping[str, Seen], prefix: str) -> Iterator[Seen]:
    """The files below a prefix, by what their paths are without it."""
    for path, seen in known.items():
        if not prefix:
            yield seen
        elif path.startswith(prefix):
            yield seen._replace(path=path.removeprefix(prefix))


def _prefixed(prefix: str, files: tuple[Seen, ...], known: Mapping[str, Seen]) -> Iterator[Seen]:
    """The files under their whole paths; what did not change is the very object that is known."""
    if not prefix:
        yield from files
        return
    for seen in files:
        whole = seen._replace(path=prefix + seen.path)
        old = known.get(whole.path)
        yield old if old == whole else whole
