"""`timewright run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from timewright import log
from timewright.cli.common import settings, settings_options
from timewright.config import Config
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
    config = settings(config_file, source, data, **{"source.prune": prune})
    log.configure(config.log.level, config.log.format)
    asyncio.run(_run(config, with_helpers))


async def _run(config: Config, with_helpers: bool) -> None:
    service = Service(config)
    if not with_helpers:
        await service.run()
        return
    async with embedded(config):
        await service.run()
