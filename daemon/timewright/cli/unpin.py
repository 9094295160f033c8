"""`timewright unpin ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument


@click.command("unpin")
@asking_options
@workflow_argument()
def command(asking: Asking, workflow_id: str) -> None:
    """Let a workflow follow the source again.

    Ends a pin, a rollback or an automatic revert.
    """
    asking.ask("unpin", workflow_id)
