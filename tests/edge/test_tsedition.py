"""What the compiler keeps open of a workflow changes no verdict and no output, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from timewright.core.company import mixes
from timewright.core.sources import Sources
from timewright.edge import tsedition
from timewright.edge.tschild import Child, Limits
from timewright.edge.tsedition import Editions
from timewright.edge.tsjob import Checked, Job
from timewright.edge.tsservice import TypeScriptService, tsc_binary
from timewright.edge.tstree import inputs

from tests.edge.test_tsservice import CHARGE, ESCAPES, ORDER, SECRET, WORKFLOW, emitted, snapshot
from tests.edge.toolbox import TOOLCHAIN, write_release
from tests.support import until

PART = "src/part.ts"


@dataclass(frozen=True)
class Text:
    """A release in words: its files, and what its tsconfig.json and package.json say. All code is compiled,
    as the daemon asks for it."""

    files: Mapping[str, str]
    options: Mapping[str, object] = field(default_factory=dict)
    package: Mapping[str, object] = field(default_factory=dict)
    javascript: bool = False

    def having(self, files: Mapping[str, str | None], **changes: Any) -> Text:
        """With these files; None is none."""
        merged = {**self.files, **files}
        return replace(
            self, files={name: text for name, text in merged.items() if text is not None}, **changes
        )

    def write(self, directory: Path, packages: Path) -> Path:
        code = (".ts", ".mts", ".cts", ".js")
        directory.mkdir(parents=True)
        (directory / "node_modules").symlink_to(packages)
        return write_release(
            directory,
            self.files,
            options=self.options,
            package=self.package,
            entries=sorted({WORKFLOW, *(name for name in self.files if name.endswith(code))}),
            javascript=self.javascript,
        )


FIRST = Text({WORKFLOW: ORDER, "src/activities.ts": CHARGE})


class Desk:
    """A service that gets one release after the other, and a compiler beside it that knows of none before:
    no anchor, no editions. `told`: what its child was asked to open or to change, in their order."""

    def __init__(self, service: TypeScriptService, judge: Child, home: Path) -> None:
        self.service, self.judge, self.home = service, judge, home
        self.packages = TOOLCHAIN / "node_modules"
        self.told: list[dict[str, Any]] = []
        self.before: Callable[[str], None] = lambda _: None  # called with each request's name
        self.company: Callable[[Mapping[str, str]], str] = lambda _: "all"  # harder than it will be
        self.watch()

    @property
    def child(self) -> Child:
        child = self.service._lanes[0].child
        assert child is not None
        return child

    @property
    def editions(self) -> Editions:
        editions = self.service._lanes[0].editions
        assert editions is not None
        return editions

    @property
    def open(self) -> list[str]:
        """The workflows that are open, the one compiled last at the end."""
        return [key[0].name for key in self.editions._open]

    @property
    def ways(self) -> list[str]:
        """How each release since the last look came to the child: `new` or `changes`; a release that is
        judged anew afterwards came from its own directory: `itself`."""
        said, self.told = self.told, []
        found = []
        for changes in said:
            if "fileNotifications" in changes:
                found.append("changes")
            else:
                (config,) = changes["openProjects"]
                found.append("new" if "editions-" in config else "itself")
        return found

    def places(self) -> list[Path]:
        """What lies on disk of editions, of whichever child."""
        return sorted(self.service._home.glob("editions-*/*"))

    def watch(self) -> None:
        """Look at what the child is told; after another one has started, at that."""
        child, ask = self.child, self.child.ask

        async def watched(method: str, params: Mapping[str, Any] | None = None) -> Any:
            if method == "updateSnapshot" and params is not None:
                self.told.append(params["changes"])
            self.before(method)
            return await ask(method, params)

        child.ask = watched  # type: ignore[method-assign]

    def write(self, text: Text, flow: str = "bench") -> Path:
        release = self.home / "releases" / flow / f".tmp-{uuid.uuid4().hex[:12]}"
        return text.write(release, self.packages)

    async def compile(self, release: Path) -> Checked:
        """By the service, with what the daemon says of the release's company."""
        files = {name: data.decode() for name, data in inputs(release).items()}
        return await self.service.compile(release, company=lambda: self.company(files))

    async def deploy(self, text: Text, flow: str = "bench") -> Checked:
        """The next release of a workflow; its directory goes afterwards, as a build's does."""
        release = self.write(text, flow)
        try:
            return await self.compile(release)
        finally:
            shutil.rmtree(release)

    async def same(self, text: Text, flow: str = "bench") -> Checked:
        """The next release of a workflow, said and emitted as by who sees it for the first time."""
        first, second = self.write(text, flow), self.write(text, flow)
        checked = await self.compile(first)
        fresh = await Job(second.resolve(), TOOLCHAIN, Limits()).warm(self.judge, "")
        assert checked.problems == fresh.problems
        assert emitted(first) == emitted(second)
        assert bool(emitted(first)) == (not checked.problems)
        assert str(self.service._home) not in str(checked.problems)
        assert self.child.is_tidy
        shutil.rmtree(first)
        shutil.rmtree(second)
        return checked

    async def good(self, text: Text, flow: str = "bench") -> list[str]:
        """The ways of a release that passes."""
        assert (await self.same(text, flow)).problems == ()
        return self.ways

    async def bad(self, text: Text, code: str) -> list[str]:
        """The ways of a release that is refused, with this error."""
        problems = (await self.same(text)).problems
        assert code in {problem.code or problem.message for problem in problems}
        return self.ways

    @property
    def left(self) -> list[str]:
        """What is open in the child or lies on disk, and nobody keeps; or the other way round."""
        kept = {one.snapshot: one.place for one in self.editions._open.values()}
        child = self.child
        snapshots = child.snapshots ^ {child.anchor, *kept}
        places = set(self.places()) ^ set(kept.values())
        return [*(f"snapshot {one}" for one in snapshots), *(f"place {one.name}" for one in places)]


@asynccontextmanager
async def desk_at(home: Path) -> AsyncIterator[Desk]:
    service = TypeScriptService(TOOLCHAIN, home / "cache", Limits(grace=60.0))
    await service.start()
    assert service.fallback == ""
    judge = await Child.start(tsc_binary(TOOLCHAIN), home, Limits())
    await judge.ask("initialize")
    try:
        yield Desk(service, judge, home)
    finally:
        await judge.close()
        await service.close()
    assert list((home / "cache").iterdir()) == []


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as made:
        yield made


def as_the_daemon_says(files: Mapping[str, str]) -> str:
    """The company of a release: '' for one that must be alone."""
    sources = Sources(files)
    return "some" if mixes(sources, sources.reachable(WORKFLOW, "src/activities.ts")) is not None else ""


CHANGES, ANEW = ["changes"], ["new"]
REFUSED = ["changes", "itself"]


# --- one workflow, saved again and again ---


async def test_a_workflow_that_is_saved_again_is_told_as_changes_of_files(desk: Desk) -> None:
    assert await desk.good(FIRST) == ANEW
    assert await desk.good(FIRST.having({WORKFLOW: ORDER.replace("sleep(10)", "sleep(20)")})) == CHANGES
    assert await desk.good(FIRST, "other") == ANEW
    await desk.deploy(FIRST.having({PART: "export const part = 1;\n"}))
    (told,) = desk.told
    said = {
        kind: sorted(Path(name).name for name in names) for kind, names in told["fileNotifications"].items()
    }
    assert said == {"changed": ["tsconfig.json", "workflow.ts"], "created": ["part.ts"], "deleted": []}
    assert desk.ways == CHANGES
    await desk.deploy(FIRST)
    (told,) = desk.told
    assert [Path(name).name for name in told["fileNotifications"]["deleted"]] == ["part.ts"]
    place = desk.editions._open[next(reversed(desk.editions._open))].place
    assert {str(Path(name).parent) for name in told["fileNotifications"]["deleted"]} == {f"{place}/src"}
    assert desk.open == ["other", "bench"]


async def test_a_workflow_that_is_saved_as_it_was_stays_open(desk: Desk) -> None:
    await desk.good(FIRST)
    assert await desk.good(FIRST) == CHANGES
    assert desk.open == ["bench"]
    readme = FIRST.having({"README.md": "Not of the program.\n"})
    assert await desk.good(readme) == CHANGES
    assert await desk.good(FIRST.having({WORKFLOW: f"{ORDER}// more\n"})) == CHANGES


async def test_an_error_is_said_as_ever_and_the_correction_passes(desk: Desk) -> None:
    wrong = FIRST.having({WORKFLOW: ORDER.replace("charge(name)", "charge(1)")})
    await desk.good(FIRST)
    assert await desk.bad(wrong, "TS2345") == REFUSED
    assert (desk.open, desk.places()) == ([], [])
    assert await desk.bad(wrong, "TS2345") == ["new", "itself"]
    assert await desk.good(FIRST) == ANEW
    broken = FIRST.having({WORKFLOW: ORDER.replace("{ charge }", "{ charge")})
    assert await desk.bad(broken, "TS1005") == REFUSED
    assert await desk.good(FIRST) == ANEW
    changed = FIRST.having({"src/activities.ts": CHARGE.replace("name: string", "name: number")})
    assert await desk.bad(changed, "TS2345") == REFUSED, "the error is in a file that didn't change"
    assert await desk.good(FIRST) == ANEW
    assert desk.left == []


async def test_files_come_and_go(desk: Desk) -> None:
    use = FIRST.having(
        {WORKFLOW: f"import {{ part }} from './part';\n{ORDER}export const p: number = part;\n"}
    )
    both = use.having({PART: "export const part = 1;\n"})
    await desk.good(FIRST)
    assert await desk.good(both) == CHANGES
    assert await desk.bad(use, "TS2307") == REFUSED
    assert await desk.good(both) == ANEW
    assert await desk.good(FIRST) == CHANGES
    assert await desk.good(both) == CHANGES
    assert await desk.bad(both.having({PART: "export const part = 'a';\n"}), "TS2322") == REFUSED
    assert desk.left == []


@pytest.mark.parametrize("name", ["src/a b/c%20d.ts", "src/ä/€😀.ts", "src/[id]/#a.ts", "src/it's/a?b&c.ts"])
async def test_a_file_may_have_any_name(desk: Desk, name: str) -> None:
    at = name.removeprefix("src/").removesuffix(".ts")
    use = FIRST.having(
        {WORKFLOW: f'import {{ part }} from "./{at}";\n{ORDER}export const p: number = part;\n'}
    )
    await desk.good(FIRST)
    assert await desk.good(use.having({name: "export const part = 1;\n"})) == CHANGES
    assert await desk.good(use.having({name: "export const part = 2;\n"})) == CHANGES
    assert await desk.bad(use.having({name: "export const part = 'a';\n"}), "TS2322") == REFUSED
    await desk.good(use.having({name: "export const part = 1;\n"}))
    assert await desk.bad(use, "TS2307") == REFUSED


async def test_other_compiler_options_count_at_once(desk: Desk) -> None:
    loose = FIRST.having(
        {PART: "export function f(x) { return x; }\n"}, options={"strict": False, "noImplicitAny": False}
    )
    await desk.good(loose)
    assert await desk.bad(replace(loose, options={"strict": True}), "TS7006") == REFUSED
    assert await desk.good(loose) == ANEW
    assert await desk.good(replace(loose, options={**loose.options, "target": "es2018"})) == CHANGES
    assert await desk.good(replace(loose, options={**loose.options, "removeComments": True})) == CHANGES
    assert await desk.good(loose) == CHANGES
    unused = {**loose.options, "noUnusedParameters": True}
    assert await desk.good(replace(loose, options=unused)) == CHANGES
    assert await desk.bad(replace(loose, options={**loose.options, "types": []}), "TS2591") == REFUSED


async def test_another_kind_of_package_counts_at_once(desk: Desk) -> None:
    files = {
        WORKFLOW: "import { part } from './part';\nexport const p = part;\n",
        PART: "export const part = 1;",
    }
    text = Text(files, {"module": "node16"})
    await desk.good(text)
    assert await desk.bad(replace(text, package={"type": "module"}), "TS2835") == REFUSED
    suffix = text.having({WORKFLOW: files[WORKFLOW].replace("./part", "./part.js")})
    assert await desk.good(suffix) == ANEW
    assert await desk.good(replace(suffix, package={"type": "module"})) == CHANGES
    inner = suffix.having(
        {WORKFLOW: files[WORKFLOW].replace("./part", "#part")},
        package={"imports": {"#part": "./src/part.js"}},
    )
    assert await desk.good(inner) == CHANGES
    assert await desk.bad(replace(inner, package={}), "TS2307") == REFUSED


@pytest.mark.parametrize("home", [PART, "src/globals.d.ts"])
async def test_a_global_that_is_gone_can_not_be_used_any_more(desk: Desk, home: str) -> None:
    declared = "declare global { var counted: number }\nexport {};\n"
    use = FIRST.having({WORKFLOW: f"{ORDER}export const c: number = globalThis.counted;\n"})
    await desk.good(FIRST)
    assert await desk.good(FIRST.having({home: declared})) == CHANGES
    assert await desk.good(use.having({home: declared})) == CHANGES
    assert await desk.bad(use.having({home: "export {};\n"}), "TS7017") == REFUSED
    assert await desk.good(use.having({home: declared})) == ANEW
    assert await desk.bad(use.having({home: declared.replace("number", "string")}), "TS2322") == REFUSED
    assert await desk.good(use.having({home: declared})) == ANEW
    assert await desk.bad(use, "TS7017") == REFUSED
    assert await desk.good(FIRST) == ANEW


async def test_what_was_added_to_the_types_of_a_package_is_gone_with_its_file(desk: Desk) -> None:
    added = "declare module '@temporalio/workflow' { export const added: number }\nexport {};\n"
    use = FIRST.having(
        {WORKFLOW: ORDER.replace("sleep }", "sleep, added }") + "export const a: number = added;\n"}
    )
    await desk.good(use.having({PART: added}))
    assert await desk.bad(use, "TS2305") == REFUSED
    await desk.good(use.having({PART: added}))
    assert await desk.good(FIRST, "other") == ANEW
    assert await desk.good(FIRST) == CHANGES
    assert await desk.bad(use, "TS2305") == REFUSED


async def test_a_package_that_is_not_there_is_refused(desk: Desk) -> None:
    await desk.good(FIRST)
    absent = FIRST.having({WORKFLOW: f"import {{ v4 }} from 'uuid-nope';\n{ORDER}export const v = v4();\n"})
    assert await desk.bad(absent, "TS2307") == REFUSED
    assert await desk.good(FIRST) == ANEW


SHADOWS: dict[str, tuple[str, str, str]] = {
    "a file before a folder": ("./part", "src/part/index.ts", "src/part.ts"),
    "typescript before declarations": ("./part", "src/part.d.ts", "src/part.ts"),
    "a folder's package.json": ("./part", "src/part/index.ts", "src/part/package.json"),
    "a package of its own": ("mine", "", "src/node_modules/mine/index.d.ts"),
}


@pytest.mark.parametrize("name", SHADOWS)
async def test_a_file_that_takes_the_place_of_another_is_found(desk: Desk, name: str) -> None:
    """Where an import leads may change though no file that the program has does."""
    where, old, new = SHADOWS[name]
    use = FIRST.having({WORKFLOW: f"import {{ part }} from '{where}';\nexport const p: number = part;\n"})
    if old:
        use = use.having({old: "export declare const part: number;\n"})
    shadow = {new: "export declare const part: string;\n"}
    if new.endswith(".json"):
        shadow = {new: '{"types": "./other.d.ts"}', "src/part/other.d.ts": shadow[new]}
    if old:
        await desk.good(use)
        assert await desk.bad(use.having(shadow), "TS2322") == REFUSED
    right = use.having({name: text.replace("string", "number") for name, text in shadow.items()})
    await desk.good(right)
    if old:
        assert await desk.good(use) == CHANGES
    else:
        assert await desk.bad(use, "TS2307") == REFUSED


async def test_what_nobody_minded_to_be_missing_counts_when_it_comes(desk: Desk) -> None:
    use = FIRST.having(
        {WORKFLOW: "// @ts-ignore\nimport { part } from './part';\nexport const p: number = part;\n"}
    )
    await desk.good(use)
    assert await desk.good(use.having({PART: "export const part = 1;\n"})) == CHANGES
    assert await desk.good(use) == CHANGES
    assert await desk.bad(use.having({PART: "export const part = 'a';\n"}), "TS2322") == REFUSED


async def test_data_and_plain_javascript_are_read_again(desk: Desk) -> None:
    text = Text(
        {
            WORKFLOW: "import d from './d.json';\nimport { j } from './j';\nexport const n = d.n * j;\n",
            "src/d.json": '{"n": 1}',
            "src/j.js": "export const j = 1;\n",
        },
        javascript=True,
    )
    await desk.good(text)
    assert await desk.good(text.having({"src/d.json": '{"n": 2}'})) == CHANGES
    assert await desk.good(text.having({"src/j.js": "export const j = 2;\n"})) == CHANGES
    assert await desk.bad(text.having({"src/d.json": '{"n": "a"}'}), "TS2362") == REFUSED
    await desk.good(text)
    assert await desk.bad(text.having({"src/j.js": "export const j = 'a';\n"}), "TS2363") == REFUSED


async def test_a_file_that_no_setting_names_comes_and_goes(desk: Desk) -> None:
    """All code is named in tsconfig.json, and so is a change of it; data isn't."""
    use = FIRST.having(
        {WORKFLOW: "// @ts-ignore\nimport d from './d.json';\nexport const n: number = d.n;\n"}
    )
    right, wrong = use.having({"src/d.json": '{"n": 1}'}), use.having({"src/d.json": '{"n": "a"}'})
    await desk.good(use)
    assert await desk.good(right) == CHANGES
    assert await desk.bad(wrong, "TS2322") == REFUSED
    await desk.good(use)
    assert await desk.bad(wrong, "TS2322") == REFUSED
    must = right.having({WORKFLOW: use.files[WORKFLOW].replace("// @ts-ignore\n", "")})
    await desk.good(must)
    assert await desk.bad(must.having({"src/d.json": None}), "TS2307") == REFUSED
    led = FIRST.having(
        {
            WORKFLOW: "import { part } from './part';\nexport const p: number = part;\n",
            "src/part/index.ts": "export const part = 1;\n",
            "src/part/other.d.ts": "export declare const part: string;\n",
        }
    )
    await desk.good(led)
    assert (
        await desk.bad(led.having({"src/part/package.json": '{"types": "./other.d.ts"}'}), "TS2322")
        == REFUSED
    )


async def test_a_folder_where_a_file_was_and_the_other_way_round(desk: Desk) -> None:
    use = FIRST.having({WORKFLOW: f"import {{ part }} from './part.ts/a';\n{ORDER}export const p = part;\n"})
    await desk.good(FIRST.having({PART: "export const part = 1;\n"}))
    assert await desk.good(use.having({f"{PART}/a.ts": "export const part = 1;\n"})) == CHANGES
    await desk.good(FIRST.having({PART: "export const part = 1;\n"}))
    await desk.good(FIRST)
    assert desk.left == []


# --- the same at random ---


@dataclass(frozen=True)
class Draft:
    """What a person has on the desk: a workflow whose parts fit together, or not."""

    body: int = 0
    there: frozenset[int] = frozenset()  # parts that are files
    used: frozenset[int] = frozenset()
    strings: frozenset[int] = frozenset()  # parts that hold text, where a number is wanted
    strict: bool = True
    implicit: bool = False
    declared: bool = False
    counted: bool = False
    ambient: bool = False
    folder: bool = True
    file: bool = False
    absent: bool = False
    syntax: bool = False
    data: str = "1"
    kind: str = ""

    def text(self) -> Text:
        lines = [f"// {self.body}", ORDER, f"export const body = {self.body};"]
        lines += [f"import {{ part{n} }} from './parts/p{n}';" for n in sorted(self.used)]
        lines += [f"export const u{n}: number = part{n};" for n in sorted(self.used)]
        lines += ["import d from './d.json';", "export const n: number = d.n;"]
        lines += ["import { shadow } from './shadow';", "export const s: number = shadow;"]
        lines += ["export function f(x) { return x; }"] * self.implicit
        lines += ["export const c: number = globalThis.counted;"] * self.counted
        lines += ["export const m: Mine = 1;"] * self.ambient
        lines += ["import { v4 } from 'uuid-nope';", "export const v = v4();"] * self.absent
        lines += ["export const = 1;"] * self.syntax
        files = {
            WORKFLOW: "\n".join(lines),
            "src/activities.ts": CHARGE,
            "src/d.json": f'{{"n": {self.data}}}',
        }
        for number in self.there:
            value = "'a'" if number in self.strings else number
            files[f"src/parts/p{number}.ts"] = f"export const part{number} = {value};\n"
        if self.declared:
            files["src/globals.ts"] = "declare global { var counted: number }\nexport {};\n"
        if self.ambient and self.body % 2 == 0:
            files["src/mine.d.ts"] = "type Mine = number;\n"
        if self.folder:
            files["src/shadow/index.ts"] = "export const shadow = 1;\n"
        if self.file:
            files["src/shadow.ts"] = f"export const shadow = {'1' if self.body % 2 else repr('a')};\n"
        options = {"strict": self.strict, "noImplicitAny": self.strict}
        return Text(files, options, {"type": self.kind} if self.kind else {})


def edited(draft: Draft, chance: random.Random) -> tuple[str, Draft]:
    """One thing that a person may do next."""
    part, data = chance.randrange(4), chance.choice(["1", "2", "2", '"a"'])
    return chance.choice(
        [
            ("body", replace(draft, body=draft.body + 1)),
            ("body", replace(draft, body=draft.body + 2)),
            ("part and use", replace(draft, there=draft.there | {part}, used=draft.used | {part})),
            ("no part, no use", replace(draft, there=draft.there - {part}, used=draft.used - {part})),
            ("part", replace(draft, there=draft.there ^ {part})),
            ("use", replace(draft, used=draft.used ^ {part})),
            ("type of a part", replace(draft, strings=draft.strings ^ {part})),
            ("strict", replace(draft, strict=not draft.strict)),
            ("implicit", replace(draft, implicit=not draft.implicit)),
            ("declared", replace(draft, declared=not draft.declared)),
            ("counted", replace(draft, counted=not draft.counted)),
            ("global and use", replace(draft, counted=True, declared=True)),
            ("ambient", replace(draft, ambient=not draft.ambient)),
            ("folder", replace(draft, folder=not draft.folder)),
            ("file", replace(draft, file=not draft.file)),
            ("absent", replace(draft, absent=not draft.absent)),
            ("syntax", replace(draft, syntax=not draft.syntax)),
            ("data", replace(draft, data=data)),
            ("kind", replace(draft, kind="" if draft.kind else "module")),
        ]
    )


async def test_whatever_is_saved_one_after_the_other_is_judged_as_if_it_were_the_first(desk: Desk) -> None:
    """SEED=7 STEPS=500 pytest tests/edge/test_tsedition.py      what SEED did, for longer"""
    today = str(datetime.now(UTC).toordinal())  # other steps each day; what failed is printed
    seed, steps = int(os.environ.get("SEED", today)), int(os.environ.get("STEPS", "25"))
    chance, draft, last, story = random.Random(seed), Draft(), Draft(), ["first"]
    ways = await desk.good(draft.text())
    ways += await desk.good(replace(draft, body=1).text())
    try:
        for _ in range(steps):
            name, draft = edited(draft, chance)
            story.append(name)
            problems = (await desk.same(draft.text())).problems
            story[-1] += f" ({problems[0].code})" if problems else ""
            assert desk.left == []
            if not problems:
                last = draft
            elif chance.random() < 0.8:  # mostly what was wrong is put right at once
                draft = last
    finally:
        print(f"SEED={seed} STEPS={steps}; {', '.join(story)}")
    ways += desk.ways
    assert ways.count("changes") > 1


# --- packages ---


def packages(home: Path, kind: str) -> None:
    """A folder of packages: ours, and one that says what it is."""
    (home / "@temporalio").mkdir(parents=True)
    (home / "@types").mkdir()
    shared = TOOLCHAIN / "node_modules"
    for name in ("@temporalio/workflow", "@temporalio/common", "@types/node"):
        (home / name).symlink_to(shared / name)
    (home / "said").mkdir()
    (home / "said" / "package.json").write_text('{"name": "said", "version": "1.0.0", "types": "index.d.ts"}')
    (home / "said" / "index.d.ts").write_text(f"export declare const said: {kind};\n")


async def test_other_packages_of_the_same_name_are_noticed(desk: Desk) -> None:
    desk.packages = desk.home / "dependencies" / "node_modules"
    packages(desk.packages, "number")
    use = FIRST.having({WORKFLOW: f"import {{ said }} from 'said';\n{ORDER}export const s: number = said;\n"})
    await desk.good(use)
    assert await desk.good(use.having({PART: "export {};\n"})) == CHANGES
    desk.packages.rename(desk.home / "old")
    packages(desk.packages, "string")
    await desk.bad(use, "TS2322")
    desk.packages.rename(desk.home / "older")
    packages(desk.packages, "number")
    assert await desk.good(use) == ANEW
    assert await desk.good(use.having({PART: "export {};\n"})) == CHANGES
    desk.packages.rename(desk.home / "oldest")
    packages(desk.packages, "number")
    assert await desk.good(use) == ANEW, "the same types, but who knows"
    assert desk.left == []


async def test_a_release_with_other_packages_is_no_edition_of_the_one_before(desk: Desk) -> None:
    one, two = (desk.home / name / "node_modules" for name in ("one", "two"))
    packages(one, "number")
    packages(two, "string")
    use = FIRST.having({WORKFLOW: f"import {{ said }} from 'said';\n{ORDER}export const s: number = said;\n"})
    desk.packages = one
    await desk.good(use)
    desk.packages = two
    assert await desk.bad(use, "TS2322") == ["new", "itself"]
    desk.packages = one
    assert await desk.good(use.having({PART: "export {};\n"})) == CHANGES
    assert desk.left == []


async def test_packages_that_are_gone_are_no_reason_to_fail_otherwise_than_ever(desk: Desk) -> None:
    desk.packages = desk.home / "dependencies" / "node_modules"
    packages(desk.packages, "number")
    text = Text({WORKFLOW: "export const a = 1;\n"})
    await desk.good(text)
    desk.packages.rename(desk.home / "old")
    assert (await desk.same(text)).problems != ()
    (desk.home / "old").rename(desk.packages)
    assert (await desk.same(text)).problems == ()
    assert desk.left == []


# --- how much is open ---


async def test_only_the_last_workflows_stay_open(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsedition, "_KEPT", 3)
    for number in range(5):
        await desk.deploy(FIRST, f"flow-{number}")
        assert desk.left == []
        assert desk.child.is_tidy
    assert desk.open == ["flow-2", "flow-3", "flow-4"]
    assert len(desk.places()) == 3
    assert desk.ways == ["new"] * 5
    await desk.deploy(FIRST.having({PART: "export {};\n"}), "flow-2")
    await desk.deploy(FIRST, "flow-5")
    assert desk.open == ["flow-4", "flow-2", "flow-5"], "the one that was compiled long ago goes first"
    assert desk.ways == ["changes", "new"]
    assert await desk.good(FIRST, "flow-3") == ANEW
    assert desk.left == []


async def test_a_refused_release_leaves_nothing_open(desk: Desk) -> None:
    wrong = FIRST.having({WORKFLOW: "export const x: number = 'a';\n"})
    for _ in range(2):
        assert (await desk.deploy(wrong)).problems != ()
        assert (desk.open, desk.places()) == ([], [])
        assert desk.child.is_tidy
        assert desk.child.snapshots == {desk.child.anchor}
        assert (await desk.deploy(FIRST)).problems == ()
        assert desk.open == ["bench"]
        assert desk.left == []


async def test_where_several_wait_nothing_new_is_kept_open(desk: Desk) -> None:
    desk.company = lambda _: uuid.uuid4().hex  # each another: they can't go together
    await desk.deploy(FIRST, "known")
    desk.ways.clear()
    gate, ask = asyncio.Event(), desk.child.ask

    async def held(method: str, params: Mapping[str, Any] | None = None) -> Any:
        await gate.wait()
        return await ask(method, params)

    desk.child.ask = held  # type: ignore[method-assign]
    flows, text = ["one", "two", "known", "three", "four"], FIRST.having({PART: "export {};\n"})
    jobs = []
    for flow in flows:
        jobs.append(asyncio.create_task(desk.deploy(text, flow)))
        await asyncio.sleep(0.02)
    gate.set()
    assert [(await job).problems for job in jobs] == [()] * len(flows)
    # The first came alone, and the last is alone when its turn comes.
    assert desk.ways == ["new", "itself", "changes", "itself", "new"]
    assert desk.open == ["one", "known", "four"]
    assert desk.left == []


# --- faults ---


STAGES = ("updateSnapshot", "getSourceFileNames", "getSemanticDiagnostics", "emitToString")


async def given_up(desk: Desk, text: Text, stage: str) -> None:
    """A release of which nobody wants to know any more when the child is asked for `stage`."""
    begun = asyncio.Event()
    desk.before = lambda method: begun.set() if method == stage else None
    release = desk.write(text)
    job = asyncio.create_task(desk.compile(release))
    await begun.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await until(lambda: desk.service._lanes[0].since is None)
    desk.before = lambda _: None
    desk.told.clear()
    assert emitted(release) == {}
    assert desk.child.is_tidy


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("first", [True, False])
async def test_a_job_that_is_given_up_leaves_the_service_able_to_go_on(
    desk: Desk, stage: str, first: bool
) -> None:
    pids = desk.service.pids()
    if not first:
        await desk.good(FIRST)
    await given_up(desk, FIRST.having({WORKFLOW: ORDER.replace("sleep(10)", "sleep(20)")}), stage)
    await desk.good(FIRST.having({WORKFLOW: ORDER.replace("sleep(10)", "sleep(30)")}))
    assert await desk.good(FIRST) == CHANGES
    assert desk.open == ["bench"]
    assert desk.service.pids() == pids


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("first", [True, False])
async def test_a_job_that_is_given_up_leaves_nothing_behind(desk: Desk, stage: str, first: bool) -> None:
    if not first:
        await desk.good(FIRST)
    await given_up(desk, FIRST.having({WORKFLOW: ORDER.replace("sleep(10)", "sleep(20)")}), stage)
    await desk.good(FIRST)
    assert desk.left == []


async def test_a_child_that_was_killed_takes_its_editions_along(desk: Desk) -> None:
    await desk.good(FIRST)
    old, places = desk.child, desk.places()
    os.kill(old.process.pid, signal.SIGKILL)
    await until(lambda: old.process.returncode is not None)
    changed = FIRST.having({WORKFLOW: ORDER.replace("sleep(10)", "sleep(20)")})
    assert (await desk.deploy(changed)).problems == ()
    assert desk.child is not old
    assert not any(place.exists() for place in places)
    assert desk.left == []
    desk.watch()
    desk.ways.clear()
    assert await desk.good(FIRST) == CHANGES
    assert desk.service.crashes == 0, "it was dead before, and that was seen"


@pytest.mark.parametrize("stage", ["updateSnapshot", "emitToString"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_child_killed_in_the_middle_of_an_edition_costs_one_retry(
    desk: Desk, stage: str, first: bool
) -> None:
    if not first:
        await desk.good(FIRST)
    old, places = desk.child, []

    def kill(method: str) -> None:
        if method == stage:
            places.extend(desk.places())
            os.kill(old.process.pid, signal.SIGKILL)

    desk.before = kill
    changed = FIRST.having({WORKFLOW: ORDER.replace("sleep(10)", "sleep(20)")})
    release = desk.write(changed)
    checked = await desk.compile(release)
    assert checked.problems == ()
    assert "workflow.js" in emitted(release)
    assert desk.service.crashes == 1
    assert desk.child is not old
    assert places
    assert not any(place.exists() for place in places)
    assert desk.left == []
    desk.before = lambda _: None
    desk.watch()
    desk.ways.clear()
    assert await desk.good(FIRST) == CHANGES


# --- what a release may not read or write ---

#: Where a compiler doesn't mind that it isn't there, only the list of files tells of it.
UNMINDED = {
    "no word of it": "// @ts-ignore\nimport { o } from '../../outside';\nexport const p = o;\n",
    "another release, no word": "// @ts-ignore\nexport { o } from '../../other/src/workflow';\n",
    "expected": "// @ts-expect-error\nimport s from '../../secret.json';\nexport { s };\n",
    "nothing checked": "// @ts-nocheck\nimport { o } from '../../outside';\nexport const p = o;\n",
    "no word of its types": "// @ts-ignore\nexport type T = import('../../types').T;\n",
    "the release, by its folder": "// @ts-ignore\nimport s from '../../%n/package.json';\nexport { s };\n",
}


@pytest.mark.parametrize("name", [*ESCAPES, *UNMINDED])
async def test_a_file_outside_of_the_release_is_refused_by_what_is_open_too(desk: Desk, name: str) -> None:
    desk.company = as_the_daemon_says
    flow = desk.home / "releases" / "bench"
    flow.mkdir(parents=True)
    (flow / "secret.json").write_text(SECRET)
    (flow / "outside.ts").write_text("export const o = 1;\n")
    (flow / "types.d.ts").write_text("export type T = number;\n")
    write_release(flow / "other", {WORKFLOW: "export const o = 1;\n"})
    good = FIRST.having({"extra.ts": "export const x = 1;\n"})
    release = flow / ".tmp-0123456789ab"
    text = {**ESCAPES, **UNMINDED}[name].replace("%s", str(flow)).replace("%n", release.name)
    use = good.having({WORKFLOW: text})
    write_release(flow / ".tmp-first", FIRST.files)
    assert (await desk.compile(flow / ".tmp-first")).problems == ()
    assert desk.open == ["bench"]
    write_release(release, use.files)
    before = snapshot(flow)
    checked = await desk.compile(release)
    assert snapshot(flow) == before
    fresh = await Job(release.resolve(), TOOLCHAIN, Limits()).warm(desk.judge, "")
    assert checked.problems == fresh.problems
    assert checked.problems != ()
    assert desk.left == []


async def test_an_import_that_only_runs_may_not_lead_outside_either(desk: Desk) -> None:
    desk.company = as_the_daemon_says
    flow = desk.home / "releases" / "bench"
    write_release(flow / "other", {WORKFLOW: "export const o = 1;\n"})
    options = {"noUncheckedSideEffectImports": False}
    use = Text({WORKFLOW: "import '../../other/src/workflow';\nexport {};\n"}, options)
    await desk.good(Text({WORKFLOW: "export {};\n"}, options))
    assert (await desk.same(use)).problems != ()


async def test_plain_javascript_may_not_lead_outside_either(desk: Desk) -> None:
    desk.company = as_the_daemon_says
    flow = desk.home / "releases" / "bench"
    write_release(flow / "other", {WORKFLOW: "export const o = 1;\n"})
    inside = Text({WORKFLOW: "export * from './j';\n", "src/j.js": "export const j = 1;\n"}, javascript=True)
    await desk.good(inside)
    use = inside.having({"src/j.js": "import { o } from '../../other/src/workflow';\nexport const j = o;\n"})
    assert (await desk.same(use)).problems != ()


async def test_an_edition_of_another_workflow_is_no_file_of_a_release(desk: Desk) -> None:
    """They lie side by side, by their numbers."""
    await desk.good(FIRST, "other")
    await desk.good(FIRST)
    place = desk.editions._open[next(iter(desk.editions._open))].place
    use = FIRST.having(
        {WORKFLOW: f"import {{ order }} from '../../{place.name}/src/workflow';\nexport {{ order }};\n"}
    )
    assert await desk.bad(use, "TS2307") == REFUSED
    whole = FIRST.having(
        {WORKFLOW: f"import {{ order }} from '{place}/src/workflow';\nexport {{ order }};\n"}
    )
    release = desk.write(whole)
    assert (await desk.compile(release)).problems != ()
    assert emitted(release) == {}


async def test_what_would_be_written_outside_is_refused_by_what_is_open_too(desk: Desk) -> None:
    """A file of the release above its root would be emitted above dist."""
    text = FIRST.having({"extra.ts": "export const x = 1;\n"})
    await desk.good(FIRST)
    release = desk.write(FIRST.having({WORKFLOW: "import { x } from '../extra';\nexport { x };\n"}))
    (release / "extra.ts").write_text(text.files["extra.ts"])
    before = snapshot(desk.home / "releases")
    checked = await desk.compile(release)
    assert checked.problems != ()
    fresh = await Job(release.resolve(), TOOLCHAIN, Limits()).warm(desk.judge, "")
    assert checked.problems == fresh.problems
    assert snapshot(desk.home / "releases") == before
    assert desk.left == []
