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
@click.option("--from", "old", metavar="REF", help="What a merge would change: this state is what runs.")
@click.option(
    "--to", "new", metavar="REF", default="", help="And this one is merged. Without: the work tree."
)
@click.option("--merge-base", is_flag=True, help="From the commit where --to left --from.")
@click.option("--path", "folder", metavar="DIR", help="The folder of specs in the repository.")
@click.option("--diff", is_flag=True, help="With --from: show how the files of a workflow differ.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown", "github"]),
    help="With --from: for whom. markdown is a comment for a pull request, github its annotations.",
)
@json_option
def command(
    where: Where,
    prune: bool | None,
    old: str | None,
    new: str,
    merge_base: bool,
    folder: str | None,
    diff: bool,
    form: str | None,
    as_json: bool,
) -> None:
    """Show what would be done and why, and what is held back. Exit code 3 if there is anything to do, 1 if a
    spec is refused.

    The daemon's own plan, where one runs; made here when it is down, or with --source or --prune. With --from
    it is the plan of a merge: two states of the git repository that you are in are compared, without a
    daemon, and without compiling (that is: timewright validate). Nothing that the repository holds is run.
    """
    if old is not None:
        _plan_merge(where, prune, old, new, folder, "json" if as_json else form or "text", merge_base, diff)
        return
    if new or merge_base or folder or diff or form:
        raise click.UsageError("--to, --merge-base, --path, --diff and --format go with --from")
    view = _plan(where, prune)
    if as_json:
        print_json(view)
    else:
        _show(view)
    kinds = {action["action"] for action in view["actions"]}
    if "refuse" in kinds or not view["complete"]:
        sys.exit(1)
    sys.exit(CHANGES if kinds.difference(_NO_CHANGE) else 0)


def _plan_merge(
    where: Where,
    prune: bool | None,
    old: str,
    new: str,
    folder: str | None,
    form: str,
    merge_base: bool,
    diff: bool,
) -> None:
    from timewright.cli.changes import has_changes, has_errors, make, show

    if where.server:
        raise click.UsageError("--from plans on this host; --server is another one")
    view = make(where.config(**{"source.prune": prune}), old, new, folder, merge_base=merge_base, diff=diff)
    show(view, form)
    if has_errors(view):
        sys.exit(1)
    sys.exit(CHANGES if has_changes(view) else 0)


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
