"""`timewright abort ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options, confirm
from timewright.cli.complete import workflow_argument


@click.command("abort")
@asking_options
@click.option("-y", "--yes", is_flag=True, help="Don't ask. Without a terminal nobody is asked.")
@workflow_argument()
def command(asking: Asking, workflow_id: str, yes: bool) -> None:
    """End a rollout: executions go to the version before.

    At once; open executions on the new version end there. What the rollout was about is remembered as bad and
    held at its release before, until its spec changes, or `timewright deploy --force`.
    """
    confirm(f"Take the new version of {workflow_id} back?", yes)
    asking.ask("rollout", workflow_id, {"action": "abort"})
