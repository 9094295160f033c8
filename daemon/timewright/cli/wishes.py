"""What `wait` waits for: has it come true, and can it still? Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from timewright.cli.common import moment
from timewright.core.errors import Reason
from timewright.core.state import Health, Pinned, Status, Sync

View = dict[str, Any]

_MOVING = (Status.DEPLOYING, Status.UNDEPLOYING, Status.ROLLING_BACK)
#: What holds a workflow back for a while only.
_PASSING = (Reason.WAITING_FOR_DEPENDS_ON, Reason.VANISHED)


@dataclass(frozen=True)
class Verdict:
    """`met`: it has come true. `hopeless`: it won't by itself. `why`: where the workflow stands."""

    met: bool = False
    hopeless: bool = False
    why: str = ""


def verdict(view: View | None, wish: str, deadline: float, release: str = "") -> Verdict:
    """How a workflow stands to a wish. `view` None: there is none of that id. `deadline`: seconds since the
    epoch until which we wait. `release`: the wish is for this one, by the beginning of its id."""
    if view is None:
        return Verdict(met=wish == "undeployed", why="there is no such workflow")
    if _MET[wish](view) and (view.get("release") or "").startswith(release):
        return Verdict(met=True, why=view["because"])
    if view["status"] not in _MOVING and (why := _hopeless(view, wish, deadline)):
        return Verdict(hopeless=True, why=why)
    return Verdict(why=_standing(view, wish))


_MET: Mapping[str, Callable[[View], bool]] = {
    "deployed": lambda view: view["status"] == Status.DEPLOYED,
    "healthy": lambda view: view["status"] == Status.DEPLOYED and view["health"] == Health.HEALTHY,
    "synced": lambda view: view["sync"] == Sync.SYNCED,
    "undeployed": lambda view: view["status"] == Status.UNDEPLOYED,
    "rolled-back": lambda view: view["status"] == Status.ROLLED_BACK,
}
WISHES = tuple(_MET)
#: Which wishes a failure that isn't tried again ends.
_BY_FAILURE = ("deployed", "healthy", "synced")
_STOPPED_BY: Mapping[str, tuple[str, ...]] = {Reason.ROLLBACK_FAILED: (*_BY_FAILURE, "rolled-back")}


def _hopeless(view: View, wish: str, deadline: float) -> str:
    """Why a workflow that stands still won't come to it by itself; '' when it may."""
    suspended, pin, error = view.get("suspended"), view.get("pin"), view.get("lastError")
    if suspended and not 0 < moment(suspended.get("until")) < deadline:
        return str(view.get("held") or f"it is suspended by {suspended['by']}")
    if error and not view.get("retryAt") and wish in _STOPPED_BY.get(error["reason"], _BY_FAILURE):
        return f"{error['reason']}: {error['message']}"
    if wish in ("undeployed", "rolled-back"):
        return str(view["held"]) if view.get("heldReason") == Reason.PRUNE_BLOCKED else ""
    if pin and not 0 < moment(pin.get("until")) < deadline:
        return _pinned(view, pin, wish)
    if view.get("held") and view.get("heldReason") not in _PASSING and wish == "synced":
        return str(view["held"])
    return ""


def _pinned(view: View, pin: View, wish: str) -> str:
    """A pin keeps it from what the source asks for, but not from being deployed and healthy where it is."""
    if wish == "synced" or pin["kind"] == Pinned.UNDEPLOY or view["status"] == Status.ROLLED_BACK:
        return str(view.get("held") or view["because"])
    return ""


def _standing(view: View, wish: str) -> str:
    """Where it stands, in a word and a sentence."""
    if wish == "healthy" and view["status"] == Status.DEPLOYED:
        return f"{view['health']}: {view.get('healthReason') or 'not said why'}"
    if error := view.get("lastError"):
        return f"{error['reason']}: {error['message']}"
    if wish == "synced" and view.get("held"):
        return str(view["held"])
    return f"{view['status']}: {view['because']}"
