"""Releases that wait are checked in one program, and each verdict is the one that it has alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from timewright.core.company import company
from timewright.core.errors import DeployError
from timewright.core.spec import Spec
from timewright.core.tsconfig import compiler_options
from timewright.edge import tsservice
from timewright.edge.tschild import Limits
from timewright.edge.tsjob import Checked, Early, Job
from timewright.edge.tsservice import TypeScriptService
from timewright.edge.tstogether import Together

from tests.edge.test_tsservice import CASES, CHARGE, ORDER, TYPE_BOMB, WORKFLOW, Case, emitted
from tests.edge.toolbox import TOOLCHAIN, printed, write_release
from tests.support import make_spec

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = Case({WORKFLOW: ORDER, "src/activities.ts": CHARGE}, passes=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TypeScriptService]:
    cache = tmp_path_factory.mktemp("cache")
    made = TypeScriptService(TOOLCHAIN, cache, Limits(grace=60.0))
    await made.start()
    assert made.fallback == ""
    yield made
    await made.close()
    assert list(cache.iterdir()) == []


@asynccontextmanager
async def busy(service: TypeScriptService) -> AsyncIterator[None]:
    """All that comes meanwhile has to wait for the compiler."""
    async with service._lane():
        yield


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many releases were in each shared program."""
    found: list[int] = []

    class Watched(Together):
        async def _judge(self, *about: Any) -> Sequence[Checked | None]:
            found.append(len(self.jobs))
            return await super()._judge(*about)

    monkeypatch.setattr(tsservice, "Together", Watched)
    return found


def release(place: Path, case: Case) -> Path:
    """As the daemon writes it: all code that is reached is named in the tsconfig."""
    entries = dict.fromkeys([WORKFLOW, *code_of(case)])
    return write_release(place, case.tree, options=case.options, package=case.package, entries=tuple(entries))


def code_of(case: Case) -> tuple[str, ...]:
    return tuple(name for name in case.tree if not name.endswith((".d.ts", ".json")))


def key_of(case: Case) -> str:
    """The company of a case, as a spec of these files would have it."""
    kind = str(case.package.get("type", "commonjs"))
    options = compiler_options({"compilerOptions": case.options}, package_type=kind)
    about = {"files": case.tree, "package": case.package, "reached": code_of(case), "root": "src"}
    spec = Spec(**{**vars(make_spec()), **about})
    return company(spec, options)


async def all_at_once(
    service: TypeScriptService, places: Mapping[Path, str]
) -> dict[Path, Checked | BaseException]:
    """Compile these directories, each with its key, while the compiler is busy with another."""
    async with busy(service):
        tasks = {
            place: asyncio.create_task(service.compile(place, "src", lambda key=key: key))  # type: ignore[misc]
            for place, key in places.items()
        }
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*tasks.values(), return_exceptions=True)
    return dict(zip(tasks, answers, strict=True))


async def test_every_case_says_and_emits_the_same_in_company_as_alone(
    service: TypeScriptService, tmp_path: Path, programs: list[int]
) -> None:
    alone = {
        name: release(tmp_path / "alone" / f"{index}", case)
        for index, (name, case) in enumerate(CASES.items())
    }
    expected = {name: await service.compile(place) for name, place in alone.items()}
    places, names = {}, {}
    for index, (name, case) in enumerate(CASES.items()):
        for copy in range(3):  # so that none of them goes alone for lack of others
            place = tmp_path / "together" / f"{index}-{copy}"
            places[release(place, case)], names[place] = key_of(case), name
    found = await all_at_once(service, places)
    shared = [name for name, case in CASES.items() if key_of(case)]
    assert len(shared) > 20
    assert sum(programs) == 3 * len(shared)
    for place, checked in found.items():
        assert isinstance(checked, Checked)
        assert printed(checked.problems) == printed(expected[names[place]].problems), names[place]
        assert emitted(place) == emitted(alone[names[place]]), names[place]


async def test_the_good_are_done_in_one_program_and_only_the_bad_again_alone(
    service: TypeScriptService, tmp_path: Path, programs: list[int]
) -> None:
    goods = [release(tmp_path / f"good-{number}", GOOD) for number in range(6)]
    bad = release(
        tmp_path / "bad", Case({**GOOD.tree, WORKFLOW: ORDER.replace("name: string", "name: number")})
    )
    torn = release(tmp_path / "torn", Case({**GOOD.tree, WORKFLOW: ORDER + "const a = ;\n"}))
    alone: list[Path] = []
    attempt = service._attempt

    async def watched(lane: tsservice._Lane, job: Job, early: Early, company: Callable[[], str]) -> Checked:
        alone.append(job.directory)
        return await attempt(lane, job, early, company)

    service._attempt = watched  # type: ignore[method-assign]
    try:
        found = await all_at_once(service, dict.fromkeys([*goods, bad, torn], "same"))
    finally:
        service._attempt = attempt  # type: ignore[method-assign]
    assert programs == [8]
    assert sorted(alone) == [bad, torn]
    codes = {place: [item.code for item in one.problems] for place, one in found.items()}  # type: ignore[union-attr]
    assert codes == {**{place: [] for place in goods}, bad: ["TS2345"], torn: ["TS1109"]}
    assert all((place / "dist" / "workflow.js").is_file() for place in goods)
    assert not (bad / "dist").exists()


async def test_no_more_than_fifty_are_in_one_program(
    service: TypeScriptService, tmp_path: Path, programs: list[int]
) -> None:
    places = [
        write_release(tmp_path / f"{number}", {WORKFLOW: "export const a = 1;\n"}) for number in range(60)
    ]
    found = await all_at_once(service, dict.fromkeys(places, "same"))
    assert sorted(programs) == [10, 50], "which of the two comes first is the lanes' business"
    assert all(isinstance(one, Checked) and one.problems == () for one in found.values())


async def test_a_compiler_that_nobody_waits_for_takes_each_alone(
    service: TypeScriptService, tmp_path: Path, programs: list[int]
) -> None:
    for number in range(3):
        place = release(tmp_path / f"{number}", GOOD)
        assert (await service.compile(place, "src", lambda: "same")).problems == ()
    assert programs == []


async def test_other_packages_are_another_program(
    service: TypeScriptService, tmp_path: Path, programs: list[int]
) -> None:
    """The same key and other node_modules: what is installed beside them may differ."""
    places = [release(tmp_path / f"{number}", GOOD) for number in range(6)]
    for place in places[:3]:
        (place / "node_modules").unlink()
        other = tmp_path / "other" / "node_modules"
        other.mkdir(parents=True, exist_ok=True)
        (place / "node_modules").symlink_to(other)
    found = await all_at_once(service, dict.fromkeys(places, "same"))
    assert programs[:2] == [3, 3]
    said = [[item.code for item in found[place].problems] for place in places]  # type: ignore[union-attr]
    assert [bool(codes) for codes in said] == [True] * 3 + [False] * 3


async def test_a_compiler_that_dies_in_a_shared_program_costs_nobody_his_verdict(
    service: TypeScriptService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadly(Together):
        async def _judge(self, *about: Any) -> Sequence[Checked | None]:
            os.kill(service.pids()[0], signal.SIGKILL)
            return await super()._judge(*about)

    monkeypatch.setattr(tsservice, "Together", Deadly)
    places = [release(tmp_path / f"{number}", GOOD) for number in range(5)]
    found = await all_at_once(service, dict.fromkeys(places, "same"))
    assert all(isinstance(one, Checked) and one.problems == () for one in found.values())


async def test_a_type_bomb_in_company_fails_alone_and_costs_nobody_his_verdict(
    service: TypeScriptService, tmp_path: Path, programs: list[int]
) -> None:
    bomb = Case({WORKFLOW: TYPE_BOMB}, passes=False)
    places = [release(tmp_path / f"{number}", GOOD) for number in range(4)]
    fuse = release(tmp_path / "bomb", bomb)
    found = await all_at_once(service, dict.fromkeys([*places, fuse], "same"))
    assert 5 in programs, "they were in company"
    assert isinstance(found[fuse], DeployError) or found[fuse].problems  # type: ignore[union-attr]
    assert all(isinstance(found[one], Checked) and found[one].problems == () for one in places)  # type: ignore[union-attr]


async def test_a_shared_program_that_takes_too_long_holds_up_its_members_for_a_while_only(
    service: TypeScriptService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Together):
        async def _judge(self, *about: Any) -> Sequence[Checked | None]:
            await asyncio.sleep(30)
            raise AssertionError("waited for")

    monkeypatch.setattr(tsservice, "Together", Slow)
    monkeypatch.setattr(tsservice, "_TOGETHER_TIMEOUT", 0.3)
    places = [release(tmp_path / f"{number}", GOOD) for number in range(4)]
    async with asyncio.timeout(20):
        found = await all_at_once(service, dict.fromkeys(places, "same"))
    assert all(isinstance(one, Checked) and one.problems == () for one in found.values())


async def test_a_release_that_is_gone_harms_no_other(service: TypeScriptService, tmp_path: Path) -> None:
    """A spec that is changed meanwhile takes its build away."""
    places = [release(tmp_path / f"{number}", GOOD) for number in range(5)]
    async with busy(service):
        tasks = [asyncio.create_task(service.compile(place, "src", lambda: "same")) for place in places]
        await asyncio.sleep(0.05)
        places[0].rename(tmp_path / "gone")
        tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], Exception)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert all(isinstance(one, Checked) and one.problems == () for one in answers[2:])
