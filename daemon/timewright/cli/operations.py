"""`timewright operations`: what people asked for."""

from __future__ import annotations

import click

from timewright.cli.common import ago, console, json_option, moment, print_json, safe
from timewright.cli.where import Where, where_options

_STATES = {"succeeded": "green", "failed": "red", "running": "cyan"}


@click.command("operations")
@where_options
@json_option
@click.option("-n", "--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
def command(where: Where, as_json: bool, last: int) -> None:
    """Show what people asked for and what came of it. The newest first."""
    with where.sight(quiet=as_json) as sight:
        found = sight.operations(last=last)
    if as_json:
        print_json(found)
        return
    from timewright.cli.tables import Column, show

    columns = (
        *(Column("OPERATION", drop=4), Column("WHAT"), Column("WORKFLOW"), Column("STATE")),
        *(Column("BY", drop=1), Column("WHEN", drop=2), Column("REASON", drop=3)),
        Column("BECAUSE", wraps=True),
    )
    rows = [
        [
            safe(view["id"]),
            safe(view["kind"]),
            safe(view.get("workflowId") or "(all)"),
            f"[{_STATES.get(view['state'], 'default')}]{safe(view['state'])}[/]",
            safe(view["by"]),
            ago(moment(view["createdAt"])),
            safe(view["reason"]),
            safe(view["because"]),
        ]
        for view in found
    ]
    if rows:
        show(console(), columns, rows)
    else:
        click.echo("Nobody asked for anything yet.")
