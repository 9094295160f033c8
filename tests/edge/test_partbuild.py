"""Parts that wait are bundled by one process, and come out as they do alone, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError
from timewright.edge import esbuild, files, partbuild, process
from timewright.edge.compiler import CompileJob, Compiler
from timewright.edge.spare import Spare
from timewright.edge.tschild import Limits

from tests.edge.toolbox import TOOLCHAIN, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKFLOW = "src/workflow.ts"
SOURCES: dict[str, Mapping[str, str]] = {
    "nothing": {WORKFLOW: "export async function w(): Promise<void> {}\n"},
    "the SDK": {
        WORKFLOW: "import { sleep } from '@temporalio/workflow';\nexport const w = () => sleep(1);\n"
    },
    "files": {
        WORKFLOW: "import { b } from './lib/b';\nimport * as index from './lib';\n"
        "export const w = () => [b, index, 'dist/lib/b.js'];\n",
        "src/lib/b.ts": "export const b = `über`;\n",
        "src/lib/index.ts": "export * from './b';\nexport * as workflow from '../workflow';\n",
    },
    "packages": {WORKFLOW: "// @ts-ignore\nimport ms from 'ms';\nexport const w = () => ms('1 day');\n"},
    "forbidden": {WORKFLOW: "import { readFile } from 'node:fs';\nexport const w = readFile;\n"},
    "unresolved": {WORKFLOW: "import { x } from 'nobody-has-this';\nexport const w = x;\n"},
}
GOOD = [name for name in SOURCES if name not in ("forbidden", "unresolved")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["transpile", "check"])
async def compiler(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Compiler]:
    """esbuild's JavaScript is bundled in another way than TypeScript's, which is CommonJS."""
    made = Compiler(TOOLCHAIN, tmp_path_factory.mktemp("cache"), mode=request.param)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each process that bundled was for."""
    found: list[int] = []
    run = esbuild.run

    async def watched(
        command: Sequence[str | Path],
        cwd: Path,
        limits: Limits,
        releases: Sequence[Path] = (),
        spare: Spare | None = None,
    ) -> process.Finished:
        if "--bundle" in command:
            found.append(len(releases) or 1)
        return await run(command, cwd, limits, releases, spare)

    monkeypatch.setattr(esbuild, "run", watched)
    return found


def release(home: Path, name: str, number: int = 0) -> Path:
    place = home / f"{name.replace(' ', '-')}-{number}" / files.unique()
    return write_release(place, SOURCES[name], entries=tuple(SOURCES[name]))


async def compiled(compiler: Compiler, places: Sequence[Path], company: str) -> list[object]:
    """What became of each, all begun at once."""
    jobs = [CompileJob(place, workflows=WORKFLOW, company=lambda: company) for place in places]
    return list(await asyncio.gather(*(compiler.compile(job) for job in jobs), return_exceptions=True))


def made(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / "bundle").iterdir()}


async def test_parts_of_one_process_are_those_of_a_process_each(
    compiler: Compiler, tmp_path: Path, processes: list[int]
) -> None:
    alone = {name: release(tmp_path / "alone", name) for name in GOOD}
    for place in alone.values():
        await compiled(compiler, [place], "")
    del processes[:]
    places = [(name, release(tmp_path / "together", name, number)) for number in range(4) for name in GOOD]
    said = await compiled(compiler, [place for _, place in places], "same")
    assert not [one for one in said if isinstance(one, BaseException)]
    assert max(processes) > 10
    assert sum(processes) == len(places)
    for name, place in places:
        assert made(place) == made(alone[name]), name


@pytest.mark.parametrize("bad", ["forbidden", "unresolved"])
async def test_a_bad_part_fails_as_it_does_alone_and_no_other_does(
    compiler: Compiler, tmp_path: Path, processes: list[int], bad: str
) -> None:
    (alone,) = await compiled(compiler, [release(tmp_path / "alone", bad)], "")
    assert isinstance(alone, DeployError)
    places = [release(tmp_path, "nothing", number) for number in range(8)] + [release(tmp_path, bad)]
    *good, wrong = await compiled(compiler, places, "same")
    assert max(processes) > 1
    assert not [one for one in good if isinstance(one, BaseException)]
    assert isinstance(wrong, DeployError)
    assert (wrong.message, wrong.problems) == (alone.message, alone.problems)


async def test_no_made_up_name_is_in_what_is_written(
    compiler: Compiler, tmp_path: Path, processes: list[int]
) -> None:
    places = [release(tmp_path, "files", number) for number in range(8)]
    await compiled(compiler, places, "same")
    assert max(processes) > 1
    for place in places:
        assert not [name for name, data in made(place).items() if b".tmp-" in data]


async def test_without_company_each_has_its_process(
    compiler: Compiler, tmp_path: Path, processes: list[int]
) -> None:
    await compiled(compiler, [release(tmp_path, "nothing", number) for number in range(6)], "")
    assert processes == [1] * 6


async def test_a_process_that_hangs_holds_nobody_up(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: list[int]
) -> None:
    monkeypatch.setattr(partbuild, "_PATIENCE", 0.1)
    builder = compiler._bundler._builder  # type: ignore[union-attr]
    with builder._counted(), builder._counted():  # two that don't come back
        async with asyncio.timeout(20):
            said = await compiled(
                compiler, [release(tmp_path, "nothing", number) for number in range(5)], "same"
            )
    assert not [one for one in said if isinstance(one, BaseException)]


async def test_when_a_shared_process_fails_its_members_do_not_all_start_at_once(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take gigabytes, beside workers that need them."""
    running, most, run = 0, 0, esbuild.run

    async def watched(
        command: Sequence[str | Path], cwd: Path, limits: Limits, *_: object, **__: object
    ) -> process.Finished:
        nonlocal running, most
        if "--bundle" not in command:
            return await run(command, cwd, limits)
        running, most = running + 1, max(most, running + 1)
        try:
            await asyncio.sleep(0.05)
            return process.Finished(1, b"", b"X [ERROR] refused")
        finally:
            running -= 1

    monkeypatch.setattr(esbuild, "run", watched)
    answers = await compiled(compiler, [release(tmp_path, "nothing", number) for number in range(20)], "c")
    assert all(isinstance(answer, DeployError) for answer in answers)
    assert most <= partbuild._MANY + 1
