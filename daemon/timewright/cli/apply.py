"""`timewright apply`: one pass to its end, then exit."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from timewright import log
from timewright.cli.common import json_option, print_json, settings, settings_options, workflow_view
from timewright.cli.status import print_workflows
from timewright.edge.statefile import StateFile
from timewright.service import apply_once


@click.command("apply")
@settings_options
@click.option("--prune/--no-prune", default=None, help="Undeploy what the source no longer has.")
@json_option
def command(
    config_file: Path | None, source: Path | None, data: Path | None, prune: bool | None, as_json: bool
) -> None:
    """Bring this host in line with the source once. Exit code 1 if any spec failed."""
    config = settings(config_file, source, data, **{"source.prune": prune})
    log.configure(config.log.level, config.log.format)
    failed = asyncio.run(apply_once(config))
    state = StateFile(config.state_path, read_only=True)
    records = list(state.records().values())
    if as_json:
        print_json({"failed": failed, "workflows": [workflow_view(record) for record in records]})
    elif records:
        print_workflows(records)
    state.close()
    sys.exit(1 if failed else 0)
