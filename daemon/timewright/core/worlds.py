"""The two worlds that a plan holds against each other, as values: what is asked for, and what is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timewright.core.digest import SHORT, Placement
from timewright.core.errors import Problem, Reason
from timewright.core.state import Record, Suspension


@dataclass(frozen=True, slots=True)
class Wanted:
    """One readable spec of the source. `content`: digest of the file; `digest`: of the release."""

    workflow_id: str
    source: str
    content: str
    digest: str
    placement: Placement
    name: str = ""
    workflow_types: tuple[str, ...] = ()
    activity_names: tuple[str, ...] = ()
    prune: bool | None = None
    keep_releases: int | None = None
    warnings: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()  # keys of deploy that policy files gave it
    asked: str = ""  # digest of the source's word alone: unlike `digest`, no upgrade of this host changes it
    owner: str = ""
    depends_on: tuple[str, ...] = ()
    suspend: bool = False
    auto_revert: bool | None = None
    revision: str = ""  # the commit that last changed it; '' where the source has no commits
    rollout: str = ""  # core/rollout.py's text of what the spec says of it


@dataclass(frozen=True)
class Broken:
    """One file of the source that is no spec we can deploy. `workflow_id` None: it can't be told."""

    source: str
    content: str
    reason: Reason
    problems: tuple[Problem, ...]
    workflow_id: str | None = None
    revision: str = ""


@dataclass(frozen=True)
class Part:
    """One of several sources, as it was read. `revision`: which state of it; a commit's hash for git."""

    name: str
    complete: bool = True
    problem: str = ""
    revision: str = ""


@dataclass(frozen=True)
class Desired:
    """What the source asks for. `complete` False: not all of it could be read, `problem` says why.

    `parts`: the sources, where there are several; the paths of each begin with its name.
    """

    complete: bool
    revision: str = ""
    problem: str = ""
    wanted: tuple[Wanted, ...] = ()
    broken: tuple[Broken, ...] = ()
    settling: frozenset[str] = frozenset()  # files still being written: neither there nor gone
    parts: tuple[Part, ...] = ()

    def part(self, path: str) -> Part:
        """The source that a path belongs to, and whether it could be read. One that is no longer followed
        says nothing of what came from it."""
        if not self.parts:
            return Part("", self.complete, self.problem, self.revision)
        name = path.partition("/")[0]
        gone = Part(name, False, f"the source {name!r} is no longer followed")
        return next((part for part in self.parts if part.name == name), gone)

    @property
    def items(self) -> tuple[Wanted | Broken, ...]:
        """Every file that says something."""
        return (*self.wanted, *self.broken)


@dataclass(frozen=True, slots=True)
class Live:
    """What the tree holds for one workflow: its current release, by the receipt."""

    workflow_id: str
    digest: str
    placement: Placement
    workflow_types: tuple[str, ...] = ()
    activity_names: tuple[str, ...] = ()
    pooled: bool = False  # its pool's current version serves exactly this release
    prune: bool | None = None  # the last readable spec's own word

    @property
    def release(self) -> str:
        return self.digest[:SHORT]


@dataclass(frozen=True)
class Executions:
    """A workflow's open executions. `mode`: wait, block or force. `count`: None where Temporal could not be
    asked. `safe`: they end on the Version that they are pinned to, whatever is undeployed."""

    mode: str
    count: int | None
    safe: bool


@dataclass(frozen=True)
class Observed:
    """The world as it is. `busy`: digest that work under way is for, by workflow ('' = undeploy).

    `bad`: (workflow id, digest) of releases that were reverted → why. `earlier`: the release to go back
    to, by workflow; '' for none, and only where the live one is condemned. `suspension`: of everything.
    `executions`: open ones of workflows that may be undeployed.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    live: Mapping[str, Live] = field(default_factory=dict)
    busy: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[tuple[str, str], str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    suspension: Suspension | None = None
    executions: Mapping[str, Executions] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """`prune`: undeploy what the source no longer has. `max_deletes`: the share of all workflows
    that one pass may undeploy (0.1 = 10 %; one is always allowed). `allow_empty`: an empty source
    may undeploy everything. `vanish`: seconds that a spec may be away before it counts as removed.
    `heal`: restore what was changed by hand in the tree. `sources`: by name, where there are several."""

    prune: bool = False
    max_deletes: float = 0.1
    allow_empty: bool = False
    vanish: float = 0.0
    heal: bool = False
    sources: Mapping[str, Policy] = field(default_factory=dict)

    def of(self, name: str) -> Policy:
        """The policy of one source."""
        return self.sources.get(name, self)
