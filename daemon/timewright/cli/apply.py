"""`timewright apply`: one pass to its end, then exit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from timewright import log
from timewright.cli.common import console, json_option, print_json, settings, settings_options
from timewright.cli.workflows import workflow_lines
from timewright.edge.statefile import StateFile
from timewright.service import apply_once
from timewright.views import workflow_view

_MANY = 8  # deploys: fewer are over before a bar is read


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, once there is a lot to do."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        tasks: list[TaskID] = []

        def show(done: int, of: int) -> None:
            if of >= _MANY:
                if not tasks:
                    tasks.append(bar.add_task("deploying", total=of))
                bar.update(tasks[0], completed=done, total=of)

        yield show


@click.command("apply")
@settings_options
@click.option("--prune/--no-prune", default=None, help="Undeploy what the source no longer has.")
@json_option
def command(
    config_file: Path | None, source: Path | None, data: Path | None, prune: bool | None, as_json: bool
) -> None:
    """Bring this host in line with the source once. Exit code 1 if any spec failed."""
    config = settings(config_file, source, data, **{"source.prune": prune})
    with _progress() as show:
        log.configure(config.log.level, config.log.format)  # to where the bar makes room for lines
        failed = asyncio.run(apply_once(config, show))
    state = StateFile(config.state_path, read_only=True)
    views = [workflow_view(record) for record in state.records().values()]
    state.close()
    if as_json:
        print_json({"failed": failed, "workflows": views})
    elif views:
        out = console()
        for line in workflow_lines(out, views):
            out.print(line)
    sys.exit(1 if failed else 0)
