from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from timewright.edge.pools import Key, Pools
from timewright.edge.releases import Receipt

from tests.support import leftovers, make_receipt

KEY: Key = ("default", "orders")


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    made = Pools(tmp_path)
    made.prepare()
    return made


def describe(pools: Pools, *members: Receipt, key: Key = KEY, sdk: str = "1.0.0") -> dict[str, Any]:
    return pools.describe(key, members, sdk=sdk, releases=pools.data / "releases")


def publish(pools: Pools, *members: Receipt, key: Key = KEY) -> str:
    """A version in the tree; returns its id."""
    build = pools.begin(key)
    content = describe(pools, *members, key=key)
    (build / "workflows.js").write_text(str(content["pool_version"]))
    pools.seal(build, content)
    return pools.publish(key, build, content).name


ONE, TWO = make_receipt("one", bundle="b1"), make_receipt("two", bundle="b2")


def test_a_pool_serves_the_version_that_current_names(pools: Pools) -> None:
    first, second = publish(pools, ONE), publish(pools, ONE, TWO)
    assert pools.current(KEY) is None
    pools.make_current(KEY, first)
    pools.make_current(KEY, second)
    found = pools.current(KEY)
    assert found is not None
    assert (found.version, dict(found.members)) == (second, {"one": ONE.release, "two": TWO.release})
    assert pools.link(KEY) == second
    assert list(pools.keys()) == [KEY]
    assert leftovers(pools.data) == []


def test_what_the_worker_host_reads_is_what_the_contract_says(pools: Pools) -> None:
    receipt = make_receipt("one", bundle="b", activities="src/a/acts.mts", activity_names=("charge",))
    version = publish(pools, receipt)
    home = pools.home(KEY) / version
    content = tomllib.loads((home / "pool.toml").read_text())
    (member,) = content.pop("releases")
    assert content == {
        "format": 1,
        "pool_version": version,
        "build_id": content["build_id"],
        "namespace": "default",
        "task_queue": "orders",
        "isolation": "shared",
        "sdk": "1.0.0",
        "bundle": "workflows.js",
    }
    assert member == {
        "workflow_id": "one",
        "release": receipt.release,
        "path": f"../../../../releases/one/{receipt.release}",
        "workflow_types": ["hello"],
        "activity_names": ["charge"],
        "code": "b",
        "activities": "dist/a/acts.mjs",
    }
    assert (home / member["path"]).resolve() == pools.data / "releases" / "one" / receipt.release


def test_a_process_of_its_own_gets_its_worker_and_environment_and_no_bundle(pools: Pools) -> None:
    receipt = make_receipt("one", bundle="b", isolation="process", worker="src/worker.ts", env={"A": "1"})
    content = describe(pools, receipt)
    assert "bundle" not in content
    assert content["isolation"] == "process"
    assert (content["releases"][0]["worker"], content["releases"][0]["env"]) == ("dist/worker.js", {"A": "1"})


def test_a_pool_without_workflows_has_no_bundle(pools: Pools) -> None:
    assert "bundle" not in describe(pools, make_receipt("one", bundle=None))


def test_a_change_of_activities_alone_is_a_new_version_with_the_same_build_id(pools: Pools) -> None:
    changed = make_receipt("one", "v2", bundle="b1")
    before, after = describe(pools, ONE), describe(pools, changed)
    assert before["pool_version"] != after["pool_version"]
    assert before["build_id"] == after["build_id"]
    assert describe(pools, make_receipt("one", "v2", bundle="b9"))["build_id"] != before["build_id"]
    assert describe(pools, ONE, sdk="2.0.0")["build_id"] != before["build_id"]


def test_the_order_of_the_members_makes_no_other_version(pools: Pools) -> None:
    assert describe(pools, ONE, TWO) == describe(pools, TWO, ONE)


@pytest.mark.parametrize(
    "queue", ["..", ".hidden", "a/b", "../../etc", "ä ö", "%2e", "current", "a" * 200, "~"]
)
def test_a_queue_of_any_name_has_a_directory_of_its_own(pools: Pools, queue: str) -> None:
    key = ("default", queue)
    pools.make_current(key, publish(pools, ONE, key=key))
    assert pools.home(key).parent == pools.root / "default"
    assert list(pools.keys()) == [key]
    assert pools.current(key) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "format = 1",
        "pool_version = 'a'",
        "pool_version = 'a'\nbuild_id = 'b'\nreleases = [5]",
        "pool_version = 'a'\nbuild_id = 'b'\nreleases = 5",
        "pool_version = 'a'\nbuild_id = 'b'\n[[releases]]\nx = 1",
    ],
)
def test_a_version_that_can_not_be_read_is_not_current(pools: Pools, text: str) -> None:
    version = publish(pools, ONE)
    pools.make_current(KEY, version)
    (pools.home(KEY) / version / "pool.toml").write_text(text)
    assert pools.current(KEY) is None
    assert pools.link(KEY) == version
    publish(pools, ONE)
    assert pools.current(KEY) is not None, "publishing it again mends it"


def test_a_current_that_leads_nowhere_is_none(pools: Pools) -> None:
    version = publish(pools, ONE)
    pools.make_current(KEY, version)
    shutil.rmtree(pools.home(KEY) / version)
    assert pools.current(KEY) is None
    assert not pools.has(KEY, version)


def test_a_pool_that_lost_its_last_member_serves_nothing(pools: Pools) -> None:
    pools.make_current(KEY, publish(pools, ONE))
    pools.drop(KEY)
    assert pools.link(KEY) is None
    pools.drop(KEY)
    pools.drop(("never", "was"))


def test_versions_that_nobody_needs_are_collected(pools: Pools) -> None:
    old, before, now = (publish(pools, make_receipt("one", f"v{n}")) for n in range(3))
    pools.make_current(KEY, now)
    pools.collect(KEY, {before, now})
    assert not pools.has(KEY, old)
    assert pools.has(KEY, before)
    assert pools.current(KEY) is not None


def test_leftovers_of_a_crash_are_swept_at_the_start(pools: Pools) -> None:
    (pools.begin(KEY) / "half").touch()
    pools.prepare()
    assert leftovers(pools.data) == []


@pytest.mark.parametrize("name", ["pool.toml", "workflows.js"])
def test_a_version_that_lost_a_file_is_no_version_and_is_replaced_whole(pools: Pools, name: str) -> None:
    version = publish(pools, ONE)
    assert pools.lost(KEY) == ""
    pools.make_current(KEY, version)
    assert (pools.has(KEY, version), pools.lost(KEY)) == (True, "")
    (pools.home(KEY) / version / name).unlink()
    assert pools.current(KEY) is None
    assert (pools.has(KEY, version), pools.lost(KEY)) == (False, name)
    assert publish(pools, ONE) == version
    assert (pools.has(KEY, version), pools.lost(KEY)) == (True, "")
    assert leftovers(pools.data) == []
