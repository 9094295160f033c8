"""`timewright wait ID --for healthy`: for scripts that go on when it is so."""

from __future__ import annotations

import time
from typing import Any

import click

from timewright.cli.client import DaemonDownError
from timewright.cli.common import console, json_option, lasting, print_json, safe
from timewright.cli.complete import workflow_argument
from timewright.cli.durations import Duration
from timewright.cli.sight import Daemon
from timewright.cli.where import Where, where_options
from timewright.cli.wishes import WISHES, Verdict, verdict
from timewright.core.errors import Code, RequestError, TimewrightError

_LOOK = 0.25  # seconds between looks
_SURE = 3.0  # seconds that a hopeless case has to stay one: a new spec may not have been read yet


@click.command("wait")
@where_options
@click.option(
    "--for", "wish", type=click.Choice(WISHES), default="healthy", show_default=True, help="What for."
)
@click.option("--release", default="", help="And the live release is this one: its id, or its beginning.")
@click.option("--timeout", type=Duration(), default="60s", show_default=True, help="How long.")
@json_option
@workflow_argument()
def command(where: Where, wish: str, release: str, timeout: float, as_json: bool, workflow_id: str) -> None:
    """Wait until a workflow is as wished. Exit code 1 when it isn't in time, or won't be by itself.

    healthy: what the source asks for is deployed and served. rolled-back: an earlier release is live. A
    daemon that is down or restarts is waited for. A change of the spec is seen a moment after it was
    written: --release says which release is meant (`timewright plan` shows it).
    """
    began = time.time()
    with where.daemon() as daemon:
        found, view = _watch(daemon, workflow_id, wish, release, began + timeout)
    if as_json:
        print_json(view)
    took = lasting(time.time() - began)
    if not found.met:
        late = f"{workflow_id} is not {wish} after {took}"
        early = f"{workflow_id} won't be {wish} by itself"
        raise TimewrightError(
            f"{early if found.hopeless else late}: {found.why}", hint=_hint(view, workflow_id)
        )
    if not as_json:
        live = f", release {safe(view['release'])}" if view and view.get("release") else ""
        console().print(f"[green]✓[/] {safe(workflow_id)} is {wish}{live} (waited {took})")


def _watch(
    daemon: Daemon, workflow_id: str, wish: str, release: str, deadline: float
) -> tuple[Verdict, dict[str, Any] | None]:
    """The last verdict, and the view that it was made of."""
    view: dict[str, Any] | None = None
    since, before = time.time(), ""
    while True:
        try:
            view = _look(daemon, workflow_id)
            found = verdict(view, wish, deadline, release)
        except DaemonDownError as error:
            found = Verdict(why=error.message)
        now = time.time()
        hopeless = found.why if found.hopeless else ""
        if hopeless != before:
            since, before = now, hopeless
        if found.met or now >= deadline or (found.hopeless and now - since >= _SURE):
            return found, view
        time.sleep(min(_LOOK, max(0.0, deadline - now)))


def _look(daemon: Daemon, workflow_id: str) -> dict[str, Any] | None:
    try:
        return daemon.workflow(workflow_id)
    except RequestError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return None


def _hint(view: dict[str, Any] | None, workflow_id: str) -> str:
    return "timewright list" if view is None else f"timewright show {workflow_id}"
