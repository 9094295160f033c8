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
        by={"a worker host with trouble": "tests/core/test_verdict.py"},
    ),
    Reason.WORKER_CRASHED: Section(
        "The worker process that serves the workflow crashed, and is started again with growing waits. A "
        "release on trial that is to blame is reverted.",
        "Look at the error, and at the worker host's log: code outside of a workflow or activity threw.",
        by={"a worker process that crashes": "tests/test_reconcile.py"},
    ),
    Reason.WAITING_FOR_WORKER: Section(
        "It is deployed, and no worker that serves it answers, or Temporal does not.",
        "Start the worker host, or Temporal: the next look mends the status.",
        by={"a host that is down": "tests/test_reconcile.py"},
    ),
    Reason.DEPENDS_ON_MISSING: Section(
        "It depends on a workflow that the source doesn't have. No other spec is held up by it.",
        "Add that spec, or take its name out of `deploy.dependsOn`.",
        by={"a name that nobody has": "tests/test_control.py"},
    ),
    Reason.DEPENDS_ON_CYCLE: Section(
        "Specs that wait for each other in a circle.",
        "Take one of the names out of `deploy.dependsOn`.",
        (
            Case(
                "two that wait for each other",
                spec(workflowId="a", deploy={"taskQueue": "a", "dependsOn": ["b"]}),
                (spec(workflowId="b", deploy={"taskQueue": "b", "dependsOn": ["a"]}),),
            ),
        ),
    ),
    Reason.WAITING_FOR_DEPENDS_ON: Section(
        "What it depends on is not deployed, or not healthy. It goes on by itself.",
        "Look at the workflow that it waits for.",
        by={"a spec that waits": "tests/test_control.py"},
    ),
    Reason.HEALTH_CHECK_FAILED: Section(
        "The release failed its trial: it crashed, or could not be loaded, soon after it went live. It was "
        "reverted to the release before, and is remembered as bad.",
        "Change the spec. If the release was not at fault: `timewright deploy ID --force`.",
        by={"a release that is condemned": "tests/test_control.py"},
    ),
    Reason.KNOWN_BAD: Section(
        "The source asks for a release that was reverted before.",
        "Change the spec. If the release was not at fault: `timewright deploy ID --force`.",
        by={"a source that goes back to it": "tests/test_control.py"},
    ),
    Reason.ROLLBACK_FAILED: Section(
        "The release to go back to can't be made live: it is damaged, not kept, or can't be loaded. What "
        "ran goes on.",
        "Choose another release (`timewright history ID`), or change the spec.",
        by={"a release that was tampered with": "tests/test_control.py"},
    ),
    Reason.REPLAY_FAILED: Section(
        "Its new workflow code breaks executions that are open, or were lately: replayed on it, they would "
        "do something else than their history holds (`deploy.replay`). What runs goes on.",
        "Keep the old path with `patched()`, or let executions end where they began (`deploy.versioning: "
        "PINNED`). `timewright replay ID` shows event by event.",
        by={"a breaking change": "tests/e2e/test_rollouts.py"},
    ),
    Reason.REPLAY_UNAVAILABLE: Section(
        "`deploy.replay` is enforce, and Temporal could not be asked for executions to replay.",
        "It is tried again by itself. `timewright doctor` says whether Temporal answers.",
        by={"an enforced replay without Temporal": "tests/test_rollouts.py"},
    ),
    Reason.GATE_FAILED: Section(
        "The gate workflow of its rollout (`deploy.rollout.gate`) did not complete on the new version. New "
        "executions go to the version before; the release is remembered as bad.",
        "The message names the gate's execution in Temporal. Change the spec, or `timewright deploy ID "
        "--force`.",
        by={"a gate that fails at the second step": "tests/e2e/test_rollouts.py"},
    ),
    Reason.ROLLOUT_FAILED: Section(
        "Its rollout went badly while a share of new executions ran on the new version, or was aborted. "
        "All go to the version before; the release is remembered as bad.",
        "The message says what was seen. Change the spec, or `timewright deploy ID --force`.",
        by={"executions that fail on the new version": "tests/e2e/test_rollouts.py"},
    ),
    Reason.TOO_MANY_VERSIONS: Section(
        "Temporal keeps 100 Versions of a Worker Deployment, and this pool has nearly so many: each holds "
        "open executions, or is not yet drained.",
        "It goes on when old ones are gone. `timewright rollout ID` shows which hold executions; let those "
        "end.",
        by={"a deployment that is full": "tests/test_rollouts.py"},
    ),
    Reason.OPEN_EXECUTIONS: Section(
        "Its spec is gone, or somebody asked to undeploy it, while executions are open that need its code "
        "(`deploy.onUndeploy`: wait or block).",
        "Let them end, or `timewright undeploy ID --force`.",
        by={"an undeploy that waits": "tests/core/test_open_executions.py"},
    ),
    Reason.PINNED: Section(
        "The workflow is held at a release, after a rollback or by `timewright pin`.",
        "`timewright unpin ID`. A rollback ends by itself when the source changes the spec.",
        by={"a rollback that sticks": "tests/test_control.py"},
    ),
    Reason.UNDEPLOYED_BY_HAND: Section(
        "A person took it out of service.",
        "`timewright deploy ID` brings it back.",
        by={"what was undeployed stays so": "tests/core/test_pins.py"},
    ),
    Reason.SUSPENDED: Section(
        "Somebody suspended it, or all; or its spec says `deploy.suspend`. It is left as it is.",
        "`timewright resume ID`, or `--all`.",
        by={"what is suspended is left alone": "tests/core/test_pins.py"},
    ),
    Reason.DRIFTED: Section(
        "The worker tree is not as it was built: somebody changed it by hand.",
        "`timewright diff ID --drift` shows how; `timewright redeploy ID` restores it.",
        by={"a link that was moved": "tests/test_control.py"},
    ),
    Reason.VANISHED: Section(
        "Its file has just gone. It is undeployed when it stays away (`source.vanish_s`).",
        "Nothing, or put it back.",
        by={"a spec that is away for a moment": "tests/test_control.py"},
    ),
    Reason.PRUNE_BLOCKED: Section(
        "Its file is gone, and undeploying it is held back.",
        "`timewright prune` shows what is held back, and why; `--confirm` undeploys it.",
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
