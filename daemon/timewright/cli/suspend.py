"""`timewright suspend ID`, `timewright suspend --all`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument
from timewright.cli.durations import Duration


@click.command("suspend")
@asking_options
@click.option("--for", "seconds", type=Duration(), help="Until then; without it, until resume.")
@click.option("--all", "everything", is_flag=True, help="All workflows of the host.")
@workflow_argument(required=False)
def command(asking: Asking, workflow_id: str | None, seconds: float | None, everything: bool) -> None:
    """Leave a workflow, or all of them, as they are.

    Nothing is deployed, undeployed or reverted by itself until resume. What runs goes on.
    """
    asking.ask("suspend", one_or_all(workflow_id, everything), {"seconds": seconds})


def one_or_all(workflow_id: str | None, everything: bool) -> str | None:
    """The workflow, None for all. Raises UsageError unless exactly one of them is said."""
    if bool(workflow_id) == everything:
        raise click.UsageError("name one workflow, or say --all")
    return workflow_id or None
