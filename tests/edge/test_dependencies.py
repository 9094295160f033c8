"""Packages of specs, by the real npm, from a small registry of our own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from timewright.core.dependencies import Needs, Rules, needs
from timewright.core.errors import DeployError, Reason
from timewright.edge import npm
from timewright.edge.dependencies import Dependencies, Settings
from timewright.edge.toolchain import provided

from tests.edge.registry import Registry
from tests.support import ROOT

TOOLCHAIN = ROOT / "worker"
PROVIDED = provided(TOOLCHAIN)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    found = Registry()
    monkeypatch.setenv("npm_config_registry", found.url)
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    yield found
    found.close()


def make(home: Path, **settings: Any) -> Dependencies:
    found = Dependencies(
        home / "dependencies", TOOLCHAIN, replace(Settings(timeout_s=60), **settings), cache=home / "npm"
    )
    found.prepare()
    return found


def wants(*packages: str, **more: Any) -> Needs:
    return needs({"dependencies": dict.fromkeys(packages, "^1.0.0"), **more}, None, packages, PROVIDED)


def sets(home: Path) -> list[str]:
    """What lies in the directory of packages, our own SDK left out."""
    return sorted(p.name for p in (home / "dependencies").iterdir() if not p.name.startswith("sdk-"))


async def asked_for(registry: Registry, name: str) -> None:
    async with asyncio.timeout(60):
        while name not in registry.requests:
            await asyncio.sleep(0.05)


async def failure(dependencies: Dependencies, asked: Needs) -> DeployError:
    with pytest.raises(DeployError) as caught:
        await dependencies.get(asked)
    return caught.value


async def test_a_set_is_installed_once_even_for_two_at_the_same_time(
    registry: Registry, tmp_path: Path
) -> None:
    registry.add("one", files={"index.js": "module.exports = 1;"}, dependencies={"two": "^1.0.0"})
    registry.add("two")
    dependencies, asked, said = make(tmp_path), wants("one"), list[str]()
    first, second = await asyncio.gather(dependencies.get(asked, said.append), dependencies.get(asked))
    assert first == second
    assert sets(tmp_path) == [asked.key]
    assert (first.path / "node_modules" / "one" / "index.js").read_text() == "module.exports = 1;"
    assert (first.path / "node_modules" / "two").is_dir()
    assert registry.requests.count("one") == 1
    assert said[0] == "installing 1 package: one"
    assert said[-1].startswith("installed 1 package in ")
    before = len(registry.requests)
    assert await make(tmp_path).get(asked) == first  # another daemon: it is there
    assert len(registry.requests) == before


async def test_a_spec_that_needs_only_the_sdk_gets_the_toolchains_own(tmp_path: Path) -> None:
    found = await make(tmp_path).get(wants())
    assert (found.path / "node_modules").resolve() == (TOOLCHAIN / "node_modules").resolve()


async def test_there_is_one_sdk_for_the_host_and_for_all_packages(registry: Registry, tmp_path: Path) -> None:
    registry.add("@temporalio/common", "1.24.0", {"index.js": "another SDK"})
    registry.add("helper", dependencies={"@temporalio/common": "^1.0.0"})
    registry.add("old", dependencies={"@temporalio/common": "1.0.0"})
    registry.add("@temporalio/common", "1.0.0", {"index.js": "an old SDK"})
    found = await make(tmp_path).get(wants("helper", "old"))
    modules = found.path / "node_modules"
    ours = TOOLCHAIN / "node_modules" / "@temporalio" / "common"
    assert (modules / "@temporalio" / "common").resolve() == ours.resolve()
    assert not list(modules.rglob("node_modules/@temporalio/common/index.js"))
    assert (modules / "@temporalio" / "activity").resolve() == ours.with_name("activity").resolve()


async def test_scripts_of_packages_never_run_and_that_is_said(registry: Registry, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    scripts = dict.fromkeys(("preinstall", "install", "postinstall", "prepare"), f"touch {mark}")
    registry.add("native", scripts=scripts)
    found = await make(tmp_path).get(wants("native"))
    assert not mark.exists()
    assert found.warnings[0].startswith("native has an install script, which never runs here")


async def test_the_versions_of_a_lock_file_are_those_that_are_installed(
    registry: Registry, tmp_path: Path
) -> None:
    for version in ("1.0.0", "1.1.0"):
        registry.add("one", version)
    package = {"dependencies": {"one": "^1.0.0"}}
    entry = {"version": "1.0.0", "resolved": "https://elsewhere.example/one.tgz"}
    lock = json.dumps({"lockfileVersion": 3, "packages": {"": package, "node_modules/one": entry}})
    asked = needs(package, lock, ["one"], PROVIDED)
    found = await make(tmp_path).get(asked)
    assert json.loads((found.path / "node_modules/one/package.json").read_text())["version"] == "1.0.0"


async def test_a_package_that_is_not_what_the_lock_says_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    registry.add("one")
    package = {"dependencies": {"one": "^1.0.0"}}
    entry = {"version": "1.0.0", "integrity": f"sha512-{'A' * 86}=="}
    lock = json.dumps({"lockfileVersion": 3, "packages": {"": package, "node_modules/one": entry}})
    error = await failure(make(tmp_path), needs(package, lock, ["one"], PROVIDED))
    assert error.reason is Reason.DEPENDENCY_FAILED
    assert "is not what the lock file says" in error.message
    assert sets(tmp_path) == []


@pytest.mark.parametrize(
    ("trouble", "reason", "words"),
    [
        ("none", Reason.DEPENDENCY_FAILED, "npm's registry has no one@^1.0.0"),
        ("old", Reason.DEPENDENCY_FAILED, "npm's registry has no version one@^1.0.0"),
        ("fails", Reason.DEPENDENCY_UNAVAILABLE, "npm can't reach its registry: E500"),
        ("gone", Reason.DEPENDENCY_UNAVAILABLE, "npm can't reach its registry: ECONNREFUSED"),
        ("hangs", Reason.DEPENDENCY_UNAVAILABLE, "npm was not done within 3 s"),
        ("lies", Reason.DEPENDENCY_FAILED, "is not what the lock file says"),
    ],
)
async def test_what_npm_says_reaches_the_person_in_one_sentence_and_leaves_nothing(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    reason: Reason,
    words: str,
) -> None:
    if trouble != "none":
        registry.add("one", "0.1.0" if trouble == "old" else "1.0.0")
    registry.trouble["one"] = trouble
    if trouble == "gone":
        monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    error = await failure(make(tmp_path, timeout_s=3.0 if trouble == "hangs" else 60.0), wants("one"))
    assert (error.reason, words in error.message) == (reason, True), error.message
    assert error.transient == (reason is Reason.DEPENDENCY_UNAVAILABLE)
    assert sets(tmp_path) == []


async def test_packages_that_do_not_fit_together_are_named(registry: Registry, tmp_path: Path) -> None:
    registry.add("one", peerDependencies={"two": "^2.0.0"})
    registry.add("two")
    registry.add("two", "2.0.0")
    error = await failure(make(tmp_path), wants("one", "two"))
    assert "packages don't fit together: peer two@" in error.message


async def test_what_a_package_needs_in_turn_can_be_denied(registry: Registry, tmp_path: Path) -> None:
    registry.add("one", dependencies={"evil": "1"})
    registry.add("evil")
    error = await failure(make(tmp_path, rules=Rules(deny=("evil",))), wants("one"))
    assert error.message == "evil is denied by dependencies.deny (evil); one needs it"
    assert sets(tmp_path) == []


async def test_packages_that_are_too_large_are_refused(registry: Registry, tmp_path: Path) -> None:
    registry.add("one", files={"big.js": "x" * 3_000_000})
    error = await failure(make(tmp_path, max_mib=2), wants("one"))
    assert error.message == "its packages take more than 2 MiB"
    assert sets(tmp_path) == []


async def test_offline_takes_what_is_there_and_says_so_otherwise(registry: Registry, tmp_path: Path) -> None:
    registry.add("one")
    registry.add("two")
    await make(tmp_path).get(wants("one"))
    offline = make(tmp_path, offline=True)
    assert (await offline.get(wants("one"))).path.is_dir()
    error = await failure(offline, wants("two"))
    assert error.reason is Reason.DEPENDENCY_FAILED
    assert "dependencies.offline is on" in error.message


async def test_the_last_who_stops_waiting_ends_the_install(registry: Registry, tmp_path: Path) -> None:
    registry.add("one")
    registry.trouble["one"] = "hangs"
    dependencies = make(tmp_path)
    waiting = [asyncio.create_task(dependencies.get(wants("one"))) for _ in range(2)]
    await asked_for(registry, "one")
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    assert sets(tmp_path) != []
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    assert sets(tmp_path) == []


async def test_an_install_that_was_killed_leaves_nothing_after_the_next_start(
    registry: Registry, tmp_path: Path
) -> None:
    registry.add("one")
    registry.trouble["one"] = "hangs"
    code = (
        "import asyncio, pathlib, sys\n"
        "from tests.edge.test_dependencies import make, wants\n"
        "asyncio.run(make(pathlib.Path(sys.argv[1])).get(wants('one')))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "daemon")])
    })  # fmt: skip
    await asked_for(registry, "one")
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert sets(tmp_path) != []
    make(tmp_path)
    assert sets(tmp_path) == []


async def test_sets_that_nobody_needs_are_collected_and_others_are_kept(
    registry: Registry, tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        registry.add(name)
    dependencies = make(tmp_path)
    asked = [wants(name) for name in ("one", "two", "three")]
    for each in asked:
        await dependencies.get(each)
    later = time.time() + 1
    async with dependencies.lease(asked[1].key):
        assert dependencies.collect({asked[0].key}, older_than=0) == []
        assert dependencies.collect({asked[0].key}, older_than=later) == [asked[2].key]
    assert sets(tmp_path) == sorted([asked[0].key, asked[1].key])
    assert (await dependencies.get(wants())).path.is_dir()


async def test_a_compiler_is_installed_once_and_its_range_is_settled(
    registry: Registry, tmp_path: Path
) -> None:
    registry.add("typescript", "5.6.2")
    dependencies = make(tmp_path)
    home = await dependencies.tool("typescript", "~5.6.0")
    assert home == tmp_path / "dependencies" / "typescript-5.6.2" / "node_modules" / "typescript"
    registry.add("typescript", "5.6.3")
    assert await make(tmp_path, offline=True).tool("typescript", "~5.6.0") == home
    assert await make(tmp_path, offline=True).tool("typescript", "5.6.2") == home
    assert (await dependencies.tool("typescript", "5.6.3")).parts[-3] == "typescript-5.6.3"
    assert (await dependencies.tool("typescript", "=5.6.3")).parts[-3] == "typescript-5.6.3"
    before = len(registry.requests)
    await dependencies.tool("typescript", "=5.6.3")
    assert len(registry.requests) == before


def test_npm_sees_nothing_of_our_environment_but_what_it_needs(tmp_path: Path) -> None:
    host = {
        "PATH": "/bin",
        "AWS_SECRET": "x",
        "NPM_CONFIG_REGISTRY": "r",
        "https_proxy": "p",
        "NODE_OPTIONS": "--x",
    }
    found = npm.environment("node", tmp_path, host)
    assert {
        "NPM_CONFIG_REGISTRY",
        "https_proxy",
        "PATH",
        "HOME",
        "npm_config_cache",
        "npm_config_fetch_retries",
    } == set(found)
