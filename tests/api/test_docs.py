"""docs/api.md is held to the routes."""

from __future__ import annotations

import os
import re

from timewright.api.access import LEAST, OPEN, is_open
from timewright.api.problems import STATUS
from timewright.core.errors import Code

from tests.api.conftest import Desk
from tests.api.test_matrix import routes
from tests.support import ROOT

PAGE = ROOT / "docs" / "api.md"
TABLE = re.compile(r"<!-- calls -->\n.*?<!-- end -->", re.DOTALL)


def _table(desk: Desk) -> str:
    rows = ["| call | least role | |", "|---|---|---|"]
    for route in routes(desk):
        [method] = sorted(route.methods or ["?"])
        role = "anybody" if route.path in OPEN else "a signature"
        if not is_open(route.path):
            role = LEAST[route.operation_id or ""].name.lower()
        rows.append(f"| `{method} {route.path}` | {role} | {route.summary} |")
    return "\n".join(["<!-- calls -->", *rows, "<!-- end -->"])


async def test_the_table_of_calls_is_what_is_served(desk: Desk) -> None:
    text = PAGE.read_text("utf-8")
    if os.environ.get("UPDATE_DOCS"):
        text = TABLE.sub(lambda _: _table(desk), text)
        PAGE.write_text(text, "utf-8")
    assert _table(desk) in text


def test_every_code_is_explained_with_its_status() -> None:
    text = PAGE.read_text("utf-8")
    for code in Code:
        assert re.search(rf"\| `{code}` \| [\d, ]*{STATUS[code]}", text), code
