"""`timewright gate retry ID`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import workflow_argument


@click.group("gate")
def command() -> None:
    """Run the gate of a rollout again."""


@command.command("retry")
@asking_options
@workflow_argument()
def retry(asking: Asking, workflow_id: str) -> None:
    """Run the gate again that has failed.

    For a gate with onFailure: pause, whose rollout waits for a person. `timewright promote` goes on without
    it, `timewright abort` goes back.
    """
    asking.ask("rollout", workflow_id, {"action": "retry-gate"})
