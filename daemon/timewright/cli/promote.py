"""`timewright promote ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument


@click.command("promote")
@asking_options
@click.option("--full", is_flag=True, help="All new executions, past all steps that are left.")
@workflow_argument()
def command(asking: Asking, workflow_id: str, full: bool) -> None:
    """Give a new version its next share of executions, or all.

    Ends the pause of the present step; lets a rollout with the strategy Manual go on; goes on without hosts
    that have not come, or past a gate that has failed and waits for a person.
    """
    asking.ask("rollout", workflow_id, {"action": "promote", "full": full})
