"""What a rollout is told, how far it is, and when it is going badly. Values, and pure functions of them.

They travel through Temporal as JSON and outlive an upgrade of timewright: fields are only ever added, with a
default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from timewright.core.rollout import Gate, Step, Strategy, Watch


class Phase(StrEnum):
    """How far a rollout is."""

    WAITING = "waiting"  # for hosts to serve the new Version
    GATE = "gate"  # a gate workflow runs
    RAMPING = "ramping"  # the share is being changed
    PAUSING = "pausing"  # a share is served, and watched
    MANUAL = "manual"  # a person says when it goes on
    PAUSED = "paused"  # a gate has failed, a person decides
    HELD = "held"  # somebody else manages the Deployment
    PROMOTED = "promoted"
    ROLLED_BACK = "rolledBack"
    SUPERSEDED = "superseded"

    @property
    def over(self) -> bool:
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.SUPERSEDED)


@dataclass(frozen=True)
class Progress:
    """How far it is. Times are seconds since the epoch, 0.0 for none. `step`: 0-based, -1 before the first.
    `percent`: of new executions that go to the new Version. `previous`: the Build ID that was current before.
    `guilty`: the workflows (by id) that it failed for."""

    phase: Phase = Phase.WAITING
    step: int = -1
    percent: float = 0.0
    previous: str = ""
    because: str = ""
    next_at: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    arrived: tuple[str, ...] = ()
    guilty: tuple[str, ...] = ()
    gates_run: int = 0
    actor: str = ""


@dataclass(frozen=True)
class Order:
    """One rollout: bring Build ID `build_id` of `deployment` to all new executions. `workflows`: the ids
    whose code it changes; `types`: their workflow types → id. `hosts`: names of the hosts that must serve it
    first; `min_hosts`: or so many. `back`: a return to code that was served before: at once, without
    gates. `activities`: whether its workers take activities as well."""

    namespace: str
    deployment: str
    build_id: str
    task_queue: str
    strategy: Strategy = Strategy.ALL_AT_ONCE
    steps: tuple[Step, ...] = ()
    gates: tuple[Gate, ...] = ()
    watch: Watch = field(default_factory=Watch)
    workflows: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    min_hosts: int = 1
    back: bool = False
    activities: bool = False
    begun_by: str = ""
    resume: Progress | None = None


@dataclass(frozen=True)
class Ask:
    """What somebody wants of a rollout. `kind`: promote, abort, retry, supersede, fail. `full`: all of it."""

    kind: str
    actor: str = ""
    reason: str = ""
    full: bool = False
    guilty: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return (self.actor or "somebody") + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Closed:
    """Executions of a Version that have closed: how many completed, how many failed or timed out."""

    completed: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        total = self.completed + self.failed
        return self.failed / total if total else 0.0


@dataclass(frozen=True)
class Look:
    """One look at a rollout. `stuck`: open executions whose workflow task fails again and again. `metric`:
    the value of the query, None for none. `check`: why the HTTP check fails, '' for it doesn't."""

    new: Closed = field(default_factory=Closed)
    old: Closed = field(default_factory=Closed)
    stuck: int = 0
    metric: float | None = None
    check: str = ""


def why_bad(watch: Watch, look: Look) -> str:
    """Why a rollout should not go on; '' while all is well."""
    if look.stuck >= watch.task_failures:
        return f"workflow tasks of {look.stuck} open executions fail again and again on the new version"
    new, old = look.new, look.old
    if new.completed + new.failed >= watch.min_executions and new.rate > old.rate + watch.failure_rate:
        return (
            f"{new.failed} of {new.completed + new.failed} executions on the new version failed"
            f" ({new.rate:.0%}; {old.rate:.0%} on the one before)"
        )
    if look.metric is not None and look.metric > watch.above:
        return f"the query gives {look.metric:g}, above {watch.above:g}"
    return f"its check fails: {look.check}" if look.check else ""


def missing_hosts(order: Order, arrived: Iterable[str]) -> str:
    """Whom a rollout waits for; '' when enough hosts serve the new Version."""
    there = set(arrived)
    if order.back:
        return "" if there else "a host that serves it"
    absent = [name for name in order.hosts if name not in there]
    if absent:
        return ", ".join(absent)
    least = max(1, order.min_hosts)
    if len(there) >= least:
        return ""
    return f"{least - len(there)} more host{'s' if least - len(there) > 1 else ''}"
