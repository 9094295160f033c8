"""Whose words count: the TypeScript that a spec pins; and what nobody reaches fails nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError, Reason
from timewright.core.tsconfig import compiler_options, render
from timewright.edge import process
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.toolchain import typescripts
from timewright.edge.tsbases import tsconfig_bases
from timewright.edge.tschild import tsc_binary

from tests.edge.toolbox import TOOLCHAIN, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIPPED = dict(typescripts(TOOLCHAIN))
WORKFLOW = "src/workflow.ts"
GOOD = {WORKFLOW: "export async function w(): Promise<void> {}\n"}
#: One that TypeScript 5 takes and 7 doesn't know any more.
OLD = {"target": "es5", "moduleResolution": "node", "esModuleInterop": False, "lib": ["es2022"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compiler(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Compiler]:
    made = Compiler(TOOLCHAIN, tmp_path_factory.mktemp("cache"))
    await made.start()
    yield made
    await made.close()


async def test_three_versions_come_with_us(compiler: Compiler) -> None:
    assert sorted(SHIPPED) == ["5.9.3", "6.0.3", compiler.typescript_version]


async def test_the_identity_names_the_version_that_judges(compiler: Compiler, tmp_path: Path) -> None:
    assert compiler.identity_for(None) == compiler.identity
    assert compiler.identity_for(compiler.typescript_version) == compiler.identity
    assert "typescript=5.9.3 " in compiler.identity_for("5.9.3")
    assert compiler.identity_for("5.9.3") != compiler.identity_for("5.9.2")
    other = Compiler(TOOLCHAIN, tmp_path, mode="transpile")
    assert other.identity_for("5.9.3") == other.identity


@pytest.mark.parametrize("version", ["5.9.3", "6.0.3"])
async def test_the_version_that_a_spec_pins_checks_and_emits(
    compiler: Compiler, tmp_path: Path, version: str
) -> None:
    release = write_release(tmp_path / "r", GOOD, options=OLD, typescript=version)
    result = await compiler.compile(CompileJob(release, WORKFLOW, typescript=SHIPPED[version]))
    assert result.lane == f"node-{version}"
    assert result.warnings == ()
    assert "__awaiter" in (release / "dist" / "workflow.js").read_text()
    assert (release / "bundle" / "workflow.js").is_file()


async def test_our_own_version_by_its_directory_is_the_warm_one(compiler: Compiler, tmp_path: Path) -> None:
    release = write_release(tmp_path / "r", GOOD)
    ours = SHIPPED[compiler.typescript_version]
    assert (await compiler.compile(CompileJob(release, WORKFLOW, typescript=ours))).lane == "warm-1"


def installed(home: Path, version: str) -> Path:
    """A `typescript` 7 package as npm installs it, with our compiler in it."""
    package = home / "node_modules" / "typescript"
    package.mkdir(parents=True)
    (package / "package.json").write_text(f'{{"version": "{version}"}}')
    native = tsc_binary(TOOLCHAIN).parent.parent
    (home / "node_modules" / "@typescript").mkdir()
    shutil.copytree(native, home / "node_modules" / "@typescript" / native.name, copy_function=os.link)
    return package


async def test_another_seven_is_run_cold(compiler: Compiler, tmp_path: Path) -> None:
    package = installed(tmp_path / "deps", "7.0.2")
    files = {**GOOD, "src/lost.ts": "export const x: number = 'a';\n"}
    release = write_release(tmp_path / "r", files, typescript="7.0.2")
    job = CompileJob(release, WORKFLOW, typescript=package)
    assert (await compiler.compile(job)).lane == "cold"
    (release / WORKFLOW).write_text("export const x: number = 'a';\n")
    with pytest.raises(DeployError) as caught:
        await compiler.compile(job)
    assert caught.value.problems[0].code == "TS2322"


async def test_a_seven_without_its_compiler_says_what_is_missing(compiler: Compiler, tmp_path: Path) -> None:
    package = installed(tmp_path / "deps", "7.0.2")
    shutil.rmtree(package.parent / "@typescript")
    release = write_release(tmp_path / "r", GOOD)
    with pytest.raises(DeployError) as caught:
        await compiler.compile(CompileJob(release, WORKFLOW, typescript=package))
    assert caught.value.reason is Reason.COMPILER_UNAVAILABLE
    assert "7.0.2" in caught.value.message


# --- what no entry point reaches ---

LOST = {
    **GOOD,
    "src/client.ts": "import x from 'nope-nope';\nexport const a: number = 'a';\n",
    "src/client.test.ts": "import { a } from './client';\nexport const b: string = a;\n",
    "src/fine.ts": "import { w } from './workflow';\nvoid w;\n",
    "src/data.json": "{}",
}


@pytest.mark.parametrize("version", ["7", "5.9.3"])
async def test_errors_in_unreached_files_are_warnings(
    compiler: Compiler, tmp_path: Path, version: str
) -> None:
    release = write_release(tmp_path / "r", LOST, typescript=version)
    unreached = tuple(sorted(set(LOST) - {WORKFLOW}))
    package = SHIPPED.get(version)
    if package is not None:  # a first start takes longer than anybody waits for this
        await compiler.compile(CompileJob(release, WORKFLOW, typescript=package))
    before = {path.relative_to(release) for path in release.rglob("*")}
    result = await compiler.compile(CompileJob(release, WORKFLOW, unreached=unreached, typescript=package))
    assert result.warnings[0] == "3 errors in files that no entry point reaches; they fail nothing"
    assert result.warnings[1].startswith("src/client.test.ts:2:14: TS2322")
    assert len(result.warnings) == 4
    after = {path.relative_to(release) for path in release.rglob("*")}
    assert {str(path) for path in after - before} <= {
        "bundle",
        "bundle/workflow.js",
        "bundle/workflow.js.map",
        "dist",
        "dist/workflow.js",
        "dist/workflow.js.map",
        "dist/data.json",
    }


async def test_many_errors_in_unreached_files_are_counted(compiler: Compiler, tmp_path: Path) -> None:
    text = "".join(f"export const x{n}: number = 'a';\n" for n in range(30))
    release = write_release(tmp_path / "r", {**GOOD, "src/lost.ts": text})
    result = await compiler.compile(CompileJob(release, WORKFLOW, unreached=("src/lost.ts",)))
    assert result.warnings[0].startswith("30 errors in files")
    assert len(result.warnings) == 6


async def test_unreached_files_without_errors_give_no_warning(compiler: Compiler, tmp_path: Path) -> None:
    release = write_release(tmp_path / "r", {**GOOD, "src/lost.ts": "export {};\n"})
    result = await compiler.compile(CompileJob(release, WORKFLOW, unreached=("src/lost.ts",)))
    assert result.warnings == ()


async def test_an_unreached_file_that_leaves_the_release_is_a_warning_too(
    compiler: Compiler, tmp_path: Path
) -> None:
    (tmp_path / "secret.json").write_text('{"password": "topsecret"}')
    text = "import s from '../../secret.json';\nexport const n: number = s;\n"
    release = write_release(tmp_path / "r", {**GOOD, "src/lost.ts": text})
    result = await compiler.compile(CompileJob(release, WORKFLOW, unreached=("src/lost.ts",)))
    assert "src/lost.ts:1:15: secret.json is not a file of this release" in result.warnings[1]
    assert "topsecret" not in str(result.warnings)


async def test_a_look_that_takes_too_long_is_given_up_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Compiler(TOOLCHAIN, tmp_path / "cache")
    await compiler.start()
    release = write_release(tmp_path / "r", {**GOOD, "src/lost.ts": "export {};\n"})
    judges = compiler._judges
    assert judges is not None
    judges.patience = 0.3
    real = judges.service.unreached

    async def stopped(*words: object) -> object:
        for pid in judges.service.pids():
            os.kill(pid, signal.SIGSTOP)
        return await real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(judges.service, "unreached", stopped)
    result = await compiler.compile(CompileJob(release, WORKFLOW, unreached=("src/lost.ts",)))
    assert result.warnings == ("not checked in time, and reached by no entry point: src/lost.ts",)
    assert (release / "bundle" / "workflow.js").is_file()
    assert not list(release.glob(".tmp-*"))
    for pid in judges.service.pids():
        os.kill(pid, signal.SIGCONT)
    assert (await compiler.compile(CompileJob(release, WORKFLOW))).lane.startswith("warm")
    await compiler.close()


async def test_a_compile_that_is_cancelled_while_it_looks_leaves_nothing(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = write_release(tmp_path / "r", {**GOOD, "src/lost.ts": "export {};\n"})
    started = asyncio.Event()

    async def hang(*_: object, **__: object) -> process.Finished:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("timewright.edge.bundle.esbuild.run", hang)
    running = asyncio.create_task(compiler.compile(CompileJob(release, WORKFLOW, unreached=("src/lost.ts",))))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not list(release.glob(".tmp-*"))
    monkeypatch.undo()
    assert (await compiler.compile(CompileJob(release, WORKFLOW))).lane.startswith("warm")


# --- options: what we make of them is what each compiler takes ---

OPTIONS: list[dict[str, object]] = [
    {},
    {"target": "es3"},
    {"target": "es5", "downlevelIteration": True},
    {"module": "commonjs"},
    {"module": "commonjs", "moduleResolution": "node"},
    {"module": "commonjs", "moduleResolution": "node10", "alwaysStrict": False},
    {"module": "commonjs", "moduleResolution": "classic"},
    {"module": "commonjs", "moduleResolution": "node16"},
    {"module": "commonjs", "moduleResolution": "bundler"},
    {"module": "es6"},
    {"module": "es2022", "moduleResolution": "node", "verbatimModuleSyntax": True},
    {"module": "esnext", "moduleResolution": "bundler", "verbatimModuleSyntax": True},
    {"module": "preserve"},
    {"module": "node16", "moduleResolution": "node"},
    {"module": "node18"},
    {"module": "node20"},
    {"module": "nodenext", "moduleResolution": "nodenext", "esModuleInterop": False},
    {"module": "amd", "outFile": "x.js"},
    {"module": "system", "allowSyntheticDefaultImports": False},
    {"baseUrl": ".", "paths": {"@/*": ["src/*"]}},
    {"importsNotUsedAsValues": "error", "suppressImplicitAnyIndexErrors": True, "charset": "utf8"},
    {"composite": True, "incremental": True, "tsBuildInfoFile": "x", "declarationMap": True},
    {"isolatedModules": True, "preserveConstEnums": True, "importHelpers": False},
    {"allowImportingTsExtensions": True, "noEmit": True},
    {"rewriteRelativeImportExtensions": True, "erasableSyntaxOnly": True},
    {"checkJs": True, "jsx": "react-jsx", "declaration": True},
    {"declaration": True, "isolatedDeclarations": True},
    {"typeRoots": ["./types", "./node_modules/@types"], "rootDirs": ["src", "gen"]},
]


@pytest.mark.parametrize("version", ["5.9.3", "6.0.3", "7"])
@pytest.mark.parametrize("kind", ["commonjs", "module"])
async def test_no_option_that_we_let_through_is_refused_by_the_compiler(
    compiler: Compiler, tmp_path: Path, version: str, kind: str
) -> None:
    refused = []
    options: list[dict[str, object]] = [{"compilerOptions": item} for item in OPTIONS]
    bases: list[dict[str, object]] = [{"extends": name} for name in sorted(tsconfig_bases(TOOLCHAIN))]
    for number, tsconfig in enumerate([*options, *bases]):
        asked = {**tsconfig, "compilerOptions": {"lib": ["es2022"], "types": [], **_options(tsconfig)}}
        made = compiler_options(asked, package_type=kind, typescript=version, bases=tsconfig_bases(TOOLCHAIN))
        release = write_release(tmp_path / str(number), GOOD, package={"type": kind})
        (release / "tsconfig.json").write_text(render(made, [WORKFLOW]))
        try:
            await compiler.compile(
                CompileJob(release, WORKFLOW, bundle="off", typescript=SHIPPED.get(version))
            )
        except DeployError as error:
            refused.append(f"{tsconfig}: {error.message}")
    assert "\n".join(refused) == ""


def _options(tsconfig: Mapping[str, object]) -> Mapping[str, object]:
    found = tsconfig.get("compilerOptions", {})
    return found if isinstance(found, Mapping) else {}
