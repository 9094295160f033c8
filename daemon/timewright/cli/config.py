"""`timewright config`: the settings in force, and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import tomli_w

from timewright.cli.common import json_option, print_json, settings, settings_options
from timewright.config import values
from timewright.core.gitrefs import location


@click.command("config")
@settings_options
@json_option
def command(config_file: Path | None, source: Path | None, data: Path | None, as_json: bool) -> None:
    """Show every setting in force, and where it came from. Nothing is said of defaults."""
    config = settings(config_file, source, data)
    if as_json:
        print_json(
            {
                key: {"value": _shown(key, v), "from": config.origin.get(key, "default")}
                for key, v in values(config).items()
            }
        )
        return
    section = ""
    for key, value in values(config).items():
        name, _, item = key.rpartition(".")
        if name != section:
            click.echo(f"{'' if not section else chr(10)}[{name}]")
            section = name
        line = tomli_w.dumps({item: _shown(key, value)}).strip()
        where = config.origin.get(key)
        click.echo(f"{line}  # {where}" if where else line)


def _shown(key: str, value: Any) -> Any:
    """A setting without the password that a URL may hold."""
    return location(value) if key.endswith(".git") else value
