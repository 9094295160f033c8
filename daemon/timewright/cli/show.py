"""`timewright show ID`: everything about one workflow."""

from __future__ import annotations

import click

from timewright.cli.common import console, json_option, print_json
from timewright.cli.complete import workflow_argument
from timewright.cli.where import Where, where_options

_RELEASES, _EVENTS = 5, 5


@click.command("show")
@where_options
@json_option
@workflow_argument()
def command(where: Where, as_json: bool, workflow_id: str) -> None:
    """Show everything about one workflow, with its latest releases.

    With --json: {workflow, history, logs}.
    """
    with where.sight(quiet=as_json) as sight:
        view = sight.workflow(workflow_id)
        history = sight.history(workflow_id, last=_RELEASES)
        events = sight.events(workflow_id, last=_EVENTS)
    if as_json:
        print_json({"workflow": view, "history": history, "logs": events})
        return
    from timewright.cli.events import print_event
    from timewright.cli.rollouts import print_history
    from timewright.cli.workflows import described

    out = console()
    for line in described(view):
        out.print(line)
    if history:
        out.print("\n[bold]releases[/]")
        print_history(out, history)
    out.print("\n[bold]what happened[/]")
    for event in events:
        print_event(out, event)
