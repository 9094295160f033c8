from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.names import forbidden_problem, id_problem, name_problem, path_problem
from timewright.edge.pools import Pools

HOSTILE_IDS = [
    *(
        "../x",
        "/abs",
        "a/b",
        ".",
        "..",
        "",
        "-rf",
        "a\0b",
        "a\n",
        "\na",
        "a b",
        "a\u202eb",
        "a" * 129,
        "a" * 300,
    ),
    *(
        "CON",
        "con.json",
        "nul",
        "LPT1",
        "node_modules",
        "Node_Modules",
        "a.",
        "a ",
        "ä",
        "$(id)",
        "`id`",
        "a;b",
    ),
    *("a'b", 'a"b', ".hidden", ".tmp-x", "_x", "a\\b", "C:", "~", "a%2fb", "a\u0000", "\u2024\u2024"),
]
HOSTILE_PATHS = [
    *("", "/etc/passwd", "../x", "src/../../x", "a//b", "./a", "a/.", "a/..", "src/", "a\\b", "C:/x", "c:x"),
    *(
        "a\0b",
        "a\nb",
        "a\x1b[2J",
        "a\x9bb",
        "a\u202eb",
        "src/cafe\u0301.ts",
        "a" * 201,
        "a/" * 501,
        "src/CON.ts",
    ),
    *("src/nul", "src/x.", "src/x ", "node_modules/x", "a/node_modules/b", "src/\u200bx"),
]
FORBIDDEN = [
    *(".npmrc", "src/.npmrc", "binding.gyp"),
    *(
        "dist/worker.js",
        "dist",
        "bundle/workflow.js",
        "release.toml",
        ".NPMRC",
        "Dist/worker.js",
    ),
]


@pytest.mark.parametrize("workflow_id", HOSTILE_IDS)
def test_an_id_that_no_directory_should_have_is_refused(workflow_id: str) -> None:
    assert id_problem(workflow_id)


@pytest.mark.parametrize(
    "workflow_id", ["a", "0", "order-saga", "Order_Saga.v2", "a" * 128, "console", "com"]
)
def test_an_ordinary_id_passes(workflow_id: str) -> None:
    assert id_problem(workflow_id) == ""


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_that_leads_elsewhere_or_means_two_things_is_refused(path: str) -> None:
    assert path_problem(path)


@pytest.mark.parametrize(
    "path", ["src/workflow.ts", "src/a/b.c/d.ts", "src/…/ä.ts", "src/a b.ts", "package.json", "src/..a"]
)
def test_an_ordinary_path_passes(path: str) -> None:
    assert path_problem(path) == ""
    assert forbidden_problem(path) == ""


@pytest.mark.parametrize("path", FORBIDDEN)
def test_a_file_that_npm_or_we_would_obey_is_refused(path: str) -> None:
    assert forbidden_problem(path)


@given(st.text(max_size=40) | st.text("./\\ab~", max_size=12))
def test_a_path_that_passes_stays_below_its_release(path: str) -> None:
    if path_problem(path) == "":
        assert os.path.normpath(f"/release/{path}") == f"/release/{path}"


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9._/-]{1,20}"))
def test_an_id_that_passes_is_one_plain_directory_name(workflow_id: str) -> None:
    if id_problem(workflow_id) == "":
        assert Path("/releases", workflow_id).parent == Path("/releases")
        assert not workflow_id.startswith((".", "-"))
        assert workflow_id.isascii()


@pytest.mark.parametrize("name", ["", " ", "\t", "a\nb", "a\0", "a" * 201, "ä" * 34, "\u202e"])
def test_a_queue_name_that_nobody_could_type_is_refused(name: str) -> None:
    assert name_problem(name)


@given(st.text(min_size=1, max_size=210))
def test_a_queue_name_that_passes_can_be_a_directory(name: str) -> None:
    if name_problem(name) == "":
        home = Pools(Path("/data")).home(("default", name))
        assert home.parent == Path("/data/pools/default")
        assert len(home.name) <= 255
        assert not home.name.startswith(".")
