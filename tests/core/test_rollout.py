"""What a spec says of its rollout, and what becomes of several that say different things."""

from __future__ import annotations

from typing import Any

import pytest
from timewright.core.deploy import DeployReader
from timewright.core.rollout import Gate, Rollout, Step, Strategy, Watch, merge, rollout_of

ALL: dict[str, Any] = {
    "rollout": {
        "strategy": "Progressive",
        "steps": [
            {"rampPercentage": 5, "pause": "90s"},
            {"rampPercentage": 50, "pause": 600, "gate": False},
            {
                "rampPercentage": 100,
                "pause": "1h",
                "gate": {"workflow": "deep", "input": [1], "onFailure": "pause"},
            },
        ],
        "gate": {"workflow": "smoke", "input": {"n": 1}, "timeout": "2m"},
        "watch": {"failureRate": 0.2, "minExecutions": 3, "query": "up", "above": 1, "check": "ledger"},
    },
    "versioning": "AUTO_UPGRADE",
    "replay": "enforce",
    "onUndeploy": "block",
}


def read(block: dict[str, Any]) -> tuple[Rollout, list[str]]:
    reader = DeployReader()
    found = reader.read(block).rollout
    return found, [".".join(map(str, path)) + f": {message}" for path, message, _ in reader.problems]


def test_all_that_can_be_said_is_read_and_kept_as_text() -> None:
    found, problems = read(ALL)
    assert problems == []
    smoke = Gate("smoke", {"n": 1}, 120.0)
    assert found.steps == (
        Step(5, 90, (smoke,)),
        Step(50, 600, ()),
        Step(100, 3600, (Gate("deep", [1], 300.0, "pause"),)),
    )
    assert found.watch == Watch(0.2, 3, 1, "up", 1.0, "ledger")
    assert (found.versioning, found.replay, found.on_undeploy) == ("AUTO_UPGRADE", "enforce", "block")
    assert rollout_of(found.to_text()) == found


def test_a_spec_that_says_nothing_keeps_nothing() -> None:
    assert read({})[0] == Rollout()
    assert Rollout().to_text() == ""
    assert rollout_of("") == Rollout()


def test_short_forms() -> None:
    assert read({"rollout": "Manual"})[0].strategy is Strategy.MANUAL
    found, problems = read({"rollout": {"steps": [{"rampPercentage": 10}], "gate": "smoke"}})
    assert problems == []
    assert found.strategy is Strategy.PROGRESSIVE
    assert found.steps[0].gates == (Gate("smoke"),)


@pytest.mark.parametrize(
    ("rollout", "problem"),
    [
        (
            {"steps": [{"rampPercentage": 50}, {"rampPercentage": 50}]},
            "steps.1.rampPercentage: must be above 50",
        ),
        ({"steps": [{"rampPercentage": 0}]}, "steps.0.rampPercentage: must be a number from 0.01 to 100"),
        ({"steps": [{"rampPercentage": 1, "pause": "soon"}]}, "steps.0.pause: must be a span of time"),
        ({"steps": [{"rampPercentage": 1, "gate": True}]}, "steps.0.gate: there is no rollout.gate"),
        ({"steps": [{"rampPercentag": 1}]}, "steps.0.rampPercentag: is not a key"),
        ({"strategy": "AllAtOnce", "steps": [{"rampPercentage": 1}]}, "steps: AllAtOnce has no steps"),
        ({"strategy": "off", "gate": "smoke"}, "gate: a gate needs Versions"),
        ({"gate": {"input": 1}}, "gate.workflow: must name a workflow type"),
        ({"watch": {"query": "up"}}, "watch.above: is missing"),
        ({"watch": {"failureRate": 2}}, "watch.failureRate: must be a number from 0 to 1"),
        ({"gate": {"workflow": "w", "input": "x" * 70_000}}, "gate.input: is more than 64 KiB"),
        ([], "rollout: must be an object"),
        ({"steps": [{"rampPercentage": n + 1} for n in range(51)]}, "steps: must be a list of at most 50"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(rollout: Any, problem: str) -> None:
    _, problems = read({"rollout": rollout})
    assert any(problem in one for one in problems), problems


def test_a_text_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="not a rollout"):
        rollout_of('{"strategy": "Manual"}')


def test_the_most_careful_of_several_wishes_wins_and_all_gates_are_run() -> None:
    fast = Rollout(Strategy.ALL_AT_ONCE, gates=(Gate("a"),))
    slow = Rollout(Strategy.PROGRESSIVE, (Step(10, 60, (Gate("b"),)),), (Gate("b"),))
    slower = Rollout(Strategy.PROGRESSIVE, (Step(5, 60),), watch=Watch(failure_rate=0.01))
    both = merge({"one": fast, "two": slow}, Strategy.ALL_AT_ONCE)
    assert both.strategy is Strategy.PROGRESSIVE
    assert [(gate.workflow, gate.of) for gate in both.gates] == [("a", "one"), ("b", "two")]
    assert [gate.workflow for gate in both.steps[0].gates] == ["b", "a"]
    assert merge({"two": slow, "three": slower}, Strategy.ALL_AT_ONCE).steps[0].percent == 5
    assert merge({"two": slow, "three": slower}, Strategy.ALL_AT_ONCE).watch.failure_rate == 0.01
    assert merge({"two": slow, "x": Rollout(Strategy.MANUAL)}, Strategy.OFF).strategy is Strategy.MANUAL


def test_nothing_said_means_the_default_and_off_in_a_pool_of_versions_means_at_once() -> None:
    assert merge({"one": Rollout()}, Strategy.MANUAL).strategy is Strategy.MANUAL
    assert merge({"one": Rollout(Strategy.OFF)}, Strategy.MANUAL).strategy is Strategy.ALL_AT_ONCE
    assert merge({}, Strategy.MANUAL).strategy is Strategy.ALL_AT_ONCE
