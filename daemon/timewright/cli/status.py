"""`timewright status [ID]`: where things stand, and why."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click
from rich.table import Table

from timewright.cli.common import (
    ago,
    console,
    json_option,
    paint,
    print_json,
    safe,
    settings,
    settings_options,
)
from timewright.core.errors import TimewrightError
from timewright.core.state import Record, Status
from timewright.edge.statefile import StateFile
from timewright.views import failure_view, iso, workflow_view

_NAMES = 5  # of workflows that share one reason: the table has them all


@click.command("status")
@settings_options
@json_option
@click.argument("workflow_id", required=False)
def command(
    config_file: Path | None, source: Path | None, data: Path | None, as_json: bool, workflow_id: str | None
) -> None:
    """Show where all workflows stand, or one of them in full. Exit code 1 if any has failed."""
    config = settings(config_file, source, data)
    state = StateFile(config.state_path, read_only=True)
    try:
        failed = _one(state, workflow_id, as_json) if workflow_id else _all(state, as_json)
    finally:
        state.close()
    sys.exit(1 if failed else 0)


def _one(state: StateFile, workflow_id: str, as_json: bool) -> bool:
    record = state.record(workflow_id)
    if record is None:
        raise TimewrightError(f"there is no workflow {workflow_id!r} here", hint="timewright list")
    if as_json:
        print_json(workflow_view(record))
    else:
        _describe(record)
    return record.failure is not None


def _describe(record: Record) -> None:
    out = console()
    rows = [
        ("workflow", f"{safe(record.workflow_id)}" + (f" ({safe(record.name)})" if record.name else "")),
        ("status", f"{paint(record.status)} since {iso(record.since)} ({ago(record.since)})"),
        ("because", safe(record.because)),
        ("sync", str(record.sync())),
        (
            "health",
            paint(record.health) + (f": {safe(record.health_reason)}" if record.health_reason else ""),
        ),
        ("live release", record.applied[:12] or "none"),
        ("last attempt", record.attempted[:12] or "none"),
        ("pool", safe(record.pool)),
        ("spec", safe(record.source)),
        ("source revision", record.revision),
        ("last good read", iso(record.read_at) or "never"),
        ("held back", safe(record.held)),
        ("next retry", iso(record.retry_at) or ""),
    ]
    for name, value in rows:
        if value:
            out.print(f"[bold]{name:16}[/]{value}")
    for warning in record.warnings:
        out.print(f"[bold]{'warning':16}[/]{safe(warning)}")
    if record.failure is not None:
        out.print(
            f"[bold]{'last error':16}[/][red]{record.failure.reason}[/]: {safe(record.failure.message)}"
        )
        for problem in record.failure.problems:
            out.print(f"                - {safe(str(problem))}")


def _all(state: StateFile, as_json: bool) -> bool:
    records = list(state.records().values())
    refused = state.refused()
    last_pass = state.fact("last_pass") or {}
    if as_json:
        files = {path: failure_view(failure) for path, (_, failure) in refused.items()}
        print_json(
            {
                "lastPass": iso(last_pass.get("at")),
                "sourceProblem": last_pass.get("problem") or None,
                "workflows": [workflow_view(record) for record in records],
                "refusedFiles": files,
            }
        )
    else:
        _overview(records, last_pass.get("problem", ""))
        for path, (_, failure) in refused.items():
            console().print(f"[red]{safe(path)}[/] is refused: {safe(failure.message)}")
    return bool(refused) or any(record.failure for record in records)


def _overview(records: list[Record], source_problem: str) -> None:
    out = console()
    if source_problem:
        out.print(
            f"[red]The source can't be read completely[/], nothing is undeployed: {safe(source_problem)}"
        )
    shown = [record for record in records if record.status is not Status.UNDEPLOYED]
    if not shown:
        out.print("No workflow is deployed. Put a spec into the source folder.")
        return
    print_workflows(shown)
    counts = Counter(str(record.status) for record in shown)
    out.print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def print_workflows(records: list[Record]) -> None:
    """Workflows, a line each; below it, why anything is not as wished."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("WORKFLOW", "STATUS", "SYNC", "HEALTH", "RELEASE", "POOL", "SINCE"):
        table.add_column(name, no_wrap=True)
    for record in records:
        table.add_row(
            safe(record.workflow_id),
            paint(record.status),
            str(record.sync()),
            paint(record.health),
            record.applied[:12],
            safe(record.pool),
            ago(record.since),
        )
    out.print(table)
    for reason, names in _reasons(records).items():
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        out.print(f"[yellow]![/] {safe(', '.join(names[:_NAMES]))}{more}: {safe(reason)}")


def _reasons(records: list[Record]) -> dict[str, list[str]]:
    """Why something is not as wished → the workflows that it holds for."""
    reasons: dict[str, list[str]] = {}
    for record in records:
        if reason := _why(record):
            reasons.setdefault(reason, []).append(record.workflow_id)
    return reasons


def _why(record: Record) -> str:
    if record.held:
        return record.held
    if record.failure is not None:
        return f"{record.failure.reason}: {record.failure.message}"
    return record.health_reason
