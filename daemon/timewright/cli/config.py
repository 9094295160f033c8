"""`timewright config`: the settings in force, and where each came from."""

from __future__ import annotations

from pathlib import Path

import click
import tomli_w

from timewright.cli.common import json_option, print_json, settings, settings_options
from timewright.config import values


@click.command("config")
@settings_options
@json_option
def command(config_file: Path | None, source: Path | None, data: Path | None, as_json: bool) -> None:
    """Show every setting in force, and where it came from. Nothing is said of defaults."""
    config = settings(config_file, source, data)
    if as_json:
        print_json(
            {
                key: {"value": v, "from": config.origin.get(key, "default")}
                for key, v in values(config).items()
            }
        )
        return
    section = ""
    for key, value in values(config).items():
        name, _, item = key.partition(".")
        if name != section:
            click.echo(f"{'' if not section else chr(10)}[{name}]")
            section = name
        line = tomli_w.dumps({item: value}).strip()
        where = config.origin.get(key)
        click.echo(f"{line}  # {where}" if where else line)
