"""A plan made here, of the source as it is now and a copy of the state: a daemon isn't disturbed."""

from __future__ import annotations

import asyncio
from typing import Any

from timewright import log
from timewright.config import Config
from timewright.edge.statefile import StateFile
from timewright.reconcile import Reconciler
from timewright.service import make_world
from timewright.views import action_view


def plan_here(config: Config) -> dict[str, Any]:
    """The daemon's own shape of a plan, with `specs`: how many could be read."""
    log.configure("warning", "auto")
    return asyncio.run(_plan(config))


async def _plan(config: Config) -> dict[str, Any]:
    state = StateFile.snapshot(config.state_path)
    world = make_world(config, state)
    try:
        world.records = state.records()
        world.load_decisions()
        world.sources.start()
        reconciler = Reconciler(world)
        while (desired := await reconciler.source.read()).settling:  # noqa: ASYNC110 - time settles it
            await asyncio.sleep(0.1)
        actions = reconciler.plan(desired, patient=False)
    finally:
        await world.sources.close()
        await world.worker.close()
        state.close()
    return {
        "complete": desired.complete,
        "problem": desired.problem,
        "specs": len(desired.wanted),
        "actions": [action_view(action) for action in actions],
    }
