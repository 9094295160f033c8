"""`timewright audit`: every call that changed something, or was refused."""

from __future__ import annotations

import click

from timewright.cli.common import ago, console, json_option, moment, print_json, safe
from timewright.cli.where import Where, where_options


@click.command("audit")
@where_options
@json_option
@click.option("-n", "--last", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many.")
def command(where: Where, as_json: bool, last: int) -> None:
    """Show every call that changed something or was refused (admins only). The newest last."""
    with where.sight(quiet=as_json) as sight:
        found = sight.audit(last=last)
    if as_json:
        print_json(found)
        return
    from timewright.cli.tables import Column, show

    columns = (
        *(Column("AT"), Column("WHEN", drop=3), Column("BY"), Column("ROLE", drop=2), Column("VERB")),
        *(Column("WORKFLOW"), Column("OUTCOME"), Column("DETAIL", wraps=True)),
    )
    rows = [
        [
            safe((view["at"] or "")[:19].replace("T", " ")),
            ago(moment(view["at"])),
            safe(view["by"]),
            safe(view["role"]),
            safe(view["verb"]),
            safe(view.get("workflowId") or "-"),
            f"[{'green' if view['outcome'] == 'ok' else 'red'}]{safe(view['outcome'])}[/]",
            safe(view["detail"]),
        ]
        for view in found
    ]
    if rows:
        show(console(), columns, rows)
    else:
        click.echo("Nobody changed anything yet.")
