"""`timewright dashboard`: the page, in a browser."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import click

from timewright.cli.where import Where, where_options
from timewright.config import Config


@click.command("dashboard")
@where_options
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On this port, not just a free one.")
@click.option("--no-open", is_flag=True, help="Only print the address; open no browser.")
def command(where: Where, port: int, no_open: bool) -> None:
    """Show the page in a browser, until Ctrl-C.

    Where the API is on the network (api.listen, or --server), its own page is opened, which asks for a
    token. Otherwise the page is served to this host alone, with what your user may do on the daemon's
    socket: the address has a secret that works once. From another machine: ssh -L 8233:127.0.0.1:8233
    HOST timewright dashboard --no-open --port 8233
    """
    config = None if where.server else where.config()
    address = where.server.rstrip("/") if config is None else _listening(config)
    if address:
        click.echo(f"The page is at {address}/ and asks for a token (timewright token create).")
        if not no_open and _has_screen():
            webbrowser.open(f"{address}/")
        return
    assert config is not None  # noqa: S101 - tells the type
    from timewright.cli.loopback import Loopback

    with where.daemon() as daemon:
        daemon.client.open()  # says what to do when it is down
    with Loopback(config.api_socket, port) as served:
        click.echo(f"The page is at {served.address}/#once={served.secret}")
        click.echo("The address works once, for one tab. Ctrl-C ends it.")
        with _opened(f"{served.address}/#once={served.secret}", wanted=not no_open and _has_screen()):
            try:
                served.serve()
            except KeyboardInterrupt:
                click.echo("")


def _listening(config: Config) -> str:
    """Where the API is on the network; '' if it isn't."""
    if not config.api.listen:
        return ""
    from timewright.api.listen import split

    host, port = split(config.api.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - all of this host's addresses
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if config.api_tls[0] is not None else 'http'}://{name}:{port}"


def _has_screen() -> bool:
    """Without one, a browser in the terminal would take that over."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))


@contextmanager
def _opened(address: str, *, wanted: bool) -> Iterator[None]:
    """A browser at an address with a secret: by a file that only this user can read, since every user sees
    the words that a program is started with."""
    if not wanted:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="timewright-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "page.html"
        file.touch(mode=0o600)
        file.write_text(
            f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(address)}">', "utf-8"
        )
        webbrowser.open(file.as_uri())
        yield
