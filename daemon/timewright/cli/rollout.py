"""`timewright rollout ID [--watch]`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click
from rich.live import Live
from rich.text import Text

from timewright.cli import drawing
from timewright.cli.client import DaemonDownError
from timewright.cli.common import console, json_option, print_json, printable
from timewright.cli.complete import workflow_argument
from timewright.cli.sight import Daemon
from timewright.cli.where import Where, where_options

View = dict[str, Any]
_LOOK = 0.5  # seconds between looks


@click.command("rollout")
@where_options
@click.option("-w", "--watch", is_flag=True, help="Until the rollout is over.")
@json_option
@workflow_argument()
def command(where: Where, workflow_id: str, watch: bool, as_json: bool) -> None:
    """Show the versions of a workflow's pool, and how far the newest is.

    Which version takes which share of new executions, which hosts serve it, how many executions are open on
    it, and the steps of the rollout. With --watch the exit code says how it ended: 0 when the new version
    takes all, 1 when it was taken back or gave way to a newer one. With --json, too, each change is a line.
    While Temporal is away it waits. Ctrl-C ends the watching, and nothing else.
    """
    with where.daemon() as daemon:
        if not watch:
            view = daemon.rollout(workflow_id)
            if as_json:
                print_json(view)
                return
            out = console()
            for text in drawing.drawn(out, view, time.time()):
                out.print(text)
            return
        try:
            view = _watch(daemon, workflow_id, as_json=as_json)
        except KeyboardInterrupt:
            click.echo("\nThe rollout goes on without you.", err=True)
            sys.exit(130)
    rollout = view["rollout"]
    sys.exit(0 if rollout is None or drawing.OVER.get(rollout["phase"]) else 1)


def _watch(daemon: Daemon, workflow_id: str, *, as_json: bool) -> View:
    """Look until it is over; the last view."""
    out = console()
    if as_json or not out.is_terminal:
        return _watch_plainly(daemon, workflow_id, as_json=as_json)
    view = daemon.rollout(workflow_id)
    with Live(console=out, auto_refresh=False, transient=False) as live:
        while True:
            live.update(Text("\n").join(drawing.drawn(out, view, time.time())), refresh=True)
            if _is_over(view):
                return view
            time.sleep(_LOOK)
            view = _again(daemon, workflow_id, view)


def _watch_plainly(daemon: Daemon, workflow_id: str, *, as_json: bool) -> View:
    """A line for each change: for logs and CI."""
    told: object = None
    view = daemon.rollout(workflow_id)
    while True:
        if drawing.changed(view) != told:
            told = drawing.changed(view)
            if as_json:
                click.echo(json.dumps(view, ensure_ascii=False))
            else:
                click.echo(printable(drawing.line(view)))
        if _is_over(view):
            return view
        time.sleep(_LOOK)
        view = _again(daemon, workflow_id, view)


def _again(daemon: Daemon, workflow_id: str, before: View) -> View:
    """The next look; a daemon that restarts meanwhile is waited for."""
    try:
        return daemon.rollout(workflow_id)
    except DaemonDownError:
        return {**before, "problem": "the daemon does not answer; waiting until it is back"}


def _is_over(view: View) -> bool:
    """What was known before Temporal went away may be of the version before: it ends nothing."""
    if view["problem"]:
        return False
    return view["rollout"] is None or view["rollout"]["phase"] in drawing.OVER
