"""`timewright list`: the workflows' names, for people and scripts."""

from __future__ import annotations

from pathlib import Path

import click

from timewright.cli.common import json_option, print_json, settings, settings_options
from timewright.core.state import Status
from timewright.edge.statefile import StateFile
from timewright.views import workflow_view


@click.command("list")
@settings_options
@json_option
@click.option("--all", "with_undeployed", is_flag=True, help="Also those that are undeployed.")
def command(
    config_file: Path | None, source: Path | None, data: Path | None, as_json: bool, with_undeployed: bool
) -> None:
    """List workflows: id, status, live release; tab-separated."""
    config = settings(config_file, source, data)
    state = StateFile(config.state_path, read_only=True)
    records = [
        record
        for record in state.records().values()
        if with_undeployed or record.status is not Status.UNDEPLOYED
    ]
    state.close()
    if as_json:
        print_json([workflow_view(record) for record in records])
        return
    for record in records:
        click.echo(f"{record.workflow_id}\t{record.status}\t{record.applied[:12] or '-'}")
