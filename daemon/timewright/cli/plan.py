"""`timewright plan`: what a pass would do, without doing it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from timewright import log
from timewright.cli.common import (
    console,
    json_option,
    print_json,
    safe,
    settings,
    settings_options,
)
from timewright.config import Config
from timewright.core.actions import Action, Deploy, Hold, Refuse, Settle, Undeploy
from timewright.core.worlds import Desired
from timewright.edge.statefile import StateFile
from timewright.reconcile import Reconciler
from timewright.service import make_world
from timewright.views import action_view

CHANGES = 3
_SIGNS = {
    Deploy: ("+", "green"),
    Undeploy: ("-", "red"),
    Refuse: ("!", "red"),
    Hold: ("=", "yellow"),
    Settle: ("~", "dim"),
}


@click.command("plan")
@settings_options
@click.option("--prune/--no-prune", default=None, help="Plan as if prune were on or off.")
@json_option
def command(
    config_file: Path | None, source: Path | None, data: Path | None, prune: bool | None, as_json: bool
) -> None:
    """Show what would be done and why. Exit code 3 if there is anything to do, 1 if a spec is refused."""
    log.configure("warning", "auto")
    config = settings(config_file, source, data, **{"source.prune": prune})
    desired, actions = asyncio.run(_plan(config))
    if as_json:
        print_json(
            {
                "complete": desired.complete,
                "problem": desired.problem,
                "actions": [action_view(a) for a in actions],
            }
        )
    else:
        _show(desired, actions)
    if any(isinstance(action, Refuse) for action in actions) or not desired.complete:
        sys.exit(1)
    sys.exit(CHANGES if any(not isinstance(action, Hold) for action in actions) else 0)


async def _plan(config: Config) -> tuple[Desired, tuple[Action, ...]]:
    """Plans on a copy of the state, so that a running daemon isn't disturbed."""
    state = StateFile.snapshot(config.state_path)
    world = make_world(config, state)
    try:
        world.records = state.records()
        reconciler = Reconciler(world)
        while (desired := await reconciler.source.read()).settling:  # noqa: ASYNC110 - time settles it
            await asyncio.sleep(0.1)
        return desired, reconciler.plan(desired, patient=False)
    finally:
        await world.worker.close()
        state.close()


def _show(desired: Desired, actions: tuple[Action, ...]) -> None:
    out = console()
    if not desired.complete:
        out.print(f"[red]The source can't be read completely[/]: {safe(desired.problem)}")
    if not actions:
        out.print(f"Nothing to do: {len(desired.wanted)} specs, all as the source asks.")
    for action in actions:
        sign, style = _SIGNS[type(action)]
        name = safe(action.workflow_id or "(a file)")
        out.print(f"[{style}]{sign} {type(action).__name__.lower():9}[/] {name}: {safe(action.because)}")
        if isinstance(action, Refuse):
            for problem in action.problems:
                out.print(f"    {safe(str(problem))}")
