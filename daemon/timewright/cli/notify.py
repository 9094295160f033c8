"""`timewright notify`: who is told of what, and whether a message arrives."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import click

from timewright.cli.common import json_option, print_json, printable, settings, settings_options
from timewright.config import Config, Notify
from timewright.core.errors import TimewrightError
from timewright.edge.messenger import Messenger
from timewright.notify import messenger_of


@click.command("notify")
@settings_options
@json_option
@click.option("--test", "test", is_flag=True, help="Send a message now, and say what became of it.")
@click.argument("route", required=False)
def command(
    config_file: Path | None,
    source: Path | None,
    data: Path | None,
    as_json: bool,
    test: bool,
    route: str | None,
) -> None:
    """Show who is told of what, and send a message to try. Of one ROUTE ([notifiers.ROUTE]), or of all.

    A URL is shown by its number in the file, its scheme, and its host where that is no secret. The daemon
    reads its settings at its start, the files of URLs at each message. Exit code 1 if a file can't be used,
    or a message does not arrive.
    """
    config = settings(config_file, source, data)
    views = [_view(config, name, config.routes[name], test) for name in _chosen(config, route)]
    if as_json:
        print_json(views)
    else:
        for view in views:
            _show(view, test)
    if not views and not as_json:
        click.echo("Nobody is told of anything: set notify.urls_file.")
    failed = any(view["problem"] or any(url["problem"] for url in view["urls"]) for view in views)
    sys.exit(1 if failed or (test and not views) else 0)


def _chosen(config: Config, route: str | None) -> list[str]:
    if route is None:
        return list(config.routes)
    if route not in config.routes:
        there = ", ".join(config.routes) or "none"
        raise TimewrightError(
            f"there is no route {route!r}", hint=f"routes are [notifiers.NAME]; there are: {there}"
        )
    return [route]


def _view(config: Config, name: str, route: Notify, test: bool) -> dict[str, Any]:
    messenger = messenger_of(config, name, route)
    view: dict[str, Any] = {
        "route": name,
        "on": route.on,
        "workflows": route.workflows,
        "owners": route.owners,
    }
    try:
        urls = asyncio.run(_send(messenger) if test else _look(messenger))
    except TimewrightError as error:
        problem = f"{error.message} ({error.hint})" if error.hint else error.message
        return {**view, "urls": [], "problem": problem, "warning": ""}
    return {**view, "urls": urls, "problem": "", "warning": messenger.exposed()}


async def _look(messenger: Messenger) -> list[dict[str, Any]]:
    return [{"url": where, "problem": ""} for where in await messenger.where()]


async def _send(messenger: Messenger) -> list[dict[str, Any]]:
    host = socket.gethostname()
    text = f"timewright on {host} can reach you here. Somebody asked for it: timewright notify --test."
    sent = await messenger.send(f"timewright test ({host})", text, "info")
    return [{"url": one.where, "problem": one.problem} for one in sent]


def _show(view: dict[str, Any], test: bool) -> None:
    who = ", ".join(view["workflows"]) + (f" of {', '.join(view['owners'])}" if view["owners"] else "")
    click.echo(f"{view['route']}: {', '.join(view['on'])}; workflows {printable(who)}")
    if view["problem"]:
        click.echo(f"  {printable(view['problem'])}")
    for url in view["urls"]:
        click.echo(
            f"  {printable(url['url'])}" + (f": {printable(url['problem']) or 'sent'}" if test else "")
        )
    if view["warning"]:
        click.echo(f"  Warning: {printable(view['warning'])}")
