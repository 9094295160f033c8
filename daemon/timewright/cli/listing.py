"""`timewright list`: the workflows' names, for people and scripts."""

from __future__ import annotations

import click

from timewright.cli.common import json_option, print_json, printable
from timewright.cli.where import Where, where_options


@click.command("list")
@where_options
@json_option
@click.option("--all", "with_undeployed", is_flag=True, help="Also those that are undeployed.")
def command(where: Where, as_json: bool, with_undeployed: bool) -> None:
    """List workflows: id, status, live release; tab-separated."""
    with where.sight(quiet=as_json) as sight:
        views = sight.overview(undeployed=with_undeployed)["workflows"]
    if as_json:
        print_json(views)
        return
    for view in views:
        click.echo(f"{printable(view['workflowId'])}\t{view['status']}\t{view.get('release') or '-'}")
