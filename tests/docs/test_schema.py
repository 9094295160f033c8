"""The schemas and the tables of fields that people read are those of core/schema.py."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from timewright.core import schema

from tests.support import ROOT

PAGE = ROOT / "docs" / "spec.md"
_MARKED = re.compile(r"(<!-- fields:([\w-]+) -->\n).*?(<!-- /fields -->)", re.DOTALL)


def held(path: Path, wanted: str) -> None:
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(wanted, "utf-8")
    assert path.read_text("utf-8") == wanted


@pytest.mark.parametrize(
    ("name", "made"),
    [("spec.schema.json", schema.spec_schema()), ("policy.schema.json", schema.policy_schema())],
)
def test_the_schema_in_the_repository_is_the_one_that_is_printed(name: str, made: dict[str, Any]) -> None:
    held(ROOT / name, schema.render(made))


def test_the_tables_of_the_spec_page_are_made_from_the_schema() -> None:
    text = PAGE.read_text("utf-8")
    held(PAGE, _MARKED.sub(lambda match: match[1] + schema.table(match[2]) + match[3], text))


def test_the_spec_page_has_every_table() -> None:
    assert [match[2] for match in _MARKED.finditer(PAGE.read_text("utf-8"))] == list(schema.TABLES)
