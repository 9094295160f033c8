"""docs/faults.md has every row of the fault matrix, and each row its tests or a reason why it has none."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

#: Rows of each section of the matrix.
SECTIONS = {"A": 16, "B": 12, "C": 9, "D": 19, "E": 18, "F": 15, "G": 14}
IDS = [f"{letter}{number}" for letter, most in SECTIONS.items() for number in range(1, most + 1)]

_ROW = re.compile(r"^\| ([A-G]\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
_TEST = re.compile(r"`((?:tests|worker)/[\w./-]+)::([^`]+)`")
_WHY_NONE = "can't be had here: "


@dataclass(frozen=True)
class Row:
    """`tests`: (file, name); `reason`: why there is no test, '' where there are some."""

    id: str
    fault: str
    answer: str
    held: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return _TEST.findall(self.held)

    @property
    def reason(self) -> str:
        return self.held if self.held.startswith(_WHY_NONE) else ""


@cache
def rows() -> dict[str, Row]:
    text = (REPO / "docs" / "faults.md").read_text("utf-8")
    found = [Row(*(cell.strip() for cell in cells)) for cells in _ROW.findall(text)]
    assert len({row.id for row in found}) == len(found), "an id stands twice"
    return {row.id: row for row in found}


@cache
def names(file: str) -> frozenset[str]:
    """The tests of a file: functions of Python, read off the syntax tree, or titles of Node's."""
    text = (REPO / file).read_text("utf-8")
    if file.endswith(".ts"):
        return frozenset(re.findall(r"^\s*test\(['`](.*?)['`],", text, re.MULTILINE))
    functions = [
        node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return frozenset(name for name in functions if name.startswith("test_"))


def is_there(file: str, name: str) -> bool:
    if not (REPO / file).is_file():
        return False
    if file.endswith(".ts"):
        return any(title.startswith(name) for title in names(file))
    return name in names(file)


def test_every_row_of_the_matrix_is_on_the_page_in_order() -> None:
    assert list(rows()) == IDS


@pytest.mark.parametrize("row_id", IDS)
def test_a_row_says_what_happens_and_names_tests_that_exist_or_why_there_are_none(row_id: str) -> None:
    row = rows()[row_id]
    assert row.fault
    assert row.answer
    assert bool(row.tests) != bool(row.reason), "either tests or a reason"
    assert not re.sub(_TEST, "", row.held).strip() or row.reason, "something that is no test"
    assert [f"{file}::{name}" for file, name in row.tests if not is_there(file, name)] == []
