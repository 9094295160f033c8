"""Does a workflow work? From what the worker host says it runs, and what Temporal says polls."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from timewright.core.errors import Reason
from timewright.core.state import Health

#: Seconds that a worker process may take to get to its polls before that is worth a word.
STARTING_S = 30.0
#: Seconds after which a poller that Temporal lists counts as gone: a poll is renewed each minute.
POLLER_FRESH_S = 75.0
#: Seconds that Temporal may take to list a new worker process.
POLLER_GRACE_S = 10.0
#: The ages at which a verdict may turn.
SLOT_AGES = (POLLER_GRACE_S, STARTING_S)
POLLER_AGES = (POLLER_FRESH_S,)
_STATES = {
    "backoff": "its worker process crashed",
    "starting": "its worker process crashed and is started again",
    "connecting": "its worker process does not get to its polls",
    "failed": "its worker process can't be started",
}
_FRAME = re.compile(r"/releases/([A-Za-z0-9][A-Za-z0-9._-]{0,127})/([0-9a-f]{12})/")


@dataclass(frozen=True)
class Slot:
    """A worker process of a pool version, as the host tells. `state`: the host's word (polling, starting,
    connecting, backoff, failed, draining). `age`: seconds since it was started; `restarts`: after crashes.
    `failed`: workflow id → why its release can't be loaded. `error`: the last words of one that crashed, or
    why it can't connect to Temporal: `unreachable`."""

    key: tuple[str, str]  # namespace, task queue
    version: str
    state: str
    releases: Mapping[str, str]  # workflow id → release
    current: bool = True
    kept: bool = False  # not the current version: open executions may need it
    pid: int = 0
    age: float = 0.0
    restarts: int = 0
    error: str = ""
    unreachable: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)


def coarse(age: float, bounds: Collection[float]) -> float:
    """An age as far as it counts: how many of these bounds it has passed."""
    return sum(age >= bound for bound in bounds)


def starving(workflow_id: str, serving: Serving) -> str:
    """Why open executions of an older version of a workflow wait: it is not served. '' when all are."""
    for slot in serving.slots:
        if slot.kept and workflow_id in slot.releases and slot.state in ("backoff", "failed"):
            why = f": {telling_line(slot.error)}" if slot.error else ""
            older = f"an older version of it ({slot.releases[workflow_id]}) that executions may need"
            return f"{older} is not served: {_STATES[slot.state]}{why}"
    return ""


@dataclass(frozen=True)
class Serving:
    """What the worker host says it runs.

    `reachable` False: it doesn't answer, `error` says how. `temporal`: '' or why Temporal can't be reached.
    `plain`: a worker that only knows the reload call; nothing can be said of it.
    """

    reachable: bool
    error: str = ""
    temporal: str = ""
    slots: tuple[Slot, ...] = ()
    plain: bool = False


@dataclass(frozen=True)
class Poller:
    """One poller that Temporal lists. `age`: seconds since it last asked for work."""

    identity: str
    age: float


@dataclass(frozen=True)
class Verdict:
    """A workflow's health, and why. `fault`: the release itself is to blame, not its surroundings."""

    health: Health
    reason: str = ""
    fault: bool = False


def verdict(
    workflow_id: str,
    release: str,
    key: tuple[str, str],
    serving: Serving,
    *,
    address: str,
    pollers: Collection[Poller] | None,
    youngest: Mapping[str, str],
) -> Verdict:
    """The verdict on one live release. `key`: its namespace and task queue.

    `pollers`: what Temporal lists for its task queue, None where it wasn't asked or didn't answer.
    `youngest`: pool version → the workflow whose release is on trial there, to be blamed for a crash that
    names nobody.
    """
    if not serving.reachable:
        return _waits(f"the worker host does not answer ({serving.error})")
    if serving.temporal:
        return _waits(serving.temporal)
    mine = [slot for slot in serving.slots if slot.releases.get(workflow_id) == release]
    polling = [slot for slot in mine if slot.state == "polling" and workflow_id not in slot.failed]
    if polling:
        return _seen_by_temporal(polling[0], pollers, address)
    if not mine:
        return _elsewhere(workflow_id, key, serving)
    slot = next((slot for slot in mine if slot.current), mine[0])
    if workflow_id in slot.failed:
        why = slot.failed[workflow_id]
        return Verdict(Health.DEGRADED, f"{Reason.RELOAD_FAILED}: it can't be loaded: {why}", fault=True)
    if slot.state == "connecting" and slot.unreachable:
        # Others may be connected again already: each tries anew after a wait of its own.
        why = telling_line(slot.error)
        return _waits(f"its worker process can't connect to Temporal at {address}: {why}")
    if slot.state in ("starting", "connecting") and not slot.error and slot.age < STARTING_S:
        return Verdict(Health.PROGRESSING, f"its worker process is {slot.state}")
    return _crashed(workflow_id, slot, youngest)


def _seen_by_temporal(slot: Slot, pollers: Collection[Poller] | None, address: str) -> Verdict:
    if pollers is None or slot.age < POLLER_GRACE_S:
        return Verdict(Health.HEALTHY)
    if is_seen(slot, pollers):
        return Verdict(Health.HEALTHY)
    return _waits(f"the worker host says that it polls, but Temporal at {address} lists no poller of it")


def is_seen(slot: Slot, pollers: Collection[Poller]) -> bool:
    """Whether one of these fresh pollers is of this worker process. Ours say their pool version; a release's
    own Worker has the SDK's name for it, which begins with the process id."""
    return any(
        poller.age < POLLER_FRESH_S
        and (
            poller.identity.endswith(f"/timewright/{slot.version}")
            or poller.identity.startswith(f"{slot.pid}@")
        )
        for poller in pollers
    )


def _elsewhere(workflow_id: str, key: tuple[str, str], serving: Serving) -> Verdict:
    """The host has nothing of this release."""
    for slot in serving.slots:
        other = slot.releases.get(workflow_id)
        if other is not None and slot.state == "polling":
            return _waits(f"it still serves release {other}")
    for slot in serving.slots:
        if slot.key == key and slot.current and slot.state == "failed" and not slot.releases:
            return Verdict(Health.DEGRADED, f"{Reason.RELOAD_FAILED}: {telling_line(slot.error)}")
    return _waits("the worker host does not serve it yet")


def _crashed(workflow_id: str, slot: Slot, youngest: Mapping[str, str]) -> Verdict:
    state = _STATES.get(slot.state, f"its worker process is {slot.state}")
    words = f": {telling_line(slot.error)}" if slot.error else ""
    guilty = culprit(slot) or youngest.get(slot.version, "")
    if guilty == workflow_id:
        return Verdict(Health.DEGRADED, f"{Reason.WORKER_CRASHED}: {state}{words}", fault=True)
    blame = f" (because of {guilty})" if guilty else ""
    return Verdict(Health.DEGRADED, f"{Reason.WORKER_CRASHED}: {state}{blame}{words}")


def culprit(slot: Slot) -> str:
    """The workflow whose code the last words of a crash name first; '' when they name none of the pool."""
    return named(slot.error, slot.releases)


def named(words: str, releases: Mapping[str, str]) -> str:
    """The first of these workflows (id → release) whose code the last words of a crash name; '' for none."""
    for workflow_id, release in _FRAME.findall(words):
        if releases.get(workflow_id) == release:
            return str(workflow_id)
    return ""


def telling_line(text: str) -> str:
    """The line of a crash's last words that says the most: an error's message, else the last one."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(Uncaught )?[A-Za-z]*(Error|Exception)\b", line)]
    found = named[0] if named else lines[-1] if lines else ""
    return found[:300]


def _waits(why: str) -> Verdict:
    return Verdict(Health.DEGRADED, f"{Reason.WAITING_FOR_WORKER}: {why}")
