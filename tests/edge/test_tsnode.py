"""TypeScript 5 and 6, warm: the same words as that version's cold `tsc -p`, and no spec harms another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from timewright.core.errors import DeployError, Reason
from timewright.edge.tschild import Limits
from timewright.edge.tsjob import Checked
from timewright.edge.tsjudge import Judges

from tests.edge.test_tsservice import CASES, CHARGE, ORDER, Case, emitted
from tests.edge.toolbox import HARNESS, TOOLCHAIN, node, printed, write_release

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKFLOW = "src/workflow.ts"
PACKAGES = {"5.9.3": "typescript-5", "6.0.3": "typescript-6"}
VERSIONS = tuple(PACKAGES)

#: Besides those of TypeScript 7: what only the older ones have, or say otherwise.
MORE: dict[str, Case] = {
    "jsx": Case(
        {
            WORKFLOW: "import { view } from './view';\nexport const v = view;\n",
            "src/view.tsx": "declare namespace JSX { interface IntrinsicElements { p: object } }\n"
            "declare const React: { createElement(...a: unknown[]): unknown };\n"
            "export const view = <p></p>;\n",
        },
        passes=True,
        options={"jsx": "react"},
    ),
    "jsx of nobody": Case(
        {WORKFLOW: "import './view';\n", "src/view.tsx": "export const view = <p>;\n"},
        options={"jsx": "react"},
    ),
    "commonjs and esm": Case(
        {
            WORKFLOW: "import { a } from './a.mjs';\nexport const b: string = a;\n",
            "src/a.mts": "export const a = 1;\n",
        },
        options={"module": "node16"},
    ),
    "interop asked for": Case(
        "import ms from 'ms';\nexport const x = ms;\n", options={"esModuleInterop": False, "allowJs": True}
    ),
    "default import without interop": Case(
        {
            WORKFLOW: "import d from './d';\nexport const x: number = d.a;\n",
            "src/d.d.ts": "declare const d: { a: 1 };\nexport = d;\n",
        },
        options={"esModuleInterop": False, "target": "es5"},
    ),
    "enum and namespace": Case(
        "export enum E { A = 1 }\nexport namespace N { export const x: E = 'b'; }\n", code="TS2322"
    ),
    "javascript that is checked": Case(
        {
            WORKFLOW: "import { f } from './f';\nf(1);\n",
            "src/f.js": "/** @param {string} a */\nexport function f(a) { return a.nope; }\n",
        },
        options={"allowJs": True, "checkJs": True},
    ),
    "alias of a path": Case(
        {
            WORKFLOW: "import { a } from '@/a';\nexport const b: string = a;\n",
            "src/a.ts": "export const a = 1;\n",
        },
        options={"paths": {"@/*": ["./src/*"]}},
        code="TS2322",
    ),
    "unknown target of lib": Case("export const a = 1;\n", options={"jsx": "react-jsx", "jsxFactory": "h"}),
}
ALL = {**CASES, **MORE}
#: Without types of Node and browsers a cold run takes a fifth of the time.
SMALL = {"strict": True, "lib": ["es2022"], "types": []}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def judges(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Judges]:
    made = Judges(TOOLCHAIN, tmp_path_factory.mktemp("cache"), "node", Limits())
    yield made
    pids = made.hosts.pids()
    await made.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def check(judges: Judges, release: Path, version: str = "5.9.3") -> Checked:
    return await judges.compile(release, typescript=package(version))


def package(version: str) -> Path:
    return TOOLCHAIN / "node_modules" / PACKAGES[version]


def release_of(directory: Path, case: Case, version: str) -> Path:
    text = "".join(case.tree.values())
    usual = {"strict": True} if "@temporalio" in text or "process" in text else SMALL
    options = {**usual, **case.options}
    return write_release(directory, case.tree, options=options, package=case.package, typescript=version)


async def cold(version: str, releases: list[Path]) -> dict[str, str]:
    """What the plain compiler says, without the paths of this machine."""
    words = [HARNESS / "coldtsc.js", package(version), *releases]
    text = await asyncio.to_thread(node, *words)
    said: dict[str, str] = json.loads(text)
    return {
        path: out.replace(f"{TOOLCHAIN}/node_modules", "node_modules").replace(f"{path}/", "")
        for path, out in said.items()
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_warm_host_says_and_emits_exactly_what_a_cold_tsc_of_its_version_does(
    judges: Judges, tmp_path: Path, version: str
) -> None:
    colds = {
        name: release_of(tmp_path / "cold" / str(n), case, version)
        for n, (name, case) in enumerate(ALL.items())
    }
    plain = asyncio.create_task(cold(version, list(colds.values())))
    verdicts: dict[str, Checked] = {}
    warm = {name: tmp_path / "warm" / str(n) for n, name in enumerate(ALL)}
    for name, case in ALL.items():
        verdicts[name] = await check(judges, release_of(warm[name], case, version), version)
        assert verdicts[name].lane == f"node-{version}"
    said = await plain
    differ = {
        name: (printed(verdicts[name].problems), said[str(colds[name])])
        for name in ALL
        if printed(verdicts[name].problems) != said[str(colds[name])]
    }
    assert differ == {}
    for name, verdict in verdicts.items():
        assert str(tmp_path) not in str(verdict.problems), name
        assert emitted(warm[name]) == ({} if verdict.problems else emitted(colds[name])), name
    refused = {code for verdict in verdicts.values() for code in (p.code for p in verdict.problems)}
    assert len(refused) > 20
    assert sum(not verdict.problems for verdict in verdicts.values()) > 10


async def test_what_the_plain_compiler_says_is_what_its_own_command_prints(tmp_path: Path) -> None:
    release = release_of(tmp_path / "r", CASES["wrong activity call"], "5.9.3")
    done = subprocess.run(
        ["node", package("5.9.3") / "lib" / "tsc.js", "-p", release, "--pretty", "false"],
        cwd=release,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TS2345" in done.stdout
    assert (await cold("5.9.3", [release]))[str(release)] == done.stdout


# --- one release after another in the same slot ---


async def codes(judges: Judges, release: Path, version: str = "5.9.3") -> list[str]:
    return [problem.code for problem in (await check(judges, release, version)).problems]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_edited_created_or_deleted_file_is_seen(
    judges: Judges, tmp_path: Path, version: str
) -> None:
    one = "import { a } from './a';\nexport const b: number = a;\n"
    release = release_of(tmp_path / "r", Case({WORKFLOW: one}), version)
    assert await codes(judges, release, version) == ["TS2307"]
    (release / "src" / "a.ts").write_text("export const a = 1;\n")
    assert await codes(judges, release, version) == []
    (release / "src" / "a.ts").write_text("export const a = 'x';\n")
    assert await codes(judges, release, version) == ["TS2322"]
    (release / "src" / "a.ts").unlink()
    (release / "src" / "a").mkdir()
    (release / "src" / "a" / "index.ts").write_text("export const a = 2;\n")
    assert await codes(judges, release, version) == []
    (release / "src" / "a.ts").write_text("export const a = 'nearer';\n")
    assert await codes(judges, release, version) == ["TS2322"]
    write_release(release, {}, options={"strict": False, **SMALL, "noUnusedLocals": True}, typescript=version)
    assert await codes(judges, release, version) == ["TS2322"]


async def test_nothing_of_one_release_is_seen_by_the_next(judges: Judges, tmp_path: Path) -> None:
    leak = {
        WORKFLOW: "import './g';\nexport const a = leaked;\n",
        "src/g.ts": "declare global { var leaked: number; }\nexport {};\n",
    }
    first = release_of(tmp_path / "a", Case(leak), "5.9.3")
    second = release_of(tmp_path / "b", Case("export const a = leaked;\n"), "5.9.3")
    third = release_of(
        tmp_path / "c", Case("declare module 'ms' { export const mine: 1 }\nexport const a = 1;\n"), "5.9.3"
    )
    fourth = release_of(tmp_path / "d", Case("import { mine } from 'ms';\nexport const a = mine;\n"), "5.9.3")
    assert await codes(judges, first) == []
    assert await codes(judges, second) == ["TS2304"]
    await codes(judges, third)
    assert (await codes(judges, fourth)) != []


async def test_the_type_of_the_package_is_seen_when_only_it_changes(judges: Judges, tmp_path: Path) -> None:
    case = Case("export const u = import.meta;\n", options={"module": "node16"})
    esm = Case(case.files, options=case.options, package={"type": "module"})
    assert await codes(judges, release_of(tmp_path / "a", case, "5.9.3")) == ["TS1470"]
    assert await codes(judges, release_of(tmp_path / "b", esm, "5.9.3")) == []
    assert await codes(judges, release_of(tmp_path / "a", case, "5.9.3")) == ["TS1470"]


async def test_what_package_json_maps_is_seen_when_only_it_changes(judges: Judges, tmp_path: Path) -> None:
    files = {
        WORKFLOW: "import { a } from '#a';\nexport const b: number = a;\n",
        "src/one.ts": "export const a = 1;\n",
        "src/two.ts": "export const a = 'x';\n",
    }
    found = []
    for name in ("one", "two", "one"):
        package = {"imports": {"#a": f"./dist/{name}.js"}}
        case = Case(files, options={"module": "node16"}, package=package)
        found.append(await codes(judges, release_of(tmp_path / "r", case, "5.9.3")))
    assert found == [[], ["TS2322"], []]


async def test_options_that_decide_what_a_parsed_file_says_are_seen(judges: Judges, tmp_path: Path) -> None:
    text = "export function f(): number {\n  return 1;\n  f();\n}\n"
    strict = Case(text, options={"allowUnreachableCode": False})
    assert await codes(judges, release_of(tmp_path / "a", Case(text), "5.9.3")) == []
    assert await codes(judges, release_of(tmp_path / "b", strict, "5.9.3")) == ["TS7027"]
    assert await codes(judges, release_of(tmp_path / "c", Case(text), "5.9.3")) == []


async def test_a_package_that_is_installed_later_is_found(judges: Judges, tmp_path: Path) -> None:
    release = release_of(
        tmp_path / "r", Case("import { a } from 'late';\nexport const b: number = a;\n"), "5.9.3"
    )
    (release / "node_modules").unlink()
    modules = tmp_path / "dependencies" / "node_modules"
    modules.mkdir(parents=True)
    (release / "node_modules").symlink_to(modules)
    assert await codes(judges, release) == ["TS2307"]
    (modules / "late").mkdir()
    (modules / "late" / "index.d.ts").write_text("export declare const a: number;\n")
    assert await codes(judges, release) == []


@pytest.mark.parametrize(
    "text",
    [
        "import s from '../../secret.json';\nexport const p = s.password;\n",
        "import { o } from '../../outside';\nexport const p = o;\n",
        "/// <reference path='../../outside.ts' />\nexport {};\n",
        "import p from '../package.json';\nexport { p };\n",
        "import p from '../node_modules/typescript/package.json';\nexport { p };\n",
        "export type T = typeof import('%s/outside');\n",
    ],
)
async def test_a_file_outside_of_the_release_is_refused_and_nothing_is_written(
    judges: Judges, tmp_path: Path, text: str
) -> None:
    (tmp_path / "secret.json").write_text('{"password": "topsecret"}')
    (tmp_path / "outside.ts").write_text("export const o = 1;\n")
    release = release_of(tmp_path / "r", Case(text.replace("%s", str(tmp_path))), "5.9.3")
    checked = await check(judges, release)
    assert checked.problems != ()
    assert "topsecret" not in str(checked.problems)
    assert not (release / "dist").exists()


# --- faults ---

GOOD = Case("export const a = 1;\n")


async def fresh(cache: Path, timeout: float = 60.0, idle: float = 300.0) -> Judges:
    made = Judges(TOOLCHAIN, cache, "node", Limits(timeout=timeout))
    made.hosts.idle = idle
    return made


async def test_a_host_that_dies_is_started_again_for_the_same_release(tmp_path: Path) -> None:
    judges = await fresh(tmp_path / "cache")
    release = release_of(tmp_path / "r", GOOD, "5.9.3")
    await check(judges, release)
    (pid,) = judges.hosts.pids()
    os.kill(pid, signal.SIGKILL)
    assert (await check(judges, release)).problems == ()
    assert judges.hosts.pids() != (pid,)
    await judges.close()


async def test_a_release_that_always_takes_the_host_down_is_checked_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = await fresh(tmp_path / "cache")
    broken = tmp_path / "toolchain"
    (broken / "dist").mkdir(parents=True)
    (broken / "dist" / "tshost.js").write_text(
        "process.stdout.write('{}\\n'); process.stdin.on('data', () => process.exit(7));"
    )
    monkeypatch.setattr(judges.hosts, "toolchain", broken)
    bad = release_of(tmp_path / "bad", CASES["type error"], "5.9.3")
    checked = await check(judges, bad)
    assert checked.lane == "cold"
    assert [problem.code for problem in checked.problems] == ["TS2322"]
    await judges.close()


async def test_a_check_that_never_ends_times_out_and_the_next_one_works(tmp_path: Path) -> None:
    judges = await fresh(tmp_path / "cache", timeout=60.0)
    good = release_of(tmp_path / "good", GOOD, "5.9.3")
    await check(judges, good)
    (pid,) = judges.hosts.pids()
    judges.hosts.limits = Limits(timeout=0.3)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DeployError) as caught:
        await check(judges, good)
    assert caught.value.reason is Reason.COMPILE_TIMEOUT
    assert judges.hosts.pids() == ()
    judges.hosts.limits = Limits()
    assert (await check(judges, good)).problems == ()
    await judges.close()


async def test_a_release_that_needs_too_much_memory_fails_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timewright.edge.tsnode._HEAP", 40)
    judges = await fresh(tmp_path / "cache")
    with pytest.raises(DeployError) as caught:
        await check(
            judges, release_of(tmp_path / "r", Case({WORKFLOW: ORDER, "src/activities.ts": CHARGE}), "5.9.3")
        )
    assert caught.value.reason is Reason.TYPE_CHECK_FAILED
    assert "more than 40 MiB" in caught.value.message
    await judges.close()


async def test_a_cancelled_check_leaves_no_process(tmp_path: Path) -> None:
    judges = await fresh(tmp_path / "cache")
    release = release_of(tmp_path / "r", GOOD, "5.9.3")
    running = asyncio.create_task(check(judges, release))
    while not judges.hosts.pids():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await judges.close()
    assert judges.hosts.pids() == ()


#: Right by every version, whichever its options were made for.
ANY = Case("export const a = 1;\n", options={"module": "nodenext"})


def three_versions(home: Path) -> list[Path]:
    """As many packages as are one too many."""
    made = [package("5.9.3"), package("6.0.3"), home / "third"]
    made[2].mkdir()
    for name in ("lib", "package.json"):
        (made[2] / name).symlink_to(package("5.9.3") / name)
    return made


async def test_two_versions_are_kept_and_the_one_used_longest_ago_goes(tmp_path: Path) -> None:
    judges = await fresh(tmp_path / "cache")
    release = release_of(tmp_path / "r", ANY, "5.9.3")
    seen = []
    for place in three_versions(tmp_path):
        assert (await judges.compile(release, typescript=place)).problems == ()
        seen.append(judges.hosts.pids())
    assert [len(pids) for pids in seen] == [1, 2, 2]
    assert not set(seen[0]) & set(seen[2])
    await judges.close()


async def test_three_versions_at_once_wait_for_each_other(tmp_path: Path) -> None:
    judges = await fresh(tmp_path / "cache")
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(judges.hosts.pids()))
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    places = three_versions(tmp_path)
    releases = [release_of(tmp_path / str(n), ANY, "5.9.3") for n in range(6)]
    jobs = (judges.compile(release, typescript=places[n % 3]) for n, release in enumerate(releases))
    found = await asyncio.gather(*jobs)
    watching.cancel()
    assert all(item.problems == () for item in found)
    assert most == 2
    await judges.close()


async def test_a_host_that_nobody_uses_ends(tmp_path: Path) -> None:
    judges = await fresh(tmp_path / "cache", idle=0.05)
    await check(judges, release_of(tmp_path / "r", GOOD, "5.9.3"))
    for _ in range(200):
        if not judges.hosts.pids():
            break
        await asyncio.sleep(0.05)
    assert judges.hosts.pids() == ()
    await judges.close()


async def test_ten_releases_at_once_all_come_out_right(judges: Judges, tmp_path: Path) -> None:
    cases = [GOOD if n % 2 else CASES["type error"] for n in range(10)]
    releases = [release_of(tmp_path / str(n), case, "5.9.3") for n, case in enumerate(cases)]
    found = await asyncio.gather(*(check(judges, release) for release in releases))
    assert [bool(item.problems) for item in found] == [n % 2 == 0 for n in range(10)]
    assert len(judges.hosts.pids()) <= 2


async def test_a_directory_without_typescript_is_an_error(judges: Judges, tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        await judges.compile(release_of(tmp_path / "r", GOOD, "5.9.3"), typescript=tmp_path)
    assert caught.value.reason is Reason.COMPILER_UNAVAILABLE


async def test_plugins_and_extends_never_reach_the_compiler(judges: Judges, tmp_path: Path) -> None:
    case = Case("export const a = 1;\n", options={"plugins": [{"transform": "./src/evil.js"}]})
    release = release_of(tmp_path / "r", case, "5.9.3")
    assert "plugins" not in (release / "tsconfig.json").read_text()
    assert (await check(judges, release)).problems == ()
