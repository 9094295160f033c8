"""The compiler as the daemon uses it: whole releases in, dist/ and bundle/ out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError, Reason
from timewright.edge import process
from timewright.edge.bundle import Part
from timewright.edge.compiler import CompileJob, Compiler, Mode, emitted
from timewright.edge.spare import Spare

from tests.edge.toolbox import TOOLCHAIN, in_sandbox, node, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = {
    "src/workflow.ts": """\
import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';
const { charge } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });
export async function order(name: string): Promise<string> {
  return name === '' ? 'nobody' : charge(name);
}
""",
    "src/activities.ts": """\
import { readFile } from 'node:fs/promises';
export async function charge(name: string): Promise<string> {
  return name + (await readFile('/dev/null', 'utf8'));
}
""",
    "src/worker.ts": """\
import { Worker } from '@temporalio/worker';
import * as activities from './activities';
async function run(): Promise<void> {
  const worker = await Worker.create({
    workflowsPath: require.resolve('./workflow'),
    activities,
    taskQueue: process.env.TEMPORAL_TASK_QUEUE || 'orders',
  });
  await worker.run();
}
run().catch((error) => {
  console.error(error);
  process.exit(1);
});
""",
}
ENTRIES = ("src/workflow.ts", "src/activities.ts", "src/worker.ts")


def job(directory: Path) -> CompileJob:
    return CompileJob(directory, *ENTRIES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compiler(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Compiler]:
    made = Compiler(TOOLCHAIN, tmp_path_factory.mktemp("cache"))
    await made.start()
    assert made.fallback == ""
    yield made
    await made.close()


def tree(directory: Path) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix()
        for name in ("dist", "bundle")
        for path in (directory / name).rglob("*")
        if path.is_file()
    )


WHOLE = [
    "bundle/workflow.js",
    "bundle/workflow.js.map",
    "dist/activities.js",
    "dist/activities.js.map",
    "dist/worker.js",
    "dist/worker.js.map",
    "dist/workflow.js",
    "dist/workflow.js.map",
]


async def test_a_release_gets_its_javascript_and_its_part_of_the_bundle(
    compiler: Compiler, tmp_path: Path
) -> None:
    release = write_release(tmp_path / "r", SPEC, entries=ENTRIES)
    result = await compiler.compile(job(release))
    assert tree(release) == WHOLE
    assert result.lane == "warm-1"
    assert set(result.timings_ms) == {"check", "emit", "bundle"}
    assert result.warnings == ()
    await compiler.join([Part("r", ("order",), release / "bundle" / "workflow.js")], tmp_path)
    empty, real = in_sandbox(
        tmp_path / "workflows.js", [{"type": "order", "args": [""]}, {"type": "order", "args": ["a"]}]
    )
    assert empty["result"] == "nobody"
    assert real["commands"] == ["scheduleActivity"]


async def test_node_can_load_the_compiled_activities(compiler: Compiler, tmp_path: Path) -> None:
    release = write_release(tmp_path / "r", SPEC, entries=ENTRIES)
    await compiler.compile(job(release))
    script = "require('./dist/activities.js').charge('a').then(console.log)"
    assert node("-e", script, cwd=release) == "a\n"


async def test_a_release_without_workflows_has_no_bundle(compiler: Compiler, tmp_path: Path) -> None:
    release = write_release(
        tmp_path / "r", {"src/activities.ts": SPEC["src/activities.ts"]}, entries=["src/activities.ts"]
    )
    result = await compiler.compile(CompileJob(release, activities="src/activities.ts"))
    assert tree(release) == ["dist/activities.js", "dist/activities.js.map"]
    assert "bundle" not in result.timings_ms


async def test_the_same_sources_give_the_same_bytes_wherever_they_are(
    compiler: Compiler, tmp_path: Path
) -> None:
    made = []
    for place in ("one", "two/deeper/.tmp-x"):
        release = write_release(tmp_path / place, SPEC, entries=ENTRIES)
        await compiler.compile(job(release))
        made.append({name: (release / name).read_bytes() for name in tree(release)})
    assert made[0] == made[1]


async def test_type_errors_are_problems_with_their_places(compiler: Compiler, tmp_path: Path) -> None:
    wrong = {**SPEC, "src/workflow.ts": SPEC["src/workflow.ts"].replace("'nobody'", "1")}
    release = write_release(tmp_path / "r", wrong, entries=ENTRIES)
    with pytest.raises(DeployError) as caught:
        await compiler.compile(job(release))
    error = caught.value
    assert error.reason is Reason.TYPE_CHECK_FAILED
    assert not error.transient
    (problem,) = error.problems
    assert (problem.where, problem.line, problem.code) == ("src/workflow.ts", 5, "TS2322")
    assert error.message.startswith("src/workflow.ts:5:24: TS2322: Type 'number'")
    assert tree(release) == []


async def test_a_missing_package_is_a_failed_dependency_with_a_hint(
    compiler: Compiler, tmp_path: Path
) -> None:
    release = write_release(
        tmp_path / "r",
        {"src/workflow.ts": "import { v4 } from '@a/nope/v4';\nexport const x: string = v4;\n"},
    )
    with pytest.raises(DeployError) as caught:
        await compiler.compile(CompileJob(release, workflows="src/workflow.ts"))
    assert caught.value.reason is Reason.DEPENDENCY_FAILED
    (problem,) = caught.value.problems
    assert problem.code == "TS2307"
    assert '"@a/nope"' in problem.hint


async def test_a_missing_file_of_the_spec_is_not_a_dependency(compiler: Compiler, tmp_path: Path) -> None:
    release = write_release(
        tmp_path / "r", {"src/workflow.ts": "import './nope';\nimport { x } from './nope';\nx;\n"}
    )
    with pytest.raises(DeployError) as caught:
        await compiler.compile(CompileJob(release, workflows="src/workflow.ts"))
    assert caught.value.reason is Reason.TYPE_CHECK_FAILED


async def test_a_thousand_errors_are_cut_to_fifty_and_a_count(compiler: Compiler, tmp_path: Path) -> None:
    text = "\n".join(f"export const x{n}: number = 'a';" for n in range(1000))
    release = write_release(tmp_path / "r", {"src/workflow.ts": text})
    with pytest.raises(DeployError) as caught:
        await compiler.compile(CompileJob(release, workflows="src/workflow.ts"))
    assert len(caught.value.problems) == 51
    assert caught.value.problems[-1].message == "950 more errors are not shown"
    assert caught.value.message.endswith("(and 999 more)")


async def test_what_the_check_allows_and_the_sandbox_does_not_fails_the_bundle(
    compiler: Compiler, tmp_path: Path
) -> None:
    release = write_release(
        tmp_path / "r", {"src/workflow.ts": "import * as os from 'node:os';\nexport const w = os.cpus;\n"}
    )
    with pytest.raises(DeployError) as caught:
        await compiler.compile(CompileJob(release, workflows="src/workflow.ts"))
    assert caught.value.reason is Reason.BUNDLE_FAILED
    assert caught.value.problems[0].where == "src/workflow.ts"


async def test_after_a_failed_edit_what_an_earlier_compile_emitted_is_not_taken_for_good(
    compiler: Compiler, tmp_path: Path
) -> None:
    release = write_release(tmp_path / "r", SPEC, entries=ENTRIES)
    await compiler.compile(job(release))
    write_release(release, {"src/workflow.ts": "export const x: number = 'a';\n"}, entries=ENTRIES)
    with pytest.raises(DeployError):
        await compiler.compile(job(release))
    assert tree(release) == []


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each esbuild is a process that is started for it, however slow the machine is."""
    monkeypatch.setattr(Spare, "is_ready", False)
    monkeypatch.setattr(Spare, "soon", lambda _: None)


@pytest.mark.usefixtures("nobody_waits")
async def test_a_cancelled_compile_leaves_no_process_and_no_bundle(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[asyncio.subprocess.Process] = []
    seen = asyncio.Event()
    real = process.start

    async def start(_: object, **kwargs: object) -> asyncio.subprocess.Process:
        child = await real(["sleep", "60"], **kwargs)  # type: ignore[arg-type]
        started.append(child)
        seen.set()
        return child

    monkeypatch.setattr(process, "start", start)
    release = write_release(tmp_path / "r", SPEC, entries=ENTRIES)
    running = asyncio.create_task(compiler.compile(job(release)))
    await seen.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [child.returncode for child in started] == [-signal.SIGKILL]
    monkeypatch.undo()
    assert (await compiler.compile(job(release))).lane == "warm-1"


@pytest.mark.usefixtures("nobody_waits")
async def test_an_esbuild_that_hangs_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Compiler(TOOLCHAIN, tmp_path / "cache", mode="transpile", timeout_s=0.5)
    await slow.start()
    real = process.start

    async def start(_: object, **kwargs: object) -> asyncio.subprocess.Process:
        return await real(["sleep", "60"], **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(process, "start", start)
    release = write_release(tmp_path / "r", SPEC, entries=ENTRIES)
    with pytest.raises(DeployError) as caught:
        await slow.compile(job(release))
    assert caught.value.reason is Reason.COMPILE_TIMEOUT
    await slow.close()


async def test_twenty_releases_at_once_all_come_out_right(compiler: Compiler, tmp_path: Path) -> None:
    releases = [write_release(tmp_path / str(number), SPEC, entries=ENTRIES) for number in range(20)]
    await asyncio.gather(*(compiler.compile(job(release)) for release in releases))
    assert all(tree(release) == WHOLE for release in releases)


# --- modes ---


async def test_transpile_mode_makes_the_same_files_without_looking_at_types(tmp_path: Path) -> None:
    made = Compiler(TOOLCHAIN, tmp_path / "cache", mode="transpile")
    await made.start()
    files = {
        **SPEC,
        "src/workflow.ts": SPEC["src/workflow.ts"] + "export const wrong: number = 'text';\n",
        "src/data/a.json": "{}",
        "src/types.d.ts": "declare const y: number;\n",
    }
    release = write_release(tmp_path / "r", files, entries=ENTRIES)
    result = await made.compile(job(release))
    assert result.lane == "transpile"
    assert tree(release) == sorted([*WHOLE, "dist/data/a.json"])
    await made.join([Part("r", ("order",), release / "bundle" / "workflow.js")], tmp_path)
    (said,) = in_sandbox(tmp_path / "workflows.js", [{"type": "order", "args": [""]}])
    assert said["result"] == "nobody"
    await made.close()


async def test_transpile_mode_reports_syntax_errors_with_their_places(tmp_path: Path) -> None:
    made = Compiler(TOOLCHAIN, tmp_path / "cache", mode="transpile")
    release = write_release(tmp_path / "r", {"src/workflow.ts": "\nexport async function my-flow() {}\n"})
    with pytest.raises(DeployError) as caught:
        await made.compile(CompileJob(release, workflows="src/workflow.ts"))
    assert caught.value.reason is Reason.TYPE_CHECK_FAILED
    problem = caught.value.problems[0]
    assert (problem.where, problem.line, problem.column) == ("src/workflow.ts", 2, 25)


async def test_mode_off_starts_no_process_and_writes_mock_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(process, "start", start)
    made = Compiler(tmp_path / "no-toolchain", tmp_path / "cache", mode="off")
    await made.start()
    release = write_release(tmp_path / "r", SPEC, entries=ENTRIES)
    result = await made.compile(job(release))
    assert result.lane == "off"
    assert {"dist/workflow.js", "dist/activities.js", "dist/worker.js", "bundle/workflow.js"} <= set(
        tree(release)
    )
    await made.join([Part("r", ("order",), release / "bundle" / "workflow.js")], tmp_path / "pool")
    assert (tmp_path / "pool" / "workflows.js").is_file()
    await made.close()


async def test_the_identity_tells_modes_and_tools_apart(compiler: Compiler, tmp_path: Path) -> None:
    modes: tuple[Mode, ...] = ("check", "transpile", "off")
    identities = {Compiler(TOOLCHAIN, tmp_path, mode=mode).identity for mode in modes}
    assert len(identities) == 3
    assert compiler.typescript_version in compiler.identity
    assert compiler.sdk_version in compiler.identity
    assert compiler.identity == Compiler(TOOLCHAIN, tmp_path / "elsewhere").identity


async def test_a_toolchain_that_is_not_installed_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        Compiler(tmp_path, tmp_path / "cache")
    assert caught.value.reason is Reason.COMPILER_UNAVAILABLE
    assert "npm ci" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("src/workflow.ts", "dist/workflow.js"),
        ("src/workflows/index.tsx", "dist/workflows/index.js"),
        ("src/a.mts", "dist/a.mjs"),
        ("src/a.cts", "dist/a.cjs"),
        ("src/a.json", "dist/a.json"),
    ],
)
async def test_a_source_knows_where_it_is_compiled_to(source: str, target: str) -> None:
    assert emitted(source) == target
