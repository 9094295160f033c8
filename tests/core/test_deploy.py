from __future__ import annotations

from typing import Any

import pytest
from timewright.core.deploy import Deploy, DeployReader


def problems(block: Any) -> dict[str, str]:
    reader = DeployReader()
    reader.read(block)
    return {".".join(map(str, path)): f"{message} {hint}" for path, message, hint in reader.problems}


def test_a_whole_block_is_read_as_it_stands() -> None:
    reader = DeployReader()
    block = {
        "taskQueue": "orders",
        "namespace": "shop",
        "owner": "team-a",
        "isolation": "process",
        "prune": True,
        "keepReleases": 3,
        "env": {"B": "2", "A": "1"},
        "dependsOn": ["ledger", "ledger"],
        "suspend": True,
        "autoRevert": False,
    }
    assert reader.read(block) == Deploy(
        *("orders", "shop", "team-a", "process", True, 3, (("A", "1"), ("B", "2"))),
        depends_on=("ledger",),
        suspend=True,
        auto_revert=False,
    )
    assert reader.problems == []


def test_no_block_means_the_defaults() -> None:
    assert DeployReader().read(None) == Deploy()


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        ([], "deploy", "must be an object, is a list"),
        ({"taskQeue": "x"}, "deploy.taskQeue", "did you mean 'taskQueue'?"),
        ({"zzz": "x"}, "deploy.zzz", "known keys: taskQueue"),
        ({"rollout": {"stratgy": "Manual"}}, "deploy.rollout.stratgy", "did you mean 'strategy'?"),
        (
            {"rollout": "allatonce"},
            "deploy.rollout.strategy",
            "must be AllAtOnce, Progressive, Manual or off",
        ),
        ({"rollout": "Progressive"}, "deploy.rollout.steps", "Progressive needs steps"),
        ({"replay": "maybe"}, "deploy.replay", "must be off, warn or enforce"),
        ({"versioning": "pinned"}, "deploy.versioning", "must be PINNED or AUTO_UPGRADE"),
        ({"onUndeploy": 1}, "deploy.onUndeploy", "must be wait, block or force"),
        ({"suspend": "yes"}, "deploy.suspend", "must be true or false, is text"),
        ({"autoRevert": 1}, "deploy.autoRevert", "must be true or false, is a number"),
        ({"owner": ""}, "deploy.owner", "must not be empty"),
        ({"dependsOn": "ledger"}, "deploy.dependsOn", "must be a list of workflow ids, is text"),
        ({"dependsOn": ["../x"]}, "deploy.dependsOn.0", "must start with a letter or digit"),
        ({"dependsOn": ["a", 1]}, "deploy.dependsOn.1", "must be a workflow id, is a number"),
        ({"dependsOn": [str(n) for n in range(101)]}, "deploy.dependsOn", "more than 100 workflows"),
        ({"taskQueue": 3}, "deploy.taskQueue", "must be a string, is a number"),
        ({"taskQueue": " "}, "deploy.taskQueue", "must not be empty"),
        ({"namespace": "a\nb"}, "deploy.namespace", "can't be printed"),
        ({"isolation": "vm"}, "deploy.isolation", "must be 'shared' or 'process'"),
        ({"isolation": ["process"]}, "deploy.isolation", "must be 'shared' or 'process'"),
        ({"prune": "yes"}, "deploy.prune", "must be true or false, is text"),
        ({"keepReleases": 0}, "deploy.keepReleases", "from 1 to 1000"),
        ({"keepReleases": True}, "deploy.keepReleases", "from 1 to 1000"),
        ({"keepReleases": 1.0}, "deploy.keepReleases", "from 1 to 1000"),
        ({"isolation": "process", "env": {"A": 1}}, "deploy.env.A", "must be text, is a number"),
        ({"isolation": "process", "env": {"A": "a\0"}}, "deploy.env.A", "must be text"),
        ({"isolation": "process", "env": {"A B": "1"}}, "deploy.env.A B", "is not a name"),
        ({"isolation": "process", "env": {"A\n": "1"}}, "deploy.env.A\n", "is not a name"),
        ({"isolation": "process", "env": {"NODE_OPTIONS": "1"}}, "deploy.env.NODE_OPTIONS", "is not a name"),
        ({"isolation": "process", "env": {"LD_PRELOAD": "1"}}, "deploy.env.LD_PRELOAD", "is not a name"),
        ({"isolation": "process", "env": {"TEMPORAL_X": "1"}}, "deploy.env.TEMPORAL_X", "is not a name"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(block: Any, path: str, words: str) -> None:
    assert words in problems(block)[path]


def test_all_problems_of_a_block_are_reported_at_once() -> None:
    assert len(problems({"taskQueue": 1, "prune": 1, "nope": 1, "isolation": 1})) == 4
