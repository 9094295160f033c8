"""What a workflow's view says in words: what isn't as wished, why, and the command that helps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from timewright.cli.common import left, moment
from timewright.core.errors import Reason
from timewright.core.state import Health, Pinned

View = dict[str, Any]

BAD, WARN, INFO = "bad", "warn", "info"


@dataclass(frozen=True)
class Note:
    """One thing to know of a workflow. `word`: for the table; `helps`: a command, or ''."""

    level: str
    word: str
    text: str
    helps: str = ""

    @property
    def hint(self) -> str:
        """The command, where the text doesn't name one itself."""
        return "" if "`timewright " in self.text else self.helps


def notes(view: View, now: float | None = None) -> list[Note]:
    """All that isn't as usual with a workflow, the worst first."""
    at = time.time() if now is None else now
    found = [*_failure(view, at), *_decisions(view, at), *_hold(view), *_health(view), *_drift(view)]
    return sorted(found, key=lambda note: (BAD, WARN, INFO).index(note.level))


def _failure(view: View, now: float) -> Iterator[Note]:
    error = view.get("lastError")
    if not error:
        return
    text = f"{error['reason']}: {error['message']}"
    due = moment(view.get("retryAt"))
    if due:
        text += f"; tried again in {left(due, now)}" if due > now else "; tried again now"
    yield Note(BAD, "failed", text, f"timewright show {view['workflowId']}" if error.get("problems") else "")


def _decisions(view: View, now: float) -> Iterator[Note]:
    """What people decided: suspensions and pins."""
    workflow_id, held = view["workflowId"], view.get("heldReason")
    if suspended := view.get("suspended"):
        everything = suspended.get("scope") == "all"
        text = f"suspended{' with all others' if everything else ''} by {_who(suspended, now)}"
        resume = f"timewright resume {'--all' if everything else workflow_id}"
        yield Note(WARN, "suspended", view["held"] if held == Reason.SUSPENDED else text, resume)
    if pin := view.get("pin"):
        ours = held in (Reason.PINNED, Reason.UNDEPLOYED_BY_HAND)
        text = view["held"] if ours else _pinned(pin, now)
        yield Note(WARN, _PIN_WORDS.get(pin["kind"], "pinned"), text, _way_out(pin, workflow_id))


_PIN_WORDS: dict[str, str] = {
    Pinned.ROLLBACK: "rolled back",
    Pinned.REVERT: "reverted",
    Pinned.UNDEPLOY: "taken out",
}


def _pinned(pin: View, now: float) -> str:
    if pin["kind"] == Pinned.UNDEPLOY:
        return f"taken out of service by {_who(pin, now)}"
    did = {Pinned.ROLLBACK: "rolled back to", Pinned.REVERT: "reverted to"}.get(pin["kind"], "pinned at")
    until = " until its spec changes" if pin.get("liftedByAChangeOfTheSpec") else ""
    return f"{did} release {pin['release']}{until} by {_who(pin, now)}"


def _way_out(pin: View, workflow_id: str) -> str:
    return f"timewright {'deploy' if pin['kind'] == Pinned.UNDEPLOY else 'unpin'} {workflow_id}"


def _who(view: View, now: float) -> str:
    """`alice: a reason (2h left)`."""
    until = moment(view.get("until"))
    text = f"{view['by']}: {view['reason']}" if view.get("reason") else str(view["by"])
    return f"{text} ({left(until, now)} left)" if until else text


def _hold(view: View) -> Iterator[Note]:
    """What the plan holds back, besides what people decided."""
    told = {Reason.SUSPENDED} if view.get("suspended") else set()
    told |= {Reason.PINNED, Reason.UNDEPLOYED_BY_HAND} if view.get("pin") else set()
    if view.get("held") and view.get("heldReason") not in told:
        helps = f"timewright prune {view['workflowId']}" if view.get("missingSince") else ""
        yield Note(WARN, "held back", view["held"], helps)
    elif view.get("missingSince") and not view.get("held"):
        yield Note(WARN, "gone", f"{view.get('source') or 'its spec'} is gone from the source")


def _health(view: View) -> Iterator[Note]:
    if view.get("health") == Health.PROGRESSING and (view.get("healthReason") or "").startswith("rollout"):
        yield Note(INFO, "", view["healthReason"], f"timewright rollout {view['workflowId']} --watch")
    if view.get("health") in (Health.DEGRADED, Health.MISSING) and view.get("healthReason"):
        yield Note(WARN, "", view["healthReason"])


def _drift(view: View) -> Iterator[Note]:
    if drift := view.get("drift"):
        more = f" and {len(drift) - 3} more" if len(drift) > 3 else ""
        text = f"changed by hand: {', '.join(drift[:3])}{more}"
        yield Note(WARN, "drifted", text, f"timewright diff {view['workflowId']} --drift")
