"""What the verbs share: options, settings, printing. Rich is loaded by who prints to people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from timewright.config import Config, load
from timewright.core.errors import RequestError, TimewrightError
from timewright.core.state import Health, Status, Sync

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

STYLES: dict[str, str] = {
    Status.DEPLOYED: "green",
    Status.DEPLOYMENT_FAILED: "red",
    Status.DEPLOYING: "cyan",
    Status.UNDEPLOYED: "dim",
    Status.UNDEPLOYING: "cyan",
    Status.ROLLING_BACK: "cyan",
    Status.ROLLED_BACK: "yellow",
    Sync.OUT_OF_SYNC: "yellow",
    Health.HEALTHY: "green",
    Health.DEGRADED: "yellow",
    Health.MISSING: "red",
    Health.PROGRESSING: "cyan",
    Health.SUSPENDED: "yellow",
}


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


settings_options = options(
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="TIMEWRIGHT_CONFIG",
        help="The settings file. Without it: ./timewright.toml, if it is there.",
    ),
    click.option("--source", "source", type=click.Path(path_type=Path), help="The folder of specs."),
    click.option("--data", "data", type=click.Path(path_type=Path), help="The data directory."),
)
json_option = options(click.option("--json", "as_json", is_flag=True, help="Print JSON."))


def settings(config_file: Path | None, source: Path | None, data: Path | None, **more: Any) -> Config:
    """The settings in force; paths on the command line are relative to where the person is."""
    overrides = {
        "source.path": str(source.absolute()) if source else None,
        "data.directory": str(data.absolute()) if data else None,
        **more,
    }
    return load(config_file, overrides=overrides)


# Printing --------------------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """Where people read. Not a terminal: no colour, and lines as long as they are."""
    from rich.console import Console

    class Out(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich's own way out is exit code 1

    out = Out(highlight=False, soft_wrap=True, emoji=False, stderr=stderr)
    if not out.is_terminal:
        out.width = 1000
    return out


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_error(error: TimewrightError) -> None:
    """`Error:`, its problems, and `Try:`; on standard error."""
    click.echo(f"Error: {printable_lines(error.message)}", err=True)
    if isinstance(error, RequestError):
        for problem in error.problems:
            if str(problem) != error.message:
                click.echo(f"  - {printable_lines(str(problem))}", err=True)
    if error.hint:
        click.echo(f"Try: {printable_lines(error.hint)}", err=True)


def paint(word: str) -> str:
    style = STYLES.get(word, "")
    return f"[{style}]{safe(word)}[/]" if style else safe(word)


def safe(text: str | None) -> str:
    """Text from outside, for a console: no markup, no control characters."""
    from rich.markup import escape

    return escape(printable(text or ""))


def printable(text: str) -> str:
    """Text from outside, for a terminal or a log: no control characters, no undecodable bytes."""
    return "".join(char if char.isprintable() else "�" for char in text)


def printable_lines(text: str) -> str:
    """The same, for text that may have several lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


# Reading ---------------------------------------------------------------------------------------


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


# Times -----------------------------------------------------------------------------------------


def moment(text: str | None) -> float:
    """Seconds since the epoch of a view's time; 0 for never and for what is no time."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def ago(at: float, now: float | None = None) -> str:
    """`12s`, `3m`, `5h`, `2d` since a moment in seconds since the epoch; '' for never."""
    return lasting((now or time.time()) - at) if at else ""


def left(at: float, now: float | None = None) -> str:
    """The same until a moment, rounded: what was set for 2h a moment ago has 2h left. '' for never."""
    seconds = at - (now or time.time())
    unit = next((size for size in (86400, 3600, 60) if seconds > 0.95 * size), 1)
    return lasting(seconds + unit / 2) if at else ""


def lasting(seconds: float) -> str:
    """A span of time in its largest unit: `12s`, `3m`, `5h`, `2d`."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"
