"""`timewright undeploy ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options, confirm
from timewright.cli.common import printable
from timewright.cli.complete import workflow_argument


@click.command("undeploy")
@asking_options
@click.option("--force", is_flag=True, help="Also when suspended.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask. Without a terminal nobody is asked.")
@workflow_argument()
def command(asking: Asking, workflow_id: str, force: bool, yes: bool) -> None:
    """Take a workflow out of service, whatever the source says.

    It stays so, also when its spec changes, until `timewright deploy`. Its releases are kept.
    """
    confirm(f"Take {printable(workflow_id)} out of service?", yes)
    asking.ask("undeploy", workflow_id, {"force": force})
