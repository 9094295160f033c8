"""Every child that makes a release is in a cage: a probe in its place reads nothing that is the daemon's."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from timewright.edge import confine, process
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.dependencies import Dependencies, Settings
from timewright.edge.histories import read_file
from timewright.edge.process import Confine
from timewright.edge.replayer import Replayer
from timewright.edge.toolchain import typescripts

from tests.edge.registry import Registry
from tests.edge.test_dependencies import wants
from tests.edge.toolbox import TOOLCHAIN, write_release

pytestmark = pytest.mark.skipif(confine.abi() < 6, reason="Landlock of this kernel knows no signals")

WORKFLOW = "src/workflow.ts"
CODE = {WORKFLOW: "export async function w(): Promise<void> {}\n"}
KEPT = Path(__file__).parent / "histories" / "order.json"
#: What only the daemon may read of its data directory, and of its user's home.
SECRETS = (
    "state.db",
    "tokens.toml",
    "holds/pins.toml",
    "sources/main/repo.git/config",
    "cache/x",
    "home/.ssh/id",
)
LOOK = """
import json, os, sys
def read(path):
    try:
        open(path).read()
    except OSError as error:
        return error.strerror
    return 'read'
def write(path):
    try:
        open(path + '.mine', 'w')
    except OSError as error:
        return error.strerror
    return 'written'
def change(path):
    try:
        os.chmod(path, 0o644)
    except OSError as error:
        return error.strerror
    return 'changed'
print(json.dumps({path: [read(path), write(path), change(path)] for path in sys.argv[1:]}))
"""
Seen = dict[str, Confine | None]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with secrets in it."""
    for name in SECRETS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("secret")
    for name in ("releases", "dependencies"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The cage of each child, by the name of its program and its script; of one that waited for it, too."""
    found: Seen = {}
    start, confined = process.start, process.confined

    def note(command: Any, cage: Confine | None) -> None:
        words = [Path(str(word)).name for word in command[:3] if not str(word).startswith("--")]
        found[" ".join(words[:2])] = cage

    async def watched(command: Any, **more: Any) -> asyncio.subprocess.Process:
        note(command, more.get("confine"))
        return await start(command, **more)

    def handed(command: Any, cage: Confine, **more: Any) -> Any:
        note(command, cage)
        return confined(command, cage, **more)

    monkeypatch.setattr(process, "start", watched)
    monkeypatch.setattr(process, "confined", handed)
    return found


async def looked(cage: Confine | None, data: Path) -> Mapping[str, list[str]]:
    """What becomes of a probe in a child's place: path → what reading and writing came to."""
    assert cage is not None
    with_python = dataclasses.replace(cage, read=(*cage.read, Path(sys.base_prefix)))
    paths = [str(data / name) for name in SECRETS]
    command: list[str | Path] = [Path(sys.executable).resolve(), "-I", "-S", "-c", LOOK, *paths]
    done = await process.run(command, timeout=30, confine=with_python)
    found: Mapping[str, list[str]] = json.loads(done.stdout)
    return found


async def closed(seen: Seen, data: Path, *programs: str, network: bool = False) -> None:
    """Each of these programs ran, and none of those that ran could read or write what is the daemon's, or
    change its mode (but npm)."""
    for program in programs:
        assert any(name.startswith(program) for name in seen), (program, list(seen))
    for name, cage in dict(seen).items():
        tried = await looked(cage, data)
        assert {came for each in tried.values() for came in each[:2]} == {"Permission denied"}, (name, tried)
        changed = {each[2] for each in tried.values()}
        assert cage is not None
        assert cage.network == network, name
        assert cage.modes == network, name
        assert changed == {"changed" if cage.modes else "Operation not permitted"}, (name, tried)


async def test_compilers_and_bundlers_read_nothing_but_releases_and_tools(data: Path, seen: Seen) -> None:
    trees = (data / "releases", data / "dependencies")
    compiler = Compiler(TOOLCHAIN, data / "cache", trees=trees)
    await compiler.start()
    try:
        ours = write_release(data / "releases" / "ours", CODE)
        assert (await compiler.compile(CompileJob(ours, WORKFLOW))).lane == "warm-1"
        pinned = write_release(data / "releases" / "pinned", CODE, typescript="5.9.3")
        package = dict(typescripts(TOOLCHAIN))["5.9.3"]
        assert (await compiler.compile(CompileJob(pinned, WORKFLOW, typescript=package))).lane == "node-5.9.3"
        assert compiler._judges is not None
        compiler._judges.service.fallback = "for this test"
        cold = write_release(data / "releases" / "cold", CODE)
        assert (await compiler.compile(CompileJob(cold, WORKFLOW))).lane == "cold"
    finally:
        await compiler.close()
    await closed(seen, data, "tsc", "esbuild", "node tshost.js", "node base.js", "tsc -p")


async def test_a_tree_that_was_moved_away_and_back_is_read_by_a_new_compiler(data: Path) -> None:
    """What a cage holds is a directory, and not its name."""
    releases = data / "releases"
    compiler = Compiler(TOOLCHAIN, data / "cache", trees=(releases, data / "dependencies"))
    await compiler.start()
    try:
        assert (
            await compiler.compile(CompileJob(write_release(releases / "one", CODE), WORKFLOW))
        ).warnings == ()
        releases.rename(data / "aside")
        releases.mkdir()
        assert (
            await compiler.compile(CompileJob(write_release(releases / "two", CODE), WORKFLOW))
        ).lane == "warm-1"
    finally:
        await compiler.close()


async def test_a_tree_that_comes_to_be_while_the_compiler_starts_is_read_by_a_new_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = data / "late"
    start = process.start

    async def before_it(*words: Any, **named: Any) -> Any:
        started = await start(*words, **named)
        releases.mkdir(exist_ok=True)
        return started

    monkeypatch.setattr(process, "start", before_it)
    compiler = Compiler(TOOLCHAIN, data / "cache", trees=(releases, data / "dependencies"))
    await compiler.start()
    try:
        release = write_release(releases / "one", CODE)
        assert (await compiler.compile(CompileJob(release, WORKFLOW))).lane == "warm-1"
    finally:
        await compiler.close()


async def test_the_replayer_reads_its_bundle_and_histories_alone(data: Path, seen: Seen) -> None:
    home = data / "cache" / "replays" / "one"
    home.mkdir(parents=True)
    (home / "workflows.js").write_text("")
    history = read_file(KEPT, 0, home)
    await Replayer(TOOLCHAIN, "node", data / "cache" / "replays").run(home / "workflows.js", [history], 30)
    (cage,) = seen.values()
    await closed(seen, data, "node")
    assert cage is not None
    assert cage.write == ()


async def test_npm_reads_its_own_and_what_its_settings_name(
    data: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    authority = data / "home" / "ca.pem"
    authority.write_text("")
    (data / "home" / ".npmrc").write_text(f"registry={registry.url}\ncafile=${{HOME}}/ca.pem\n")
    for name in [name for name in os.environ if name.lower().startswith("npm_config_")]:
        monkeypatch.delenv(name)
    try:
        registry.add("one", files={"index.js": "module.exports = 1;"})
        dependencies = Dependencies(
            data / "dependencies", TOOLCHAIN, Settings(timeout_s=60), cache=data / "npm"
        )
        dependencies.prepare()
        installed = await dependencies.get(wants("one"))
    finally:
        registry.close()
    assert (installed.path / "node_modules" / "one" / "index.js").is_file()
    (cage,) = seen.values()
    await closed(seen, data, "node", network=True)
    assert cage is not None
    assert {data / "home" / ".npmrc", authority} <= set(cage.read)
