"""`timewright status [ID]`: where things stand, and why."""

from __future__ import annotations

import sys

import click

from timewright.cli.common import console, json_option, print_json, printable
from timewright.cli.complete import workflow_argument
from timewright.cli.sight import Sight
from timewright.cli.where import Where, where_options


@click.command("status")
@where_options
@click.option("-w", "--watch", is_flag=True, help="Go on showing it, until Ctrl-C. Needs a terminal.")
@click.option("--oneline", "as_line", is_flag=True, help="All in one line, for a prompt or a monitor.")
@json_option
@workflow_argument(required=False)
def command(where: Where, watch: bool, as_line: bool, as_json: bool, workflow_id: str | None) -> None:
    """Show where all workflows stand, or one of them. Exit code 1 if any has failed."""
    if watch and (as_json or as_line):
        raise click.UsageError("--watch is for people; for programs there is: timewright logs -f --json")
    if watch:
        from timewright.cli.watching import watch_status

        watch_status(where, workflow_id)
        return
    with where.sight(quiet=as_json or as_line) as sight:
        failed = _one(sight, workflow_id, as_json, as_line) if workflow_id else _all(sight, as_json, as_line)
    sys.exit(1 if failed else 0)


def _one(sight: Sight, workflow_id: str, as_json: bool, as_line: bool) -> bool:
    from timewright.cli.workflows import described, oneline_of

    view = sight.workflow(workflow_id)
    if as_json:
        print_json(view)
    elif as_line:
        click.echo(printable(oneline_of(view)))
    else:
        out = console()
        for line in described(view):
            out.print(line)
    return view.get("lastError") is not None


def _all(sight: Sight, as_json: bool, as_line: bool) -> bool:
    from timewright.cli.workflows import has_failed, oneline, overview_lines

    overview = sight.overview(undeployed=True)
    if as_json:
        print_json(overview)
    elif as_line:
        click.echo(printable(oneline(overview)))
    else:
        out = console()
        for line in overview_lines(out, overview):
            out.print(line)
    return has_failed(overview)
