"""`timewright reconcile [SOURCE] --wait`: for CI, after a push; and for people who don't want to wait for the
next fetch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import click

from timewright.cli.client import DaemonDownError
from timewright.cli.common import console, json_option, lasting, print_json, safe
from timewright.cli.durations import Duration
from timewright.cli.sight import Daemon
from timewright.cli.where import Where, where_options
from timewright.core.errors import Code, RequestError, TimewrightError

View = dict[str, Any]
_LOOK = 0.25  # seconds between looks


@dataclass(frozen=True)
class _Stand:
    """How far it is. `why`: what it waits for, or why it failed."""

    done: bool
    failed: bool = False
    why: str = ""
    hint: str = ""


@click.command("reconcile")
@where_options
@click.option("--wait", is_flag=True, help="Until that commit is applied and healthy.")
@click.option(
    "--revision", metavar="COMMIT", default="", help="Wait until this one is followed, or a later one."
)
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="How long to wait.")
@click.option(
    "--allow-rewind",
    is_flag=True,
    help="Follow what is fetched even if it does not descend from what is followed; once. With --revision:"
    " that commit only.",
)
@click.option("--reason", default="", help="Why; kept in the audit.")
@json_option
@click.argument("name", metavar="[SOURCE]", required=False)
def command(
    where: Where,
    wait: bool,
    revision: str,
    timeout: float,
    allow_rewind: bool,
    reason: str,
    as_json: bool,
    name: str | None,
) -> None:
    """Fetch a source now, and wait until its commit is applied.

    SOURCE may be left out where there is only one. With --wait the exit code is 0 when all that the commit
    changed is deployed and healthy, and 1 when something of it failed, when the commit is refused, or when it
    takes too long. Without a daemon there is: timewright apply.
    """
    revision = revision.lower()
    if revision and (len(revision) < 7 or set(revision) - set("0123456789abcdef")):
        raise click.UsageError(f"--revision must be a commit's hash of 7 characters or more, is {revision!r}")
    began = time.time()
    with where.daemon() as daemon:
        name = name or _only_source(daemon)
        body: dict[str, Any] = {"allowRewind": allow_rewind, "reason": reason}
        if allow_rewind and revision:
            body["revision"] = revision
        granted = daemon.reconcile(name, body)
        if not wait:
            _say_asked(daemon, name, granted, as_json)
            return
        stand, view = _follow(daemon, name, granted["fetches"], revision, began + timeout)
    if as_json:
        print_json(view)
    took = lasting(time.time() - began)
    if not stand.done:
        late = "" if stand.failed else f"not done after {took}; "
        raise TimewrightError(f"source {name}: {late}{stand.why}", hint=stand.hint)
    if not as_json:
        console().print(f"[green]✓[/] {safe(name)}: {_commit(view)}{safe(stand.why)} (waited {took})")


def _only_source(daemon: Daemon) -> str:
    names = [str(view["name"]) for view in daemon.sources()]
    if len(names) == 1:
        return names[0]
    raise click.UsageError(f"which source? There are: {', '.join(names) or 'none that you see'}")


def _say_asked(daemon: Daemon, name: str, granted: View, as_json: bool) -> None:
    if as_json:
        print_json(granted)
    else:
        console().print(
            f"Asked for. `timewright status` shows what comes of it, `reconcile {safe(name)} --wait` waits."
        )


def _follow(daemon: Daemon, name: str, fetches: int, revision: str, deadline: float) -> tuple[_Stand, View]:
    """Where it stands at the end, and the view that says so. A daemon that restarts meanwhile is waited
    for."""
    view: View = {}
    stand = _Stand(False, why="not asked yet")
    restarted = False
    while True:
        try:
            view = daemon.source(name, revision=revision)
            if view["fetches"] < fetches and restarted:
                fetches = 1  # a new daemon counts anew
            stand = _stand(view, fetches, revision)
        except DaemonDownError as error:
            restarted, stand = True, _Stand(False, why=error.message)
        except RequestError as error:
            if error.code is not Code.INTERNAL_SERVER_ERROR:
                raise
            stand = _Stand(False, why=error.message)
        now = time.time()
        if stand.done or stand.failed or now >= deadline:
            return stand, view
        time.sleep(min(_LOOK, max(0.0, deadline - now)))


def _stand(view: View, fetches: int, revision: str) -> _Stand:
    problem, hint = view.get("problem") or "", view.get("hint") or ""
    if view["fetches"] < fetches:
        return _Stand(False, why="it is being fetched")
    if revision and not view.get("contains"):
        at = view["commit"]["short"] if view.get("commit") else "nothing"
        why = problem or f"it is at {at}, which does not have commit {revision[:10]} in its history"
        return _Stand(
            False, view["state"] == "Refused", why, hint or "was it pushed to the branch that is followed?"
        )
    if view["state"] == "Refused" and not revision:
        return _Stand(False, True, problem, hint)
    if problem and not revision:
        return _Stand(False, why=problem, hint=hint)
    rollout = view.get("rollout")
    if rollout is None:
        return _Stand(False, why="nothing was fetched yet")
    if rollout["state"] == "failure":
        first = rollout["failed"][0] if rollout["failed"] else ""
        return _Stand(False, True, rollout["description"], f"timewright show {first}" if first else "")
    return _Stand(rollout["state"] == "success", why=rollout["description"])


def _commit(view: View) -> str:
    from timewright.cli.workflows import commit_text

    return f"{commit_text(view['commit'])}: " if view.get("commit") else ""
