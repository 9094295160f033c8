"""Which daemon a verb talks to, and what it reads when there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from timewright.cli.client import Client
from timewright.cli.common import options, settings, settings_options
from timewright.cli.sight import Daemon, Sight
from timewright.config import Config
from timewright.core.errors import TimewrightError

F = TypeVar("F", bound=Callable[..., Any])

_SERVER, _TOKEN, _TOKEN_FILE = "TIMEWRIGHT_SERVER", "TIMEWRIGHT_TOKEN", "TIMEWRIGHT_TOKEN_FILE"
_LOCAL = ("config_file", "source", "data")
GIVEN = (*_LOCAL, "server", "token_file")


@dataclass(frozen=True)
class Where:
    """A daemon: `server`, else the one of the settings. `token_file` is for a server only."""

    config_file: Path | None = None
    source: Path | None = None
    data: Path | None = None
    server: str = ""
    token_file: Path | None = None

    def config(self, **more: Any) -> Config:
        return settings(self.config_file, self.source, self.data, **more)

    def client(self) -> Client:
        """A client of the daemon; nothing is sent yet."""
        if self.server:
            hint = f"is the address right? ({_SERVER} or --server)"
            return Client(self.server, token=_token(self.token_file), down_hint=hint)
        config = self.config()
        return Client(f"unix:{config.api_socket}", down_hint=_how_to_start(config))

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """The daemon, for what only it can do. Raises DaemonDownError, with what to do, when used."""
        client = self.client()
        try:
            yield Daemon(client)
        finally:
            client.close()

    @contextmanager
    def sight(self, *, quiet: bool = False) -> Iterator[Sight]:
        """The daemon, or what its state file says while it is down: said once, unless `quiet`."""
        with self.daemon() as daemon:
            if self.server or daemon.is_up():
                yield daemon
                return
        from timewright.cli.aside import StateSight

        with StateSight(self.config()) as aside:
            if not quiet:
                click.echo("Note: the daemon isn't running; this is what its state file says.", err=True)
            yield aside


def _how_to_start(config: Config) -> str:
    if _is_held(config.data_path / "timewright.lock"):
        return "it runs and is about to listen, or is an `apply`; look at its log, or try again"
    return "timewright run, or systemctl status timewright"


def _is_held(lock: Path) -> bool:
    """Whether somebody works on the data directory. Only looks: to try the lock could stop a daemon that
    starts in that instant."""
    try:
        found = lock.stat()
        held = Path("/proc/locks").read_text("ascii")
    except OSError:
        return False
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any("FLOCK" in line and inode in line.split() for line in held.splitlines())


def _token(file: Path | None) -> str:
    """The token of the command line's file, else the environment's; '' for none."""
    if file is None:
        return os.environ.get(_TOKEN, "").strip()
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise TimewrightError(f"the token file {file} can't be read: {why}") from None


_server_options = options(
    settings_options,
    click.option("--server", metavar="URL", envvar=_SERVER, help="Another host's daemon: https://host:port."),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        envvar=_TOKEN_FILE,
        help=f"The token for --server. Without it: {_TOKEN}.",
    ),
)


def where_options(function: F) -> F:
    """--config, --source, --data or --server, --token-file: the verb gets one `where`."""

    @wraps(function)
    def with_where(**values: Any) -> Any:
        given = {name: values.pop(name) for name in GIVEN}
        return function(where=where_from(click.get_current_context(), given), **values)

    return cast("F", _server_options(with_where))


def where_from(ctx: click.Context, given: dict[str, Any]) -> Where:
    """What was typed wins over the environment; a host and another host can't both be typed."""
    typed = {name for name in given if _is_typed(ctx, name)}
    local = typed.intersection(_LOCAL)
    if given["server"] and local:
        if "server" in typed:
            raise click.UsageError("--server is another host: --config, --source and --data are this one's")
        given = {**given, "server": None}
    return Where(**{**given, "server": given["server"] or ""})


def _is_typed(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
