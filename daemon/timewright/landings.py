"""Follows what becomes of each commit of a repository, until all that it changed is done: for CI, commit
statuses and the page. Kept with the adopted commit, so that it goes on after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from timewright import log
from timewright.config import Followed
from timewright.core.commits import Commit
from timewright.core.landing import Landing, Outcome, judge
from timewright.core.sourcestate import SourceState
from timewright.core.worlds import Desired
from timewright.edge.listing import Adopted
from timewright.following import Follower
from timewright.world import Change, World

if TYPE_CHECKING:
    from timewright.reconcile import Reconciler

Listener = Callable[[SourceState, Outcome, tuple[str, ...]], None]
_BURST_S = 0.25
_WAIT = Outcome(Landing.PENDING, "not looked at yet")


class Landings:
    """The commits of all repositories. `listeners` hear of each news: state, outcome, and the commits that it
    is of (those that came while an earlier one was still being applied share its fate)."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        self.world, self.reconciler = world, reconciler
        self.listeners: list[Listener] = []
        self._told: dict[str, tuple[str, Outcome]] = {}
        self._version = 0  # of what a verdict is made of
        self._cache: dict[str, tuple[tuple[str, int, int], Outcome]] = {}
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        world.listeners.append(self._on_change)

    def outcome(self, follower: Follower) -> Outcome | None:
        """What became of the commit that a source stands at; None when it stands at none."""
        adopted = follower.adopted
        if adopted is None:
            return None
        known = adopted.outcome
        if known is not None and known.state is Landing.SUCCESS:
            return known
        found = self._found(follower, adopted)
        # a failure stays one until a person has mended it: resumed, unpinned, deployed again
        return found if known is None or found.state is Landing.SUCCESS else known

    def _found(self, follower: Follower, adopted: Adopted) -> Outcome:
        desired = self.reconciler.desired
        prefix = follower.followed.prefix
        if desired is None or desired.part(prefix).revision != adopted.commit.sha:
            return _WAIT
        key = (adopted.commit.sha, id(desired), self._version)
        cached = self._cache.get(follower.name)
        if cached is None or cached[0] != key:
            found = self._judge(follower.followed, [prefix + path for path in adopted.changed])
            cached = self._cache[follower.name] = (key, found)
        return cached[1]

    def outcome_of_folder(self, one: Followed) -> Outcome:
        """How all of a folder stands to what it asks for."""
        desired = self.reconciler.desired
        if desired is None:
            return _WAIT
        return self._judge(
            one, [item.source for item in desired.items if desired.part(item.source).name == one.name]
        )

    def _judge(self, one: Followed, paths: Collection[str]) -> Outcome:
        desired = self.reconciler.desired
        return judge(
            paths,
            desired or Desired(False),
            self.world.records,
            {path: failure for path, (_, failure) in self.world.state.refused().items()},
            self.reconciler.busy(),
            prunes=one.prunes,
            tries=self.world.config.retry.tries,
        )

    async def run(self) -> None:
        """Look after each pass and each change, tell who listens, and close what is done. Never ends."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                self.look()
            except Exception as error:
                log.get().error("internal error", because="landings", exc_info=error)
            await asyncio.sleep(_BURST_S)  # a burst of changes is looked at once

    def look(self) -> None:
        """Look once."""
        for follower in self.world.sources.followers.values():
            adopted, outcome = follower.adopted, self.outcome(follower)
            if adopted is None or outcome is None:
                continue
            told = (adopted.commit.sha, outcome)
            if self._told.get(follower.name) != told:
                for listener in self.listeners:
                    listener(state_of(follower, outcome), outcome, adopted.landing)
                self._told[follower.name] = told  # only now: what a full disk ate is told again
                self._tell()
            if outcome.final and adopted.outcome != outcome and follower.adopted is adopted:
                self._say(follower, adopted.commit, outcome)
                follower.landed(outcome)

    def poke(self) -> None:
        """There may be news."""
        self._version += 1
        self._changed.set()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109
        """Until there is news of a source, or `timeout` seconds."""
        news = self._news
        try:
            await asyncio.wait_for(news.wait(), timeout)
        except TimeoutError:
            return

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _say(self, follower: Follower, commit: Commit, outcome: Outcome) -> None:
        say = log.get().info if outcome.state is Landing.SUCCESS else log.get().warning
        say(
            "commit",
            source=follower.name,
            commit=str(commit),
            state=outcome.state,
            because=outcome.description,
        )

    def _on_change(self, _: Change) -> None:
        self.poke()


def state_of(follower: Follower, outcome: Outcome | None) -> SourceState:
    """Where a followed repository stands."""
    adopted = follower.adopted
    return SourceState(
        name=follower.name,
        kind="git",
        location=follower.url,
        state=follower.state,
        ref=follower.settings.ref or follower.default.removeprefix("refs/heads/"),
        tag=adopted.tag if adopted else "",
        owner=follower.settings.owner,
        problem=follower.problem,
        hint=follower.hint,
        commit=adopted.commit if adopted else None,
        remote=follower.remote_sha,
        behind=follower.behind if follower.remote_sha else None,
        specs=len(adopted.files) if adopted else None,
        adopted=adopted.at if adopted else None,
        fetched=follower.fetched,
        next_fetch=follower.next_fetch,
        fetches=follower.fetches,
        outcome=outcome,
    )
