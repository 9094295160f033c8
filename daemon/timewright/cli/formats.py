"""What `validate` found, in the words of people, scripts and CI systems.

Each format is a function of the results alone, so that golden files hold them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from timewright import __version__
from timewright.cli.common import printable
from timewright.core.errors import Problem, Reason
from timewright.views import problem_view

ERROR, WARNING = "error", "warning"
#: The rule of findings that stop nothing.
_ADVICE = "Warning"


@dataclass(frozen=True)
class Finding:
    """One thing found. `reason`: a word of Reason, or 'Warning'. `line`, `column`: in the document, from
    1. `in_code`: the problem's own place is in a file of the release, and not in the document."""

    level: str
    reason: str
    problem: Problem
    line: int | None = None
    column: int | None = None
    in_code: bool = False

    @property
    def text(self) -> str:
        """The message without the place, where the format has its own field for that."""
        problem = self.problem
        if self.in_code:
            return str(problem)
        where = "" if problem.where == "(document)" else problem.where
        return str(Problem(where, problem.message, problem.hint, code=problem.code))


@dataclass(frozen=True)
class Result:
    """What was found in one file; `workflow_id` None where it can't be told (or it is a policy)."""

    file: str
    workflow_id: str | None
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == WARNING)


def as_text(results: Sequence[Result]) -> str:
    lines: list[str] = []
    for result in results:
        word = "error " if result.errors else "ok    "
        reason = f": {result.errors[0].reason}" if result.errors else ""
        lines.append(f"{word} {printable(result.file)}{reason}")
        for finding in (*result.errors, *result.warnings):
            first, *more = str(finding.problem).split("\n")
            note = "warning: " if finding.level == WARNING else ""
            lines += [f"       - {note}{printable(first)}", *(f"         {printable(line)}" for line in more)]
    return "\n".join([*lines, _summary(results)]) + "\n"


def _summary(results: Sequence[Result]) -> str:
    bad = sum(bool(result.errors) for result in results)
    warned = sum(len(result.warnings) for result in results)
    parts = [f"{len(results) - bad} ok", *([f"{bad} with errors"] if bad else [])]
    return ", ".join([*parts, *([f"{warned} warning{'s'[: warned > 1]}"] if warned else [])])


def as_json(results: Sequence[Result]) -> str:
    return json.dumps([_view(result) for result in results], indent=2, ensure_ascii=False) + "\n"


def _view(result: Result) -> dict[str, Any]:
    view: dict[str, Any] = {"file": result.file, "workflowId": result.workflow_id, "ok": not result.errors}
    if result.errors:
        first, more = result.errors[0], len(result.errors) - 1
        view["reason"] = first.reason
        view["message"] = f"{first.problem} (and {more} more)" if more else str(first.problem)
        view["problems"] = [_problem(finding) for finding in result.errors]
    view["warnings"] = [_problem(finding) for finding in result.warnings]
    return view


def _problem(finding: Finding) -> dict[str, Any]:
    view = {"reason": finding.reason, **problem_view(finding.problem)}
    return {**view, "documentLine": finding.line} if finding.line is not None else view


# GitHub: workflow commands ---------------------------------------------------------------------


def as_github(results: Sequence[Result]) -> str:
    lines = []
    for result in results:
        for finding in result.findings:
            fields = {
                "file": result.file or None,
                "line": finding.line,
                "col": finding.column,
                "title": finding.reason,
            }
            given = ",".join(
                f"{key}={_property(value)}" for key, value in fields.items() if value is not None
            )
            lines.append(f"::{finding.level} {given}::{_escaped(finding.text)}\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    """As workflow commands want it; what else could steer a terminal goes out."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return printable(text)


def _property(value: str | int) -> str:
    return _escaped(str(value)).replace(":", "%3A").replace(",", "%2C")


# JUnit -----------------------------------------------------------------------------------------


def as_junit(results: Sequence[Result]) -> str:
    """One test case for each file; all its errors are in one failure, as most readers want it."""
    failed = str(sum(bool(result.errors) for result in results))
    counts = {"tests": str(len(results)), "failures": failed, "errors": "0", "skipped": "0"}
    suites = ElementTree.Element("testsuites", {"name": "timewright validate", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "specs", **counts})
    for result in results:
        name = _xml(result.file)
        case = ElementTree.SubElement(suite, "testcase", {"classname": "specs", "name": name, "file": name})
        if errors := result.errors:
            said = {"type": errors[0].reason, "message": _xml(str(errors[0].problem))}
            ElementTree.SubElement(case, "failure", said).text = _lines(errors)
        if warnings := result.warnings:
            ElementTree.SubElement(case, "system-out").text = _lines(warnings)
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def _lines(findings: Iterable[Finding]) -> str:
    return "\n".join(_xml(f"{finding.level}: {finding.reason}: {finding.problem}") for finding in findings)


def _xml(text: str) -> str:
    """XML can't hold most control characters, not even escaped."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


# SARIF 2.1.0 -----------------------------------------------------------------------------------

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(results: Sequence[Result]) -> str:
    found = [(result, finding) for result in results for finding in result.findings]
    rules = sorted({finding.reason for _, finding in found})
    driver = {"name": "timewright", "version": __version__, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": {"uri": _uri(result.file)}} for result in results],
        "results": [_sarif_result(result, finding, rules) for result, finding in found],
    }
    return (
        json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)
        + "\n"
    )


def _rule(name: str) -> dict[str, Any]:
    level = WARNING if name == _ADVICE else ERROR
    return {
        "id": name,
        "name": name,
        "shortDescription": {"text": _RULES.get(name, name)},
        "defaultConfiguration": {"level": level},
    }


def _sarif_result(result: Result, finding: Finding, rules: list[str]) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(result.file)}}
    if finding.line is not None:
        column = {"startColumn": finding.column} if finding.column is not None else {}
        place["region"] = {"startLine": finding.line, **column}
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.problem.where not in ("", "(document)"):
        name = str(
            Problem(finding.problem.where, "", line=finding.problem.line, column=finding.problem.column)
        )
        kind = "module" if finding.in_code else "member"
        place_in_code = name.rstrip(": ") if finding.in_code else finding.problem.where
        location["logicalLocations"] = [{"fullyQualifiedName": place_in_code, "kind": kind}]
    return {
        "ruleId": finding.reason,
        "ruleIndex": rules.index(finding.reason),
        "level": finding.level,
        "message": {"text": finding.text},
        "locations": [location],
    }


def _uri(file: str) -> str:
    return quote(file.replace("\\", "/"), safe="/", errors="surrogateescape")


_RULES = {
    _ADVICE: "Nothing that stops a deploy, but worth a look",
    Reason.INVALID_SPEC: "The document is not a spec that can be deployed",
    Reason.NOT_COMPILED: "The builder did not compile this workflow",
    Reason.DUPLICATE_WORKFLOW_ID: "Two specs have one workflowId",
    Reason.NAME_CONFLICT: "Two specs have one workflow type or activity name on one task queue",
    Reason.TYPE_CHECK_FAILED: "The TypeScript compiler found errors",
    Reason.BUNDLE_FAILED: "The workflow can't be bundled for its sandbox",
    Reason.DEPENDENCY_FAILED: "A package is missing",
    Reason.SOURCE_UNREADABLE: "A file or folder can't be read",
}

FORMATS: dict[str, Callable[[Sequence[Result]], str]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "junit": as_junit,
    "sarif": as_sarif,
}
