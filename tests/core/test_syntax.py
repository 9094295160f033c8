from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.sources import Sources
from timewright.core.syntax import read_module
from timewright.core.workercode import read_worker


def functions(text: str, **files: str) -> tuple[str, ...]:
    """The functions that a file exports; `files`: others beside it."""
    tree = {"src/a.ts": text, **{f"src/{name}.ts": body for name, body in files.items()}}
    return Sources(tree).exports("src/a.ts")[0]


@pytest.mark.parametrize(
    "text",
    [
        "export async function run() {}",
        "export function run(): Promise<void> { return later(); }",
        "export const run = async () => {};",
        "export const run = async function () {};",
        "export const run = (): Promise<void> => later();",
        "async function run() {}\nexport { run };",
        "async function inner() {}\nexport { inner as run };",
        "const run = async () => {};\nexport { run };",
    ],
)
def test_an_exported_async_function_is_found_however_it_is_written(text: str) -> None:
    assert functions(text) == ("run",)


@pytest.mark.parametrize(
    "text",
    [
        "async function run() {}",
        "// export async function run() {}",
        "/* export async function run() {} */",
        "const s = `export async function run() {}`;",
        "export function run() {}",
        "export const run = 1;",
        "export class run {}",
        "export type run = () => Promise<void>;",
        "export interface run {}",
        "export type { run } from './b';",
        "export { type run } from './b';",
        "export default async function run() {}",
        "export async function* run() {}",
        "export declare const x: 'export async function run() {}';",
    ],
)
def test_what_only_looks_like_an_exported_workflow_is_none(text: str) -> None:
    assert functions(text, b="export type run = 1;") == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("export * from './b';", ("one", "two")),
        ("export { one } from './b';", ("one",)),
        ("export { one as two, two as one } from './b';", ("one", "two")),
        ("import { one as x } from './b'; export { x as y };", ("y",)),
        ("export * as ns from './b';", ()),
        ("export * from './b.js';", ("one", "two")),
        ("export * from 'b';", ()),
        ("export * from './c';", ("one", "two")),
        ("export { two } from './c';", ("two",)),
    ],
)
def test_re_exports_are_followed_within_the_spec(text: str, names: tuple[str, ...]) -> None:
    b = "export async function one() {}\nexport const two = async () => {};\nexport const three = 3;"
    assert functions(text, b=b, c="export * from './b';\nexport * from './a';") == names


def test_values_are_told_from_functions() -> None:
    text = "export const a = 1;\nexport class B {}\nexport enum C {}\nexport async function d() {}"
    assert Sources({"src/a.ts": text}).exports("src/a.ts") == (("d",), ("B", "C", "a"))


def test_imports_come_with_line_names_and_kind() -> None:
    text = "import a, { b as c, type D } from 'x';\nimport * as n from 'y';\n"
    text += "import type E from 'z';\nimport 'w';"
    assert [(i.specifier, i.line, dict(i.names), i.type_only) for i in read_module("a.ts", text).imports] == [
        ("x", 1, {"a": "default", "c": "b"}, False),
        ("y", 2, {"n": "*"}, False),
        ("z", 3, {"E": "default"}, True),
        ("w", 4, {}, False),
    ]


@pytest.mark.parametrize(
    ("specifier", "found"),
    [
        ("./b", "src/b.ts"),
        ("./b.js", "src/b.ts"),
        ("./dir", "src/dir/index.ts"),
        ("../src/b", "src/b.ts"),
        ("./c.mjs", "src/c.mts"),
        ("./data.json", "src/data.json"),
        ("./none", None),
        ("b", None),
        ("../../../etc/passwd", None),
    ],
)
def test_a_relative_specifier_means_a_file_of_the_spec_or_nothing(specifier: str, found: str | None) -> None:
    files = dict.fromkeys(["src/a.ts", "src/b.ts", "src/dir/index.ts", "src/c.mts", "src/data.json"], "")
    assert Sources(files).resolve("src/a.ts", specifier) == found


def test_files_that_import_each_other_are_reached_once() -> None:
    files = {
        "src/a.ts": "import './b'",
        "src/b.ts": "import './a'; import './c'",
        "src/c.ts": "",
        "src/d.ts": "",
    }
    assert set(Sources(files).reachable("src/a.ts")) == {"src/a.ts", "src/b.ts", "src/c.ts"}


# Task queue ------------------------------------------------------------------------------------


def queue(text: str, files: Mapping[str, str] | None = None) -> str | None:
    return read_worker(Sources({"src/worker.ts": text, **(files or {})}), "src/worker.ts").queue


@pytest.mark.parametrize(
    "text",
    [
        "w({ taskQueue: 'orders' })",
        'w({ taskQueue: "orders" })',
        "w({ 'taskQueue': `orders` })",
        "w({ taskQueue: process.env.Q || 'orders' })",
        "w({ taskQueue: process.env.Q ?? 'orders' })",
        "w({ taskQueue: (process.env.Q ?? 'orders') as string })",
        "const Q = 'orders'; w({ taskQueue: Q })",
        "const taskQueue = 'orders'; w({ taskQueue })",
        "import { Q } from './shared'; w({ taskQueue: Q })",
        "import { R as Q } from './shared'; w({ taskQueue: Q })",
        "// taskQueue: 'other'\nw({ taskQueue: 'orders' })",
    ],
)
def test_a_worker_names_its_queue_by_a_string_wherever_that_stands(text: str) -> None:
    assert queue(text, {"src/shared.ts": "export const Q = 'orders'; export const R = Q;"}) == "orders"


@pytest.mark.parametrize(
    "text",
    [
        "w({})",
        "w({ taskQueue: process.env.Q })",
        "w({ taskQueue: `${p}-orders` })",
        "w({ taskQueue: prefix + '-orders' })",
        "w({ taskQueue: name() })",
        "w({ taskQueue: Q })",
        "const Q = Q; w({ taskQueue: Q })",
        "import { Q } from './b'; w({ taskQueue: Q })",
        "import { Q } from 'elsewhere'; w({ taskQueue: Q })",
    ],
)
def test_a_queue_that_is_not_plain_to_see_is_not_guessed(text: str) -> None:
    assert queue(text, {"src/b.ts": "import { Q } from './worker'; export { Q };"}) is None


# Anything --------------------------------------------------------------------------------------

words = st.sampled_from(
    [
        *(
            "export ",
            "async ",
            "function ",
            "const ",
            "import ",
            "from ",
            "'./b'",
            "'./a'",
            "{",
            "}",
            "(",
            ")",
            "*",
        ),
        *(
            " as ",
            "a",
            "b",
            "default ",
            "type ",
            "=",
            "=>",
            ";",
            "\n",
            "taskQueue",
            ":",
            "`",
            "${",
            "//",
            "/*",
            "<",
        ),
        *("class ", "enum ", "return ", ",", "||", "\ud800".encode("utf-8", "replace").decode(), "é", "\0"),
    ]
)
code = st.lists(words, max_size=25).map("".join)


@given(code, code)
def test_no_code_makes_the_reader_raise(one: str, two: str) -> None:
    files = {"src/a.ts": one, "src/b.ts": two}
    sources = Sources(files)
    sources.exports("src/a.ts")
    read_worker(sources, "src/a.ts")
    assert "src/a.ts" in sources.reachable("src/a.ts")
