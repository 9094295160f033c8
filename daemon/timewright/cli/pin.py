"""`timewright pin ID [RELEASE]`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import release_argument, workflow_argument
from timewright.cli.durations import Duration


@click.command("pin")
@asking_options
@click.option("--for", "seconds", type=Duration(), help="Until then; without it, until unpin.")
@click.option("--force", is_flag=True, help="Also when suspended, or at a release known as bad.")
@workflow_argument()
@release_argument()
def command(asking: Asking, workflow_id: str, release: str, seconds: float | None, force: bool) -> None:
    """Hold a workflow at a release, whatever the source says.

    RELEASE: an id of `timewright history`, or its beginning; without it, the one that is live.
    """
    asking.ask("pin", workflow_id, {"release": release or None, "seconds": seconds, "force": force})
