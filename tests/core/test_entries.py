"""Entry points and isolation, for every way in which real projects are laid out."""

from __future__ import annotations

from typing import Any

import pytest
from timewright.core.errors import SpecError
from timewright.core.spec import Spec, emitted, package_text, read_spec

from tests.support import ACTIVITIES, WORKFLOW, as_bytes, document

RUN = "import '@temporalio/workflow';\nexport async function run(): Promise<void> {}\n"


def worker(options: str, head: str = "import * as activities from './activities';") -> str:
    return f"import {{ Worker }} from '@temporalio/worker';\n{head}\nWorker.create({{ {options} }});\n"


def spec(files: dict[str, str], **more: Any) -> Spec:
    return read_spec(as_bytes(document(files=files, **more)))


def refusal(files: dict[str, str], **more: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec(files, **more)
    return "\n".join(map(str, caught.value.problems))


# Where the entry points are --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "entries", "root"),
    [
        (["src/workflow.ts", "src/activities.ts", "src/worker.ts"], (0, 1, 2), "src"),
        (["workflows.ts", "activities.ts", "worker.ts"], (0, 1, 2), "."),
        (["workflows/index.ts", "activities/index.ts", "worker.ts"], (0, 1, 2), "."),
        (
            ["temporal/src/workflows.ts", "temporal/src/activities.ts", "temporal/src/worker.ts"],
            (0, 1, 2),
            ".",
        ),
        (
            ["src/temporal/workflows.ts", "src/temporal/activities.ts", "src/temporal/worker.ts"],
            (0, 1, 2),
            "src",
        ),
        (["src/workflows.js", "src/activities.js", "src/worker.js"], (0, 1, 2), "src"),
        (["src/workflows.mts", "src/activities.mts", "src/worker.mts"], (0, 1, 2), "src"),
        (["src/flow.ts", "src/acts.ts", "src/run.ts"], (0, None, 2), "src"),
    ],
)
def test_entry_points_are_found_where_projects_have_them(
    files: list[str], entries: tuple[int | None, ...], root: str
) -> None:
    # A worker that names nothing: the names of the files decide.
    texts = [RUN, ACTIVITIES, worker("taskQueue: 'q'", "")]
    found = spec(dict(zip(files, texts, strict=True)))
    wanted = tuple(None if index is None else files[index] for index in entries)
    assert (found.workflows, found.activities, found.worker) == wanted
    assert found.root == root


def test_what_the_worker_names_counts_more_than_the_convention() -> None:
    files = {
        "src/flows.ts": RUN,
        "src/deeds.ts": ACTIVITIES,
        "src/workflow.ts": WORKFLOW,
        "src/main.ts": worker(
            "workflowsPath: require.resolve('./flows'), activities, taskQueue: 'q'",
            "import * as activities from './deeds';",
        ),
    }
    found = spec(files)
    assert (found.workflows, found.activities, found.worker) == (
        "src/flows.ts",
        "src/deeds.ts",
        "src/main.ts",
    )


@pytest.mark.parametrize(
    "path",
    [
        "require.resolve('./flows')",
        "fileURLToPath(new URL('./flows.js', import.meta.url))",
        "new URL('./flows.ts', import.meta.url).pathname",
        "path.join(__dirname, 'flows')",
        "path.resolve(__dirname, './flows.js')",
        "import.meta.resolve('./flows.js')",
        "WHERE",
    ],
)
def test_a_workflows_path_is_read_however_it_is_written(path: str) -> None:
    main = worker(f"workflowsPath: {path}, taskQueue: 'q'", "const WHERE = require.resolve('./flows');")
    assert spec({"src/flows.ts": RUN, "src/other.ts": RUN, "src/worker.ts": main}).workflows == "src/flows.ts"


def test_a_worker_that_names_the_wrong_file_gets_the_only_one_there_is() -> None:
    main = worker("workflowsPath: require.resolve('./workflows'), activities, taskQueue: 'q'")
    found = spec({"src/workflow.ts": RUN, "src/activities.ts": ACTIVITIES, "src/worker.ts": main})
    assert found.workflows == "src/workflow.ts"
    assert found.isolation == "shared"
    assert "src/worker.ts names './workflows', which isn't there: src/workflow.ts is served" in found.warnings


def test_a_worker_that_names_the_wrong_file_of_several_is_refused() -> None:
    main = worker("workflowsPath: require.resolve('./flows'), taskQueue: 'q'", "")
    said = refusal({"src/a.ts": RUN, "src/b.ts": RUN, "src/worker.ts": main})
    assert "src/a.ts and src/b.ts could all be its workflows" in said
    assert 'entrypoints.workflows: "src/a.ts"' in said


def test_a_file_that_leads_to_all_workflows_is_the_entry() -> None:
    files = {
        "src/a.ts": RUN,
        "src/b.ts": RUN,
        "src/all.ts": "export * from './a';\nexport * as b from './b';\n",
    }
    assert spec({**files, "src/all.ts": files["src/all.ts"] + RUN}).workflows == "src/all.ts"


def test_activities_are_found_by_the_type_that_workflows_import() -> None:
    flow = WORKFLOW.replace("./activities", "./billing")
    assert spec({"src/workflow.ts": flow, "src/billing.ts": ACTIVITIES}).activities == "src/billing.ts"


def test_one_of_several_workers_is_chosen_by_entrypoints() -> None:
    files = {
        "src/a.ts": RUN,
        "src/b.ts": RUN.replace("run", "other"),
        "src/worker-a.ts": worker("workflowsPath: require.resolve('./a'), taskQueue: 'qa'", ""),
        "src/worker-b.ts": worker("workflowsPath: require.resolve('./b'), taskQueue: 'qb'", ""),
    }
    assert "src/worker-a.ts and src/worker-b.ts could all be its worker" in refusal(files)
    found = spec(files, entrypoints={"worker": "src/worker-b"})
    assert (found.workflows, found.task_queue, found.workflow_types) == ("src/b.ts", "qb", ("other",))
    assert any("src/worker-a.ts makes a Worker, too" in warning for warning in found.warnings)


def test_a_worker_in_a_test_is_no_worker() -> None:
    test = worker("taskQueue: 'test'", "")
    found = spec({"src/workflow.ts": RUN, "src/workflow.test.ts": test, "test/worker.ts": test})
    assert found.worker is None
    assert found.unreached == ("src/workflow.test.ts", "test/worker.ts")


@pytest.mark.parametrize("name", ["src/flow", "./src/flow.ts", "src/flow.js"])
def test_an_entry_point_can_be_named_in_several_ways(name: str) -> None:
    assert spec({"src/flow.ts": RUN}, entrypoints={"workflows": name}).workflows == "src/flow.ts"


def test_a_spec_of_activities_only_and_one_of_workflows_only() -> None:
    main = worker("activities, taskQueue: 'q'")
    found = spec({"src/activities.ts": ACTIVITIES, "src/worker.ts": main})
    assert (found.workflows, found.activity_names) == (None, ("greet",))
    found = spec({"src/workflow.ts": RUN})
    assert (found.workflow_types, found.activities) == (("run",), None)


def test_common_js_exports_are_workflows_and_activities() -> None:
    flow = "const { sleep } = require('@temporalio/workflow');\nasync function run() { await sleep(1); }\n"
    deeds = "exports.a = async () => 1;\nasync function b() {}\nmodule.exports.b = b;\n"
    main = (
        "const { Worker } = require('@temporalio/worker');\nconst activities = require('./activities');\n"
        "Worker.create({ workflowsPath: require.resolve('./workflows'), activities, taskQueue: 'js' });\n"
    )
    for ending in (
        "module.exports = { run };",
        "exports.run = run;",
        "module.exports = { go: 1, async run() {} };",
    ):
        found = spec({"src/workflows.js": flow + ending, "src/activities.js": deeds, "src/worker.js": main})
        assert (found.workflow_types, found.activity_names) == (("run",), ("a", "b"))
        assert (found.isolation, found.task_queue, found.javascript) == ("shared", "js", True)


# Who serves it ---------------------------------------------------------------------------------

BASE = "workflowsPath: require.resolve('./workflow'), taskQueue: 'q'"


@pytest.mark.parametrize(
    ("options", "head", "words"),
    [
        (f"{BASE}, interceptors: {{}}", "", "src/worker.ts:3 gives its Worker interceptors"),
        (f"{BASE}, sinks", "const sinks = {};", "gives its Worker sinks"),
        (f"{BASE}, dataConverter: {{ payloadConverterPath: 'x' }}", "", "gives its Worker dataConverter"),
        (f"{BASE}, bundlerOptions: {{}}", "", "gives its Worker bundlerOptions"),
        (f"{BASE}, somethingNew: 1", "", "gives its Worker somethingNew"),
        (f"{BASE}, ...options()", "", "options that can't be read here"),
        (
            f"{BASE}, activities: createActivities(db)",
            "import { createActivities } from './activities';",
            "makes the activities itself",
        ),
        (
            f"{BASE}, activities: new Billing()",
            "import { Billing } from './activities';",
            "the activities itself",
        ),
        (
            f"{BASE}, activities: {{ ...a, ...b }}",
            "import * as a from './activities';\nimport * as b from './more';",
            "makes the activities itself",
        ),
        (f"{BASE}, activities: {{ greet: fake }}", "", "makes the activities itself"),
        (f"{BASE} }}); Worker.create({{ {BASE}", "", "src/worker.ts makes 2 Workers"),
    ],
)
def test_what_a_shared_worker_can_not_do_gets_a_process_and_the_reason(
    options: str, head: str, words: str
) -> None:
    files = {
        "src/workflow.ts": RUN,
        "src/activities.ts": ACTIVITIES,
        "src/more.ts": ACTIVITIES,
        "src/worker.ts": worker(options, head),
    }
    found = spec(files)
    assert found.isolation == "process"
    assert words in found.own
    assert any("it has a worker process of its own, since" in warning for warning in found.warnings)
    assert "is 'shared', but" in refusal(files, deploy={"isolation": "shared"})


@pytest.mark.parametrize(
    ("activities", "head"),
    [
        ("activities", "import * as activities from './activities';"),
        ("activities: acts", "import * as acts from './activities';"),
        ("activities: { ...acts }", "import * as acts from './activities';"),
        ("activities: { greet }", "import { greet } from './activities';"),
        ("activities", "const activities = require('./activities');"),
    ],
)
def test_activities_of_one_module_are_served_by_a_shared_worker(activities: str, head: str) -> None:
    files = {"src/workflow.ts": RUN, "src/activities.ts": ACTIVITIES}
    found = spec({**files, "src/worker.ts": worker(f"{BASE}, {activities}", head)})
    assert (found.isolation, found.activities, found.warnings) == ("shared", "src/activities.ts", ())


def test_settings_that_the_host_has_for_a_shared_worker_are_said() -> None:
    options = f"{BASE}, connection, namespace: 'x', maxConcurrentActivityTaskExecutions: 5"
    found = spec({"src/workflow.ts": RUN, "src/worker.ts": worker(options, "")})
    assert found.isolation == "shared"
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "src/worker.ts gives its Worker maxConcurrentActivityTaskExecutions"
    ]


def test_a_worker_that_is_made_where_it_can_not_be_seen_gets_a_process() -> None:
    main = "import { startWorker } from '@acme/temporal';\nstartWorker({ taskQueue: 'q' });\n"
    found = spec({"src/workflow.ts": RUN, "src/worker.ts": main})
    assert (found.isolation, found.task_queue) == ("process", "q")
    assert "makes its Worker where it can't be seen" in found.own


def test_a_worker_in_another_file_of_the_spec_is_read_there() -> None:
    files = {
        "src/workflow.ts": RUN,
        "src/worker.ts": "import { start } from './lib/start';\nstart();\n",
        "src/lib/start.ts": worker("workflowsPath: require.resolve('../workflow'), taskQueue: 'q'", ""),
    }
    found = spec(files)
    assert (found.isolation, found.worker, found.workflows) == ("shared", "src/worker.ts", "src/workflow.ts")


def test_a_worker_file_without_a_worker_is_said_and_not_run() -> None:
    found = spec({"src/workflow.ts": RUN, "src/worker.ts": "// nothing yet\nexport {};\n"})
    assert found.isolation == "shared"
    assert "src/worker.ts makes no Worker and is not run" in found.warnings


def test_an_sdk_that_is_not_ours_needs_a_worker_file() -> None:
    def pin(package: Any, lock: str | None) -> str:
        return "package.json pins @temporalio/worker 1.11.0"

    main = worker(BASE, "")
    data = as_bytes(document(files={"src/workflow.ts": RUN, "src/worker.ts": main}))
    assert read_spec(data, pin=pin).own == "package.json pins @temporalio/worker 1.11.0"
    with pytest.raises(SpecError, match=r"pins @temporalio/worker 1.11.0.*or add a worker file"):
        read_spec(as_bytes(document(files={"src/workflow.ts": RUN})), pin=pin)


def test_a_generated_file_that_is_missing_is_said_to_be_carried() -> None:
    main = worker(
        "workflowBundle: { codePath: require.resolve('../workflow-bundle.js') }, taskQueue: 'q'", ""
    )
    said = refusal({"src/workflow.ts": RUN, "src/worker.ts": main})
    assert "src/worker.ts:3: names '../workflow-bundle.js', which is not one of the files" in said
    assert "npm scripts never run here" in said


def test_env_goes_to_a_process_that_was_decided_for_it() -> None:
    files = {"src/workflow.ts": RUN, "src/worker.ts": worker(f"{BASE}, sinks: {{}}", "")}
    assert spec(files, deploy={"env": {"A": "1"}}).isolation == "process"
    assert "needs isolation" in refusal({"src/workflow.ts": RUN}, deploy={"env": {"A": "1"}})


# What they lead to -----------------------------------------------------------------------------


def test_the_reached_files_and_packages_are_those_that_the_entry_points_lead_to() -> None:
    files = {
        "src/workflow.ts": f"{RUN}import './lib/a.js';\nimport type {{ T }} from 'ms';\n",
        "src/lib/a.ts": "import './b';\nimport '@scope/name/deep';\nimport 'node:fs';\n",
        "src/lib/b.ts": "export const later = () => import('./c');\nconst s = \"import './scripts'\";\n",
        "src/lib/c.ts": "import '../workflow';\nimport data from './data.json';\n",
        "src/lib/data.json": "{}",
        "scripts/load.ts": "import { Client } from '@temporalio/client';\n",
        "src/types.d.ts": "declare module 'x';\n",
    }
    found = spec(files)
    assert found.reached == (
        "src/lib/a.ts",
        "src/lib/b.ts",
        "src/lib/c.ts",
        "src/lib/data.json",
        "src/workflow.ts",
    )
    assert found.unreached == ("scripts/load.ts",)
    assert found.packages == ("@scope/name", "@temporalio/workflow", "ms")
    assert found.root == "src"


def test_package_json_that_is_imported_moves_the_root_up() -> None:
    found = spec({"src/workflow.ts": f"{RUN}import {{ name }} from '../package.json';\n"})
    assert found.root == "."
    assert "package.json" not in found.files


@pytest.mark.parametrize(
    ("source", "root", "path"),
    [
        ("src/a/b.ts", "src", "dist/a/b.js"),
        ("src/a.mts", "src", "dist/a.mjs"),
        ("src/a.tsx", ".", "dist/src/a.js"),
        ("a.cjs", ".", "dist/a.cjs"),
        ("src/a.b.ts", "src", "dist/a.b.js"),
    ],
)
def test_an_emitted_file_mirrors_its_source(source: str, root: str, path: str) -> None:
    assert emitted(source, root) == path


def test_npm_start_runs_the_compiled_worker_whatever_the_package_said() -> None:
    files = {"workflows.ts": RUN, "worker.ts": worker("taskQueue: 'q'", "")}
    text = package_text(spec(files, packageJson={"scripts": {"start": "ts-node worker.ts", "lint": "x"}}))
    assert '"start": "node dist/worker.js"' in text
    assert '"lint": "x"' in text
