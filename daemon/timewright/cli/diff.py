"""`timewright diff ID [A] [B]`: what differs between two releases."""

from __future__ import annotations

import click

from timewright.cli.common import console, json_option, print_json
from timewright.cli.complete import release_argument, workflow_argument
from timewright.cli.where import Where, where_options


@click.command("diff")
@where_options
@click.option("--drift", is_flag=True, help="How the live release was changed by hand.")
@click.option("--stat", "names_only", is_flag=True, help="Only which files differ.")
@json_option
@workflow_argument()
@release_argument("a")
@release_argument("b")
def command(
    where: Where, drift: bool, names_only: bool, as_json: bool, workflow_id: str, a: str, b: str
) -> None:
    """Show what differs between two releases of a workflow.

    A and B: releases (`timewright history`), or live, previous, wanted. Without them: from what is
    live to what the source wants. With A alone: from A to what is live. Needs the daemon.
    """
    if drift and a:
        raise click.UsageError("--drift is about the live release: it takes no other")
    with where.daemon() as daemon:
        if drift:
            view = daemon.drift(workflow_id)
        else:
            view = daemon.diff(workflow_id, a or "live", b or ("live" if a else "wanted"))
    if as_json:
        print_json(view)
        return
    from timewright.cli.diffs import print_diff, print_drift

    (print_drift if drift else print_diff)(console(), view, names_only=names_only)
