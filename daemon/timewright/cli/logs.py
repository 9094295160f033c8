"""`timewright logs [ID]`: every transition, from the state file's history."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from timewright.cli.common import (
    console,
    json_option,
    paint,
    safe,
    settings,
    settings_options,
)
from timewright.edge.statefile import Event, StateFile
from timewright.views import event_view

_POLL = 0.3  # seconds between looks with --follow


@click.command("logs")
@settings_options
@json_option
@click.option("-f", "--follow", is_flag=True, help="Go on printing as things happen.")
@click.option("-n", "--last", type=click.IntRange(min=1), default=50, show_default=True, help="How many.")
@click.argument("workflow_id", required=False)
def command(
    config_file: Path | None,
    source: Path | None,
    data: Path | None,
    as_json: bool,
    follow: bool,
    last: int,
    workflow_id: str | None,
) -> None:
    """Show what happened, a line a transition, of all workflows or of one."""
    config = settings(config_file, source, data)
    state = StateFile(config.state_path, read_only=True)
    events = state.history(workflow_id, last=last)
    seen = 0
    try:
        while True:
            for event in events:
                _print(event, as_json)
                seen = event.id
            if not follow:
                return
            time.sleep(_POLL)
            events = state.history(workflow_id, after=seen)
    except KeyboardInterrupt:
        return
    finally:
        state.close()


def _print(event: Event, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event_view(event), ensure_ascii=False))
        return
    took = f" ({round(sum(event.timings.values()))} ms)" if event.timings else ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    arrow = f"{paint(event.old) if event.old else 'new here'} → {paint(event.new)}"
    out = console()
    out.print(f"[dim]{when}[/]  {safe(event.workflow_id):24}  {arrow}  {safe(event.because)}{took}")
    if event.failure is not None:
        for problem in event.failure.problems:
            out.print(f"    {safe(str(problem))}")
