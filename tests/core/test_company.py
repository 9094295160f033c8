"""Who may be checked with others in one program: only who can neither help nor harm them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from timewright.core.company import company
from timewright.core.prepare import Prepared

from tests.support import WORKFLOW, prepared

ACTIVITIES = "export async function greet(name: string): Promise<string> {\n  return name;\n}\n"


def key(files: Mapping[str, str] | None = None, **changes: Any) -> str:
    """The key of a spec whose files are these, besides a workflow and its activities."""
    given = {"src/workflow.ts": WORKFLOW, "src/activities.ts": ACTIVITIES, **(files or {})}
    made: Prepared = prepared(files=given, **changes)
    return company(made.spec, made.options)


def test_specs_that_differ_in_nothing_but_their_code_go_together() -> None:
    assert key() != ""
    assert key() == key({"src/activities.ts": ACTIVITIES.replace("name;", "name + '!';")})
    assert key() == key({"src/lib/more.ts": "export const more = 1;\n"}, workflowId="other")
    assert key() == key({"scripts/unreached.mts": "declare global { var x: number }\n"})


@pytest.mark.parametrize(
    "line",
    [
        "import 'node:fs';",
        "import type { Context } from '@temporalio/activity';",
        "export type T = import('@temporalio/common').Payload;",
        "export * from '@temporalio/common';",
        "export type T = import(/* of */ '@temporalio/common').Payload;",
        "export const m = (): Promise<unknown> => import(/* webpackChunkName: 'm' */ '@temporalio/common');",
    ],
)
def test_whoever_imports_another_package_has_other_global_types(line: str) -> None:
    """A package may bring types for everybody (as what asks for `node`): the next spec would pass by them."""
    other = key({"src/activities.ts": f"{line}\n{ACTIVITIES}"})
    assert other not in ("", key())


def test_other_compiler_options_are_another_program() -> None:
    others = [
        key(tsconfig={"compilerOptions": {"strict": False}}),
        key(tsconfig={"compilerOptions": {"noUnusedLocals": True}}),
        key(tsconfig={"compilerOptions": {"types": []}}),
    ]
    assert len({key(), *others}) == 4
    assert "" not in others


ALONE = {
    "a template": "export const more = (): Promise<unknown> => import(`@temporalio/client`);\n",
    "a name that is made": "export const more = (): Promise<unknown> => import('@temporalio/' + 'client');\n",
    "globals": "declare global { var leaked: number }\n",
    "types of a package": "declare module '@temporalio/workflow' { export type Leaked = number }\n",
    "a reference": "/// <reference types='node' />\n",
    "a file above": "import type { T } from '../../other/src/workflow';\n",
    "a file by its whole path": "import type { T } from '/etc/other';\n",
    "a file that isn't there": "import { x } from './nope';\n",
    "an import of package.json": "import { x } from '#inner';\n",
    "a name with escapes": "import { x } from '@temporalio\\u002fworkflow';\n",
    "a way with escapes": "import { x } from '.\\x2e/.\\x2e/other';\n",
    "data": "import data from './data.json';\n",
    "broken": "export const = ;\n",
}


@pytest.mark.parametrize("name", ALONE)
def test_what_could_change_another_verdict_goes_alone(name: str) -> None:
    files = {"src/activities.ts": ALONE[name] + ACTIVITIES, "src/data.json": "{}"}
    assert key(files) == ""


@pytest.mark.parametrize(
    "files",
    [
        {"src/globals.d.ts": "type Mine = number;\n"},
        {"src/activities.ts": "import './script';\n" + ACTIVITIES, "src/script.ts": "var leaked = 1;\n"},
        {"src/activities.ts": "import './part';\n" + ACTIVITIES, "src/part.tsx": "export {};\n"},
        {"src/activities.ts": "import './part';\n" + ACTIVITIES, "src/part.mts": "export {};\n"},
        {"src/activities.ts": "import './part.js';\n" + ACTIVITIES, "src/part.js": "export const a = 1;\n"},
    ],
    ids=["declarations", "script", "tsx", "mts", "javascript"],
)
def test_other_kinds_of_files_go_alone(files: dict[str, str]) -> None:
    assert key(files) == ""


@pytest.mark.parametrize(
    "options",
    [
        {"paths": {"@/*": ["./src/*"]}},
        {"declaration": True},
        {"typeRoots": ["./types"]},
        {"allowJs": True},
    ],
)
def test_options_that_name_places_go_alone(options: dict[str, Any]) -> None:
    assert key(tsconfig={"compilerOptions": options}) == ""


def test_a_package_that_imports_itself_goes_alone() -> None:
    files = {"src/activities.ts": f"import type {{ T }} from 'me';\n{ACTIVITIES}"}
    assert key(files, packageJson={"name": "me", "exports": "./src/activities.ts"}) == ""
