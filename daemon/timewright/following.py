"""Follows one git repository: fetch, check, adopt; beside the passes, which only ever see what was adopted.

A commit is adopted when it is here as a whole, descends from the one before, and is signed as the settings
ask. What can't be adopted changes nothing: the last good one goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from timewright import log
from timewright.config import Config, Followed, Source
from timewright.core.commits import SHORT_COMMIT, Commit
from timewright.core.digest import canonical, sha256
from timewright.core.gitrefs import Follow, goes_back, is_followed, is_path, location, newest, read_ref
from timewright.core.gitwords import Fault
from timewright.core.landing import Outcome
from timewright.edge import listing
from timewright.edge.failpoint import failpoint
from timewright.edge.git import Blobs, Git, GitError
from timewright.edge.gitremote import ADOPTED, FETCHED, Access, Remote, Signers
from timewright.edge.listing import Adopted, list_commit

if TYPE_CHECKING:
    from timewright.world import World

#: Seconds until the next try after a fetch that failed: first, most.
_RETRY: Final = (5.0, 300.0)
#: Seconds between fetches that somebody asks for: a flood of webhooks is one fetch a second.
_DEBOUNCE: Final = 1.0
#: Failed fetches in a row before it is an event: the network is away for a moment every day.
_TOLD_AFTER: Final = 3
#: Steps in which a shallow clone is deepened to find the commit that it stands at.
_DEEPEN: Final = (100, 1000)
_TIDY: Final = {"gc.auto": "2000", "gc.autoPackLimit": "40", "gc.autoDetach": "false"}

SYNCED, FETCHING, UNREACHABLE, REFUSED, NEVER = "Synced", "Fetching", "Unreachable", "Refused", "Never"


class _RefusedError(Exception):
    """The remote's commit is not to be followed; says why, and what to do."""

    def __init__(self, sha: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.sha, self.message, self.hint = sha, message, hint


@dataclass(frozen=True)
class _Target:
    """What the remote's ref is now. `tag`: its name, where it is one."""

    sha: str
    ref: str
    tag: str = ""


class Follower:
    """One repository. Only the event loop's thread touches it."""

    def __init__(self, world: World, followed: Followed) -> None:
        settings = followed.settings
        self.world, self.followed, self.settings = world, followed, settings
        self.root = world.config.data_path / "sources" / followed.title
        self.follow: Follow = read_ref(settings.ref)
        self.git = Git(self.root / "repo.git")
        self.blobs = Blobs(self.git)
        self._remote = remote_of(world.config, followed)
        self._signers = Signers(
            self.root, *(_file(world.config, name) for name in (settings.signers, settings.keyring))
        )
        self.adopted: Adopted | None = None
        self.state, self.problem, self.hint = NEVER, "", ""
        self.remote_sha = ""  # what the remote's ref is, as of the last fetch
        self.behind = 0  # commits that the remote has and we don't follow
        self.fetched: float | None = None  # when a fetch last succeeded, seconds since the epoch
        self.next_fetch: float | None = None
        self.failures = 0
        self.fetches = 0  # tries that have ended, well or badly
        self.read = 0  # contents read by the last adoption
        self.default = ""  # the remote's default branch, as a ref
        self._ref = ""  # which of the names in `follow` the remote has
        self._broken = False
        self._fetching = False
        self._rewind = ""  # what the next fetch may follow although it doesn't descend: a commit, or "*"
        self._told = ""  # the state that the history has
        self._lock = asyncio.Lock()
        self._poked = asyncio.Event()

    @property
    def name(self) -> str:
        return self.followed.title

    @property
    def url(self) -> str:
        """Where it is, as people are shown it."""
        return location(self._remote.access.url)

    # what a pass reads

    def start(self) -> None:
        """Take up what was adopted before. What can't be read is fetched again; the commit that it stands at
        is in the clone as well, so that no rewind passes."""
        path = self.root / "adopted.json"
        try:
            self.adopted = listing.load(path)
        except ValueError as error:
            log.get().warning(
                "source", source=self.name, because=f"{path} is damaged ({error}); fetched anew"
            )
        if self.adopted is not None and self.adopted.anchor != self._anchor():
            log.get().info("source", source=self.name, because="it follows another repository or ref now")
        if self.adopted is not None:
            self.state = self._told = SYNCED

    def problem_of_read(self) -> str:
        """Why nothing can be said of this source; '' when it can."""
        if self.adopted is None:
            return self.problem or f"{self.url} was not fetched yet"
        if self.adopted.anchor != self._anchor() or self.adopted.shape != self._shape():
            return self.problem or "its settings have changed; it is not fetched yet"
        return ""

    def poke(self, because: str) -> None:
        """Fetch soon."""
        log.get().info("source", source=self.name, because=f"fetching: {because}")
        self._poked.set()

    def damaged(self) -> None:
        """Something of the clone can't be read: it is made anew with the next fetch, which is soon."""
        if not self._broken:
            self._broken = True
            self.poke("its clone is damaged")

    def follows(self, ref: str) -> bool:
        """Whether a push to `ref` may be news."""
        return is_followed(self.follow, self.default, ref)

    # the loop

    async def run(self, wake: Callable[[], None]) -> None:
        """Fetch, again and again. Never ends by itself."""
        while True:
            self._poked.clear()
            if await self.update():
                wake()
                await self.tidy()
            pause = self._pause()
            self.next_fetch = self.world.clock() + pause
            await asyncio.sleep(min(pause, _DEBOUNCE))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), max(0.0, pause - _DEBOUNCE))

    def _pause(self) -> float:
        interval = self.settings.interval_s
        if self.failures:
            first, most = _RETRY
            interval = min(min(first, interval) * 2 ** (self.failures - 1), max(most, interval))
        return interval * random.uniform(0.9, 1.1)  # noqa: S311 - jitter: hosts don't all ask at once

    def ask(self, because: str, *, allow_rewind: bool = False, revision: str = "") -> int:
        """Somebody wants it fetched now. `allow_rewind`: follow what the next fetch finds (only `revision`,
        where it is given) even if it does not descend from what is followed. Returns how high `fetches`
        will be when that is done."""
        if allow_rewind:
            self._rewind = revision or "*"
        self.poke(because)
        return self.fetches + (2 if self._fetching else 1)

    async def contains(self, revision: str) -> bool:
        """Whether the commit that it stands at is `revision`, or has it in its history."""
        if self.adopted is None:
            return False
        try:
            sha = await self.git.resolve(revision)
            return sha is not None and await self.git.is_ancestor(sha, self.adopted.commit.sha)
        except GitError:
            return False

    async def update(self) -> bool:
        """Fetch once, and adopt what is there if it may be. Never raises; `state` and `problem` tell. Returns
        whether there is something new for a pass."""
        async with self._lock:
            allow_rewind, self._rewind = self._rewind, ""
            if self.state == NEVER:
                self.state = FETCHING  # later, what the last fetch came to is what people want to know
            self._fetching = True
            try:
                try:
                    return await self._update(allow_rewind)
                except GitError as error:
                    if error.fault is not Fault.CORRUPT:
                        raise
                    await self._rebuild(error)
                    return await self._update(allow_rewind)
            except _RefusedError as refusal:
                await self._refused(refusal)
            except (GitError, OSError) as error:
                self._failed(error)
            finally:
                self._fetching = False
                self.fetches += 1
            return False

    async def _update(self, allow_rewind: str) -> bool:
        if self._broken:
            await self._rebuild(GitError(Fault.CORRUPT, "our clone is damaged"))
        target = await self._fetch()
        self.fetched, self.failures, self.remote_sha = self.world.clock(), 0, target.sha
        adopted = self.adopted
        broken, self._broken = self._broken, False
        if adopted is not None and adopted.commit.sha == target.sha and not self.problem_of_read():
            if broken and self.settings.sparse:
                await self._bring_again(adopted)
            self._synced(f"{self.url} is at {target.sha[:SHORT_COMMIT]}")
            return broken
        await self._check(target, allow_rewind)
        await self._adopt(target)
        return True

    async def _bring_again(self, adopted: Adopted) -> None:
        """A sparse clone that was made anew has no contents yet."""
        lacking = await self.git.missing(one.oid for one in adopted.files.values() if one.oid)
        if lacking:
            await self._remote.fetch_blobs(lacking)

    # fetching

    async def _fetch(self) -> _Target:
        follow = self.follow
        if follow.commit:
            return await self._fetch_commit(follow.commit)
        if follow.versions:
            return await self._fetch_newest(follow.versions)
        ref = self._ref or await self._find_ref()
        try:
            await self._remote.fetch(f"+{ref}:{FETCHED}", depth=self.settings.depth)
        except GitError as error:
            if error.fault is not Fault.NO_REF or not self._ref:
                raise
            self._ref = ""
            ref = await self._find_ref()  # the branch became a tag, or the default branch has another name
            await self._remote.fetch(f"+{ref}:{FETCHED}", depth=self.settings.depth)
        self._ref = ref
        tag = ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else ""
        return _Target(await self._fetched(), ref, tag)

    async def _fetch_commit(self, sha: str) -> _Target:
        if not await self._has(sha):
            try:
                await self._remote.fetch(f"+{sha}:{FETCHED}", depth=self.settings.depth)
            except GitError as error:
                if error.fault is not Fault.NO_REF:
                    raise  # an older server hands out no commit by its hash: look at all of its branches
                await self._remote.fetch(
                    "+refs/heads/*:refs/timewright/heads/*", "+refs/tags/*:refs/timewright/tags/*"
                )
                if not await self._has(sha):
                    raise
        return _Target(sha, sha)

    async def _fetch_newest(self, versions: str) -> _Target:
        self.default, refs = await self._remote.refs("refs/tags/*")
        names = [ref.removeprefix("refs/tags/") for ref in refs if not ref.endswith("^{}")]
        tag = newest(names, versions)
        if tag is None:
            raise GitError(
                Fault.NO_REF,
                f"no tag of the remote is a version in {versions}",
                hint="push a tag such as v1.2.3, or check source.ref",
            )
        await self._remote.fetch(f"+refs/tags/{tag}:{FETCHED}", depth=self.settings.depth)
        return _Target(await self._fetched(), f"refs/tags/{tag}", tag)

    async def _find_ref(self) -> str:
        """Which ref of the remote is meant. Raises GitError when there is none."""
        if self.follow.default:
            self.default, refs = await self._remote.refs("HEAD")
            if not refs:
                raise GitError(Fault.NO_REF, "the remote has no commit yet", hint="push one")
            return self.default or "HEAD"
        self.default, refs = await self._remote.refs("HEAD", *self.follow.names)
        for name in self.follow.names:
            if name in refs:
                return name
        what = self.settings.ref
        raise GitError(Fault.NO_REF, f"the remote has no branch or tag {what!r}", hint="check source.ref")

    async def _fetched(self) -> str:
        sha = await self.git.resolve(FETCHED)
        if sha is None:
            raise GitError(Fault.OTHER, "what was fetched is no commit", hint="check source.ref")
        return sha

    async def _has(self, sha: str) -> bool:
        return (self.git.git_dir / "HEAD").is_file() and await self.git.has(sha)

    # trust

    async def _check(self, target: _Target, allow_rewind: str) -> None:
        """Raises _RefusedError when a commit may not be followed."""
        old = await self._standing_at()
        allowed = allow_rewind == "*" or (bool(allow_rewind) and target.sha.startswith(allow_rewind))
        if old and not allowed:
            await self._check_forward(old, target)
        if self.settings.verify != "off":
            try:
                await self._check_signatures(old, target)
            except GitError as error:
                if error.fault is not Fault.REFUSED:
                    raise
                raise _RefusedError(target.sha, error.message, error.hint) from None

    async def _standing_at(self) -> str:
        """The commit that a new one has to descend from; '' for none: at first, and where a person has set
        another repository or ref."""
        if self.adopted is not None:
            return self.adopted.commit.sha if self.adopted.anchor == self._anchor() else ""
        if not (self.root / "adopted.json").exists():
            return ""
        return await self.git.resolve(ADOPTED) or ""  # the file is damaged: the clone has it as well

    async def _check_forward(self, old: str, target: _Target) -> None:
        before = self.adopted.tag if self.adopted is not None else ""
        hint = f"if it is meant: timewright reconcile {self.name} --allow-rewind"
        if self.follow.versions and before and before != target.tag:
            if goes_back(before, target.tag):
                raise _RefusedError(
                    target.sha, f"the newest version went back from {before} to {target.tag}", hint
                )
            return
        if not await self._descends(old, target):
            what = f"tag {target.tag}" if target.tag else f"branch {target.ref.removeprefix('refs/heads/')}"
            shorts = f"{old[:SHORT_COMMIT]} to {target.sha[:SHORT_COMMIT]}"
            raise _RefusedError(
                target.sha,
                f"{what} was rewound or force-pushed: from {shorts}, which does not descend from it",
                hint,
            )

    async def _descends(self, old: str, target: _Target) -> bool:
        for deepen in (0, *_DEEPEN, -1):
            if await self.git.has(old) and await self.git.is_ancestor(old, target.sha):
                return True
            if not (self.git.git_dir / "shallow").exists():
                return False
            refspec = f"+{target.ref}:{FETCHED}"
            if deepen > 0:
                await self._remote.fetch(refspec, deepen=deepen)
            elif deepen < 0:
                await self._remote.fetch(refspec)
        return await self.git.has(old) and await self.git.is_ancestor(old, target.sha)

    async def _check_signatures(self, old: str, target: _Target) -> None:
        hint = "sign it with a trusted key, or check source.signers and source.keyring"
        git_dir, mode = self.git.git_dir, self.settings.verify
        if mode == "tag":
            if not target.tag:
                raise _RefusedError(
                    target.sha, "source.verify is tag, but no tag is followed", "have source.ref name a tag"
                )
            why = await self._signers.check_tag(git_dir, FETCHED, target.tag)
            if why:
                raise _RefusedError(target.sha, f"tag {target.tag} can't be trusted: {why}", hint)
            return
        commits = [target.sha]
        if mode == "all-since-last" and old:
            commits = await self.git.between(old, target.sha) or commits
        for sha in commits:
            why = await self._signers.check_commit(git_dir, sha)
            if why:
                commit = await self.git.commit(sha)
                raise _RefusedError(target.sha, f"commit {commit} can't be trusted: {why}", hint)

    # adopting

    async def _adopt(self, target: _Target) -> None:
        world, old = self.world, self.adopted
        known = {one.oid: one.digest for one in (old.files.values() if old else ()) if one.digest is not None}
        folder, limits = self.settings.subdir, world.host.limits
        bring = self._remote.fetch_blobs if self.settings.sparse else None
        found, self.read = await list_commit(self.git, self.blobs, target.sha, folder, limits, known, bring)
        before = old.files if old is not None else {}
        fresh = {path for path, one in found.items() if before.get(path) != one}
        gone = before.keys() - found.keys()
        commit = replace(await self.git.commit(target.sha), source=self.name)
        origins, commits = await self._origins(target, commit, fresh, found)
        under_way = old if old is not None and old.outcome is None else None
        landing = (*(under_way.landing if under_way else ()), target.sha)[-20:]
        pending = set(under_way.changed) if under_way else set()
        adopted = Adopted(
            anchor=self._anchor(),
            shape=self._shape(),
            commit=commit,
            at=world.clock(),
            tag=target.tag,
            previous=old.commit.sha if old is not None else "",
            files=found,
            origins=origins,
            commits=commits,
            changed=tuple(sorted(fresh | gone | pending)),
            landing=landing,
        )
        failpoint("before-adopt")
        world.state.add_commits(commits.values())
        failpoint("mid-adopt")
        listing.store(self.root / "adopted.json", adopted)
        failpoint("after-adopt")
        self.adopted = adopted
        await self._remote.keep(ADOPTED, target.sha)
        self._tell_adopted(adopted, len(fresh), len(gone))

    async def _origins(
        self, target: _Target, commit: Commit, fresh: set[str], found: dict[str, listing.Listed]
    ) -> tuple[dict[str, str], dict[str, Commit]]:
        """Which commit last changed each file, and those commits: of what is fresh by the log, of the rest as
        before."""
        old = self.adopted
        since = old.commit.sha if old is not None and await self.git.has(old.commit.sha) else ""
        changed = await self.git.origins(target.sha, self.settings.subdir, fresh, since)
        kept = {path: sha for path, sha in (old.origins if old else {}).items() if path in found}
        origins = kept | dict.fromkeys(fresh, commit.sha) | {path: one.sha for path, one in changed.items()}
        known = dict(old.commits) if old is not None else {}
        known |= {one.sha: replace(one, source=self.name) for one in changed.values()}
        known[commit.sha] = commit
        used = {commit.sha, *origins.values()}
        return origins, {sha: one for sha, one in known.items() if sha in used}

    async def tidy(self) -> None:
        """Pack the clone anew when git thinks it worth it. It may take a while: no pass waits for it."""
        async with self._lock:
            try:
                await self._remote.tidy(_TIDY)
            except (GitError, OSError) as error:
                log.get().warning("source", source=self.name, because=f"its clone can't be packed: {error}")

    async def _rebuild(self, error: GitError) -> None:
        log.get().warning("source", source=self.name, because=f"{error.message}; it is made anew")
        await self.blobs.close()
        await asyncio.to_thread(self._remote.rebuild)

    def landed(self, outcome: Outcome) -> None:
        """What the adopted commit changed is done, well or badly: the next one begins anew."""
        if self.adopted is not None and self.adopted.outcome != outcome:
            self.adopted = replace(self.adopted, outcome=outcome)
            listing.store(self.root / "adopted.json", self.adopted)

    # saying so

    def _synced(self, because: str) -> None:
        self.behind = 0
        self._say(SYNCED, because, "", told=self._told not in ("", SYNCED))

    def _tell_adopted(self, adopted: Adopted, fresh: int, gone: int) -> None:
        self.behind = 0
        what = f"{fresh} new or changed" + (f", {gone} gone" if gone else "")
        tag = f"{adopted.tag}, " if adopted.tag else ""
        self._say(SYNCED, f"{tag}{adopted.commit}: {what}", "", told=True)

    async def _refused(self, refusal: _RefusedError) -> None:
        at = self.adopted.commit.sha if self.adopted is not None else ""
        behind = 0
        if at:
            with suppress(GitError):
                behind = await self.git.count(at, refusal.sha)
        self.behind = behind
        stays = f"; {at[:SHORT_COMMIT]} goes on" if at else ""
        self._say(REFUSED, refusal.message + stays, refusal.hint, told=True)

    def _failed(self, error: GitError | OSError) -> None:
        self.failures += 1
        message = error.message if isinstance(error, GitError) else f"the disk says no: {error}"
        hint = error.hint if isinstance(error, GitError) else ""
        told = self.failures >= _TOLD_AFTER or self.adopted is None
        self._say(UNREACHABLE, f"{self.url}: {message}", hint, told=told)

    def _say(self, state: str, because: str, hint: str, *, told: bool) -> None:
        """Keep state and problem; into the history goes what is new and worth it."""
        bad = state != SYNCED
        news = (state, because if bad else "") != (self._told, self.problem if bad else "")
        self.state, self.problem, self.hint = state, because if bad else "", hint
        if not told or (bad and not news and self._told == state):
            return
        text = f"source {self.name}: {because}" + (f" ({hint})" if hint else "")
        commit = self.adopted.commit if self.adopted is not None and not bad else None
        revision = commit.sha if commit is not None else ""
        self.world.tell_source(self._told, state, text, revision, self.name)
        self._told = state

    def _anchor(self) -> str:
        """Of which repository and ref a commit was adopted: another one needs not descend from it."""
        return sha256(canonical([self.settings.git, self.settings.ref]))[:16]

    def _shape(self) -> str:
        """By which settings a commit was listed."""
        return sha256(canonical([1, self.settings.subdir, self.world.host.limits.bytes]))[:16]


def remote_of(config: Config, one: Followed) -> Remote:
    """A source's repository, and where our clone of it is or would be."""
    return Remote(_access(config, one.settings), config.data_path / "sources" / one.title / "repo.git")


def _access(config: Config, settings: Source) -> Access:
    url = str(config.path(settings.git)) if is_path(settings.git) else settings.git
    return Access(
        url=url,
        username=settings.username,
        token_file=_file(config, settings.token_file),
        ssh_key=_file(config, settings.ssh_key),
        known_hosts=_file(config, settings.known_hosts),
        timeout=settings.timeout_s,
        sparse=settings.sparse,
        most=settings.max_clone_mib * 1024**2,
    )


def _file(config: Config, name: str) -> Path | None:
    return config.path(name) if name else None
