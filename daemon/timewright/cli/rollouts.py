"""The releases of a workflow and what became of them, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from timewright.cli.common import ago, lasting, moment, safe
from timewright.cli.tables import Column, show

View = dict[str, Any]

_COLUMNS = (
    Column("RELEASE"),
    Column("WHAT", drop=2),
    Column("OUTCOME"),
    Column("WHEN"),
    Column("TOOK", drop=4),
    Column("BY", drop=3),
    Column("REVISION", drop=5),
    Column("KEPT", drop=1),
    Column("BECAUSE", wraps=True),
)
_OUTCOMES = {"live": "green", "failed": "red", "running": "cyan", "rolled back": "yellow"}


def print_history(out: Console, history: Sequence[View]) -> None:
    """The newest first. KEPT: rollback and pin can go to it."""
    show(out, _COLUMNS, [_row(view) for view in history])


def _row(view: View) -> list[str]:
    outcome = str(view.get("outcome") or "")
    return [
        safe(view.get("release")) or "-",
        safe(view.get("kind")),
        f"[{_OUTCOMES.get(outcome, 'default')}]{safe(outcome)}[/]",
        ago(moment(view.get("startedAt"))),
        _took(view),
        safe(view.get("by")),
        _revision(view),
        "kept" if view.get("kept") else "",
        _because(view),
    ]


def _revision(view: View) -> str:
    """The commit, where it is one."""
    commit = view.get("commit")
    return safe(commit["short"] if commit else (view.get("revision") or "")[:12])


def _took(view: View) -> str:
    """Of the stages where they are known, else from beginning to end."""
    if stages := view.get("stagesMs"):
        return f"{round(sum(stages.values()))} ms"
    began, ended = moment(view.get("startedAt")), moment(view.get("finishedAt"))
    return lasting(ended - began) if began and ended else ""


def _because(view: View) -> str:
    """Why it was attempted, how it failed, and how it ended."""
    commit = view.get("commit")
    parts = [view.get("because") or "", f"commit {commit['subject']!r}" if commit else ""]
    if (view.get("tries") or 1) > 1:
        parts.append(f"begun {view['tries']} times")
    if error := view.get("error"):
        parts.append(f"{error['reason']}: {error['message']}")
    if view.get("endedBecause"):
        parts.append(f"until {view['endedBecause']}")
    return safe("; ".join(part for part in parts if part))
