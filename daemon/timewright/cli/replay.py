"""`timewright replay ID`: would the executions that there are go on with this code?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from timewright.cli.common import console, json_option, print_json, settings, settings_options
from timewright.cli.complete import workflow_argument


@click.command("replay")
@settings_options
@click.option(
    "--release", metavar="R", default="", help="Which release. Without: what was last to be deployed."
)
@click.option(
    "--history",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A history, as `temporal workflow show -o json` writes it, in place of Temporal's. Repeatable.",
)
@json_option
@workflow_argument()
def command(
    config_file: Path | None,
    source: Path | None,
    data: Path | None,
    release: str,
    files: tuple[Path, ...],
    as_json: bool,
    workflow_id: str,
) -> None:
    """Replay recent executions on a release: would they go on with its code?

    Looks only. Reads this host's releases and asks Temporal for histories, or takes those of --history. Works
    without the daemon. Exit code 1 if the code would break an execution, or nothing could be replayed.
    """
    from timewright.cli.replays import print_report, replay_here
    from timewright.core.replays import report_view

    report, judged = replay_here(settings(config_file, source, data), workflow_id, release, files)
    if as_json:
        print_json({"workflowId": workflow_id, "release": judged, **report_view(report)})
    else:
        print_report(console(), report, f"{workflow_id}, release {judged}")
    sys.exit(1 if report.broken or report.problem else 0)
