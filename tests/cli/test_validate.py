"""`timewright validate`: what it finds, and how each format says it (golden/ holds them)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import CliRunner
from click.testing import Result as Run
from timewright import __version__
from timewright.cli import validate
from timewright.cli.formats import FORMATS, Finding, Result
from timewright.config import load
from timewright.core.errors import Problem

from tests.e2e.specs import greeter
from tests.support import as_bytes, compile_result, document

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def found() -> list[Result]:
    """The golden specs, compiled for real."""
    with contextlib.chdir(GOLDEN):
        return asyncio.run(validate.check(load(), ["specs"]))


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_says_what_it_said_before(found: list[Result], form: str) -> None:
    text = FORMATS[form](found).replace(f'"version": "{__version__}"', '"version": "VERSION"')
    golden = GOLDEN / f"validate.{form}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


# Formats ---------------------------------------------------------------------------------------

NASTY = [
    Result(
        "a,b:100%\n.json",
        None,
        (
            Finding(
                "error", "InvalidSpec", Problem("name", "50%\r\n::error::x\x1b[31m, <&>\"'", line=3), 3, 7
            ),
        ),
    )
]


def test_a_workflow_command_can_not_be_forged() -> None:
    assert FORMATS["github"](NASTY) == (
        "::error file=a%2Cb%3A100%25%0A.json,line=3,col=7,title=InvalidSpec"
        "::name: 50%25%0D%0A::error::x�[31m, <&>\"'\n"
    )


def test_text_has_no_control_characters() -> None:
    assert all(char.isprintable() or char == "\n" for char in FORMATS["text"](NASTY))


def test_xml_holds_what_it_can() -> None:
    suites = ElementTree.fromstring(FORMATS["junit"](NASTY))
    failure = suites.find("testsuite/testcase/failure")
    assert failure is not None
    assert "[31m, <&>\"'" in str(failure.get("message"))
    assert "\x1b" not in FORMATS["junit"](NASTY)


def test_junit_counts_its_cases(found: list[Result]) -> None:
    suites = ElementTree.fromstring(FORMATS["junit"](found))
    cases = suites.findall("testsuite/testcase")
    assert suites.get("tests") == str(len(cases)) == "5"
    assert suites.get("failures") == str(len(suites.findall("testsuite/testcase/failure"))) == "3"


#: What SARIF 2.1.0 asks of the parts that we use.
SARIF = {
    "required": ["$schema", "version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "additionalProperties": False,
                "required": ["tool", "results"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "artifacts": {"type": "array", "uniqueItems": True},
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name"],
                                "properties": {
                                    "rules": {
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],
                                            "properties": {
                                                "shortDescription": {"required": ["text"]},
                                                "defaultConfiguration": {
                                                    "properties": {"level": {"enum": ["error", "warning"]}}
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "items": {
                            "additionalProperties": False,
                            "required": ["message"],
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {"required": ["text"]},
                                "locations": {
                                    "items": {
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": {
                                                "additionalProperties": False,
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "properties": {"uri": {"pattern": "^[^ ,\n\\\\]*$"}}
                                                    },
                                                    "region": {
                                                        "properties": {
                                                            "startLine": {"type": "integer", "minimum": 1},
                                                            "startColumn": {"type": "integer", "minimum": 1},
                                                        }
                                                    },
                                                },
                                            },
                                            "logicalLocations": {
                                                "items": {"required": ["fullyQualifiedName", "kind"]}
                                            },
                                        },
                                    }
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("nasty", [False, True])
def test_sarif_has_the_structure_that_its_readers_want(found: list[Result], nasty: bool) -> None:
    log = json.loads(FORMATS["sarif"](NASTY if nasty else found))
    jsonschema.validate(log, SARIF)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    for result in log["runs"][0]["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_found_is_said_in_every_format(form: str) -> None:
    assert FORMATS[form]([Result("a.json", "a")]) or form == "github"


# The command -----------------------------------------------------------------------------------


class Desk:
    """A folder to validate in, with the compiler off: these tests are about everything else."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def put(self, name: str, content: Any) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else as_bytes(content))

    def run(self, *arguments: str, stdin: bytes | None = None) -> Run:
        with contextlib.chdir(self.home):
            run = CliRunner().invoke(
                validate.command, arguments, input=stdin, env={"TIMEWRIGHT_COMPILER_MODE": "off"}
            )
        if run.exception is not None and not isinstance(run.exception, SystemExit):
            raise run.exception
        return run

    def found(self, *arguments: str, stdin: bytes | None = None) -> dict[str, dict[str, Any]]:
        run = self.run(*arguments, "--format", "json", stdin=stdin)
        return {result["file"]: result for result in json.loads(run.stdout)}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def reasons(result: dict[str, Any]) -> list[str]:
    return [problem["reason"] for problem in result.get("problems", ())]


def test_errors_exit_with_1_and_warnings_with_0_unless_strict(desk: Desk) -> None:
    desk.put("good.json", document())
    desk.put("warned.json", document(tsConfig={"compilerOptions": {"outDir": "/x"}}))
    desk.put("bad.json", {"workflowId": "x"})
    assert desk.run("good.json").exit_code == 0
    assert desk.run("warned.json").exit_code == 0
    assert desk.run("warned.json", "--strict").exit_code == 1
    assert desk.run("bad.json").exit_code == 1
    assert not desk.found("warned.json", "--strict")["warned.json"]["ok"]


def test_json_is_a_format_by_two_names(desk: Desk) -> None:
    desk.put("a.json", document())
    assert desk.run("a.json", "--json").stdout == desk.run("a.json", "--format", "json").stdout


def test_an_unknown_format_is_wrong_usage(desk: Desk) -> None:
    assert desk.run("x", "--format", "xml").exit_code == 2


@pytest.mark.parametrize(
    "data", [as_bytes(document()), b"workflowId: hello\nfiles: {}\n"], ids=["json", "yaml"]
)
def test_standard_input_is_a_file_like_any_other(desk: Desk, data: bytes) -> None:
    found = desk.found("-", stdin=data)["-"]
    assert found["workflowId"] == "hello"
    assert found["ok"] is data.startswith(b"{")


def test_a_folder_means_what_the_daemon_would_find_in_it(desk: Desk) -> None:
    for name in (
        "a.json",
        "deep/down/b.yaml",
        ".hidden.json",
        "node_modules/c.json",
        "package.json",
        "d.txt",
    ):
        desk.put(f"specs/{name}", greeter(Path(name).stem, "x"))
    desk.put("specs/deep/e.policy.yaml", b"deploy: {}\n")
    desk.put("specs/deep/f.policy.json", b'{"deploy": {}}\n')
    names = ["a.json", "deep/down/b.yaml", "deep/e.policy.yaml", "deep/f.policy.json"]
    assert sorted(desk.found("specs")) == [f"specs/{name}" for name in names]


def test_a_file_that_is_named_twice_is_checked_once(desk: Desk) -> None:
    desk.put("specs/a.json", document())
    assert desk.found("specs/a.json", "specs", "./specs/a.json").keys() == {"specs/a.json"}
    assert desk.run("specs/a.json", "specs").exit_code == 0


def test_a_folder_without_specs_is_worth_a_warning(desk: Desk) -> None:
    (desk.home / "empty").mkdir()
    found = desk.found("empty")["empty"]
    assert found["ok"]
    assert found["warnings"][0]["message"] == "holds no specs"


def test_a_file_that_is_not_there_is_an_error(desk: Desk) -> None:
    assert reasons(desk.found("none.json")["none.json"]) == ["SourceUnreadable"]


def test_a_file_over_the_limit_is_not_read_to_its_end(desk: Desk) -> None:
    desk.put("timewright.toml", b"[source]\nmax_spec_bytes = 100\n")
    desk.put("a.json", document())
    assert "101 bytes is more than the limit of 100" in desk.found("a.json")["a.json"]["message"]


# Places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (compile_result(workflowCode="export const a = 1;"), 4),
        (document(files={"src/workflow.ts": "export const a = 1;"}), 4),
        (document(files=[{"path": "src/workflow.ts", "content": "export const a = 1;"}]), 4),
        ({"success": True, "data": compile_result(workflowCode="export const a = 1;")}, 6),
        ({"workflow_id": "x", "workflow_code": "export const a = 1;"}, 3),
    ],
    ids=["compile result", "files", "file list", "wrapped", "snake case"],
)
def test_a_problem_in_code_has_the_line_of_its_file_in_the_document(
    desk: Desk, value: dict[str, Any], line: int
) -> None:
    desk.put("a.json", value)
    problems = desk.found("a.json")["a.json"]["problems"]
    assert {(problem["where"], problem["documentLine"]) for problem in problems} == {
        ("src/workflow.ts", line)
    }
    annotation = desk.run("a.json", "--format", "github").stdout.splitlines()[0]
    assert annotation.startswith(
        f"::error file=a.json,line={line},title=InvalidSpec::src/workflow.ts: does not"
    )


def test_a_document_on_one_line_has_no_lines_to_name(desk: Desk) -> None:
    desk.put("a.json", json.dumps(document(name=7)).encode())
    assert desk.run("a.json", "--format", "github").stdout.startswith(
        "::error file=a.json,title=InvalidSpec::name:"
    )


# Against each other ----------------------------------------------------------------------------


def test_two_files_with_one_id_name_each_other(desk: Desk) -> None:
    desk.put("a.json", greeter("one", "x"))
    desk.put("b.json", {**greeter("one", "y"), "name": 7})
    desk.put("c.json", greeter("ONE", "z"))
    found = desk.found("a.json", "b.json", "c.json")
    assert reasons(found["a.json"]) == reasons(found["c.json"]) == ["DuplicateWorkflowId"]
    assert reasons(found["b.json"]) == ["InvalidSpec", "DuplicateWorkflowId"]
    assert "'one' is also used by b.json, c.json" in found["a.json"]["message"]
    assert found["a.json"]["problems"][0]["documentLine"] == 2


def test_two_workflows_of_one_name_on_one_queue_name_each_other(desk: Desk) -> None:
    desk.put("a.json", document(workflowId="a", deploy={"taskQueue": "q"}))
    desk.put("b.json", document(workflowId="b", deploy={"taskQueue": "q"}))
    desk.put("c.json", document(workflowId="c", deploy={"taskQueue": "other"}))
    found = desk.found("a.json", "b.json", "c.json")
    assert reasons(found["a.json"]) == reasons(found["b.json"]) == ["NameConflict"]
    assert "is also exported by b on task queue 'q'" in found["a.json"]["message"]
    assert found["a.json"]["problems"][0]["documentLine"] == 12
    assert found["c.json"]["ok"]


# Policies --------------------------------------------------------------------------------------


def test_a_policy_beside_the_specs_gives_its_defaults(desk: Desk) -> None:
    desk.put("specs/a.json", document(workflowId="a"))
    desk.put("specs/pay/b.json", document(workflowId="b"))
    assert not desk.found("specs")["specs/a.json"]["ok"]
    desk.put("specs/pay/x.policy.yaml", b"deploy: {taskQueue: pay}\n")
    assert all(result["ok"] for result in desk.found("specs").values())
    assert all(result["ok"] for result in desk.found("specs/a.json", "specs/pay/b.json").values())


def test_a_policy_above_a_single_file_counts_up_to_the_source(desk: Desk) -> None:
    desk.put("specs/x.policy.yaml", b"deploy: {nope: 1}\n")
    desk.put("specs/pay/a.json", document())
    desk.put("x.policy.yaml", b"deploy: {nope: 1}\n")
    assert desk.found("specs/pay/a.json").keys() == {"specs/pay/a.json", "specs/x.policy.yaml"}
    desk.put("elsewhere/x.policy.yaml", b"deploy: {nope: 1}\n")
    desk.put("elsewhere/a.json", document())
    assert desk.found("elsewhere/a.json").keys() == {"elsewhere/a.json", "elsewhere/x.policy.yaml"}


def test_a_wrong_policy_is_an_error_with_its_line(desk: Desk) -> None:
    desk.put("specs/a.json", document())
    desk.put("specs/x.policy.yaml", b"match: '*.json'\ndeploy:\n  taskqueue: pay\n")
    problem = desk.found("specs")["specs/x.policy.yaml"]["problems"][0]
    assert (problem["where"], problem["documentLine"]) == ("deploy.taskqueue", 3)


def test_a_spec_below_a_policy_that_can_not_be_read_is_not_called_good(desk: Desk) -> None:
    desk.put("specs/a.json", document())
    desk.put("specs/x.policy.yaml", b"deploy: [\n")
    found = desk.found("specs")
    assert reasons(found["specs/a.json"]) == ["InvalidSpec"]
    assert "deploy: its defaults in x.policy.yaml can't be read" in found["specs/a.json"]["message"]


def test_what_a_policy_breaks_is_said_with_its_name(desk: Desk) -> None:
    desk.put("specs/a.json", document(deploy={"isolation": "shared"}))
    desk.put("specs/x.policy.yaml", b"deploy: {env: {A: b}}\n")
    message = desk.found("specs")["specs/a.json"]["message"]
    assert "needs isolation" in message
    assert "with the defaults of x.policy.yaml" in message
