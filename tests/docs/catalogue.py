"""What can go wrong with a spec, case by case, each with what really comes out: docs/errors.md.

A case is a document (or a few of them); its message is what the product says to it, never a text that
somebody wrote down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timewright.core.errors import Reason

from tests.support import ACTIVITIES, WORKER, WORKFLOW, document

FILES = document()["files"]
SDK = {"dependencies": {"@temporalio/workflow": "^1.11.0", "@temporalio/worker": "^1.11.0"}}


def own_worker(options: str, head: str = "") -> str:
    return (
        f"import {{ Worker }} from '@temporalio/worker';\n{head}\n"
        f"Worker.create({{ workflowsPath: require.resolve('./workflow'), taskQueue: 'q', {options} }});\n"
    )


@dataclass(frozen=True)
class Case:
    """`spec`: the document; bytes are taken as they are. `others`: further documents of the source.
    `rules`: dependencies.deny."""

    title: str
    spec: Any
    others: tuple[Any, ...] = ()
    deny: tuple[str, ...] = ()
    yaml: bool = False


@dataclass(frozen=True)
class Section:
    """One reason. `means`: in a sentence. `do`: what to do. `by`: where a test makes it really happen,
    when no document alone can."""

    means: str
    do: str
    cases: tuple[Case, ...] = ()
    by: Mapping[str, str] = field(default_factory=dict)


def spec(**changes: Any) -> dict[str, Any]:
    return document(**changes)


def files(**texts: str) -> dict[str, Any]:
    """The usual files, with some others: `workflow="…"` is src/workflow.ts."""
    return document(files={**FILES, **{f"src/{name}.ts": text for name, text in texts.items()}})


SECTIONS: dict[Reason, Section] = {
    Reason.INVALID_SPEC: Section(
        "The document is no spec that can be deployed. What runs stays as it is.",
        "Correct the document: every problem is listed with its place in it, and its line.",
        (
            Case("not JSON", b'{"workflowId": "hello",'),
            Case("not UTF-8", b'{"workflowId": "\xff"}'),
            Case("a key twice", b'{"workflowId": "a", "workflowId": "b"}'),
            Case("YAML with an alias", b"a: &x 1\nb: *x\n", yaml=True),
            Case("no workflowId", spec(workflowId=None)),
            Case("a workflowId that is no file name", spec(workflowId="../../etc")),
            Case("a path that leaves the release", spec(files={**FILES, "../../etc/cron.d/x": ""})),
            Case("a file that npm would obey", spec(files={**FILES, ".npmrc": ""})),
            Case("names that differ in case only", spec(files={**FILES, "src/A.ts": "", "src/a.ts": ""})),
            Case("no workflow in it", spec(files={"src/util.ts": "export const a = 1;\n"})),
            Case(
                "no workflow exported",
                files(workflow="import '@temporalio/workflow';\nexport const a = 1;\n"),
            ),
            Case("not the workflow's code", files(workflow="export async function a() {}\n")),
            Case("an entry point that isn't there", spec(entrypoints={"workflows": "src/flows.ts"})),
            Case(
                "several workers",
                spec(
                    files={
                        "src/workflow.ts": WORKFLOW,
                        "src/activities.ts": ACTIVITIES,
                        "src/a.ts": WORKER,
                        "src/b.ts": WORKER,
                    }
                ),
            ),
            Case("an unknown key of deploy", spec(deploy={"taskqueue": "orders"})),
            Case("env without a process", spec(deploy={"env": {"A": "1"}})),
            Case(
                "shared, and yet with interceptors",
                {**files(worker=own_worker("interceptors: {}")), "deploy": {"isolation": "shared"}},
            ),
            Case(
                "a generated file that isn't carried",
                files(
                    worker=own_worker(
                        "workflowBundle: { codePath: require.resolve('../workflow-bundle.js') }"
                    )
                ),
            ),
            Case(
                "an SDK that ours can't stand for, and no worker file",
                spec(
                    files={"src/workflow.ts": WORKFLOW, "src/activities.ts": ACTIVITIES},
                    packageJson={"dependencies": {"@temporalio/workflow": "~1.9.0"}},
                ),
            ),
        ),
    ),
    Reason.NOT_COMPILED: Section(
        "The builder says that it did not compile the workflow, or there is no code in the document.",
        "Compile the workflow in the builder and export its result, not its graph.",
        (
            Case(
                "the builder failed",
                {"workflowId": "x", "success": False, "errors": [{"message": "no start node"}]},
            ),
            Case("a graph without code", {"workflowId": "x", "definition": {"nodes": []}}),
        ),
    ),
    Reason.DUPLICATE_WORKFLOW_ID: Section(
        "Two files have one workflowId. Neither is deployed; what runs stays.",
        "Give one of them another workflowId, or remove one.",
        (Case("the same id twice", spec(), others=(spec(name="other"),)),),
    ),
    Reason.NAME_CONFLICT: Section(
        "Two specs can't be served on one task queue. The one that is live stays.",
        "Give one of them another deploy.taskQueue, or rename the workflow or activity.",
        (
            Case("one workflow type or activity twice", spec(), others=(spec(workflowId="other"),)),
            Case(
                "a process of its own on a queue that others use",
                spec(),
                others=(
                    {
                        **files(
                            workflow=WORKFLOW.replace("hello", "other").replace("greet", "meet"),
                            activities=ACTIVITIES.replace("greet", "meet"),
                        ),
                        "workflowId": "other",
                        "deploy": {"isolation": "process"},
                    },
                ),
            ),
        ),
    ),
    Reason.TYPE_CHECK_FAILED: Section(
        "TypeScript (the version that package.json pins, else ours) found errors in code that is reached.",
        "Correct the code. `timewright validate FILE` says the same without deploying.",
        (
            Case(
                "a wrong type",
                files(
                    activities="export async function greet(name: string): Promise<string> { return 7; }\n"
                ),
            ),
            Case("a syntax error", files(activities="export async function greet( {\n")),
            Case(
                "a file that isn't there",
                files(activities=f"import {{ x }} from './protos/root';\nx;\n{ACTIVITIES}"),
            ),
        ),
    ),
    Reason.DEPENDENCY_FAILED: Section(
        "A package can't be had, or may not be.",
        "Correct package.json, or ask who runs the host to allow the package.",
        (
            Case(
                "a package that package.json doesn't name",
                files(activities=f"import ms from 'left-pad';\nms;\n{ACTIVITIES}"),
            ),
            Case(
                "a package from elsewhere",
                {
                    **files(activities=f"import 'mine';\n{ACTIVITIES}"),
                    "packageJson": {"dependencies": {"mine": "file:../mine"}},
                },
            ),
            Case(
                "a package that this host denies",
                {
                    **files(activities=f"import 'left-pad';\n{ACTIVITIES}"),
                    "packageJson": {"dependencies": {"left-pad": "1.3.0"}},
                },
                deny=("left-*",),
            ),
            Case(
                "SDK packages of different versions",
                spec(
                    packageJson={
                        "dependencies": {"@temporalio/worker": "1.11.5", "@temporalio/workflow": "1.9.0"}
                    }
                ),
            ),
            Case(
                "an SDK that is too new",
                spec(
                    packageJson={
                        "dependencies": {"@temporalio/worker": "2.0.0", "@temporalio/workflow": "2.0.0"}
                    }
                ),
            ),
        ),
        {"npm's own errors": "tests/edge/test_dependencies.py"},
    ),
    Reason.DEPENDENCY_UNAVAILABLE: Section(
        "npm's registry can't be reached now. It is tried again by itself.",
        "Check the network; `dependencies.offline` takes what is there already.",
        by={"a registry that is down, slow or failing": "tests/edge/test_dependencies.py"},
    ),
    Reason.BUNDLE_FAILED: Section(
        "The workflow's code reaches for something that workflow code can't have.",
        "Do it in an activity, or import only the type.",
        (
            Case("a module of Node", files(workflow=f"import * as fs from 'fs';\nfs;\n{WORKFLOW}")),
            Case(
                "activities as values",
                files(
                    workflow=WORKFLOW.replace("import type * as activities", "import * as activities")
                    + "\nexport const used = activities.greet;\n",
                    activities=f"import * as os from 'os';\nos;\n{ACTIVITIES}",
                ),
            ),
        ),
    ),
    Reason.LOAD_FAILED: Section(
        "It compiles, but the worker can't load it. What ran before goes on.",
        "Look at the message: a module's top level threw, or it did not end.",
        by={"code that throws when it is loaded": "tests/e2e/test_deploy.py"},
    ),
    Reason.COMPILE_TIMEOUT: Section(
        "The compiler was not done in `compiler.timeout_s`. It is tried again by itself.",
        "A type that never ends? Else give the compiler more time.",
        by={"a compiler that hangs": "tests/edge/test_tsservice.py"},
    ),
    Reason.COMPILER_UNAVAILABLE: Section(
        "The compiler isn't installed, or was killed. It is tried again by itself.",
        "`timewright doctor` says what is missing.",
        by={"a toolchain that isn't there": "tests/edge/test_compiler.py"},
    ),
    Reason.STORAGE_FAILED: Section(
        "The disk refused. It is tried again by itself.",
        "Make room, or check who owns the data directory.",
        by={"a link's place that is taken": "tests/edge/test_releases.py"},
    ),
    Reason.RELOAD_FAILED: Section(
        "The worker host has trouble with the pool that serves the workflow.",
        "Look at the worker host's log; it tries again by itself.",
        by={"a worker host with trouble": "tests/test_reconcile.py"},
    ),
    Reason.WAITING_FOR_WORKER: Section(
        "It is deployed, and no worker that serves it answers, or Temporal does not.",
        "Start the worker host, or Temporal: the next look mends the status.",
        by={"a host that is down": "tests/test_reconcile.py"},
    ),
    Reason.PRUNE_BLOCKED: Section(
        "Its file is gone, and undeploying it is held back.",
        "Turn `source.prune` on, or put the file back.",
        by={"a file that is gone": "tests/core/test_plan.py"},
    ),
    Reason.SOURCE_UNREADABLE: Section(
        "A file or folder of the source can't be read, so nothing is undeployed.",
        "Check its permissions, and whether its disk is mounted.",
        by={"a file that can't be read": "tests/cli/test_validate.py"},
    ),
    Reason.QUARANTINED: Section(
        "The file took timewright down several times and is no longer read.",
        "Change the file, and please report it.",
        by={"a file that kills the daemon": "tests/e2e/test_faults.py"},
    ),
    Reason.INTERNAL_ERROR: Section(
        "A fault in timewright.",
        "Please report it; a change of the spec is tried at once.",
        by={"a fault in a compile": "tests/test_reconcile.py"},
    ),
}
