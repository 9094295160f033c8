"""The words for where a workflow stands, and the one table of transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from timewright.core.errors import Problem, Reason


class Status(StrEnum):
    """The operation: what we last did to a workflow, or are doing."""

    UNDEPLOYED = "UNDEPLOYED"
    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    DEPLOYMENT_FAILED = "DEPLOYMENT_FAILED"
    UNDEPLOYING = "UNDEPLOYING"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"


class Sync(StrEnum):
    """Does the host hold what the source asks for?"""

    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"
    UNKNOWN = "Unknown"


class Health(StrEnum):
    """Does it work?"""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    MISSING = "Missing"
    UNKNOWN = "Unknown"


_S = Status

#: Every transition there is, with why it can happen. A test proves that no other one passes.
TRANSITIONS: Mapping[Status, Mapping[Status, str]] = MappingProxyType(
    {
        _S.UNDEPLOYED: {
            _S.DEPLOYING: "a spec appeared",
            _S.DEPLOYMENT_FAILED: "a spec appeared that can't be read",
            _S.ROLLING_BACK: "a person asked for a release that was in service once",
        },
        _S.DEPLOYING: {
            _S.DEPLOYED: "the release is live",
            _S.DEPLOYMENT_FAILED: "a stage failed; what ran before goes on",
            _S.DEPLOYING: "taken up again after a crash, or for a newer digest",
            _S.UNDEPLOYING: "the spec went away meanwhile",
            _S.UNDEPLOYED: "the spec went away before anything was live",
            _S.ROLLING_BACK: "a person asked for an earlier release meanwhile",
        },
        _S.DEPLOYED: {
            _S.DEPLOYING: "the spec changed, or its release was damaged",
            _S.DEPLOYMENT_FAILED: "the spec changed to something that can't be read",
            _S.UNDEPLOYING: "the spec went away",
            _S.UNDEPLOYED: "the spec and its release both went away, outside of us",
            _S.ROLLING_BACK: "a person or the health window asked for it",
        },
        _S.DEPLOYMENT_FAILED: {
            _S.DEPLOYING: "the spec changed, or a retry is due",
            _S.DEPLOYMENT_FAILED: "the spec changed and fails still",
            _S.DEPLOYED: "the source asks again for what is live",
            _S.UNDEPLOYING: "the spec went away",
            _S.UNDEPLOYED: "the spec went away and nothing was live",
            _S.ROLLING_BACK: "a person asked for it",
        },
        _S.UNDEPLOYING: {
            _S.UNDEPLOYED: "nothing of it is left in the tree",
            _S.UNDEPLOYING: "taken up again after a crash",
            _S.DEPLOYING: "the spec came back",
            _S.DEPLOYMENT_FAILED: "the spec came back and can't be read",
            _S.ROLLING_BACK: "a person asked for a release that was in service once",
        },
        _S.ROLLING_BACK: {
            _S.ROLLED_BACK: "the earlier release is live",
            _S.DEPLOYMENT_FAILED: "the earlier release can't be made live",
            _S.ROLLING_BACK: "taken up again after a crash, or for another release",
            _S.DEPLOYING: "the spec changed meanwhile",
            _S.UNDEPLOYING: "the spec went away meanwhile",
            _S.UNDEPLOYED: "the spec and its release both went away, outside of us",
        },
        _S.ROLLED_BACK: {
            _S.DEPLOYED: "the source asks for what is live",
            _S.DEPLOYING: "the spec changed",
            _S.DEPLOYMENT_FAILED: "the spec changed to something that can't be read",
            _S.UNDEPLOYING: "the spec went away",
            _S.UNDEPLOYED: "the spec and its release both went away, outside of us",
            _S.ROLLING_BACK: "a person asked for another release",
        },
    }
)


class IllegalTransitionError(Exception):
    """A bug: code asked for a transition that the table doesn't have."""


def check_transition(old: Status, new: Status) -> None:
    """Raises IllegalTransitionError unless the table has `old` → `new`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransitionError(f"{old} → {new} is no transition of core/state.py")


@dataclass(frozen=True)
class Failure:
    """The last error of a workflow: which digest failed, how, and whether a retry makes sense."""

    reason: Reason
    message: str
    problems: tuple[Problem, ...] = ()
    transient: bool = False


class Pinned(StrEnum):
    """Why a workflow doesn't follow its spec."""

    ROLLBACK = "rollback"  # a person went back to an earlier release
    REVERT = "revert"  # we did, since the release was not healthy
    PIN = "pin"  # a person holds it at a release, whatever the source says
    UNDEPLOY = "undeploy"  # a person took it out of service


@dataclass(frozen=True)
class Pin:
    """Hold at this release, for one workflow. `digest`: of the release, '' for none (out of service).

    `against`: the source's word when it was set (`Wanted.asked`); another word lifts it. '': only a person
    does. `until`: seconds since the epoch, None for no end.
    """

    kind: Pinned
    digest: str
    actor: str
    at: float
    reason: str = ""
    against: str = ""
    until: float | None = None


@dataclass(frozen=True)
class Suspension:
    """Leave it alone: nothing is deployed or undeployed. `until`: seconds since the epoch, None: no end."""

    actor: str
    at: float
    reason: str = ""
    until: float | None = None

    def holds(self, now: float) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True)
class Asked:
    """A person asked for a deploy now. `force`: also of what is live, pinned or known as bad."""

    actor: str
    at: float
    reason: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What the state file remembers of one workflow. Times are seconds since the epoch (UTC).

    Five things that are never folded into one: `revision` seen, `read_at` of the last good read,
    `attempted` digest, `applied` digest, last `failure`.
    """

    workflow_id: str
    status: Status = Status.UNDEPLOYED
    since: float = 0.0
    because: str = ""
    name: str = ""
    source: str = ""  # the spec's path below the source
    revision: str = ""
    read_at: float = 0.0
    attempted: str = ""
    applied: str = ""
    failure: Failure | None = None
    attempts: int = 0
    retry_at: float | None = None
    health: Health = Health.UNKNOWN
    health_reason: str = ""
    health_since: float = 0.0
    pool: str = ""
    held: str = ""  # why the plan holds something back, '' when it doesn't
    held_reason: str = ""  # the Reason of it
    warnings: tuple[str, ...] = ()
    owner: str = ""  # who may touch it: `deploy.owner` of the spec last read
    actor: str = ""  # who caused the last transition
    asked: str = ""  # the source's word that `attempted` was made of (Wanted.asked)
    previous: str = ""  # digest that was live before `applied`
    proven: str = ""  # digest of the release that last stayed healthy through its trial
    trial_until: float | None = None  # until when a failing health reverts the live release
    condemned: str = ""  # why the live release has to be reverted
    pin: Pin | None = None
    suspension: Suspension | None = None
    request: Asked | None = None
    missing_since: float | None = None  # since when the source lacks it
    prune_by: str = ""  # who confirmed that it may be undeployed
    prune: bool | None = None  # the spec's own words, as last read
    auto_revert: bool | None = None
    drift: tuple[str, ...] = ()  # how the tree differs from the receipt of the live release
    depends_on: tuple[str, ...] = ()
    live_revision: str = ""  # the revision that asked for `applied`

    def sync(self) -> Sync:
        """Synced when what was last asked for is what is live, as it was built."""
        if self.held or self.drift:
            return Sync.OUT_OF_SYNC
        if self.status in (Status.DEPLOYED, Status.UNDEPLOYED):
            return Sync.SYNCED
        return Sync.OUT_OF_SYNC


def shown_health(record: Record, suspension: Suspension | None) -> tuple[Health, str]:
    """Health as people see it, with its reason. A suspended workflow that works is Suspended; one that
    doesn't stays Degraded or Missing: nobody may miss that."""
    if suspension is None or record.health in (Health.DEGRADED, Health.MISSING):
        return record.health, record.health_reason
    why = f"suspended by {suspension.actor}" + (f": {suspension.reason}" if suspension.reason else "")
    return Health.SUSPENDED, why
