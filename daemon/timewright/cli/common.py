"""What the verbs share: options, settings, printing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from timewright.config import Config, load
from timewright.core.document import Limits
from timewright.core.errors import TimewrightError
from timewright.core.prepare import Host
from timewright.core.state import Health, Status
from timewright.service import make_compiler, make_host

F = TypeVar("F", bound=Callable[..., Any])

STYLES: dict[str, str] = {
    Status.DEPLOYED: "green",
    Status.DEPLOYMENT_FAILED: "red",
    Status.DEPLOYING: "cyan",
    Status.UNDEPLOYED: "dim",
    Health.HEALTHY: "green",
    Health.DEGRADED: "yellow",
    Health.MISSING: "red",
    Health.PROGRESSING: "cyan",
}


def settings_options(function: F) -> F:
    """--config, --source, --data: which settings this verb works with."""
    for option in (
        click.option("--data", "data", type=click.Path(path_type=Path), help="The data directory."),
        click.option("--source", "source", type=click.Path(path_type=Path), help="The folder of specs."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            envvar="TIMEWRIGHT_CONFIG",
            help="The settings file. Without it: ./timewright.toml, if it is there.",
        ),
    ):
        function = option(function)
    return function


def json_option(function: F) -> F:
    decorated: F = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
    return decorated


def settings(config_file: Path | None, source: Path | None, data: Path | None, **more: Any) -> Config:
    """The settings in force; paths on the command line are relative to where the person is."""
    overrides = {
        "source.path": str(source.absolute()) if source else None,
        "data.directory": str(data.absolute()) if data else None,
        **more,
    }
    return load(config_file, overrides=overrides)


def console() -> Console:
    """Where people read. Not a terminal: no colour, and lines as long as they are."""
    out = Console(highlight=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = 1000
    return out


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def paint(word: str) -> str:
    style = STYLES.get(word, "")
    return f"[{style}]{word}[/]" if style else str(word)


def safe(text: str) -> str:
    """Text from outside, for a table: no markup, no control characters."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Text from outside, for a terminal or a log: no control characters, no undecodable bytes."""
    return "".join(char if char.isprintable() else "�" for char in text)


def limits_from(config: Config) -> Limits:
    """What a spec may cost, by the config."""
    return Limits(bytes=config.source.max_spec_bytes, files=config.source.max_files)


def offline_host(config: Config) -> Host:
    """What this host gives to specs, without starting or looking for a compiler: for verbs that only
    read. Its digests are none that a deploy would make."""
    idle = replace(config, compiler=replace(config.compiler, mode="off"))
    return make_host(idle, make_compiler(idle, config.data_path / "cache"))


def read_input(name: str) -> bytes:
    """The bytes of a file, or of standard input for `-`. Raises TimewrightError."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise TimewrightError(f"{name} can't be read: {error.strerror}") from None


def is_yaml(name: str, data: bytes) -> bool:
    """Is this document YAML? By the name's ending; what comes by standard input, by its first letter."""
    if name == "-":
        return not data.lstrip().startswith((b"{", b"["))
    return name.endswith((".yaml", ".yml"))


def ago(moment: float, now: float | None = None) -> str:
    """`12s`, `3m`, `5h`, `2d` since a moment in seconds since the epoch; '' for never."""
    if not moment:
        return ""
    seconds = max(0, int((now or time.time()) - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
