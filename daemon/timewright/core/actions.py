"""The steps of a plan. Each carries `because`, the one explanation that all faces show."""

from __future__ import annotations

from dataclasses import dataclass

from timewright.core.errors import Problem, Reason
from timewright.core.worlds import Wanted


@dataclass(frozen=True)
class _OfSpec:
    """An action for one wanted spec."""

    wanted: Wanted
    because: str

    @property
    def workflow_id(self) -> str:
        return self.wanted.workflow_id


@dataclass(frozen=True)
class Deploy(_OfSpec):
    """Make `wanted` live. Idempotent: each step that is already done costs nothing."""


@dataclass(frozen=True)
class Settle(_OfSpec):
    """The source asks again for what is live: only the record is behind."""


@dataclass(frozen=True)
class Rollback:
    """Make an earlier release live, one that is in the tree. Its pin says so already."""

    workflow_id: str
    digest: str
    because: str


@dataclass(frozen=True)
class Revert:
    """The live release is not healthy: remember it as bad, pin the earlier one, and make that live."""

    workflow_id: str
    digest: str
    because: str


@dataclass(frozen=True)
class Undeploy:
    """Take everything of a workflow out of service."""

    workflow_id: str
    because: str


@dataclass(frozen=True)
class Refuse:
    """This can't be deployed; what runs stays. `workflow_id` None: a file without a readable id."""

    workflow_id: str | None
    source: str
    content: str
    reason: Reason
    problems: tuple[Problem, ...]
    because: str


@dataclass(frozen=True)
class Hold:
    """Something is not done on purpose; shown as OutOfSync with this reason. `wanted`: its spec, where one
    can be read."""

    workflow_id: str
    reason: Reason
    because: str
    wanted: Wanted | None = None


@dataclass(frozen=True)
class Clear:
    """Nothing is held back any more: only the record is behind."""

    workflow_id: str
    because: str


Action = Deploy | Rollback | Revert | Undeploy | Settle | Refuse | Hold | Clear
