"""`timewright logs [ID]`: what happened, from the history that the state file keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from timewright.cli.common import console, json_option
from timewright.cli.complete import workflow_argument
from timewright.cli.where import Where, where_options


@click.command("logs")
@where_options
@json_option
@click.option("-f", "--follow", "following", is_flag=True, help="Go on printing as things happen.")
@click.option("-n", "--last", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many.")
@workflow_argument(required=False)
def command(where: Where, as_json: bool, following: bool, last: int, workflow_id: str | None) -> None:
    """Show what happened, a line an event, of all workflows or of one.

    With --json, each line is a JSON object. --follow goes on through restarts of the daemon.
    """
    from timewright.cli.events import follow, print_event

    with where.sight(quiet=as_json) as sight, suppress(KeyboardInterrupt):
        events: Iterator[dict[str, Any]] = (
            follow(sight, workflow_id, last) if following else iter(sight.events(workflow_id, last=last))
        )
        out = console()
        for event in events:
            if as_json:
                click.echo(json.dumps(event, ensure_ascii=False))
            else:
                print_event(out, event)
