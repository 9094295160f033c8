"""Lines of the log, as people read them; and following them, through restarts of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console

from timewright.cli.client import DaemonDownError
from timewright.cli.common import moment, paint, safe
from timewright.cli.sight import Daemon, Sight
from timewright.cli.workflows import problem_text
from timewright.core.state import Status

View = dict[str, Any]

_POLL = 0.3  # seconds between looks at a state file
_AGAIN = (0.3, 5.0)  # seconds until a stream that broke is taken up again: first, most


def print_event(out: Console, event: View) -> None:
    """One event: when, which workflow, from what to what, why; with all problems of a failure."""
    took = f" ({round(sum(event['timingsMs'].values()))} ms)" if event.get("timingsMs") else ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment(event["at"])))
    name = safe(event.get("workflowId") or "(all)")
    out.print(
        f"[dim]{when}[/]  {name:24}  {_what(event)}  {safe(event['because'])}{took}{_by(event)}{_of(event)}"
    )
    for problem in (event.get("error") or {}).get("problems", ()):
        out.print(f"    {safe(problem_text(problem))}")


def _what(event: View) -> str:
    """`DEPLOYING → DEPLOYED`, `health Healthy → Degraded`, `pin rollback to 0123456789ab`."""
    kind, old, new = event.get("kind", "status"), event.get("old"), event.get("new") or ""
    if kind in ("status", "health"):
        before = paint(old) if old else "new here"
        return f"{'' if kind == 'status' else f'{kind} '}{before} → {paint(new)}"
    return f"{safe(kind)} {safe(new) or f'{safe(old)} ended'}".rstrip()


def _by(event: View) -> str:
    """Which person did it, where the explanation doesn't say."""
    by = event.get("by") or ""
    told = not by or by in event["because"] or by in ("source", "timewright")
    return "" if told else f" [dim]by {safe(by)}[/]"


def _of(event: View) -> str:
    """The commit that asks for it, where a deploy begins or a spec is refused."""
    commit = event.get("commit")
    begins = event.get("kind") == "status" and event.get("new") in (
        Status.DEPLOYING,
        Status.DEPLOYMENT_FAILED,
    )
    if commit is None or not begins:
        return ""
    return f" [dim]{safe(commit['short'])} {safe(commit['subject'])}[/]"


def follow(sight: Sight, workflow_id: str | None, last: int) -> Iterator[View]:
    """The last events, then all others as they happen; never ends, and leaves none out."""
    seen = 0
    for event in sight.events(workflow_id, last=last):
        seen = max(seen, event["id"])
        yield event
    if isinstance(sight, Daemon):
        yield from _stream(sight, workflow_id, seen)
    while True:
        time.sleep(_POLL)
        for event in sight.events(workflow_id, after=seen, last=0):
            seen = event["id"]
            yield event


def _stream(daemon: Daemon, workflow_id: str | None, seen: int) -> Iterator[View]:
    """The daemon's stream, taken up again after the last event that came whenever it breaks."""
    pause, told = _AGAIN[0], False
    while True:
        try:
            for sent in daemon.stream(workflow_id, after=seen):
                pause, told = _AGAIN[0], False
                event = sent.data
                if isinstance(event, dict) and event.get("id", 0) > seen:
                    seen = event["id"]
                    yield event
        except DaemonDownError as error:
            if not told:
                click.echo(f"Note: {error.message}; waiting until it is back.", err=True)
                told = True
        time.sleep(pause)
        pause = min(pause * 2, _AGAIN[1])
