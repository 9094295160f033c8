"""docs/errors.md is made of what the product really says; a test compares."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from timewright.cli import validate
from timewright.cli.formats import ERROR
from timewright.config import load
from timewright.core.errors import TRANSIENT, Reason

from tests.docs.catalogue import SECTIONS, Case
from tests.support import ROOT

PAGE = ROOT / "docs" / "errors.md"
HEAD = """\
# Errors

What each reason means, and examples as they are printed. Made by `UPDATE_DOCS=1 pytest tests/docs` from
`tests/docs/catalogue.py`; a test compares. In every case what runs goes on as it is.
"""


def messages(home: Path, case: Case, reason: Reason) -> list[str]:
    """What `timewright validate` says to the documents of a case, for one reason."""
    home.mkdir()
    names = []
    for name, document in zip(("hello", "other"), (case.spec, *case.others), strict=False):
        path = home / f"{name}.{'yaml' if case.yaml else 'json'}"
        data = document if isinstance(document, bytes) else json.dumps(document, indent=1).encode()
        path.write_bytes(data)
        names.append(str(path))
    config = load()
    config = replace(config, dependencies=replace(config.dependencies, deny=list(case.deny)))
    results = asyncio.run(validate.check(config, names))
    found = [finding for result in results for finding in result.findings if finding.level == ERROR]
    assert {finding.reason for finding in found} == {reason}, [str(finding.problem) for finding in found]
    return [str(finding.problem).replace(f"{home}/", "") for finding in found]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("errors")
    parts = [HEAD]
    for reason, section in SECTIONS.items():
        again = " It is tried again by itself, with growing waits." if reason in TRANSIENT else ""
        means = section.means.removesuffix(" It is tried again by itself.")
        parts += [f"## {reason}\n", f"{means}{again}\n", f"**What to do.** {section.do}\n"]
        for number, case in enumerate(section.cases):
            said = "\n".join(messages(home / f"{reason}-{number}", case, reason))
            parts.append(f"*{case.title}*\n\n```text\n{said}\n```\n")
        parts += [f"Tested as: {title} (`{test}`).\n" for title, test in section.by.items()]
    return "\n".join(parts)


def test_the_page_of_errors_is_what_the_product_says(page: str) -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page, "utf-8")
    assert PAGE.read_text("utf-8") == page


def test_every_reason_has_its_section_and_a_test() -> None:
    assert list(SECTIONS) == sorted(SECTIONS, key=list(SECTIONS).index)
    assert set(SECTIONS) == set(Reason)
    for reason, section in SECTIONS.items():
        assert section.cases or section.by
        for test in section.by.values():
            text = (ROOT / test).read_text("utf-8")
            assert f"Reason.{reason.name}" in text or str(reason) in text, f"{test} does not know {reason}"
