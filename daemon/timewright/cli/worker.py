"""`timewright worker`: the worker host, by the same settings as the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from timewright.cli.common import settings, settings_options
from timewright.edge import process
from timewright.embedded import worker_command, worker_environment


@click.command("worker", context_settings={"ignore_unknown_options": True})
@settings_options
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def command(
    config_file: Path | None, source: Path | None, data: Path | None, options: tuple[str, ...]
) -> None:
    """Serve what is deployed: run the worker host, in the foreground.

    It is a process, and a unit, of its own: restarting the daemon stops no running workflow. OPTIONS go to
    the host as they are; `timewright worker -- --help` lists them.
    """
    config = settings(config_file, source, data)
    # In our place: signals, the exit code and systemd's notifications are the host's own.
    process.become([*worker_command(config), *options], worker_environment(config))
