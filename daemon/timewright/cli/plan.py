"""`timewright plan`: what a pass would do, and what it holds back, without doing it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click

from timewright.cli.common import console, json_option, print_json, safe
from timewright.cli.where import Where, where_options

View = dict[str, Any]

CHANGES = 3
_STYLES = {
    "deploy": ("+", "green"),
    "rollback": ("<", "yellow"),
    "revert": ("<", "red"),
    "undeploy": ("-", "red"),
    "refuse": ("!", "red"),
    "hold": ("=", "yellow"),
}
_QUIET = ("~", "dim")
_NO_CHANGE = ("hold", "clear")
_DONE = {"deploy": "to deploy", "undeploy": "to undeploy", "refuse": "refused", "hold": "held back"}


@click.command("plan")
@where_options
@click.option("--prune/--no-prune", default=None, help="Plan as if prune were on or off.")
@json_option
def command(where: Where, prune: bool | None, as_json: bool) -> None:
    """Show what would be done and why, and what is held back. Exit code 3 if there is anything to do, 1 if a
    spec is refused.

    The daemon's own plan, where one runs; made here when it is down, or with --source or --prune.
    """
    view = _plan(where, prune)
    if as_json:
        print_json(view)
    else:
        _show(view)
    kinds = {action["action"] for action in view["actions"]}
    if "refuse" in kinds or not view["complete"]:
        sys.exit(1)
    sys.exit(CHANGES if kinds.difference(_NO_CHANGE) else 0)


def _plan(where: Where, prune: bool | None) -> View:
    if where.server and prune is not None:
        raise click.UsageError("--prune plans on this host; --server is another one")
    with where.daemon() as daemon:
        if where.server or (prune is None and where.source is None and daemon.is_up()):
            return daemon.plan()
    from timewright.cli.planning import plan_here

    return plan_here(where.config(**{"source.prune": prune}))


def _show(view: View) -> None:
    out = console()
    actions = sorted(view["actions"], key=lambda action: action["action"] in _NO_CHANGE)  # stable
    if not view["complete"]:
        out.print(f"[red]The source can't be read completely[/]: {safe(view['problem'])}")
    if view["complete"] and all(action["action"] in _NO_CHANGE for action in actions):
        specs = f"{view['specs']} specs, all" if "specs" in view else "all is"
        out.print(
            f"Nothing to do: {specs} as the source asks{', but for what is held back' * bool(actions)}."
        )
    for action in actions:
        _show_action(action)
    if len(actions) > 1:
        counts = Counter(action["action"] for action in actions)
        out.print(", ".join(f"{count} {_DONE.get(kind, f'to {kind}')}" for kind, count in counts.items()))


def _show_action(action: View) -> None:
    out = console()
    sign, style = _STYLES.get(action["action"], _QUIET)
    name = safe(action["workflowId"] or "(a file)")
    out.print(f"[{style}]{sign} {safe(action['action']):9}[/] {name}: {safe(action['because'])}")
    from timewright.cli.workflows import problem_text

    for problem in action.get("problems", ()):
        out.print(f"    {safe(problem_text(problem))}")
