"""`timewright rollback ID [RELEASE]`."""

from __future__ import annotations

import click

from timewright.cli.asking import Asking, asking_options
from timewright.cli.complete import release_argument, workflow_argument


@click.command("rollback")
@asking_options
@click.option("--force", is_flag=True, help="Also when suspended, or to a release known as bad.")
@workflow_argument()
@release_argument()
def command(asking: Asking, workflow_id: str, release: str, force: bool) -> None:
    """Go back to an earlier release, until the spec changes.

    RELEASE: an id of `timewright history`, or its beginning; without it, the release that was live
    before. Compiles nothing. The workflow stays there until its spec changes, or until unpin.
    """
    asking.ask("rollback", workflow_id, {"release": release or None, "force": force})
