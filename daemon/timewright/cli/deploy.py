"""`timewright deploy ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument


@click.command("deploy")
@asking_options
@click.option(
    "--force", is_flag=True, help="Also what is live, pinned, suspended or known as bad; lifts the pin."
)
@workflow_argument()
def command(asking: Asking, workflow_id: str, force: bool) -> None:
    """Deploy what the source asks for, now.

    Ends the wait for a retry, and brings back what was undeployed by hand. What is deployed already,
    pinned, suspended or was reverted before is refused, unless with --force, which also lifts a pin.
    """
    asking.ask("deploy", workflow_id, {"force": force})
