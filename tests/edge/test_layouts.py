"""Projects as people lay them out: dist/ of each runs in plain Node, and its workflows can be served."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError, Reason
from timewright.edge.bundle import Part
from timewright.edge.compiler import CompileJob, Compiler, Mode

from tests.edge.toolbox import TOOLCHAIN, in_sandbox, node, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLOW = """\
import { sleep } from '@temporalio/workflow';
import { greeting } from '%s';
export async function flow(name: string): Promise<string> {
  await sleep(0);
  return greeting(name);
}
"""
LIB = "export function greeting(name: string): string {\n  return 'hi ' + name;\n}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compilers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[Mode, Compiler]]:
    cache = tmp_path_factory.mktemp("cache")
    modes: tuple[Mode, ...] = ("check", "transpile")
    made: dict[Mode, Compiler] = {mode: Compiler(TOOLCHAIN, cache / mode, mode=mode) for mode in modes}
    for compiler in made.values():
        await compiler.start()
    yield made
    for compiler in made.values():
        await compiler.close()


def files_of(directory: Path) -> list[str]:
    found = (path for path in (directory / "dist").rglob("*") if path.is_file())
    return sorted(path.relative_to(directory).as_posix() for path in found if path.suffix != ".map")


async def served(release: Path, scratch: Path, compiler: Compiler, *types: str) -> list[dict[str, Any]]:
    """What the workflows do when a pool serves them."""
    await compiler.join([Part("r", types, release / "bundle" / "workflow.js")], scratch)
    return in_sandbox(scratch / "workflows.js", [{"type": name, "args": ["a"]} for name in types])


BOTH: tuple[Mode, ...] = ("check", "transpile")


@pytest.mark.parametrize("mode", BOTH)
async def test_path_aliases_work_in_node_and_in_the_bundle(
    compilers: Mapping[Mode, Compiler], tmp_path: Path, mode: Mode
) -> None:
    files = {
        "src/workflows/index.ts": FLOW % "@/lib/greeting",
        "src/lib/greeting.ts": LIB,
        "src/activities.ts": "import { greeting } from 'lib/greeting';\nexport const greet = greeting;\n",
    }
    entries = ("src/workflows/index.ts", "src/activities.ts")
    release = write_release(
        tmp_path / "r",
        files,
        entries=entries,
        options={"baseUrl": "./src", "paths": {"@/*": ["./*"]}},
    )
    await compilers[mode].compile(CompileJob(release, *entries))
    assert node("-p", "require('./dist/activities.js').greet('x')", cwd=release) == "hi x\n"
    (said,) = await served(release, tmp_path, compilers[mode], "flow")
    assert said["commands"] == ["startTimer"]
    code = (release / "dist/workflows/index.js").read_text().split("\n")
    assert 'require("../lib/greeting.js")' in "".join(code)


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("specifier", ["./lib/greeting.js", "./lib/greeting", "#lib/greeting"])
async def test_es_modules_run_in_node_and_in_the_bundle(
    compilers: Mapping[Mode, Compiler], tmp_path: Path, mode: Mode, specifier: str
) -> None:
    files = {
        "src/workflow.ts": FLOW % specifier,
        "src/lib/greeting.ts": LIB,
        "src/activities.ts": f"export {{ greeting as greet }} from '{specifier}';\nimport.meta.url;\n",
    }
    options = {"module": "esnext", "moduleResolution": "bundler", "paths": {"#lib/*": ["./src/lib/*"]}}
    entries = ("src/workflow.ts", "src/activities.ts")
    release = write_release(
        tmp_path / "r", files, entries=entries, options=options, package={"type": "module"}
    )
    await compilers[mode].compile(CompileJob(release, *entries))
    script = "import('./dist/activities.js').then((m) => console.log(m.greet('x')))"
    assert node("-e", script, cwd=release) == "hi x\n"
    (said,) = await served(release, tmp_path, compilers[mode], "flow")
    assert said["commands"] == ["startTimer"]


@pytest.mark.parametrize("mode", BOTH)
async def test_imports_that_name_a_source_file_name_the_compiled_one_in_dist(
    compilers: Mapping[Mode, Compiler], tmp_path: Path, mode: Mode
) -> None:
    files = {"src/activities.ts": "export { greeting } from './lib.ts';\n", "src/lib.ts": LIB}
    release = write_release(
        tmp_path / "r", files, entries=["src/activities.ts"], options={"allowImportingTsExtensions": True}
    )
    await compilers[mode].compile(CompileJob(release, activities="src/activities.ts"))
    assert node("-p", "require('./dist/activities.js').greeting('x')", cwd=release) == "hi x\n"


async def test_nodenext_modules_of_all_kinds_can_be_mixed(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    files = {
        "src/workflows.mts": FLOW % "./lib.mjs"
        + "import old from './old.cjs';\nexport const n: number = old.n;\n",
        "src/lib.mts": LIB,
        "src/old.cts": "export = { n: 1 };\n",
        "src/data.json": '{"a": 1}',
    }
    release = write_release(
        tmp_path / "r",
        files,
        entries=["src/workflows.mts"],
        options={"module": "nodenext"},
        package={"type": "module"},
    )
    await compilers["check"].compile(CompileJob(release, "src/workflows.mts"))
    assert files_of(release) == ["dist/data.json", "dist/lib.mjs", "dist/old.cjs", "dist/workflows.mjs"]
    (said,) = await served(release, tmp_path, compilers["check"], "flow")
    assert said["commands"] == ["startTimer"]


@pytest.mark.parametrize("mode", BOTH)
async def test_javascript_entry_points_are_compiled_as_they_are(
    compilers: Mapping[Mode, Compiler], tmp_path: Path, mode: Mode
) -> None:
    files = {
        "workflows.mjs": "import { sleep } from '@temporalio/workflow';\n"
        "import { greeting } from './lib.mjs';\n"
        "import data from './data.json' with { type: 'json' };\n"
        "export async function flow(n) {\n  await sleep(0);\n  return greeting(n) + data.n;\n}\n",
        "lib.mjs": "export const greeting = (name) => 'hi ' + name;\n",
        "data.json": '{"n": 1}',
        "activities.js": "const { x } = require('./x');\nexports.greet = async (n) => n + x;\n",
        "x.js": "exports.x = 1;\n",
    }
    entries = ("workflows.mjs", "activities.js")
    release = write_release(
        tmp_path / "r",
        files,
        entries=entries,
        root=".",
        javascript=True,
        mixed=True,
        options={"module": "nodenext"},
    )
    await compilers[mode].compile(CompileJob(release, *entries, root="."))
    assert files_of(release) == [f"dist/{name}" for name in sorted(files)]
    assert node("-e", "require('./dist/activities.js').greet('x').then(console.log)", cwd=release) == "x1\n"
    (said,) = await served(release, tmp_path, compilers[mode], "flow")
    assert said["commands"] == ["startTimer"]


@pytest.mark.parametrize("mode", BOTH)
async def test_code_may_lie_outside_of_src(
    compilers: Mapping[Mode, Compiler], tmp_path: Path, mode: Mode
) -> None:
    files = {
        "temporal/src/worker.ts": "import pkg from '../../package.json';\nexport const name = pkg.name;\n",
        "temporal/src/workflows/index.ts": FLOW % "../../../shared/greeting",
        "shared/greeting.ts": LIB,
        "shared/query.sql": "select 1;\n",
    }
    entries = ("temporal/src/workflows/index.ts", None, "temporal/src/worker.ts")
    release = write_release(
        tmp_path / "r", files, entries=[item for item in entries if item], root=".", package={"name": "p"}
    )
    (release / "bundle").mkdir()
    (release / "bundle" / "old.ts").write_text("nonsense(")
    (release / "release.toml").write_text("")
    await compilers[mode].compile(CompileJob(release, *entries, root="."))
    expected = {
        "dist/shared/greeting.js",
        "dist/shared/query.sql",
        "dist/temporal/src/worker.js",
        "dist/temporal/src/workflows/index.js",
    }
    assert set(files_of(release)) - {"dist/package.json"} == expected
    (said,) = await served(release, tmp_path, compilers[mode], "flow")
    assert said["commands"] == ["startTimer"]
    part = json.loads((release / "bundle" / "workflow.js.map").read_text())
    texts = dict(zip(part["sources"], part["sourcesContent"], strict=True))
    assert texts["shared/greeting.ts"] == LIB


async def test_problems_have_their_places_outside_of_src_too(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    files = {"flows/w.ts": "\nimport * as fs from 'fs';\nexport const w = fs;\n"}
    release = write_release(tmp_path / "r", files, entries=["flows/w.ts"], root=".")
    for compiler in compilers.values():
        with pytest.raises(DeployError) as caught:
            await compiler.compile(CompileJob(release, "flows/w.ts", root="."))
        (problem,) = caught.value.problems
        assert (problem.where, problem.line, problem.column) == ("flows/w.ts", 2, 21)


async def test_with_code_anywhere_what_we_make_is_no_input_and_nothing_leaves_dist(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    (tmp_path / "secret.json").write_text('{"a": 1}')
    for text in (
        "import s from '../secret.json';\nexport { s };\n",
        "import './node_modules/ms/package.json';\n",
    ):
        release = write_release(tmp_path / "r", {"w.ts": text}, entries=["w.ts"], root=".")
        with pytest.raises(DeployError) as caught:
            await compilers["check"].compile(CompileJob(release, "w.ts", root=".", bundle="off"))
        assert "is not a file of this release" in caught.value.message
        assert not (release / "dist").exists()


async def test_files_that_are_not_code_go_to_their_places_and_never_over_compiled_ones(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    files = {
        "src/activities.ts": "export const a = 1;\n",
        "src/activities.js": "stale",
        "src/sql/find.sql": "select 1;\n",
        "src/mail.html": "<p>é</p>\r\n",
        "src/helper.cjs": "exports.h = 1;\n",
        "src/types.d.ts": "declare const y: number;\n",
        "src/unreached.ts": "export {};\n",
        "src/.env": "X=1",
    }
    release = write_release(tmp_path / "r", files, entries=["src/activities.ts"])
    await compilers["check"].compile(CompileJob(release, activities="src/activities.ts"))
    assert files_of(release) == [
        "dist/activities.js",
        "dist/helper.cjs",
        "dist/mail.html",
        "dist/sql/find.sql",
    ]
    assert "stale" not in (release / "dist/activities.js").read_text()
    assert (release / "dist/mail.html").read_bytes() == files["src/mail.html"].encode()


# --- bundles of own workers ---

REACHES_FS = {"src/workflow.ts": "import * as fs from 'fs';\nexport const w = fs;\n"}


async def test_positions_stay_right_where_aliases_were_written_anew(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    files = {
        "src/activities.ts": "import { greeting } from '@/lib/greeting';\n\n"
        "export function fail(): never {\n  greeting('x');\n  throw new Error('here');\n}\n",
        "src/lib/greeting.ts": LIB,
    }
    release = write_release(
        tmp_path / "r", files, entries=["src/activities.ts"], options={"paths": {"@/*": ["./src/*"]}}
    )
    await compilers["check"].compile(CompileJob(release, activities="src/activities.ts"))
    script = (
        "try { require('./dist/activities.js').fail() } catch (e) { console.log(e.stack.split('\\n')[1]) }"
    )
    said = node("--enable-source-maps", "-e", script, cwd=release)
    assert "src/activities.ts:5:9" in said


async def test_a_bundle_that_is_only_checked_fails_as_a_warning(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    release = write_release(tmp_path / "r", REACHES_FS)
    result = await compilers["transpile"].compile(CompileJob(release, "src/workflow.ts", bundle="check"))
    (warning,) = result.warnings
    assert "src/workflow.ts:1:21: fs can't be used in workflow code" in warning
    assert not (release / "bundle").exists()


async def test_a_bundle_that_nobody_wants_is_not_made(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    release = write_release(tmp_path / "r", REACHES_FS)
    result = await compilers["transpile"].compile(CompileJob(release, "src/workflow.ts", bundle="off"))
    assert result.warnings == ()
    assert "bundle" not in result.timings_ms
    assert not (release / "bundle").exists()


async def test_a_bundle_to_serve_fails_the_compile(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    release = write_release(tmp_path / "r", REACHES_FS)
    with pytest.raises(DeployError) as caught:
        await compilers["transpile"].compile(CompileJob(release, "src/workflow.ts"))
    assert caught.value.reason is Reason.BUNDLE_FAILED


async def test_a_comment_makes_no_new_build_of_the_workflows(
    compilers: Mapping[Mode, Compiler], tmp_path: Path
) -> None:
    plain = "export async function w(): Promise<number> {\n  return 1;\n}\n"
    said = "/*! ours */\n// one\n/** two */\n" + plain.replace("  return", "  // three\n  return")
    made = []
    for name, text in (("a", plain), ("b", said)):
        release = write_release(tmp_path / name, {"src/workflow.ts": text})
        await compilers["check"].compile(CompileJob(release, "src/workflow.ts"))
        made.append((release / "bundle" / "workflow.js").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("specifier", "reason", "hint"),
    [
        ("./gen/root", Reason.TYPE_CHECK_FAILED, "what a build step generates must come with it"),
        ("@/lib/x", Reason.TYPE_CHECK_FAILED, "is it an alias?"),
        ("@acme/lib/x", Reason.DEPENDENCY_FAILED, 'add "@acme/lib" to the dependencies'),
    ],
)
async def test_what_is_missing_says_what_to_do(
    compilers: Mapping[Mode, Compiler], tmp_path: Path, specifier: str, reason: Reason, hint: str
) -> None:
    text = f"import * as x from '{specifier}';\nexport const y = x;\n"
    release = write_release(tmp_path / "r", {"src/workflow.ts": text})
    with pytest.raises(DeployError) as caught:
        await compilers["check"].compile(CompileJob(release, "src/workflow.ts"))
    assert caught.value.reason is reason
    assert hint in caught.value.problems[0].hint
