"""What a rollout waits for before it asks for executions."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, cast

import pytest
from timewright import rollacts
from timewright.core.orders import Order
from timewright.edge.checks import Checks
from timewright.edge.deployments import ACTIVITIES, WORKFLOWS, Deployments
from timewright.rollacts import RolloutActs

FLOW = Order("ns", "d", "b", "q", types={"t": "w"})
BOTH = Order("ns", "d", "b", "q", types={"t": "w"}, activities=True)
ACTS = Order("ns", "d", "b", "q", activities=True)
SILENT = Order("ns", "d", "b", "q")  # a worker.ts that says nothing of what it takes


@pytest.mark.parametrize(
    ("order", "kinds", "at_once", "later"),
    [
        (FLOW, set(), False, False),
        (FLOW, {ACTIVITIES}, False, False),
        (FLOW, {WORKFLOWS}, True, True),
        (BOTH, {WORKFLOWS}, False, True),
        (BOTH, {ACTIVITIES}, False, False),
        (BOTH, {WORKFLOWS, ACTIVITIES}, True, True),
        (ACTS, set(), False, False),
        (ACTS, {ACTIVITIES}, True, True),
        (SILENT, set(), False, False),
        (SILENT, {WORKFLOWS}, True, True),
        (SILENT, {ACTIVITIES}, True, True),
    ],
)
async def test_a_version_has_arrived_when_temporal_knows_what_it_takes(
    order: Order, kinds: Set[str], at_once: bool, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Known:
        async def queues(self, *_: Any) -> set[tuple[str, str]]:
            return {("q", kind) for kind in kinds} | {("another", WORKFLOWS), ("another", ACTIVITIES)}

        async def polls(self, *_: Any) -> Any:
            return ()

    monkeypatch.setattr(rollacts, "hosts_of", lambda *_: ("here",))
    acts = RolloutActs(cast("Deployments", Known()), cast("Checks", None))
    assert bool(await acts._hosts(order, patient=True)) == at_once
    assert bool(await acts._hosts(order, patient=False)) == later
