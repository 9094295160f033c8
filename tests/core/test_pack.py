from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.document import parse
from timewright.core.errors import SpecError
from timewright.core.pack import Project, code_places, id_from, packed, read_side, render, unpacked
from timewright.core.packrules import GlobError, gitignore, globs, outer_bases, outputs

from tests.core.test_document import values
from tests.support import ACTIVITIES, WORKFLOW, compile_result, document

FILES = document()["files"]


def said(value: Any) -> str:
    with pytest.raises(SpecError) as caught:
        unpacked(value)
    return "\n".join(map(str, caught.value.problems))


# Unpacking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        document(),
        compile_result(),
        {"success": True, "data": compile_result(success=None)},
        {"workflow_id": "hello", "workflow_code": FILES["src/workflow.ts"], "package_json": "{}"},
        document(files=[{"path": path, "content": text} for path, text in FILES.items()]),
        document(files={path: {"content": text} for path, text in FILES.items()}),
    ],
    ids=["files", "compile result", "wrapped", "snake case", "file list", "file objects"],
)
def test_every_shape_unpacks_to_the_same_files(value: dict[str, Any]) -> None:
    project = unpacked(value)
    assert project.side["workflowId"] == "hello"
    assert "package.json" in project.files
    for path, text in project.files.items():
        assert path == "package.json" or FILES[path] == text


def test_json_text_is_kept_as_it_was_written_and_an_object_is_laid_out() -> None:
    text = '{ // why\n "type": "module", }'
    assert unpacked(compile_result(packageJson=text)).files["package.json"] == text
    assert unpacked(document(packageJson={"a": 1})).files["package.json"] == '{\n  "a": 1\n}\n'


def test_what_is_no_file_is_kept_beside() -> None:
    more = {"deploy": {"taskQueue": "q"}, "metadata": {"a": [1]}, "name": "Hello"}
    assert unpacked(document(**more)).side == {"workflowId": "hello", **more}


def test_an_alias_that_the_reader_ignores_does_not_come_back_to_life() -> None:
    project = unpacked(compile_result(tsConfig="{}", ts_config='{"a": 1}', tsconfig='{"b": 2}'))
    assert project.files["tsconfig.json"] == "{}"
    assert not {"tsConfig", "ts_config", "tsconfig"} & project.side.keys()


@pytest.mark.parametrize(
    "path",
    ["../../etc/cron.d/x", "/etc/passwd", "src//a.ts", "node_modules/x/index.js", ".npmrc", "src/../../x.ts",
     "C:\\x", "src/a\x00.ts", "dist/x.js"],
)  # fmt: skip
@pytest.mark.parametrize("as_list", [False, True])
def test_a_hostile_path_is_never_unpacked(path: str, as_list: bool) -> None:
    files: Any = {**FILES, path: "x"}
    if as_list:
        files = [{"path": name, "content": text} for name, text in files.items()]
    assert said(document(files=files)).count("\n") == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": {"src/a.ts": 7}}, 'files["src/a.ts"]: must be text, is a number'),
        ({"files": [7]}, "files[0]: must be an object with path and content"),
        ({"packageJson": 7}, "packageJson: must be text, is a number"),
        ({"files": {"timewright.json": ""}}, "is the name of what unpack itself writes"),
        ({"files": {"src/A.ts": "", "src/a.ts": ""}}, "only in upper and lower case"),
        ({"files": {"src/a": "", "src/a/b.ts": ""}}, "is both a file and a folder"),
        ({"workflowCode": "x"}, "the file src/workflow.ts is given twice"),
    ],
)
def test_what_no_folder_can_hold_is_refused_with_its_place(change: dict[str, Any], words: str) -> None:
    assert words in said(document(**change))


def test_a_document_that_is_no_object_is_refused() -> None:
    assert "must be an object, is a list" in said([])


@given(values)
def test_any_value_unpacks_or_is_refused(value: Any) -> None:
    for whole in (
        value,
        document(files=value),
        document(data=value),
        {"data": value},
        compile_result(workerCode=value),
    ):
        code_places(whole)
        with suppress(SpecError):
            unpacked(whole)


def test_each_file_is_found_again_in_the_document() -> None:
    assert code_places(compile_result())["src/workflow.ts"] == ("workflowCode",)
    assert code_places({"data": {"workflow_code": "x"}})["src/workflow.ts"] == ("data", "workflow_code")
    assert code_places(document())["src/workflow.ts"] == ("files", "src/workflow.ts")
    assert code_places({"data": {"files": [{"path": "a.ts", "content": ""}]}})["a.ts"] == ("data", "files", 0)
    assert code_places([]) == {}


# Packing ---------------------------------------------------------------------------------------


def test_a_document_is_named_by_its_package() -> None:
    project = Project({"package.json": '{"name": "@acme/Order_Flow"}', "src/a.ts": "x"}, {})
    assert packed(project) == {
        "workflowId": "acme-order_flow",
        "name": "@acme/Order_Flow",
        "files": {"package.json": '{"name": "@acme/Order_Flow"}', "src/a.ts": "x"},
    }


def test_options_win_over_the_side_file_and_that_over_the_package() -> None:
    project = Project({"package.json": '{"name": "p"}'}, {"workflowId": "s", "deploy": {"owner": "me"}})
    assert packed(project)["workflowId"] == "s"
    assert "name" not in packed(project)
    made = packed(project, workflow_id="o", name="O", task_queue="q")
    assert (made["workflowId"], made["name"]) == ("o", "O")
    assert made["deploy"] == {"owner": "me", "taskQueue": "q"}
    assert list(made) == ["workflowId", "name", "deploy", "files"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("order-saga", "order-saga"),
        ("@acme/Order Saga", "acme-order-saga"),
        (".hidden_", "hidden"),
        ("Überweisung", "berweisung"),
        ("con", ""),
        ("@/", ""),
        ("", ""),
        ("x" * 200, "x" * 128),
    ],
)
def test_a_workflow_id_is_made_of_any_name(name: str, found: str) -> None:
    assert id_from(name) == found


@given(st.text())
def test_an_id_made_of_any_name_can_be_used(name: str) -> None:
    if made := id_from(name):
        assert packed(Project({"package.json": json.dumps({"name": name})}, {}))["workflowId"] == made


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 7}', "[" * 100_000, '{"name": "@/"}'])
def test_a_package_without_a_good_name_names_nothing(text: str) -> None:
    assert "workflowId" not in packed(Project({"package.json": text}, {}))


texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r\t \x85\u2028\ufeff#:-'\""), max_size=30
)


@given(st.dictionaries(texts, texts | values, max_size=4), st.booleans())
def test_a_document_is_read_back_as_it_was_written(value: dict[str, Any], as_yaml: bool) -> None:
    data = render({**value, "workflowId": "x"}, as_yaml=as_yaml)
    assert data.startswith(b"{") is not as_yaml
    assert parse(data, is_yaml=as_yaml).value == {**value, "workflowId": "x"}
    assert render({**value, "workflowId": "x"}, as_yaml=as_yaml) == data


@pytest.mark.parametrize("text", ["\x85\x85", "a\x85 b\n", "\u2028 \n", "\ufeff", "a\r\nb\n ", " \n\t", "on"])
@pytest.mark.parametrize("as_key", [False, True])
def test_yaml_with_odd_line_ends_is_read_back_as_it_was_written(text: str, as_key: bool) -> None:
    value = {text: "x"} if as_key else {"x": text}
    assert parse(render(value, as_yaml=True), is_yaml=True).value == value


def test_code_stands_in_yaml_as_people_write_it() -> None:
    text = render({"files": {"src/a.ts": "a\n  b\n"}}, as_yaml=True).decode()
    assert text == "files:\n  src/a.ts: |\n    a\n      b\n"


def test_a_side_file_that_is_no_object_is_refused_with_its_name() -> None:
    for data in (b"[]", b"{"):
        with pytest.raises(SpecError, match=r"^timewright\.json"):
            read_side(data)


# Rules -----------------------------------------------------------------------------------------


def test_the_compilers_output_is_found_through_local_bases() -> None:
    files = {
        "tsconfig.json": '{"extends": ["./base/a", "@x/y"], /* x */ "compilerOptions": {"outDir": "./lib"}}',
        "base/a.json": '{"extends": "../tsconfig.json", "compilerOptions": {"declarationDir": "../types"}}',
    }
    assert outputs(files.get) == {"lib", "types"}


@pytest.mark.parametrize("folder", [".", "./", "..", "../out", "/out", "src", 7, ""])
def test_an_output_folder_that_holds_the_sources_is_no_reason_to_leave_them_out(folder: Any) -> None:
    assert outputs({"tsconfig.json": json.dumps({"compilerOptions": {"outDir": folder}})}.get) == frozenset()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"compilerOptions": 7}', '{"extends": 7}'])
def test_a_tsconfig_that_makes_no_sense_has_no_output(text: str) -> None:
    assert outputs({"tsconfig.json": text}.get) == frozenset()
    assert outer_bases({"tsconfig.json": text}.get) == ()


def test_a_base_outside_of_the_project_is_seen() -> None:
    config = '{"extends": ["../../base.json", "./here.json", "@tsconfig/node20/tsconfig.json"]}'
    assert outer_bases({"tsconfig.json": config}.get) == ("../../base.json",)


def test_a_pattern_that_means_nothing_is_an_error_for_a_person_and_none_for_git() -> None:
    with pytest.raises(GlobError):
        globs(["!"])
    assert gitignore("!\n*.gen.ts\n").match_file("a.gen.ts")


def test_the_fixtures_are_what_they_seem() -> None:
    assert FILES["src/workflow.ts"] == WORKFLOW
    assert FILES["src/activities.ts"] == ACTIVITIES
