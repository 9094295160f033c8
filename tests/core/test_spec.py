from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.document import Limits
from timewright.core.errors import DeployError, Reason, SpecError
from timewright.core.names import path_problem
from timewright.core.prepare import settle
from timewright.core.spec import Spec, package_text, peek_workflow_id, read_spec, strip_comments

from tests.core.test_document import growth, values
from tests.support import (
    ACTIVITIES,
    HOST,
    ROOT,
    WORKER,
    WORKFLOW,
    as_bytes,
    compile_result,
    document,
    make_spec,
)

FILES = document()["files"]


def refusal(value: Any, **kwargs: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        read_spec(value if isinstance(value, bytes) else as_bytes(value), **kwargs)
    return caught.value


def said(value: Any, **kwargs: Any) -> str:
    return "\n".join(map(str, refusal(value, **kwargs).problems))


# Shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        document(),
        compile_result(),
        compile_result(packageJson={}),
        {"success": True, "data": compile_result(success=None)},
        {
            "workflow_id": "hello",
            "workflow_code": WORKFLOW,
            "activities_code": ACTIVITIES,
            "worker_code": WORKER,
            "package_json": "{}",
        },
        document(files=[{"path": path, "content": text} for path, text in FILES.items()]),
        document(files={path: {"content": text} for path, text in FILES.items()}),
    ],
    ids=["files", "compile result", "object package", "wrapped", "snake case", "file list", "file objects"],
)
def test_every_shape_that_builders_emit_means_the_same_spec(value: dict[str, Any]) -> None:
    spec = read_spec(as_bytes(value))
    assert spec.workflow_id == "hello"
    assert dict(spec.files) == FILES
    assert (spec.workflows, spec.activities, spec.worker) == tuple(FILES)
    assert (spec.workflow_types, spec.activity_names) == (("hello",), ("greet",))
    assert spec.task_queue == "greetings"


@pytest.mark.parametrize("path", sorted((ROOT / "specs").iterdir()), ids=lambda path: path.name)
def test_the_examples_are_specs(path: Any) -> None:
    spec = read_spec(path.read_bytes(), is_yaml=path.suffix != ".json")
    assert spec.workflow_types
    assert spec.warnings == ()


def test_a_yaml_spec_is_the_json_spec() -> None:
    text = yaml.safe_dump(document())
    assert read_spec(text.encode(), is_yaml=True) == make_spec()


def test_keys_that_builders_add_are_ignored() -> None:
    assert make_spec(metadata={"a": [1]}, definition={"nodes": []}, warnings=["x"], zzz=1) == make_spec()


def test_a_workflow_needs_neither_activities_nor_worker() -> None:
    spec = make_spec(files={"src/workflow.ts": FILES["src/workflow.ts"]})
    assert (spec.activities, spec.worker, spec.task_queue) == (None, None, None)


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("workflows", "src/workflows.ts"),
        ("workflows", "src/workflows/index.ts"),
        ("workflows", "src/workflow.tsx"),
        ("activities", "src/activities/index.ts"),
        ("worker", "src/worker.mts"),
    ],
)
def test_entry_points_are_found_by_convention(role: str, path: str) -> None:
    base = {} if role == "workflows" else {"src/workflow.ts": WORKFLOW}
    assert getattr(make_spec(files={**base, path: WORKFLOW}), role) == path


def test_entry_points_can_be_named() -> None:
    files = {"src/flows/main.ts": WORKFLOW, "src/acts.ts": ACTIVITIES}
    points = {"workflows": "./src/flows/main.ts", "activities": "src/acts.ts"}
    spec = make_spec(files=files, entrypoints=points)
    assert (spec.workflows, spec.activities) == ("src/flows/main.ts", "src/acts.ts")


def test_comments_and_trailing_commas_of_a_tsconfig_are_no_problem() -> None:
    text = '{ // why\n "compilerOptions": {"strict": true, /* , */ }, }'
    assert make_spec(tsConfig=text).tsconfig == {"compilerOptions": {"strict": True}}
    assert make_spec(files={**FILES, "tsconfig.json": text}).tsconfig == {"compilerOptions": {"strict": True}}


def test_files_beside_the_sources_go_along_and_hidden_ones_do_not() -> None:
    beside = {"README.md": "# hello", "data/rates.json": "{}", ".eslintrc.json": "{}", "yarn.lock": ""}
    spec = make_spec(files={**FILES, **beside})
    assert set(spec.files) == {*FILES, "README.md", "data/rates.json"}
    assert spec.warnings == (
        ".eslintrc.json was left out: hidden files are not deployed",
        "yarn.lock was left out: versions are locked by package-lock.json beside package.json only",
    )


def test_configs_and_the_lock_are_no_files_of_the_release() -> None:
    configs = {"tsconfig.json": "{}", "tsconfig.base.json": '{"a": 1}', "package-lock.json": "{}"}
    spec = make_spec(files={**FILES, **configs})
    assert set(spec.files) == {*FILES}
    assert (spec.configs, spec.lock) == ({"tsconfig.base.json": '{"a": 1}'}, "{}")


# What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workflowId": None}, "has no workflowId"),
        ({"workflowId": 7}, "workflowId:2: must be a string, is a number"),
        ({"workflowId": "../x"}, "must start with a letter or digit"),
        ({"name": 7}, "name:11: must be a string"),
        ({"files": "x"}, "files:3: must be an object of path → text, is text"),
        ({"files": {"src/workflow.ts": 7}}, 'files["src/workflow.ts"]:4: must be text, is a number'),
        ({"files": {**FILES, "src/a.ts": "\0"}}, "NUL character"),
        ({"files": [{"path": 7}]}, "files[0]:4: must be an object with path and content"),
        ({"files": {"src/workflow.ts": "  "}}, "is empty: the workflows code"),
        (
            {"files": {"src/workflow.ts": "export async function a() {}"}},
            "does not import @temporalio/workflow",
        ),
        ({"files": {"src/workflow.ts": "// import '@temporalio/workflow'\n"}}, "does not import"),
        (
            {"files": {"src/workflow.ts": "import '@temporalio/workflow'; export const a = 1"}},
            "no async function",
        ),
        (
            {"files": {"src/workflow.ts": "import '@temporalio/workflow'; export default async () => {}"}},
            "give the default export a name",
        ),
        ({"files": {"src/other.ts": "export const a = 1;"}}, "has no workflow code"),
        ({"files": {}}, "has no workflow code"),
        (
            {"files": {**FILES, "src/A.ts": "", "src/a.ts": ""}},
            "differs from 'src/A.ts' only in upper and lower",
        ),
        ({"files": {**FILES, "src/a": "", "src/a/b.ts": ""}}, "is both a file and a folder"),
        ({"files": {**FILES, "src/A": "", "src/a/b.ts": ""}}, "is both a file and a folder"),
        ({"entrypoints": []}, "entrypoints:11: must be an object"),
        ({"entrypoints": {"main": "x"}}, "is not one of workflows, activities, worker"),
        ({"entrypoints": {"workflows": "src/none.ts"}}, "names 'src/none.ts', which is not one of the files"),
        ({"entrypoints": {"workflows": ["x"]}}, "must be a file's path, is a list"),
        (
            {"files": {**FILES, "package.json": "{}"}, "entrypoints": {"workflows": "package.json"}},
            "names 'package.json', which is not one of the files",
        ),
        ({"packageJson": "{"}, "package.json: is not JSON"),
        ({"packageJson": "[]"}, "must be an object or JSON text, is a list"),
        ({"tsConfig": 7}, "must be an object or JSON text"),
        ({"deploy": {"nope": 1}}, "deploy.nope:12: is not a key of deploy"),
        (
            {"files": {"src/workflow.ts": WORKFLOW}, "deploy": {"isolation": "process"}},
            "there is no worker code",
        ),
        (
            {"files": {**FILES, "src/worker.ts": "w({taskQueue: ' '})"}},
            "src/worker.ts: taskQueue must not be empty",
        ),
    ],
)
def test_a_wrong_document_is_refused_with_the_place_and_the_line(change: dict[str, Any], words: str) -> None:
    assert words in said(document(**change))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (compile_result(success=False), "the builder did not compile this workflow"),
        (compile_result(errors=["no way"]), "the builder reported: no way"),
        (compile_result(errors=[{"message": "no way"}]), "the builder reported: no way"),
        ({"workflowId": "x", "nodes": [], "connections": {}}, "there is neither workflowCode nor files"),
    ],
)
def test_what_the_builder_did_not_compile_is_said_to_be_so(value: dict[str, Any], words: str) -> None:
    assert words in said(value)
    assert refusal(value).reason is Reason.NOT_COMPILED


@pytest.mark.parametrize("root", [[], "x", 7, None, True])
def test_a_document_that_is_no_object_is_refused(root: Any) -> None:
    assert "must be an object" in said(root)


@pytest.mark.parametrize(
    "path",
    ["../../etc/cron.d/x", "/etc/passwd", "src//a.ts", "dist/worker.js", "node_modules/x/index.js", ".npmrc",
     "binding.gyp", "src/a\x00.ts", "src/cafe\u0301.ts", "src/../../x.ts", "C:\\x"],
)  # fmt: skip
@pytest.mark.parametrize("as_list", [False, True])
def test_a_hostile_path_is_refused_in_every_shape(path: str, as_list: bool) -> None:
    files: Any = {**FILES, path: "x"}
    if as_list:
        files = [{"path": name, "content": text} for name, text in files.items()]
    assert len(refusal(document(files=files)).problems) == 1


def test_a_file_can_not_be_given_twice() -> None:
    files = [{"path": path, "content": text} for path, text in [*FILES.items(), *FILES.items()]]
    assert "is given twice" in said(document(files=files))
    assert "is given twice" in said({**compile_result(), "files": {"src/workflow.ts": WORKFLOW}})


def test_more_files_or_bytes_than_allowed_are_refused() -> None:
    many = {**FILES, **{f"src/f{i}.ts": "" for i in range(10)}}
    assert "13 files are more than the limit of 12" in said(document(files=many), limits=Limits(files=12))
    assert "more than the limit of 100" in said(document(), limits=Limits(bytes=100))


def test_all_problems_are_reported_at_once() -> None:
    error = refusal(document(workflowId="../x", deploy={"nope": 1}, packageJson="{", name=7))
    assert [problem.where for problem in error.problems] == [
        "workflowId",
        "packageJson",
        "deploy.nope",
        "name",
    ]
    assert "(and 3 more)" in error.message


def test_a_syntax_error_is_left_to_the_compiler_to_place() -> None:
    assert make_spec(files={"src/workflow.ts": "import { from; export async"}).workflow_types == ()


# Peeking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"workflowId": "x", "files": 7}', "x"),
        (b'{"workflow_id": "x"}', "x"),
        (b'{"workflowId": "../x"}', None),
        (b'{"workflowId": 7}', None),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_the_owner_of_a_wrong_document_is_told_where_it_can_be(data: bytes, found: str | None) -> None:
    assert peek_workflow_id(data) == found


# package.json ----------------------------------------------------------------------------------


def test_a_package_gets_what_npm_start_needs_and_keeps_what_it_has() -> None:
    package = json.loads(package_text(make_spec(packageJson={"version": "2.0.0"})))
    assert package == {
        "name": "hello",
        "version": "2.0.0",
        "private": True,
        "scripts": {"start": "node dist/worker.js"},
    }


# Anything --------------------------------------------------------------------------------------

keys = st.sampled_from(
    [
        *document(),
        *compile_result(),
        "deploy",
        "name",
        "data",
        "entrypoints",
        "tsConfig",
        "workflow_id",
        "zzz",
    ]
)
paths = st.sampled_from(
    [
        *FILES,
        "package.json",
        "tsconfig.json",
        "src",
        "src/workflow.ts/x",
        "../x",
        "",
        "a",
        "src/x.json",
        "x.ts",
    ]
)
code = st.sampled_from(
    [WORKFLOW, ACTIVITIES, WORKER, "", "{", "export * from './workflow'", "taskQueue: Q", "{}"]
)
files = st.dictionaries(paths, code | values, max_size=5)
points = st.dictionaries(
    st.sampled_from(["workflows", "activities", "worker", "x"]), paths | values, max_size=3
)
blocks = st.dictionaries(
    st.sampled_from(["taskQueue", "namespace", "env", "isolation", "prune", "keepReleases", "x"]),
    values,
    max_size=3,
)
specs = st.dictionaries(keys, values | files | points | blocks | code, max_size=8)


@given(specs | values, st.booleans(), st.booleans())
def test_any_document_is_a_spec_or_a_spec_error(value: Any, based: bool, is_yaml: bool) -> None:
    if based and isinstance(value, dict):
        value = {**document(), **value}
    with suppress(SpecError):
        check(read_spec(as_bytes(value), is_yaml=is_yaml))


def check(spec: Spec) -> None:
    """Whatever was read can be digested and written."""
    with suppress(DeployError):
        assert len(settle(spec, HOST).digest) == 64
    for path, text in spec.files.items():
        assert not path_problem(path)
        text.encode()


@given(files, points)
def test_any_files_and_entry_points_are_a_spec_or_a_spec_error(given: Any, named: Any) -> None:
    with suppress(SpecError):
        check(read_spec(as_bytes(document(files={**FILES, **given}, entrypoints=named))))


@pytest.mark.parametrize("unit", ["/*", "/* ", '\\"', ",", ", ", ",/**/", "//\n", "/", '"', "*/", "[,"])
def test_comments_of_any_shape_are_stripped_in_linear_time(unit: str) -> None:
    start = '"' if unit == '\\"' else ""
    assert growth(lambda size: strip_comments(start + unit * size), 20_000) < 10


@given(values)
def test_json_without_comments_means_the_same_when_they_are_stripped(value: Any) -> None:
    text = json.dumps(value, indent=1)
    assert json.loads(strip_comments(text)) == value
    assert strip_comments(text).count("\n") == text.count("\n")


def test_thousands_of_problems_cost_one_look_at_the_document() -> None:
    def work(size: int) -> None:
        assert len(refusal(document(deploy={f"k{i}": 1 for i in range(size)})).problems) == size

    assert growth(work, 300) < 10


@pytest.mark.parametrize(
    "unit", ["(", "[", "{", "`${", "<", "/*", "a.", "async ", "export ", "({", "<a>", "?:"]
)
def test_code_of_any_shape_is_read_in_linear_time(unit: str) -> None:
    def work(size: int) -> None:
        text = f"import '@temporalio/workflow';\n{unit * size}"
        with suppress(SpecError):
            read_spec(as_bytes(document(files={"src/workflow.ts": text, "src/worker.ts": text})))

    assert growth(work, 2_000) < 10
