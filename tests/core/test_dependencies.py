from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.dependencies import Needs, Provided, Rules, needs, sdk_pin, typescript_pin
from timewright.core.errors import DeployError, Reason
from timewright.core.semver import admits, is_range, newest

PROVIDED = Provided(
    "1.24.0",
    {
        "@temporalio/activity": "1.24.0",
        "@temporalio/worker": "1.24.0",
        "@temporalio/workflow": "1.24.0",
        "nexus-rpc": "0.0.3",
        "@types/node": "20.19.25",
    },
)
USUAL = {
    "dependencies": {"@temporalio/worker": "^1.11.0", "@temporalio/workflow": "^1.11.0"},
    "devDependencies": {
        "@types/node": "^20.0.0",
        "@tsconfig/node20": "^20.1.0",
        "typescript": "^5.6.3",
        "ts-node": "^10.8.1",
        "eslint": "^8.0.0",
        "nodemon": "^3",
    },
}


def of(package: dict[str, Any], *imports: str, lock: str | None = None, **more: Any) -> Needs:
    """What a package needs whose code imports these, or else all of its dependencies."""
    block = package.get("dependencies")
    return needs(package, lock, imports or tuple(block if isinstance(block, dict) else ()), PROVIDED, **more)


def refusal(package: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(DeployError) as caught:
        of(package, **more)
    assert caught.value.reason is Reason.DEPENDENCY_FAILED
    return [str(problem) for problem in caught.value.problems]


def lock_of(package: dict[str, Any], **versions: str) -> str:
    entries: dict[str, Any] = {
        "": {key: package[key] for key in ("dependencies", "devDependencies") if key in package}
    }
    for name, version in versions.items():
        entries[f"node_modules/{name}"] = {
            "version": version,
            "resolved": f"https://registry.example/{name}.tgz",
            "integrity": "sha512-x",
        }
    return json.dumps({"lockfileVersion": 3, "packages": entries})


def test_a_usual_project_needs_nothing_to_be_installed() -> None:
    assert of(USUAL, "@temporalio/worker", "@temporalio/workflow") == Needs("sdk-1.24.0")


def test_without_a_toolchain_nothing_is_asked_for() -> None:
    assert needs({"dependencies": {"ms": "1"}}, None, [], Provided("off")) == Needs("sdk-off")


def test_what_code_needs_at_run_time_and_types_are_installed_and_tools_are_not() -> None:
    package = {
        "dependencies": {"ms": "^2.1.0"},
        "optionalDependencies": {"fsevents": "*"},
        "devDependencies": {"@types/ms": "*", "eslint": "*", "zod": "^3", "typescript": "^5"},
    }
    found = of(package, "ms", "zod")
    assert found.install == {"ms": "^2.1.0", "fsevents": "*", "@types/ms": "*", "zod": "^3"}
    assert "@types/ms" not in of(package, "zod").install
    assert found.links == tuple(sorted(PROVIDED.packages))
    assert len(found.key) == 16


def test_packages_that_no_reached_code_imports_are_not_installed_and_that_is_said() -> None:
    found = of({"dependencies": {"next": "15", "react": "19"}}, "@temporalio/workflow")
    assert found.key == "sdk-1.24.0"
    assert found.warnings == (
        "not installed, since the code that is reached imports no package: next, react",
    )
    all_of_them = of({"dependencies": {"knex": "3", "pg": "8"}}, "knex")
    assert set(all_of_them.install) == {"knex", "pg"}  # knex loads pg by a name that no import shows


def test_types_of_node_are_ours_unless_ours_do_not_fit() -> None:
    assert of({"devDependencies": {"@types/node": ">=18"}}).install == {}
    found = of({"devDependencies": {"@types/node": "^22.0.0"}})
    assert found.install == {"@types/node": "^22.0.0"}
    assert "@types/node" not in found.links


def test_a_package_of_the_sdk_that_we_lack_comes_in_our_version() -> None:
    found = of({"dependencies": {"@temporalio/interceptors-opentelemetry": "^1.10.0"}})
    assert found.install == {"@temporalio/interceptors-opentelemetry": "1.24.0"}
    assert "@temporalio/workflow" in found.links
    said = refusal({"dependencies": {"@temporalio/interceptors-opentelemetry": "~1.10.0"}})
    assert "~1.10.0 does not admit 1.24.0, the SDK of this host" in said[0]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("file:../secret", "is not a version from the registry"),
        ("link:../secret", "is not a version from the registry"),
        ("workspace:*", "is not a version from the registry"),
        ("git+ssh://git@host/x.git", "is not a version from the registry"),
        ("github:owner/name", "is not a version from the registry"),
        ("owner/name", "is not a version from the registry"),
        ("https://host/x.tgz", "is not a version from the registry"),
        ("../x", "is not a version from the registry"),
        ("npm:Bad Name@1", "is not the name of an npm package"),
        (7, "must be a version or a range"),
        (None, "must be a version or a range"),
    ],
)
def test_what_does_not_come_from_the_registry_is_refused(wanted: Any, words: str) -> None:
    (said,) = refusal({"dependencies": {"x": wanted}})
    assert said.startswith('packageJson.dependencies["x"]: ')
    assert words in said


@pytest.mark.parametrize("name", ["../x", "a b", "-x --y", "@scope", "@a/b/c", ".hidden", ""])
def test_what_is_no_name_of_a_package_is_refused(name: str) -> None:
    assert any("is not the name of an npm package" in said for said in refusal({"dependencies": {name: "1"}}))


def test_every_problem_is_reported_at_once() -> None:
    assert len(refusal({"dependencies": {"a": "file:x", "b": "file:y"}, "devDependencies": 7})) == 3


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Rules(deny=("left-*",)), "left-pad is denied by dependencies.deny (left-*)"),
        (Rules(allow=("@acme/*",)), "left-pad is not among dependencies.allow"),
        (Rules(allow=("left-pad",), deny=("left-pad",)), "left-pad is denied"),
    ],
)
def test_packages_that_this_host_does_not_allow_are_refused(rules: Rules, words: str) -> None:
    assert words in refusal({"dependencies": {"left-pad": "1"}}, rules=rules)[0]
    assert words in refusal({"dependencies": {"alias": "npm:left-pad@1"}}, rules=rules)[0]


def test_the_key_depends_on_what_is_installed_and_on_nothing_else() -> None:
    one = of({"name": "a", "dependencies": {"ms": "2", "zod": "3"}})
    assert (
        of({"name": "b", "dependencies": {"zod": "3", "ms": "2"}, "devDependencies": {"eslint": "9"}}).key
        == one.key
    )
    others = [
        of({"dependencies": {"ms": "2", "zod": "4"}}),
        of({"dependencies": {"ms": "2"}}),
        of({"dependencies": {"ms": "2", "zod": "3"}, "overrides": {"x": "1"}}),
        needs(
            {"dependencies": {"ms": "2", "zod": "3"}},
            None,
            ["ms"],
            Provided("1.25.0", {"@temporalio/worker": "1.25.0"}),
        ),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5


# The lock file ---------------------------------------------------------------------------------

MS = {"dependencies": {"ms": "^2.0.0"}}


def test_a_lock_of_this_package_is_used() -> None:
    lock = lock_of(MS, ms="2.1.2")
    found = of(MS, lock=lock)
    assert (found.lock, found.warnings) == (lock, ())
    assert found.key != of(MS).key


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        ("{", "can't be used"),
        ('{"lockfileVersion": 1, "dependencies": {}}', "can't be used"),
        (lock_of({"dependencies": {"ms": "^1.0.0"}}, ms="1.0.0"), "is not of this package.json"),
    ],
)
def test_a_lock_that_does_not_fit_is_said_and_not_used(lock: str, words: str) -> None:
    found = of(MS, lock=lock)
    assert found.lock is None
    assert words in found.warnings[0]


@pytest.mark.parametrize("entry", [{"link": True}, {"resolved": "file:../x"}, {"resolved": "git+ssh://x"}, 7])
def test_a_lock_that_leads_elsewhere_is_refused(entry: Any) -> None:
    lock = json.loads(lock_of(MS, ms="2.1.2"))
    lock["packages"]["node_modules/evil"] = entry
    assert (
        'package-lock.json packages["node_modules/evil"]: does not come'
        in refusal(MS, lock=json.dumps(lock))[0]
    )


# Pins ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted", ["^1.11.0", "*", "latest", ">=1", "1.x", "1.24.0", "~1.24.0", "^1.0.0 || ^2.0.0"]
)
def test_an_sdk_that_ours_satisfies_is_no_pin(wanted: str) -> None:
    assert sdk_pin({"dependencies": {"@temporalio/worker": wanted}}, None, PROVIDED) == ""


@pytest.mark.parametrize("wanted", ["1.11.5", "~1.11.0", "^0.20.0", "<1.20"])
def test_an_sdk_that_ours_does_not_satisfy_is_a_pin(wanted: str) -> None:
    said = sdk_pin({"dependencies": {"@temporalio/worker": wanted}}, None, PROVIDED)
    assert (
        said == f"package.json pins @temporalio/worker {wanted}, and shared workers of this host run 1.24.0"
    )


def test_an_own_sdk_is_installed_whole_and_nothing_of_ours_but_types_is_linked() -> None:
    pins = {"@temporalio/worker": "1.11.5", "@temporalio/workflow": "1.11.5"}
    found = of({"dependencies": pins}, own_sdk=True)
    assert found.install == pins
    assert (found.links, found.own_sdk) == (("@types/node",), True)


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"@temporalio/worker": "1.11.5", "@temporalio/workflow": "1.12.0"}, "must be of one version"),
        ({"@temporalio/worker": "^0.20.0"}, "is not of version 1"),
        ({"@temporalio/worker": "2.0.0"}, "is not of version 1"),
        ({"@temporalio/workflow": "1.11.5"}, "needs @temporalio/worker"),
    ],
)
def test_an_own_sdk_that_can_not_be_sound_is_refused(pins: dict[str, str], words: str) -> None:
    assert any(words in said for said in refusal({"dependencies": pins}, own_sdk=True))


def test_a_lock_with_another_sdk_is_worth_a_word() -> None:
    package = {"dependencies": {"@temporalio/worker": "^1.11.0"}}
    found = of(package, lock=lock_of(package, **{"@temporalio/worker": "1.11.3"}))
    assert found.warnings == ("package-lock.json has @temporalio 1.11.3; it runs with 1.24.0",)


@pytest.mark.parametrize(
    ("wanted", "locked", "pin"),
    [
        ("^5.6.3", None, "^5.6.3"),
        ("^5.6.3", "5.7.2", "5.7.2"),
        ("^5.6.3", "4.9.5", "^5.6.3"),
        ("5.6.3", None, "5.6.3"),
        ("latest", None, None),
        ("*", None, None),
        (None, None, None),
    ],
)
def test_the_typescript_that_a_spec_pins(wanted: str | None, locked: str | None, pin: str | None) -> None:
    package = {"devDependencies": {"typescript": wanted} if wanted else {}}
    lock = lock_of(package, typescript=locked) if locked else None
    assert typescript_pin(package, lock) == pin


# Anything --------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["^1.0.0", "file:x", "npm:a@1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
blocks = st.dictionaries(
    st.sampled_from(
        ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "overrides"]
    ),
    values
    | st.dictionaries(
        st.sampled_from(["ms", "@temporalio/worker", "typescript", "../x", "@types/node"]), values
    ),
)


@given(blocks, st.none() | st.text(max_size=20) | values.map(json.dumps), st.booleans())
def test_any_package_and_lock_are_needs_or_an_error_for_people(
    package: Any, lock: str | None, own: bool
) -> None:
    sdk_pin(package, lock, PROVIDED)
    typescript_pin(package, lock)
    with suppress(DeployError):
        assert of(package, lock=lock, own_sdk=own).key


@given(st.text(max_size=20), st.text(max_size=8))
def test_no_text_makes_a_range_raise(wanted: str, version: str) -> None:
    admits(wanted, version)
    is_range(wanted)
    newest(wanted, ["1.0.0", "2.0.0"])
