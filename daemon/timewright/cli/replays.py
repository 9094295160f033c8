"""Replays made here, beside the daemon, and how people read them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
from rich.console import Console

from timewright import log
from timewright.cli.common import safe
from timewright.config import Config
from timewright.core.errors import TimewrightError
from timewright.core.replays import HINT, Kind, Replayed, ReplayReport, does, had, sentence
from timewright.edge.histories import NoHistoryError
from timewright.edge.receipts import Receipt
from timewright.edge.releases import Releases
from timewright.edge.statefile import StateFile
from timewright.replaying import ReplayGate
from timewright.service import make_world


def replay_here(
    config: Config, workflow_id: str, release: str, files: Sequence[Path]
) -> tuple[ReplayReport, str]:
    """Replay what Temporal has, or `files`; the report, and which release was judged.

    `release`: its first letters, '' for what was last to be deployed. Raises TimewrightError, and click's
    own error for a file that is no history.
    """
    log.configure("warning", "auto")
    return asyncio.run(_replay(config, workflow_id, release, files))


async def _replay(
    config: Config, workflow_id: str, release: str, files: Sequence[Path]
) -> tuple[ReplayReport, str]:
    state = StateFile.snapshot(config.state_path)
    world = make_world(config, state)
    try:
        record = state.record(workflow_id)
        receipt = find(world.releases, workflow_id, release, record.attempted if record else "")
        gate = ReplayGate(world)
        report = await (gate.check_files(receipt, files) if files else gate.check(receipt, "enforce"))
    except NoHistoryError as error:
        raise click.BadParameter(str(error), param_hint="--history") from None
    except OSError as error:
        raise TimewrightError(
            f"{error.filename or config.data_path}: {error.strerror}",
            hint="run it as the user that timewright runs as",
        ) from None
    finally:
        await world.sources.close()
        await world.worker.close()
        state.close()
    return report, receipt.release


def find(releases: Releases, workflow_id: str, release: str, attempted: str) -> Receipt:
    """A built release of a workflow: by its first letters; without them the one whose deploy was `attempted`
    last (a digest), else the newest. Raises TimewrightError."""
    names: list[str] = []
    with suppress(OSError):
        names = sorted(entry.name for entry in os.scandir(releases.root / workflow_id))
    built = [receipt for name in names if (receipt := releases.receipt(workflow_id, name)) is not None]
    matching = [receipt for receipt in built if receipt.digest.startswith(release)]
    if release and len(matching) > 1:
        raise TimewrightError(f"{workflow_id} has {len(matching)} releases that begin with {release}")
    if matching:
        return max(matching, key=lambda receipt: (receipt.digest == attempted, receipt.created))
    if built:
        raise TimewrightError(
            f"{workflow_id} has no release {release}", hint=f"timewright history {workflow_id} lists them"
        )
    raise TimewrightError(
        f"no release of {workflow_id} is built on this host",
        hint="is it the right data directory? `timewright list` shows what is deployed",
    )


# Printing --------------------------------------------------------------------------------------


def print_report(out: Console, report: ReplayReport, title: str) -> None:
    """One line an execution, then what is wrong with each that fails."""
    for one in report.replayed:
        out.print(_line(one))
    for one in report.broken:
        out.print()
        _print_failure(out, one)
    if report.replayed and (report.broken or report.warnings):
        out.print()
    for warning in report.warnings:
        out.print(f"[yellow]Note:[/] {safe(warning)}")
    if report.broken:
        out.print(f"Try: {HINT}")
    out.print(f"{safe(title)}: {_summary(report)}")


def _line(one: Replayed) -> str:
    word, style = _verdict(one)
    state = "open" if one.running else "closed"
    text = "" if one.ok or one.breaks else f"  {sentence(one) if not one.stuck else _stuck(one)}"
    about = f"{safe(one.workflow_type)}, {state}, {one.events} events"
    return f"[{style}]{word:7}[/] {safe(one.workflow_id)}  [dim]{about}[/]{safe(text)}"


def _verdict(one: Replayed) -> tuple[str, str]:
    if one.ok:
        return "passes", "green"
    return ("breaks", "red") if one.breaks else ("unknown", "yellow")


def _stuck(one: Replayed) -> str:
    return f"it fails on the live code too: {one.stuck}"


def _print_failure(out: Console, one: Replayed) -> None:
    event = f", event {one.event}" if one.event is not None else ""
    out.print(f"[bold]{safe(one.workflow_id)}[/] [dim]run {safe(one.run_id)}[/]{event}")
    if one.kind == Kind.DETERMINISM and (one.old or one.new):
        rows = [
            ("history has", had(one.old)),
            ("the new code", does(one.new, one.old)),
            ("Temporal says", one.message),
        ]
    else:
        rows = [("what happens", sentence(one))]
    rows += [("source", one.source)] if one.source else []
    for name, text in rows:
        out.print(f"  {name:14}{safe(text)}")


def _summary(report: ReplayReport) -> str:
    total = len(report.replayed)
    if not total:
        return "nothing was replayed" if report.problem else "there is nothing to replay"
    passed = sum(one.ok for one in report.replayed)
    unknown = total - passed - len(report.broken)
    parts = [f"{passed} of {total} executions pass"]
    parts += [f"[red]{len(report.broken)} would break[/]"] if report.broken else []
    parts += [f"{unknown} could not be judged"] if unknown else []
    return ", ".join(parts)
