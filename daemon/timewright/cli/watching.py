"""`timewright status --watch`: the overview, drawn again as things happen. For a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from timewright.cli.client import DaemonDownError
from timewright.cli.common import console
from timewright.cli.sight import Daemon, Sight
from timewright.cli.tables import marked
from timewright.cli.where import Where
from timewright.cli.workflows import described, overview_lines

_EVERY = 1.0  # seconds between looks


def watch_status(where: Where, workflow_id: str | None) -> None:
    """Until Ctrl-C; what was shown last stays on the terminal."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise click.UsageError("--watch needs a terminal; for programs there is: timewright logs -f --json")
    out = console()
    lines: list[Text] = []
    with suppress(KeyboardInterrupt), Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            lines = _look(out, where, workflow_id)
            live.update(Group(*_cut(out, lines)), refresh=True)
            time.sleep(_EVERY)
    for line in lines:
        out.print(line)


def _look(out: Console, where: Where, workflow_id: str | None) -> list[Text]:
    """What is to be seen now. A daemon that is down is said; one of another host is waited for."""
    when = time.strftime("%H:%M:%S")
    try:
        with where.sight(quiet=True) as sight:
            note = "" if isinstance(sight, Daemon) else "  [yellow]the daemon isn't running[/]"
            return [marked(f"[dim]{when}[/]{note}"), *_lines(out, sight, workflow_id)]
    except DaemonDownError as error:
        return [marked(f"[dim]{when}[/]  [red]{error.message}[/]")]


def _lines(out: Console, sight: Sight, workflow_id: str | None) -> list[Text]:
    if workflow_id is not None:
        return [marked(line) for line in described(sight.workflow(workflow_id))]
    return overview_lines(out, sight.overview(undeployed=True))


def _cut(out: Console, lines: list[Text]) -> list[Text]:
    """What fits on the screen, which may have become smaller."""
    most = max(out.height - 1, 1)
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], Text(f"… and {len(lines) - most + 1} lines more: make the window higher")]
