from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.digest import Placement, build_id, canonical, place, pool_version
from timewright.core.prepare import prepare

from tests.support import HOST, as_bytes, document, make_spec

DEFAULTS = {"namespace": "default", "task_queue": "default"}


def digest_of(value: dict[str, Any], compiler: str = "c1") -> str:
    return prepare(as_bytes(value), replace(HOST, identity=lambda version: f"{compiler} {version}")).digest


CHANGES: dict[str, dict[str, Any]] = {
    "a source file": {"files": {**document()["files"], "src/activities.ts": "export async function x() {}"}},
    "one more file": {"files": {**document()["files"], "src/data.json": "{}"}},
    "a file's name": {
        "files": {
            "src/workflow.ts": document()["files"]["src/workflow.ts"],
            "src/activity.ts": document()["files"]["src/activities.ts"],
        }
    },
    "a dependency": {"packageJson": {"dependencies": {"left-pad": "1.0.0"}}},
    "a compiler option": {"tsConfig": {"compilerOptions": {"strict": False}}},
    "an entry point": {"entrypoints": {"activities": "src/workflow.ts"}},
    "the workflow's id": {"workflowId": "hello2"},
    "the task queue": {"deploy": {"taskQueue": "other"}},
    "the namespace": {"deploy": {"namespace": "other"}},
    "the isolation": {"deploy": {"isolation": "process"}},
    "the environment": {"deploy": {"isolation": "process", "env": {"A": "1"}}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_decides_a_release_changes_its_digest(change: dict[str, Any]) -> None:
    digests = {digest_of(document()), *(digest_of(document(**other)) for other in CHANGES.values())}
    assert digest_of(document(**change)) in digests
    assert len(digests) == len(CHANGES) + 1


def test_another_compiler_makes_another_release() -> None:
    assert digest_of(document(), "c1") != digest_of(document(), "c2")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Hello World"},
        {"metadata": {"exported": "today"}},
        {"definition": {"nodes": []}},
        {"warnings": ["old"]},
        {"deploy": {"owner": "team-a"}},
        {"deploy": {"prune": True}},
        {"deploy": {"keepReleases": 9}},
        {"deploy": {"taskQueue": "greetings"}},  # what the worker's literal says already
        {"files": dict(reversed(document()["files"].items()))},
    ],
)
def test_what_only_describes_or_steers_leaves_the_digest_alone(change: dict[str, Any]) -> None:
    assert digest_of(document(**change)) == digest_of(document())


bodies = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(bodies, bodies)
def test_the_digest_changes_exactly_when_a_file_does(one: str, two: str) -> None:
    def with_body(text: str) -> str:
        value = copy.deepcopy(document())
        value["files"]["src/data.txt"] = text
        return digest_of(value)

    assert (with_body(one) == with_body(two)) == (one == two)


def test_files_are_not_mixed_up_with_their_names() -> None:
    one = digest_of(document(files={**document()["files"], "src/a": "bc", "src/d": ""}))
    two = digest_of(document(files={**document()["files"], "src/a": "b", "src/cd": ""}))
    assert one != two


def test_equal_values_have_one_spelling() -> None:
    assert canonical({"b": 1, "a": [1.5, "ä"]}) == '{"a":[1.5,"ä"],"b":1}'.encode()


@pytest.mark.parametrize(
    ("deploy", "expected"),
    [
        (None, Placement("default", "greetings")),
        ({"taskQueue": "mine"}, Placement("default", "mine")),
        ({"namespace": "shop", "isolation": "process"}, Placement("shop", "greetings", "process")),
    ],
)
def test_the_spec_decides_its_place_then_its_worker_then_the_config(
    deploy: dict[str, Any] | None, expected: Placement
) -> None:
    assert place(make_spec(deploy=deploy), **DEFAULTS) == expected
    files = {"src/workflow.ts": document()["files"]["src/workflow.ts"]}
    assert place(make_spec(files=files), **DEFAULTS).task_queue == "default"


@given(st.dictionaries(bodies, bodies, max_size=5))
def test_a_pool_version_depends_on_its_members_and_not_on_their_order(members: dict[str, str]) -> None:
    version = pool_version(members.items(), "1.0")
    assert pool_version(reversed(members.items()), "1.0") == version
    assert pool_version([*members.items(), ("one", "more")], "1.0") != version
    assert pool_version(members.items(), "2.0") != version
    assert build_id(dict(reversed(members.items())), "1.0") == build_id(members, "1.0")
