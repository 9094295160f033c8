"""What becomes of an undeploy while executions are open."""

from __future__ import annotations

import pytest
from timewright.core.actions import Hold, Settle, Undeploy
from timewright.core.digest import Placement
from timewright.core.errors import Reason
from timewright.core.leaving import unless_open
from timewright.core.state import Asked, Record
from timewright.core.worlds import Executions, Wanted

GONE = Undeploy("one", "one.json is gone from the source and prune is on")


def verdict(
    mode: str, count: int | None, *, safe: bool = False, record: Record | None = None
) -> Undeploy | Hold:
    records = {"one": record} if record else {}
    found = unless_open(GONE, {"one": Executions(mode, count, safe)}, records)
    assert isinstance(found, Undeploy | Hold)
    return found


def test_wait_waits_for_the_end_of_open_executions_and_says_how_many() -> None:
    held = verdict("wait", 3)
    assert isinstance(held, Hold)
    assert held.reason is Reason.OPEN_EXECUTIONS
    assert "it waits for the end of 3 open executions" in held.because
    assert verdict("wait", 0) == GONE


def test_pinned_executions_are_no_reason_to_wait_and_are_counted_all_the_same() -> None:
    found = verdict("wait", 1, safe=True)
    assert isinstance(found, Undeploy)
    assert found.because.endswith("; 1 open execution, which end on the version where they began")


def test_block_refuses_until_a_person_forces_it() -> None:
    held = verdict("block", 2, safe=True)
    assert isinstance(held, Hold)
    assert "timewright undeploy one --force" in held.because
    forced = Record("one", request=Asked("ada", 1.0, force=True))
    found = verdict("block", 2, record=forced)
    assert isinstance(found, Undeploy)
    assert found.because.endswith("; 2 open executions")
    assert verdict("block", 0) == GONE


@pytest.mark.parametrize(
    ("mode", "safe", "goes"), [("wait", True, True), ("wait", False, False), ("block", True, False)]
)
def test_with_temporal_away_only_what_is_safe_is_undeployed(mode: str, safe: bool, goes: bool) -> None:
    assert isinstance(verdict(mode, None, safe=safe), Undeploy) is goes


def test_force_undeploys_and_says_what_was_open() -> None:
    found = verdict("force", 5)
    assert isinstance(found, Undeploy)
    assert found.because.endswith("; 5 open executions")


def test_other_actions_and_unknown_workflows_are_left_alone() -> None:
    spec = Wanted("one", "one.json", "c", "d", Placement("default", "one"))
    settle = Settle(spec, "because")
    assert unless_open(settle, {"one": Executions("block", 1, False)}, {}) is settle
    assert unless_open(GONE, {}, {}) is GONE
