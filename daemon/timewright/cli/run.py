"""`timewright run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click

from timewright import log
from timewright.api.server import faces
from timewright.cli.common import settings, settings_options
from timewright.config import Config
from timewright.edge import process
from timewright.embedded import embedded
from timewright.service import Service


@click.command("run")
@settings_options
@click.option(
    "--embedded",
    "with_helpers",
    is_flag=True,
    help="Also run the worker host, and a Temporal dev server when none answers.",
)
@click.option("--prune/--no-prune", default=None, help="Undeploy what the source no longer has.")
def command(
    config_file: Path | None, source: Path | None, data: Path | None, with_helpers: bool, prune: bool | None
) -> None:
    """Follow the source and keep this host in line with it, until stopped."""

    def read() -> Config:
        return settings(config_file, source, data, **{"source.prune": prune})

    with log.surviving_streams():
        config = read()
        log.configure(config.log.level, config.log.format)
        service = Service(config, embedded if with_helpers else None, faces, read)
        if with_helpers:
            _explain(config)
        if asyncio.run(service.run()) and not service.stopped:
            # Under the same process id: to who supervises us, this is a reload.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the new one listens
            process.become([sys.executable, *sys.orig_argv[1:]], service.systemd.restored())


def _explain(config: Config) -> None:
    """What is about to happen, in plain words, before the log begins."""
    rows = [
        (f"cp my-workflow.json {_short(config.source_path)}/", "deploy it; edit the file to update it"),
        ("timewright status", "where everything stands (.venv/bin/timewright in a checkout)"),
        ("timewright logs -f", "what happens, and why"),
    ]
    lines = [
        f"timewright follows {config.source_path}",
        f"  live workflows   {config.workflows_path}",
        f"  API              {config.api_socket}" + (f", {config.api.listen}" if config.api.listen else ""),
        f"  worker host      {config.worker_url}",
        f"  Temporal         {config.temporal.address}",
        "In another terminal:",
        *(f"  {command:34} {what}" for command, what in rows),
        "Ctrl-C stops all of it.\n",
    ]
    click.echo("\n".join(lines), err=True)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
