"""`timewright redeploy ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument


@click.command("redeploy")
@asking_options
@workflow_argument()
def command(asking: Asking, workflow_id: str) -> None:
    """Publish and load again what is live.

    What the source asks for is checked, published and loaded again, as deploy --force does: it mends
    a release that was changed by hand.
    """
    asking.ask("redeploy", workflow_id)
