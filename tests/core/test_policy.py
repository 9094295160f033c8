from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.deploy import DeployReader
from timewright.core.errors import SpecError
from timewright.core.policy import Policy, applies, defaults_for, is_policy_name, matches, merge, read_policy

from tests.core.test_document import growth, values


def said(text: str, path: str = "a.policy.yaml") -> str:
    with pytest.raises(SpecError) as caught:
        read_policy(text.encode(), path)
    return "\n".join(map(str, caught.value.problems))


# Reading ---------------------------------------------------------------------------------------


def test_a_policy_is_read_as_it_stands() -> None:
    text = "match: [billing-*.json, '!billing-old.json']\ndeploy:\n  taskQueue: billing\n  keepReleases: 3\n"
    policy = read_policy(text.encode(), "pay/a.policy.yaml")
    assert policy.match == ("billing-*.json", "!billing-old.json")
    assert policy.deploy == {"taskQueue": "billing", "keepReleases": 3}
    assert policy.folder == "pay"


def test_a_policy_may_be_json() -> None:
    text = '{"$schema": "x", "match": "*.json", "deploy": {"prune": true}}'
    assert read_policy(text.encode(), "a.policy.json").deploy == {"prune": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "must be an object, is a list"),
        ("matches: x\ndeploy: {}\n", "matches:1: is not a key of a policy (did you mean 'match'?)"),
        ("zzz: x\ndeploy: {}\n", "known keys: match, deploy"),
        ("match: x.json\n", "has no deploy block"),
        ("match: 7\ndeploy: {}\n", "match:1: must be a glob or a list of globs, is a number"),
        ("match: []\ndeploy: {}\n", "match:1: is empty"),
        ("match:\n- a\n- 7\ndeploy: {}\n", "match[1]:3: must be text, is a number"),
        ("match: ../x.json\ndeploy: {}\n", "must stay below the policy's own folder"),
        ("match: a//b\ndeploy: {}\n", "must stay below"),
        ("match: '!'\ndeploy: {}\n", "must be a plain glob"),
        ("match: 'a\\b'\ndeploy: {}\n", "must be a plain glob"),
        ("deploy: x\n", "deploy:1: must be an object, is text"),
        ("deploy:\n  prune: true\n  taskqueue: x\n", "deploy.taskqueue:3: is not a key of deploy (did you"),
        ("deploy:\n  env: {A: 7}\n", "deploy.env.A:2: must be text, is a number"),
        ("a: [\n", "is not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_with_the_place_and_the_line(text: str, words: str) -> None:
    assert words in said(text)


def test_all_problems_of_a_policy_are_reported_at_once() -> None:
    assert said("match: ..\nzzz: 1\ndeploy: {prune: 1, nope: 2}\n").count("\n") == 3


def test_too_many_globs_are_refused() -> None:
    text = json.dumps({"match": ["a"] * 101, "deploy": {}})
    assert "101 globs are more than the limit of 100" in said(text, "a.policy.json")


def test_env_alone_is_fine_since_isolation_may_come_from_elsewhere() -> None:
    assert read_policy(b"deploy: {env: {A: b}}\n", "a.policy.yaml").deploy == {"env": {"A": "b"}}


@pytest.mark.parametrize(
    ("name", "found"),
    [("a.policy.yaml", True), ("a.policy.yml", True), ("a.policy.json", True), (".policy.yaml", False),
     ("policy.yaml", False), ("#a.policy.yaml", False), ("a.yaml", False)],
)  # fmt: skip
def test_policies_are_known_by_their_names(name: str, found: bool) -> None:
    assert is_policy_name(name) is found


# Which specs it is for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "path", "found"),
    [
        ("billing-*.json", "billing-1.json", True),
        ("billing-*.json", "deep/down/billing-1.json", True),
        ("/billing-*.json", "deep/billing-1.json", False),
        ("/billing-*.json", "billing-1.json", True),
        ("billing-*.json", "Billing-1.json", False),
        ("a/*.json", "a/b.json", True),
        ("a/*.json", "a/b/c.json", False),
        ("a/*.json", "x/a/b.json", False),
        ("a/**", "a/b/c.json", True),
        ("a/**", "b/a.json", False),
        ("**/b.json", "b.json", True),
        ("**/b.json", "a/c/b.json", True),
        ("a/**/c/*.json", "a/c/x.json", True),
        ("a/**/c/*.json", "a/b/b/c/x.json", True),
        ("a/**/c/*.json", "a/b/c/d/x.json", False),
        ("?.json", "a.json", True),
        ("[ab].json", "b.json", True),
        ("*", "a/b.json", True),
        ("**", "a/b.json", True),
        ("a*b", "a/b", False),
    ],
)
def test_globs_are_on_the_path_below_the_policys_folder(glob: str, path: str, found: bool) -> None:
    assert matches(glob, path) is found


@pytest.mark.parametrize(
    ("match", "source", "found"),
    [
        ((), "pay/a.json", True),
        ((), "pay/deep/a.json", True),
        ((), "payments/a.json", False),
        ((), "a.json", False),
        (("!old-*",), "pay/a.json", True),
        (("!old-*",), "pay/old-a.json", False),
        (("*.json", "!old-*"), "pay/old-a.json", False),
        (("!old-*", "*.json"), "pay/old-a.json", False),
        (("*.json",), "pay/a.yaml", False),
    ],
)
def test_a_policy_is_for_the_matching_specs_of_its_folder_and_below(
    match: tuple[str, ...], source: str, found: bool
) -> None:
    assert applies(Policy("pay/x.policy.yaml", match), source) is found


@pytest.mark.parametrize("glob", ["*a" * 40 + "b", "**/" * 40 + "b", "[*" * 40, "**/*a*" * 20 + "/b"])
def test_a_glob_of_any_shape_is_matched_in_bounded_time(glob: str) -> None:
    def work(size: int) -> None:
        for path in ("a" * size, "a/" * (size // 2) + "a"):
            for _ in range(20):
                matches(glob, path)

    assert growth(work, 250) < 12


# Merging ---------------------------------------------------------------------------------------


def test_a_nearer_folder_wins_over_a_farther_one_key_by_key() -> None:
    far = Policy("z.policy.yaml", deploy={"taskQueue": "far", "owner": "far"})
    near = Policy("pay/a.policy.yaml", deploy={"taskQueue": "near", "prune": True})
    for order in ([far, near], [near, far]):
        given, used = defaults_for("pay/x.json", order)
        assert given == {"taskQueue": "near", "owner": "far", "prune": True}
        assert used == ("z.policy.yaml", "pay/a.policy.yaml")
    assert defaults_for("x.json", [far, near]) == (far.deploy, ("z.policy.yaml",))


def test_in_one_folder_the_later_file_name_wins() -> None:
    first, second = (
        Policy("10.policy.yaml", deploy={"owner": "a"}),
        Policy("20.policy.yaml", deploy={"owner": "b"}),
    )
    assert defaults_for("x.json", [second, first]) == ({"owner": "b"}, ("20.policy.yaml",))


def test_env_is_merged_name_by_name() -> None:
    far = Policy("a.policy.yaml", deploy={"env": {"A": "far", "B": "far"}, "isolation": "process"})
    near = Policy("p/a.policy.yaml", deploy={"env": {"B": "near", "C": "near"}})
    given, used = defaults_for("p/x.json", [far, near])
    assert given["env"] == {"A": "far", "B": "near", "C": "near"}
    assert used == ("a.policy.yaml", "p/a.policy.yaml")
    own = merge(given, {"env": {"A": "own"}, "owner": None})
    assert own == {"env": {"A": "own", "B": "near", "C": "near"}, "isolation": "process"}


def test_a_null_gives_nothing() -> None:
    far = Policy("a.policy.yaml", deploy={"owner": "team"})
    near = Policy("p/a.policy.yaml", deploy={"owner": None})
    assert defaults_for("p/x.json", [far, near]) == ({"owner": "team"}, ("a.policy.yaml",))


def test_no_policy_means_no_defaults() -> None:
    assert defaults_for("a.json", []) == ({}, ())


# Anything --------------------------------------------------------------------------------------

globs = st.text("ab*?[]!/.", max_size=8)
blocks = st.dictionaries(
    st.sampled_from(["taskQueue", "owner", "env", "isolation", "prune", "keepReleases", "x"]),
    values,
    max_size=3,
)


@given(st.dictionaries(st.sampled_from(["match", "deploy", "zzz"]), values | blocks | st.lists(globs)))
def test_any_document_is_a_policy_or_a_spec_error(value: Any) -> None:
    with suppress(SpecError):
        policy = read_policy(json.dumps(value).encode(), "a/x.policy.json")
        given, _ = defaults_for("a/b.json", [policy])
        reader = DeployReader()
        reader.read({"isolation": "process", **given})
        assert reader.problems == []


@given(globs, st.text("ab/.", min_size=1, max_size=8))
def test_any_glob_is_matched_or_not(glob: str, path: str) -> None:
    assert matches(glob, path) in (True, False)
    assert matches("**", path)
