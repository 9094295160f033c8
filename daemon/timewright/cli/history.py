"""`timewright history ID`: its releases."""

from __future__ import annotations

import click

from timewright.cli.common import console, json_option, print_json
from timewright.cli.complete import workflow_argument
from timewright.cli.where import Where, where_options


@click.command("history")
@where_options
@json_option
@click.option("-n", "--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@workflow_argument()
def command(where: Where, as_json: bool, last: int, workflow_id: str) -> None:
    """Show the releases of a workflow and what became of them. The newest first.

    Who, when, from which revision of the source, why, how long it took, how it ended. What rollback
    and pin take is in the first column.
    """
    with where.sight(quiet=as_json) as sight:
        found = sight.history(workflow_id, last=last)
    if as_json:
        print_json(found)
        return
    from timewright.cli.rollouts import print_history

    if found:
        print_history(console(), found)
    else:
        click.echo("It was never deployed.")
