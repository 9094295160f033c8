"""The warm compiler says what a cold `tsc -p` says, survives what specs do to it, and writes only dist/."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError, Reason
from timewright.edge import tsservice
from timewright.edge.tschild import Child, Limits, tsc_binary
from timewright.edge.tsservice import TypeScriptService

from tests.edge.toolbox import TOOLCHAIN, printed, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKFLOW = "src/workflow.ts"


@dataclass(frozen=True)
class Case:
    """One input: its files (a string is src/workflow.ts), options, and whether it must pass."""

    files: Mapping[str, str] | str
    passes: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    code: str = ""
    package: Mapping[str, object] = field(default_factory=dict)

    @property
    def tree(self) -> Mapping[str, str]:
        return {WORKFLOW: self.files} if isinstance(self.files, str) else self.files


ORDER = """\
import { proxyActivities, sleep } from '@temporalio/workflow';
import type * as activities from './activities';
const { charge } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });
export async function order(name: string): Promise<string> {
  await sleep(10);
  return charge(name);
}
"""
CHARGE = "export async function charge(name: string): Promise<string> {\n  return name + process.pid;\n}\n"

CASES: dict[str, Case] = {
    # right
    "workflow and activities": Case({WORKFLOW: ORDER, "src/activities.ts": CHARGE}, passes=True),
    "empty module": Case("export {};\n", passes=True),
    "json import": Case(
        {
            WORKFLOW: "import data from './data.json';\nexport const n: number = data.n;\n",
            "src/data.json": '{"n": 1}',
        },
        passes=True,
    ),
    "experimental decorators": Case(
        "function log(_t: object, _k: string): void {}\nexport class A { @log run(): void {} }\n",
        passes=True,
        options={"experimentalDecorators": True, "emitDecoratorMetadata": True},
    ),
    "standard decorators": Case(
        "function log(f: () => void, _c: ClassMethodDecoratorContext): () => void { return f; }\n"
        "export class A { @log run(): void {} }\n",
        passes=True,
    ),
    "old target": Case(
        "export async function f(): Promise<number> { return [1].map((x) => x ** 2)[0]!; }\n",
        passes=True,
        options={"target": "ES5", "moduleResolution": "node"},
    ),
    "node16 modules": Case(
        {WORKFLOW: "import { a } from './a.js';\nexport const b = a;\n", "src/a.ts": "export const a = 1;\n"},
        passes=True,
        options={"module": "node16"},
    ),
    "esm package": Case(
        {WORKFLOW: "import { a } from './a.js';\nexport const b = a;\n", "src/a.ts": "export const a = 1;\n"},
        passes=True,
        options={"module": "esnext"},
        package={"type": "module"},
    ),
    "declarations asked for": Case(
        "export const a = { b: 1 };\n", passes=True, options={"declaration": True}
    ),
    "not strict": Case(
        "export function f(x) { return x; }\n", passes=True, options={"strict": False, "noImplicitAny": False}
    ),
    "nested folders": Case(
        {
            WORKFLOW: "export { deep } from './a/b/deep';\n",
            "src/a/b/deep.ts": "export async function deep(): Promise<void> {}\n",
        },
        passes=True,
    ),
    "ambient types of the spec": Case(
        {
            WORKFLOW: "import './globals';\nexport const x: Mine = 1;\n",
            "src/globals.d.ts": "type Mine = number;\n",
        },
        passes=True,
    ),
    # syntax
    "syntax error": Case("export const x = ;\nconst y: number = 'a';\n", code="TS1109"),
    "hyphen in a name": Case("export async function my-flow(): Promise<void> {}\n", code="TS1005"),
    "unclosed brace": Case("export async function f() {\n", code="TS1005"),
    "unterminated string": Case("export const s = 'abc\nexport const t = 1;\n", code="TS1002"),
    "syntax error hides types": Case(
        {WORKFLOW: "import './other';\nexport const x: number = 'a';\n", "src/other.ts": "let ;;= 1\n"}
    ),
    # types
    "type error": Case("export const x: number = 'a';\n", code="TS2322"),
    "chain of reasons": Case(
        "const z = { a: { b: { c: 1 } } };\nexport const v: { a: { b: { c: string } } } = z;\n", code="TS2322"
    ),
    "overloads": Case(
        "function f(a: string): void;\nfunction f(a: number): void;\n"
        "function f(_: unknown): void {}\nf(true);\nexport {};\n",
        code="TS2769",
    ),
    "overloads of the SDK": Case(
        "import { proxyActivities, sleep, setHandler, defineSignal } from '@temporalio/workflow';\n"
        "export async function f(): Promise<void> {\n  await sleep({});\n"
        "  setHandler(defineSignal<[string]>('s'), (n: number) => { n; });\n"
        "  proxyActivities({ startToCloseTimeout: 1, nope: 2 });\n}\n"
    ),
    "wrong activity call": Case(
        {WORKFLOW: ORDER.replace("charge(name)", "charge(1)"), "src/activities.ts": CHARGE}, code="TS2345"
    ),
    "declared twice": Case("const a = 1;\nconst a = 2;\nexport {};\n", code="TS2451"),
    "many in two files": Case(
        {
            WORKFLOW: "import { b } from './b';\nexport const x: string = b;\nexport const y: boolean = b;\n",
            "src/b.ts": "export const b: number = 'b';\nundefinedName();\n",
        }
    ),
    "letters beyond ASCII": Case(
        "const s = '😀é'; const n: number = '世界';\nexport { s, n };\n", code="TS2322"
    ),
    "windows line ends": Case("export const a = 1;\r\nexport const x: number = 'a';\r\n", code="TS2322"),
    "tabs before an error": Case("\t\texport const x: number = 'a';\n", code="TS2322"),
    "type of another file in the text": Case(
        {
            WORKFLOW: "import * as a from './a';\nexport const x: number = a;\n",
            "src/a.ts": "export class A {}\n",
        }
    ),
    "deep type": Case("type T<N extends unknown[]> = T<[...N, 1]>['length'];\nexport const x: T<[]> = 1;\n"),
    "unused locals": Case(
        "const unused = 1;\nimport { sleep } from '@temporalio/workflow';\nexport {};\n",
        options={"noUnusedLocals": True},
        code="TS6133",
    ),
    "unused parameters": Case(
        "export function f(a: number): void {}\n", options={"noUnusedParameters": True}, code="TS6133"
    ),
    "unchecked index": Case(
        "export const f = (a: number[]): number => a[0];\n",
        options={"noUncheckedIndexedAccess": True},
        code="TS2322",
    ),
    "decorator without the option": Case(
        "function log(_t: object, _k: string): void {}\nexport class A { @log run(): void {} }\n"
    ),
    "declaration error": Case(
        "function f() { class P { private x = 1; } return P; }\n"
        "export class Q extends f() { private static y = f; }\n"
        "export default f();\n",
        options={"declaration": True},
    ),
    # modules and configuration
    "missing package": Case("import { v4 } from 'uuid-nope';\nexport const x = v4();\n", code="TS2307"),
    "missing file": Case("import { a } from './nope';\nexport const x = a;\n", code="TS2307"),
    "missing export": Case("import { nope } from '@temporalio/workflow';\nexport { nope };\n", code="TS2305"),
    "wrong lib": Case("export const a = 1;\n", options={"lib": ["es2022", "esnope"]}),
    "lib without an API": Case(
        "export const a = [1].at(0);\n", options={"lib": ["es2020"], "types": []}, code="TS2550"
    ),
    "missing types": Case("export const a = 1;\n", options={"types": ["nope"]}, code="TS2688"),
    "no types at all": Case("export const a = process.pid;\n", options={"types": []}, code="TS2591"),
    "json without the option": Case(
        {WORKFLOW: "import d from './d.json';\nexport { d };\n", "src/d.json": "{}"},
        options={"resolveJsonModule": False},
    ),
    "broken json": Case({WORKFLOW: "import d from './d.json';\nexport { d };\n", "src/d.json": "{ nope }"}),
    "missing entry point": Case({"src/other.ts": "export {};\n"}, code="TS6053"),
    "suffix missing in esm": Case(
        {WORKFLOW: "import { a } from './a';\nexport const b = a;\n", "src/a.ts": "export const a = 1;\n"},
        options={"module": "node16"},
        package={"type": "module"},
        code="TS2835",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TypeScriptService]:
    cache = tmp_path_factory.mktemp("cache")
    made = TypeScriptService(TOOLCHAIN, cache)
    await made.start()
    assert made.fallback == ""
    yield made
    await made.close()
    assert list(cache.iterdir()) == []


async def fresh(cache: Path, limits: Limits | None = None) -> TypeScriptService:
    made = TypeScriptService(TOOLCHAIN, cache, limits)
    await made.start()
    assert made.fallback == ""
    return made


def tsc(directory: Path) -> str:
    """What the plain compiler prints for a release, without the paths of this machine."""
    done = subprocess.run(
        [tsc_binary(TOOLCHAIN), "-p", str(directory), "--pretty", "false"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout.replace(f"{TOOLCHAIN}/node_modules", "node_modules")
    return text.replace(f"{directory}/", "")


def emitted(directory: Path) -> dict[str, bytes]:
    dist = directory / "dist"
    return {
        path.relative_to(dist).as_posix(): path.read_bytes() for path in dist.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", CASES)
async def test_the_warm_service_says_and_emits_exactly_what_a_cold_tsc_does(
    service: TypeScriptService, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    warm = write_release(tmp_path / "warm", case.tree, options=case.options, package=case.package)
    cold = write_release(tmp_path / "cold", case.tree, options=case.options, package=case.package)
    checked = await service.compile(warm)
    assert printed(checked.problems) == tsc(cold)
    assert (checked.problems == ()) == case.passes
    assert str(tmp_path) not in str(checked.problems)
    if case.code:
        assert case.code in {problem.code for problem in checked.problems}
    assert emitted(warm) == (emitted(cold) if case.passes else {})


@pytest.mark.parametrize("name", CASES)
async def test_the_cold_fallback_gives_the_same_answers_as_the_warm_service(
    service: TypeScriptService, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    warm = write_release(tmp_path / "warm", case.tree, options=case.options, package=case.package)
    cold = write_release(tmp_path / "cold", case.tree, options=case.options, package=case.package)
    expected = await service.compile(warm)
    fallback = TypeScriptService(TOOLCHAIN, tmp_path)
    fallback.fallback = "for this test"
    checked = await fallback.compile(cold)
    assert checked.lane == "cold"
    assert checked.problems == expected.problems
    assert emitted(cold) == emitted(warm)


# --- what a spec may not read or write (faults.md E4, E5) ---

SECRET = '{"password": "topsecret"}'
ESCAPES = {
    "json above the release": "import s from '../../secret.json';\nexport const p = s.password;\n",
    "module above the release": "import { o } from '../../outside';\nexport const p = o;\n",
    "types above the release": "import type { T } from '../../types';\nexport const p: T = 1;\n",
    "typeof import above the release": "export type T = typeof import('../../secret.json');\n",
    "reference path": "/// <reference path='../../outside.ts' />\nexport {};\n",
    "reference types": "/// <reference types='../../types' />\nexport {};\n",
    "absolute import": "import { o } from '%s/outside';\nexport const p = o;\n",
    "require": "import s = require('../../secret.json');\nexport const p = s;\n",
    "json beside src": "import p from '../package.json';\nexport { p };\n",
    "code beside src": "import { x } from '../extra';\nexport { x };\n",
    "dependency by its path": "import p from '../node_modules/typescript/package.json';\nexport { p };\n",
    "another release": "import { o } from '../../other/src/workflow';\nexport { o };\n",
}


@pytest.mark.parametrize("lane", ["warm", "caged", "cold"])
@pytest.mark.parametrize("name", ESCAPES)
async def test_a_file_outside_of_the_release_is_refused_and_nothing_is_written(
    service: TypeScriptService, tmp_path: Path, name: str, lane: str
) -> None:
    (tmp_path / "secret.json").write_text(SECRET)
    (tmp_path / "outside.ts").write_text("export const o = 1;\n")
    (tmp_path / "types.d.ts").write_text("export type T = number;\n")
    write_release(tmp_path / "other", {WORKFLOW: "export const o = 1;\n"})
    text = ESCAPES[name].replace("%s", str(tmp_path))
    release = write_release(tmp_path / "release", {WORKFLOW: text, "extra.ts": "export const x = 1;\n"})
    before = snapshot(tmp_path)
    chosen = service
    if lane == "cold":
        chosen = TypeScriptService(TOOLCHAIN, tmp_path / "unused")
        chosen.fallback = "for this test"
    if lane == "caged":
        chosen = TypeScriptService(TOOLCHAIN, tmp_path / "unused", trees=(release,))
    checked = await chosen.compile(release)
    if lane == "caged":
        await chosen.close()
    assert checked.problems != ()
    said = printed(checked.problems)
    assert "topsecret" not in said
    assert str(tmp_path) not in said.replace(text, "").replace(
        f"module '{tmp_path}/outside'", ""
    )  # its own words
    assert snapshot(tmp_path) == before
    manifest = TOOLCHAIN / "node_modules" / "typescript" / "package.json"
    assert manifest.stat().st_mtime < time.time() - 5


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a directory with its size and time; links are not followed."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            state = path.lstat()
            if stat.S_ISREG(state.st_mode):
                found[str(path)] = (state.st_size, state.st_mtime_ns)
    return found


async def test_the_problem_names_the_line_that_imports_the_file(
    service: TypeScriptService, tmp_path: Path
) -> None:
    (tmp_path / "secret.json").write_text(SECRET)
    release = write_release(
        tmp_path / "release",
        {
            WORKFLOW: "export * from './a';\n",
            "src/a.ts": "\nimport s from '../../secret.json';\nexport { s };\n",
        },
    )
    (problem,) = (await service.compile(release)).problems
    assert (problem.where, problem.line, problem.column) == ("src/a.ts", 2, 15)
    assert problem.message == "secret.json is not a file of this release"
    assert "src/" in problem.hint


# --- isolation and freshness ---


async def test_a_global_declared_in_one_release_is_unknown_in_the_next(
    service: TypeScriptService, tmp_path: Path
) -> None:
    first = write_release(
        tmp_path / "a", {WORKFLOW: "declare global { var leaked: number; }\nexport const a = leaked;\n"}
    )
    second = write_release(tmp_path / "b", {WORKFLOW: "export const b = leaked;\n"})
    assert (await service.compile(first)).problems == ()
    assert [problem.code for problem in (await service.compile(second)).problems] == ["TS2304"]


async def test_an_edited_created_or_deleted_file_is_seen(service: TypeScriptService, tmp_path: Path) -> None:
    good = {WORKFLOW: ORDER, "src/activities.ts": CHARGE}
    release = write_release(tmp_path / "r", good)
    activities = release / "src" / "activities.ts"

    async def codes() -> list[str]:
        return [problem.code for problem in (await service.compile(release)).problems]

    assert await codes() == []
    activities.write_text(CHARGE.replace("name: string", "name: 'gold'"))
    assert await codes() == ["TS2345"]
    activities.unlink()
    assert await codes() == ["TS2307"]
    activities.write_text(CHARGE)
    assert await codes() == []
    write_release(release, {WORKFLOW: "const a = [1];\nexport const b: number = a[0];\n"})
    assert await codes() == []
    write_release(release, {}, options={"noUncheckedIndexedAccess": True})
    assert await codes() == ["TS2322"]


async def test_a_dependency_installed_later_is_found(service: TypeScriptService, tmp_path: Path) -> None:
    release = write_release(
        tmp_path / "r", {WORKFLOW: "import { a } from 'late';\nexport const b: number = a;\n"}
    )
    (release / "node_modules").unlink()
    (release / "node_modules").mkdir()
    types = release / "node_modules" / "@types"
    types.symlink_to(TOOLCHAIN / "node_modules" / "@types")
    assert [problem.code for problem in (await service.compile(release)).problems] == ["TS2307"]
    package = release / "node_modules" / "late"
    package.mkdir()
    (package / "package.json").write_text('{"name": "late", "types": "index.d.ts"}')
    (package / "index.d.ts").write_text("export declare const a: number;\n")
    assert (await service.compile(release)).problems == ()


async def test_output_of_an_earlier_compile_does_not_stay(service: TypeScriptService, tmp_path: Path) -> None:
    release = write_release(
        tmp_path / "r", {WORKFLOW: "export * from './old';\n", "src/old.ts": "export {};\n"}
    )
    await service.compile(release)
    assert (release / "dist" / "old.js").exists()
    write_release(release, {WORKFLOW: "export {};\n"})
    await service.compile(release)
    assert sorted(emitted(release)) == ["workflow.js", "workflow.js.map"]


async def test_memory_stays_flat_over_many_releases(service: TypeScriptService, tmp_path: Path) -> None:
    for number in range(40):
        release = write_release(tmp_path / str(number), {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
        assert (await service.compile(release)).problems == ()
    (pid,) = service.pids()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 700 * 1024 * 1024


# --- faults (faults.md A7 to A9, E14) ---


async def test_after_a_kill_of_the_child_the_next_compile_works(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache")
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    (pid,) = service.pids()
    os.kill(pid, signal.SIGKILL)
    checked = await service.compile(release)
    assert checked.problems == ()
    assert service.pids() != (pid,)
    await service.close()


async def test_a_child_killed_in_the_middle_of_a_job_costs_one_retry(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache")
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    (pid,) = service.pids()
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(service.compile(release))
    await asyncio.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    assert (await job).problems == ()
    await service.close()


async def test_two_crashes_on_one_release_are_reported_and_the_service_goes_on(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache")
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})

    async def kill_each_child() -> None:
        seen: set[int] = set()
        while len(seen) < 2:
            for pid in set(service.pids()) - seen:
                seen.add(pid)
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(0.1)
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.005)

    killer = asyncio.create_task(kill_each_child())
    await asyncio.sleep(0)
    with pytest.raises(DeployError) as caught:
        await service.compile(release)
    await killer
    assert caught.value.reason is Reason.COMPILER_UNAVAILABLE
    assert caught.value.transient
    assert (await service.compile(release)).problems == ()
    await service.close()


async def test_a_compiler_that_hangs_times_out_and_others_go_on_in_a_second_lane(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache", Limits(timeout=4.0, grace=0.3, idle=0.5))
    hung = write_release(tmp_path / "hung", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    other = write_release(tmp_path / "other", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    (pid,) = service.pids()
    os.kill(pid, signal.SIGSTOP)
    first = asyncio.create_task(service.compile(hung))
    await asyncio.sleep(0.05)
    checked = await service.compile(other)
    assert (checked.lane, checked.problems) == ("warm-2", ())
    assert not first.done()
    with pytest.raises(DeployError) as caught:
        await first
    assert caught.value.reason is Reason.COMPILE_TIMEOUT
    assert not alive(pid)
    assert (await service.compile(hung)).problems == ()
    for _ in range(100):
        if len(service.pids()) == 1:
            break
        await asyncio.sleep(0.05)
    assert len(service.pids()) == 1, "the second lane is closed when it has nothing to do"
    await service.close()
    assert service.pids() == ()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_cancelled_job_writes_nothing_and_leaves_the_service_warm(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache")
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    pids = service.pids()
    for delay in (0.0, 0.005, 0.01, 0.02):
        job = asyncio.create_task(service.compile(release))
        await asyncio.sleep(delay)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.sleep(0.1)
        assert emitted(release) == {}
    assert (await service.compile(release)).problems == ()
    assert service.pids() == pids
    await service.close()


async def test_a_cancelled_job_on_a_hung_compiler_leaves_no_child_behind(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache")
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    (pid,) = service.pids()
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(service.compile(release))
    await asyncio.sleep(0.05)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await service.close()
    assert not alive(pid)


TYPE_BOMB = """\
type Pair<T> = { a: T; b: T } | { c: T; d: T };
type Grow<T, N extends unknown[]> = N['length'] extends 40 ? T : Grow<Pair<T>, [...N, 1]>;
type Cross<A extends string, B extends string> = `${A}${B}`;
type D = '0' | '1' | '2' | '3' | '4' | '5' | '6' | '7' | '8' | '9';
type D2 = Cross<D, D>; type D4 = Cross<D2, D2>;
export const x: Record<D4, Grow<1, []>> = {} as Record<D4, Grow<2, []>>;
"""


async def test_a_type_bomb_ends_in_an_error_and_the_next_release_is_fine(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache", Limits(timeout=10.0))
    bomb = write_release(tmp_path / "bomb", {WORKFLOW: TYPE_BOMB})
    try:
        assert (await service.compile(bomb)).problems != ()
    except DeployError as error:
        assert error.reason in (Reason.COMPILE_TIMEOUT, Reason.TYPE_CHECK_FAILED)  # noqa: PT017 - either way ends
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    assert (await service.compile(release)).problems == ()
    await service.close()


async def test_a_release_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    limits = Limits(memory=110 * 1024 * 1024, timeout=30)
    service = await fresh(tmp_path / "cache", limits)
    lines = "\n".join(f"export const v{n}: {{ a{n}: number }} = {{ a{n}: {n} }};" for n in range(250_000))
    big = write_release(tmp_path / "big", {WORKFLOW: lines})
    with pytest.raises(DeployError) as caught:
        await service.compile(big)
    assert caught.value.reason is Reason.TYPE_CHECK_FAILED
    assert "memory" in caught.value.message
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    assert (await service.compile(release)).problems == ()
    await service.close()


async def test_a_child_that_grew_over_the_limit_is_replaced_after_its_job(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache", Limits(memory=120 * 1024 * 1024))
    release = write_release(tmp_path / "r", {WORKFLOW: ORDER, "src/activities.ts": CHARGE})
    before = service.pids()
    assert (await service.compile(release)).problems == ()
    assert (await service.compile(release)).problems == ()
    assert service.pids() != before
    await service.close()


@pytest.mark.parametrize("trouble", ["it takes too long", "it says nonsense", "it ends", "it can't be run"])
async def test_a_compiler_that_could_not_be_started_is_warm_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """A host that boots is busy: it compiled cold, ten times as slowly, until the next restart."""
    monkeypatch.setattr(tsservice, "_AGAIN", (0.05,))
    service = TypeScriptService(TOOLCHAIN, tmp_path / "cache")
    fake = tmp_path / "tsc"
    words = {
        "it takes too long": "exec sleep 60",
        "it says nonsense": "printf '{}'; cat",
        "it ends": "exit 1",
    }
    fake.write_text(f"#!/bin/sh\n{words.get(trouble, '')}\n")
    fake.chmod(0o755)
    real, service.binary = service.binary, fake
    with monkeypatch.context() as patched:
        patched.setattr(tsservice, "_START_TIMEOUT", 0.3)
        if trouble == "it can't be run":
            patched.setattr(Child, "start", unable)
        await service.start()
    assert service.fallback.removeprefix("the warm compiler failed its self-test: ")
    recovering = asyncio.create_task(service.recover())
    await asyncio.sleep(0.2)
    assert not recovering.done()
    service.binary = real
    async with asyncio.timeout(60):
        for pid in service.pids():  # the fake that is being tested just now
            with contextlib.suppress(ProcessLookupError):  # or has ended by itself
                os.kill(pid, signal.SIGKILL)
        await recovering
    assert service.fallback == ""
    release = write_release(tmp_path / "r", {WORKFLOW: "export const x: number = 1;\n"})
    assert (await service.compile(release)).lane == "warm-1"
    await service.close()


async def unable(*_: object) -> Child:
    raise BlockingIOError(11, "Resource temporarily unavailable")


async def test_a_compiler_that_answers_nonsense_is_replaced_by_the_cold_one(tmp_path: Path) -> None:
    service = TypeScriptService(TOOLCHAIN, tmp_path / "cache")
    fake = tmp_path / "tsc"
    fake.write_text("#!/bin/sh\nprintf 'Content-Length: 2\\r\\n\\r\\n[]'\ncat >/dev/null\n")
    fake.chmod(0o755)
    real, service.binary = service.binary, fake
    await service.start()
    assert "self-test" in service.fallback
    service.binary = real
    release = write_release(tmp_path / "r", {WORKFLOW: "export const x: number = 'a';\n"})
    checked = await service.compile(release)
    assert (checked.lane, checked.problems[0].code) == ("cold", "TS2322")
    await service.close()


async def test_a_missing_compiler_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        await TypeScriptService(tmp_path, tmp_path / "cache").start()
    assert caught.value.reason is Reason.COMPILER_UNAVAILABLE
    assert "npm ci" in caught.value.hint


async def test_releases_compiled_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    service = await fresh(tmp_path / "cache", Limits(grace=0.0))

    async def one(number: int) -> None:
        wrong = number % 2
        text = f"export const x{number}: number = {repr('a') if wrong else number};\n"
        release = write_release(tmp_path / str(number), {WORKFLOW: text})
        checked = await service.compile(release)
        assert [problem.code for problem in checked.problems] == ["TS2322"] * wrong

    await asyncio.gather(*(one(number) for number in range(24)))
    assert len(service.pids()) <= 2
    await service.close()
