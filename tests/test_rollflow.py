"""An upgrade of timewright breaks no rollout that is under way: histories of earlier releases replay on
this code.

tests/histories holds them, as `UPDATE_HISTORIES=1 pytest tests/e2e/test_rollouts.py` wrote them. Add to them,
never replace them: each is a rollout that somebody may have open.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError
from timewright.rollflow import RolloutFlow

from tests.support import ROOT

HISTORIES = sorted((ROOT / "tests" / "histories").glob("*.json"))


async def replay(text: str) -> None:
    replayer = Replayer(workflows=[RolloutFlow], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(WorkflowHistory.from_json("rollout", text))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_rollout_of_an_earlier_release_replays(path: Path) -> None:
    await replay(path.read_text("utf-8"))


async def test_a_change_of_what_a_rollout_does_is_noticed() -> None:
    [path] = [path for path in HISTORIES if path.stem == "manual"]
    with pytest.raises(NondeterminismError):
        await replay(path.read_text("utf-8").replace('"claim"', '"other"'))
