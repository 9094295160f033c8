"""`timewright prune`: what is gone from the source and still runs."""

from __future__ import annotations

from typing import Any

import click

from timewright.cli.asking import Asking, asking_options, confirm
from timewright.cli.common import ago, console, moment, print_json, printable, safe
from timewright.cli.complete import workflow_ids
from timewright.cli.sight import Daemon
from timewright.core.errors import Code, Reason, RequestError
from timewright.core.state import Status

View = dict[str, Any]


@click.command("prune")
@asking_options
@click.option("--confirm", "confirmed", is_flag=True, help="Undeploy what is listed.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask. Without a terminal nobody is asked.")
@click.argument("workflow_ids", metavar="[ID]...", nargs=-1, shell_complete=workflow_ids)
def command(asking: Asking, workflow_ids: tuple[str, ...], confirmed: bool, yes: bool) -> None:
    """List what is gone from the source and still runs; undeploy it.

    Without --confirm nothing is changed. With it, exactly what was listed is undeployed, and nothing
    that has gone since: all of it, or the IDs.
    """
    with asking.where.daemon() as daemon:
        gone = _gone(daemon, workflow_ids)
        asked = bool(gone) and confirmed
        if not (asked and asking.as_json):
            _show(gone, asking.as_json, confirmed)
        if not asked:
            return
        names = ", ".join(printable(view["workflowId"]) for view in gone)
        confirm(f"Undeploy {names}?", yes)
        operations = daemon.prune([view["workflowId"] for view in gone], asking.reason)
        asking.see_through(daemon, operations)


def _gone(daemon: Daemon, workflow_ids: tuple[str, ...]) -> list[View]:
    """What is gone from the source and still runs. Raises CONFLICT for an id that isn't."""
    views = {view["workflowId"]: view for view in daemon.overview()["workflows"]}
    gone = {workflow_id: view for workflow_id, view in views.items() if _is_gone(view)}
    for workflow_id in workflow_ids:
        if workflow_id not in views:
            raise RequestError(
                Code.NOT_FOUND, f"there is no workflow {workflow_id!r} here", hint="timewright prune lists"
            )
        if workflow_id not in gone:
            raise RequestError(
                Code.CONFLICT,
                f"the spec of {workflow_id} is there: only what is gone can be pruned",
                hint=f"timewright undeploy {workflow_id} takes it out of service",
            )
    return [gone[name] for name in dict.fromkeys(workflow_ids)] if workflow_ids else list(gone.values())


def _is_gone(view: View) -> bool:
    missing = view.get("missingSince") or view.get("heldReason") in (Reason.PRUNE_BLOCKED, Reason.VANISHED)
    return bool(missing) and view["status"] != Status.UNDEPLOYED


def _show(gone: list[View], as_json: bool, confirmed: bool) -> None:
    if as_json:
        print_json(gone)
        return
    if not gone:
        click.echo("Nothing to prune: every workflow that runs has its spec.")
        return
    from timewright.cli.tables import Column, show

    out = console()
    columns = (
        *(Column("WORKFLOW"), Column("STATUS", drop=2), Column("GONE", drop=1)),
        Column("BECAUSE", wraps=True),
    )
    rows = [
        [
            safe(view["workflowId"]),
            safe(view["status"]),
            ago(moment(view["missingSince"])),
            safe(view.get("held") or f"{view.get('source') or 'its spec'} is gone"),
        ]
        for view in gone
    ]
    show(out, columns, rows)
    if not confirmed:
        out.print("[bold]→ timewright prune --confirm[/] undeploys all of these, with IDs only those.")
