"""`timewright setup`: the npm packages of the toolchain, for a timewright that came as a wheel."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from timewright.cli.common import settings, settings_options
from timewright.config import Config
from timewright.core.errors import TimewrightError
from timewright.edge import npm

_LONGEST_S = 1800.0


@click.command("setup")
@settings_options
@click.option(
    "--npm-cache",
    "cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where npm keeps what it fetched. Without it: npm's own.",
)
@click.option("--offline", is_flag=True, help="Take all from that cache, and ask no network.")
def command(
    config_file: Path | None, source: Path | None, data: Path | None, cache: Path | None, offline: bool
) -> None:
    """Install the compilers and Temporal's SDK, which the worker host and the checks need.

    Once after the wheel was installed or upgraded, as the user who owns it. No script of a package runs.
    """
    config = settings(config_file, source, data)
    asyncio.run(_setup(config, cache.resolve() if cache else None, offline))
    click.echo(f"{config.toolchain_path} is complete.")


async def _setup(config: Config, cache: Path | None, offline: bool) -> None:
    toolchain = config.toolchain_path
    if not (toolchain / "package-lock.json").is_file():
        raise TimewrightError(
            f"{toolchain} has no package-lock.json, so it is no toolchain",
            hint="install the wheel that `make wheel` builds; in a checkout, `make setup`",
        )
    await npm.ci(toolchain, node=config.node_command, cache=cache, offline=offline, timeout=_LONGEST_S)
