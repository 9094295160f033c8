"""Parts and joined bundles: what workflow code may import, and that the SDK runs what we join."""

from __future__ import annotations

import base64
import json
import random
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError, Reason
from timewright.edge import sdkbase
from timewright.edge.bundle import Part
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.sdkbase import SdkBases

from tests.edge.toolbox import HARNESS, TOOLCHAIN, in_sandbox, node, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKFLOW = "src/workflow.ts"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compiler(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Compiler]:
    """Transpiles only: types are other tests' business."""
    made = Compiler(TOOLCHAIN, tmp_path_factory.mktemp("cache"), mode="transpile")
    await made.start()
    yield made
    await made.close()


async def build(
    compiler: Compiler, directory: Path, files: Mapping[str, str] | str, *types: str, **about: Any
) -> Part:
    """Compile a release and return its part; a string is src/workflow.ts."""
    tree = {WORKFLOW: files} if isinstance(files, str) else files
    release = write_release(directory, tree, **about)
    await compiler.compile(CompileJob(release, workflows=WORKFLOW))
    return Part(directory.name, types, release / "bundle" / "workflow.js")


# --- disallowed modules: the SDK's verdict ---

#: name → (files, what the SDK's bundler is expected to say: True for fine)
IMPORTS: dict[str, tuple[dict[str, str], bool]] = {
    "nothing": ({WORKFLOW: "export async function w(): Promise<void> {}\n"}, True),
    "the SDK": ({WORKFLOW: "import { sleep } from '@temporalio/workflow';\nexport const w = sleep;\n"}, True),
    "common": (
        {
            WORKFLOW: "import { ApplicationFailure } from '@temporalio/common';\n"
            "export const w = ApplicationFailure;\n"
        },
        True,
    ),
    "a deep path of the SDK": (
        {WORKFLOW: "import * as t from '@temporalio/common/lib/time';\nexport const w = t;\n"},
        True,
    ),
    "a type of activities": (
        {
            WORKFLOW: "import type * as a from './activities';\n"
            "export type W = typeof a;\nexport const w = 1;\n",
            "src/activities.ts": "import * as fs from 'fs';\nexport const read = fs.readFileSync;\n",
        },
        True,
    ),
    "assert, url and util": (
        {
            WORKFLOW: "import assert from 'assert';\nimport { URL } from 'url';\nimport * as u from 'util';\n"
            "export const w = [assert, URL, u];\n"
        },
        True,
    ),
    "a package": ({WORKFLOW: "import ms from 'ms';\nexport const w = ms('1s');\n"}, True),
    "a package that only probes for fs": (
        {WORKFLOW: "import * as p from 'protobufjs/minimal';\nexport const w = p;\n"},
        True,
    ),
    "fs": ({WORKFLOW: "import * as fs from 'fs';\nexport const w = fs;\n"}, False),
    "fs/promises": ({WORKFLOW: "import * as fs from 'fs/promises';\nexport const w = fs;\n"}, False),
    "node:crypto": ({WORKFLOW: "import * as c from 'node:crypto';\nexport const w = c;\n"}, False),
    "node:assert": ({WORKFLOW: "import * as c from 'node:assert';\nexport const w = c;\n"}, False),
    "assert/strict": ({WORKFLOW: "import * as c from 'assert/strict';\nexport const w = c;\n"}, False),
    "events": ({WORKFLOW: "import * as c from 'events';\nexport const w = c;\n"}, False),
    "the activity package": (
        {WORKFLOW: "import * as a from '@temporalio/activity';\nexport const w = a;\n"},
        False,
    ),
    "the client package": (
        {WORKFLOW: "import * as a from '@temporalio/client';\nexport const w = a;\n"},
        False,
    ),
    "the worker, deep": (
        {WORKFLOW: "import * as a from '@temporalio/worker/lib/worker';\nexport const w = a;\n"},
        False,
    ),
    "activities by value": (
        {
            WORKFLOW: "import * as a from './activities';\nexport const w = a;\n",
            "src/activities.ts": "import * as fs from 'fs';\nexport const read = fs.readFileSync;\n",
        },
        False,
    ),
    "a dynamic import": ({WORKFLOW: "export const w = async () => import('fs');\n"}, False),
    "a require in a try": (
        {
            WORKFLOW: "declare const require: any;\nlet f;\n"
            "try { f = require('os'); } catch {}\nexport const w = f;\n"
        },
        False,
    ),
    "a package that needs node": ({WORKFLOW: "import * as m from 'memfs';\nexport const w = m;\n"}, False),
    "a missing package": ({WORKFLOW: "import m from 'nope-nope';\nexport const w = m;\n"}, False),
    "a missing file": ({WORKFLOW: "import m from './nope';\nexport const w = m;\n"}, False),
}


async def test_every_import_gets_the_verdict_of_the_sdks_own_bundler(
    compiler: Compiler, tmp_path: Path
) -> None:
    ours: dict[str, bool] = {}
    for name, (files, _) in IMPORTS.items():
        try:
            await build(compiler, tmp_path / name, files)
            ours[name] = True
        except DeployError as error:
            assert error.reason is Reason.BUNDLE_FAILED  # noqa: PT017 - both ends are compared below
            ours[name] = False
    entries = {str(tmp_path / name / "dist" / "workflow.js"): name for name in IMPORTS}
    said = json.loads(node(HARNESS / "verdicts.js", TOOLCHAIN, *entries))
    theirs = {entries[path]: text == "" for path, text in said.items()}
    assert ours == theirs
    assert ours == {name: fine for name, (_, fine) in IMPORTS.items()}


async def test_a_refused_import_says_which_file_which_line_and_what_to_do(
    compiler: Compiler, tmp_path: Path
) -> None:
    files = {
        WORKFLOW: "import { read } from './lib/a';\nexport async function w(): Promise<void> { read; }\n",
        "src/lib/a.ts": "\nimport * as fs from 'fs';\nexport const read = fs.readFileSync;\n",
    }
    with pytest.raises(DeployError) as caught:
        await build(compiler, tmp_path / "r", files)
    (problem,) = caught.value.problems
    assert (problem.where, problem.line, problem.column) == ("src/lib/a.ts", 2, 21)
    assert problem.message == "fs can't be used in workflow code (imported by src/workflow.ts)"
    assert "activity" in problem.hint


async def test_every_refused_import_is_reported_at_once(compiler: Compiler, tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        await build(
            compiler, tmp_path / "r", "import 'fs';\nimport 'node:os';\nimport '@temporalio/client';\n"
        )
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3]
    assert caught.value.message.endswith("(and 2 more)")


async def test_a_missing_package_is_named_with_its_line_in_src(compiler: Compiler, tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        await build(compiler, tmp_path / "r", "\nimport m from 'nope-nope';\nexport const w = m;\n")
    (problem,) = caught.value.problems
    assert (problem.where, problem.line) == (WORKFLOW, 2)
    assert '"nope-nope"' in problem.hint
    assert str(tmp_path) not in str(problem)


# --- the SDK runs what we join ---

ALPHA = {
    WORKFLOW: """\
import { condition, defineQuery, setHandler, workflowInfo } from '@temporalio/workflow';
import { ApplicationFailure } from '@temporalio/common';
import { help } from './help';
import assert from 'assert';
import ms from 'ms';
let count = 0;
export async function alpha(n: number): Promise<unknown[]> {
  count += n;
  assert(count > 0);
  return [count, help(), ms('2s'), workflowInfo().workflowType, Math.random(), Date.now()];
}
export async function alphaFails(): Promise<void> {
  throw ApplicationFailure.nonRetryable('boom');
}
export async function alphaWaits(): Promise<void> {
  const never: boolean = false;
  await condition(() => never);
}
export async function alphaQueried(): Promise<void> {
  setHandler(defineQuery<string>('q'), () => 'answer');
  await condition(() => false);
}
export default async function hidden(): Promise<string> { return 'default'; }
""",
    "src/help.ts": "let calls = 0;\n\n\nexport function help(): number {\n  return ++calls;\n}\n",
}
BETA = """\
import { ApplicationFailure } from '@temporalio/workflow';



async function inner(): Promise<never> {
  throw ApplicationFailure.nonRetryable('beta failed');
}
export async function beta(): Promise<string> { return 'b'; }
export async function betaFails(): Promise<string> {
  return await inner();
}
"""
THROWS = (
    "if (Date.now() >= 0) throw new Error('at the top');\nexport async function throws(): Promise<void> {}\n"
)
LOOPS = "while (Date.now() >= 0) {}\nexport async function loops(): Promise<void> {}\n"
SPIES = """\
export async function spies(): Promise<string[]> {
  const g = globalThis as any;
  try { g.__timewright__ = () => ({}); } catch {}
  try { g.__timewright__.add(['alpha'], () => {}); } catch {}
  return [typeof g.parts, typeof g.workflows, typeof g.found];
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    home = tmp_path_factory.mktemp("parts")
    return [
        await build(compiler, home / "alpha", ALPHA, "alpha", "alphaFails", "alphaWaits", "alphaQueried"),
        await build(compiler, home / "beta", BETA, "beta", "betaFails"),
        await build(compiler, home / "throws", THROWS, "throws"),
        await build(compiler, home / "loops", LOOPS, "loops"),
        await build(compiler, home / "spies", SPIES, "spies"),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(compiler: Compiler, parts: list[Part], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pool")
    await compiler.join(parts, out)
    return out / "workflows.js"


both = pytest.mark.parametrize("reuse", [True, False], ids=["shared context", "own context"])


@both
async def test_executions_share_no_module_state(pool: Path, reuse: bool) -> None:
    said = in_sandbox(pool, [{"type": "alpha", "args": [n]} for n in (1, 1, 5)], reuse=reuse)
    assert [run["result"][:4] for run in said] == [
        [1, 1, 2000, "alpha"],
        [1, 1, 2000, "alpha"],
        [5, 1, 2000, "alpha"],
    ]


@both
async def test_a_part_that_throws_or_loops_at_its_top_level_does_not_touch_the_others(
    pool: Path, reuse: bool
) -> None:
    types = ["throws", "beta", "loops", "beta", "throws", "alpha"]
    said = in_sandbox(pool, [{"type": name, "args": [1]} for name in types], reuse=reuse)
    assert said[0]["error"] == "at the top"
    assert "throws/src/workflow.ts:1:" in said[0]["stack"]
    assert "timed out" in said[2]["error"]
    assert [said[number]["result"] for number in (1, 3)] == ["b", "b"]
    assert said[5]["result"][0] == 1


@both
async def test_a_failure_points_at_the_line_of_the_right_workflow(pool: Path, reuse: bool) -> None:
    alpha, beta = in_sandbox(pool, [{"type": "alphaFails"}, {"type": "betaFails"}], reuse=reuse)
    assert alpha["failure"] == "boom"
    assert "at alphaFails (alpha/src/workflow.ts:13:27)" in alpha["stack"]
    assert "at inner (beta/src/workflow.ts:6:27)" in beta["stack"]
    assert "at betaFails (beta/src/workflow.ts:10:15)" in beta["stack"]
    assert "timewright/parts.js" not in beta["stack"]


@both
async def test_the_enhanced_stack_trace_shows_the_source_itself(pool: Path, reuse: bool) -> None:
    (said,) = in_sandbox(pool, [{"type": "alphaWaits", "query": "__enhanced_stack_trace"}], reuse=reuse)
    (stack,) = said["query"]["stacks"]
    assert stack["locations"][0]["file_path"] == "alpha/src/workflow.ts"
    assert stack["locations"][0]["line"] == 17
    assert said["query"]["sources"]["alpha/src/workflow.ts"][0]["content"] == ALPHA[WORKFLOW]


@both
async def test_only_listed_types_exist_and_there_is_no_default_workflow(pool: Path, reuse: bool) -> None:
    names = ["nope", "default", "toString", "__proto__", "hidden", "inner"]
    for run in in_sandbox(pool, [{"type": name} for name in names], reuse=reuse):
        assert "no such function is exported" in run["error"]


@both
async def test_workflow_code_sees_nothing_of_ours_and_can_change_nothing_of_others(
    pool: Path, reuse: bool
) -> None:
    spies, alpha = in_sandbox(pool, [{"type": "spies"}, {"type": "alpha", "args": [1]}], reuse=reuse)
    assert spies["result"] == ["undefined"] * 3
    assert alpha["result"][0] == 1


@both
async def test_queries_reach_their_handlers(pool: Path, reuse: bool) -> None:
    (said,) = in_sandbox(pool, [{"type": "alphaQueried", "query": "q"}], reuse=reuse)
    assert said["query"] == "answer"


async def test_a_part_may_require_what_the_usual_base_has_not(compiler: Compiler, tmp_path: Path) -> None:
    text = (
        "import { msToNumber } from '@temporalio/common/lib/time';\n"
        "export async function slow(): Promise<number> { return msToNumber('2s'); }\n"
    )
    slow = await build(compiler, tmp_path / "slow", text, "slow")
    beta = await build(compiler, tmp_path / "beta", BETA, "beta")
    await compiler.join([slow, beta], tmp_path)
    said = in_sandbox(tmp_path / "workflows.js", [{"type": "slow"}, {"type": "beta"}])
    assert [run["result"] for run in said] == [2000, "b"]


async def test_an_esm_package_of_the_spec_works(compiler: Compiler, tmp_path: Path) -> None:
    files = {
        WORKFLOW: "import { twice } from './twice.js';\n"
        "export async function esm(): Promise<number> { return twice(2); }\n",
        "src/twice.ts": "export const twice = (n: number): number => 2 * n;\n",
    }
    part = await build(
        compiler, tmp_path / "esm", files, "esm", options={"module": "nodenext"}, package={"type": "module"}
    )
    await compiler.join([part], tmp_path)
    assert in_sandbox(tmp_path / "workflows.js", [{"type": "esm"}])[0]["result"] == 4


# --- the joined file ---


async def test_the_order_of_parts_does_not_change_a_byte(
    compiler: Compiler, parts: list[Part], pool: Path, tmp_path: Path
) -> None:
    for seed in range(4):
        mixed = list(parts)
        random.Random(seed).shuffle(mixed)
        await compiler.join(mixed, tmp_path)
        assert (tmp_path / "workflows.js").read_bytes() == pool.read_bytes()


async def test_the_same_sources_in_another_place_give_the_same_bytes(
    compiler: Compiler, tmp_path: Path
) -> None:
    made = []
    for place in ("here", "deep/er/there"):
        part = await build(compiler, tmp_path / place / "alpha", ALPHA, "alpha")
        await compiler.join([part], tmp_path / place)
        made.append((tmp_path / place / "workflows.js").read_bytes())
    assert made[0] == made[1]


async def test_no_path_of_this_machine_is_in_a_bundle(pool: Path, tmp_path: Path) -> None:
    code, source_map = unpack(pool)
    for path in (str(TOOLCHAIN), str(TOOLCHAIN.parent), "/tmp/", str(Path.home()) + "/"):
        assert path not in code
        assert path not in json.dumps(source_map["sources"])


async def test_the_bundle_keeps_the_sdks_contract(pool: Path) -> None:
    code, source_map = unpack(pool)
    assert "globalThis.__webpack_module_cache__" in code
    assert source_map["version"] == 3
    assert len(source_map["sources"]) == len(set(source_map["sources"])) == len(source_map["sourcesContent"])


def unpack(bundle: Path) -> tuple[str, dict[str, Any]]:
    text = bundle.read_text()
    code, mark, data = text.rpartition("//# sourceMappingURL=data:application/json;charset=utf-8;base64,")
    assert mark
    return code, json.loads(base64.b64decode(data))


#: Prints every position of each source map given, as rows.
POSITIONS = """
const load = require('node:module').createRequire(process.argv[1] + '/package.json');
const { SourceMapConsumer } = load('source-map');
const row = (m) =>
  [m.generatedLine, m.generatedColumn, m.source, m.originalLine, m.originalColumn, m.name];
(async () => {
  const out = [];
  for (const file of process.argv.slice(2)) {
    const rows = [];
    const map = JSON.parse(require('fs').readFileSync(file));
    await SourceMapConsumer.with(map, null, (consumer) => consumer.eachMapping((m) => rows.push(row(m))));
    out.push(rows);
  }
  console.log(JSON.stringify(out));
})();
"""


async def test_every_position_of_a_part_maps_as_its_own_map_says(parts: list[Part], pool: Path) -> None:
    """The joined map is rebased, not decoded: compare it with the parts' maps, position by position."""
    code, source_map = unpack(pool)
    joined = pool.with_name("joined.map")
    joined.write_text(json.dumps(source_map))
    maps = [str(part.path) + ".map" for part in parts]
    whole, *own = json.loads(node("-e", POSITIONS, TOOLCHAIN, joined, *maps))
    lines = code.split("\n")
    for part, rows in zip(parts, own, strict=True):
        opening = f".add({json.dumps(sorted(part.workflow_types))},"
        start = next(number for number, line in enumerate(lines, 1) if opening in line)
        expected = [
            [line + start, column, f"{part.workflow_id}/{source}", *rest]
            for line, column, source, *rest in rows
        ]
        got = [row for row in whole if (row[2] or "").startswith(f"{part.workflow_id}/")]
        assert got == expected
        assert rows, part.workflow_id


async def test_two_parts_with_one_workflow_type_are_refused_and_both_are_named(
    compiler: Compiler, parts: list[Part], tmp_path: Path
) -> None:
    clash = Part("zeta", ("beta",), parts[1].path)
    with pytest.raises(DeployError) as caught:
        await compiler.join([clash, parts[1]], tmp_path)
    assert caught.value.reason is Reason.NAME_CONFLICT
    assert "beta and zeta" in caught.value.message
    assert not (tmp_path / "workflows.js").exists()


@pytest.mark.parametrize("damage", ["missing", "map missing", "map empty", "map truncated"])
async def test_a_damaged_part_is_an_error_that_names_the_workflow(
    compiler: Compiler, parts: list[Part], tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "bundle" / "workflow.js"
    path.parent.mkdir()
    shutil.copy(parts[1].path, path)
    shutil.copy(f"{parts[1].path}.map", f"{path}.map")
    source_map = Path(f"{path}.map")
    if damage == "missing":
        path.unlink()
    elif damage == "map missing":
        source_map.unlink()
    elif damage == "map empty":
        source_map.write_text("{}")
    else:
        source_map.write_bytes(source_map.read_bytes()[:100])
    with pytest.raises(DeployError, match="beta") as caught:
        await compiler.join([Part("beta", ("beta",), path)], tmp_path)
    assert caught.value.reason is Reason.BUNDLE_FAILED


async def test_joining_200_parts_is_fast(compiler: Compiler, parts: list[Part], tmp_path: Path) -> None:
    many = []
    for number in range(200):
        home = tmp_path / str(number)
        shutil.copytree(parts[0].path.parent, home)
        many.append(Part(f"w{number}", (f"type{number}",), home / "workflow.js"))
    start = time.perf_counter()
    await compiler.join(many, tmp_path)
    assert time.perf_counter() - start < 2.0, "about 50 ms on a quiet machine"


# --- the base ---


async def test_the_base_is_made_once_and_read_from_the_cache_afterwards(
    compiler: Compiler, tmp_path: Path
) -> None:
    first = SdkBases(TOOLCHAIN, tmp_path, "node")
    made = await first.get()
    (home,) = (tmp_path / "base").iterdir()
    stamp = (home / "base.json").stat().st_mtime_ns
    again = await SdkBases(TOOLCHAIN, tmp_path, "/nonexistent/node").get()
    assert again == made
    assert (home / "base.json").stat().st_mtime_ns == stamp


async def test_a_base_that_half_exists_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "base" / ".tmp-left").mkdir(parents=True)
    (tmp_path / "base" / ".tmp-left" / "base.json").write_text("{")
    await SdkBases(TOOLCHAIN, tmp_path, "node").get()
    (home,) = (tmp_path / "base").iterdir()
    assert sorted(path.name for path in home.iterdir()) == ["base.js", "base.json", "sha256"]


async def test_a_base_that_a_disk_has_spoilt_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emptied base.json made the daemon end at each start; an emptied base.js went into every bundle."""
    made = await SdkBases(TOOLCHAIN, tmp_path, "node").get()
    (home,) = (tmp_path / "base").iterdir()
    shutil.copytree(home, tmp_path / "kept")
    monkeypatch.setattr(SdkBases, "_cage", lambda _: None)  # out of which it could not read what it copies
    quick = tmp_path / "node"  # "makes" it by copying what was made, which takes no seconds
    quick.write_text(f'#!/bin/sh\ncp -r {tmp_path / "kept"} "$3"\n')
    quick.chmod(0o755)
    for name in ("base.js", "base.json", "sha256"):
        for damage in ("", "{}", None):
            (home / name).unlink()
            if damage is not None:
                (home / name).write_text(damage)
            assert await SdkBases(TOOLCHAIN, tmp_path, str(quick)).get() == made


async def test_without_node_the_error_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        await SdkBases(TOOLCHAIN, tmp_path, "/nonexistent/node").get()
    assert caught.value.reason is Reason.COMPILER_UNAVAILABLE
    assert "Node" in caught.value.hint


async def test_an_unbuilt_worker_package_is_an_error_that_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdkbase, "package_version", lambda *_: "1.0.0")
    with pytest.raises(DeployError) as caught:
        await SdkBases(tmp_path, tmp_path, "node").get()
    assert "npm run build" in caught.value.hint


async def test_an_unknown_part_of_the_sdk_fails_the_workflow_that_wants_it(
    compiler: Compiler, tmp_path: Path
) -> None:
    with pytest.raises(DeployError) as caught:
        await build(compiler, tmp_path / "r", "import x from '@temporalio/nope';\nexport const w = x;\n")
    assert caught.value.reason is Reason.BUNDLE_FAILED
    assert "@temporalio/nope" in caught.value.message
