"""Emitted JavaScript says what Node needs where the source said an alias."""

from __future__ import annotations

import pytest
from timewright.core.aliases import Aliases
from timewright.core.specifiers import Output, rewrite

FILES = frozenset(
    {
        "dist/worker.js",
        "dist/lib/x.js",
        "dist/lib/deep/index.js",
        "dist/lib/m.mjs",
        "dist/data.json",
        "dist/events.js",
        "dist/o'hara.js",
    }
)
ALIASES = Aliases.of({"paths": {"@/*": ["./*"], "gone": ["../other/x.ts"]}, "baseUrl": "./src"})
OUTPUT = Output(FILES, ALIASES)


def written(text: str, importer: str = "dist/worker.js", output: Output = OUTPUT) -> str:
    return rewrite(text, importer, output)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('const x = require("@/lib/x");', 'const x = require("./lib/x.js");'),
        ("const x = require('@/lib/x');", "const x = require('./lib/x.js');"),
        ('const p = require.resolve("@/lib/deep");', 'const p = require.resolve("./lib/deep/index.js");'),
        ('import { x } from "@/lib/x";', 'import { x } from "./lib/x.js";'),
        ('import "@/lib/x.ts";', 'import "./lib/x.js";'),
        ('import "@/lib/x.js";', 'import "./lib/x.js";'),
        ('import m from "@/lib/m.mts";', 'import m from "./lib/m.mjs";'),
        ('export * from "@/lib/x";', 'export * from "./lib/x.js";'),
        ('export { x } from "@/lib/x";', 'export { x } from "./lib/x.js";'),
        ('const x = await import("@/lib/x");', 'const x = await import("./lib/x.js");'),
        (
            'const d = __importDefault(require("@/data"));',
            'const d = __importDefault(require("./data.json"));',
        ),
        ('require("lib/x")', 'require("./lib/x.js")'),
        (
            '// é 世界 😀\nrequire("@/lib/x"); // "@/lib/x"',
            '// é 世界 😀\nrequire("./lib/x.js"); // "@/lib/x"',
        ),
        ("require('@/o\\'hara')", "require('@/o\\'hara')"),
    ],
)
def test_an_alias_of_a_file_in_dist_becomes_its_relative_name(before: str, after: str) -> None:
    assert written(before) == after


@pytest.mark.parametrize(
    "text",
    [
        'const a = "@/lib/x";',
        '// require("@/lib/x")',
        "const t = `require('@/lib/x')`;",
        'other("@/lib/x");',
        'require("@/not/there");',
        'require("gone");',
        'require("@temporalio/worker");',
        'require("events");',
        'require("node:fs");',
        'require("./lib/x");',
        'require(name + "@/lib/x");',
        "require();",
        "const broken = (",
    ],
)
def test_everything_else_stays_as_it_was(text: str) -> None:
    assert written(text) == text


def test_it_is_relative_to_the_file_that_imports() -> None:
    assert written('require("@/worker")', "dist/lib/deep/index.js") == 'require("../../worker.js")'


def test_with_code_anywhere_dist_has_the_same_folders() -> None:
    output = Output({"dist/shared/x.js"}, Aliases.of({"paths": {"#s/*": ["./shared/*"]}}), root=".")
    assert written('require("#s/x")', "dist/temporal/src/worker.js", output) == 'require("../../shared/x.js")'


def test_es_modules_get_the_names_that_only_tools_add() -> None:
    output = Output(FILES, Aliases(), complete=True)
    assert written('import "./lib/x";', output=output) == 'import "./lib/x.js";'
    assert written('import "./lib/deep";', output=output) == 'import "./lib/deep/index.js";'
    assert written('import ".";', "dist/lib/deep/a.js", output) == 'import "./index.js";'
    assert written('import "./lib/x.js";', output=output) == 'import "./lib/x.js";'
    assert written('import "./nope";', output=output) == 'import "./nope";'


def test_a_relative_source_file_is_named_as_it_was_compiled() -> None:
    assert written('require("./lib/x.ts")') == 'require("./lib/x.js")'
    assert written('import "./lib/m.mts";') == 'import "./lib/m.mjs";'


def test_lines_stay_where_they_are() -> None:
    text = "\n".join(f'const a{n} = require("@/lib/x");' for n in range(50))
    assert written(text).count("\n") == 49


def test_deep_nesting_is_no_problem() -> None:
    text = "(" * 5000 + 'require("@/lib/x")' + ")" * 5000
    assert 'require("./lib/x.js")' in written(text)
