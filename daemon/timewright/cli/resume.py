"""`timewright resume ID`, `timewright resume --all`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument
from timewright.cli.suspend import one_or_all


@click.command("resume")
@asking_options
@click.option("--all", "everything", is_flag=True, help="End the suspension of all workflows of the host.")
@workflow_argument(required=False)
def command(asking: Asking, workflow_id: str | None, everything: bool) -> None:
    """End a suspension.

    A workflow that was suspended by itself stays so when the suspension of all ends.
    """
    asking.ask("resume", one_or_all(workflow_id, everything))
