"""The ready-made CI files: they are YAML, and every timewright command in them is one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from timewright.cli.comment import MARKER
from timewright.cli.main import cli
from timewright.edge.source import is_spec_name

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "docs" / "ci" / "github.yml", REPO / "docs" / "ci" / "gitlab.yml"]


def scripts(value: Any) -> Iterator[str]:
    """All texts of a document that are run."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ([item] if key == "run" else scripts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in ([item] if isinstance(item, str) else scripts(item)))


def commands(text: str) -> Iterator[list[str]]:
    """The timewright command lines of a script."""
    for line in re.split(r"\n|;|\|\|", text):
        words = shlex.split(re.sub(r"[<>].*", "", line), comments=True)
        if words[:1] == ["timewright"]:
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize(("code", "passes"), [(0, True), (3, True), (1, False), (2, False), (127, False)])
def test_a_job_passes_only_for_a_plan_that_is_not_refused(page: Path, code: int, passes: bool) -> None:
    [line] = [
        line
        for text in scripts(yaml.safe_load(page.read_text()))
        for line in text.splitlines()
        if 'test "$code"' in line
    ]
    done = subprocess.run(["sh", "-c", line], env={**os.environ, "code": str(code)}, check=False)
    assert (done.returncode == 0) == passes


def test_the_comment_is_found_by_the_line_that_plan_writes() -> None:
    assert f'startswith("{MARKER}")' in PAGES[0].read_text()


def test_actions_are_pinned_by_commit() -> None:
    used = re.findall(r"uses: (\S+)", PAGES[0].read_text())
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_ci_file_is_understood(page: Path) -> None:
    found = [words for text in scripts(yaml.safe_load(page.read_text())) for words in commands(text)]
    assert {words[0] for words in found} == {"validate", "plan", "reconcile"}
    for verb, *rest in found:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        command.make_context(verb, list(rest))  # raises UsageError


def test_the_hooks_are_commands_and_take_the_files_that_hold_specs() -> None:
    hooks = yaml.safe_load((REPO / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["timewright-validate", "timewright-check"]
    for hook in hooks:
        program, verb, *rest = hook["entry"].split()
        command = cli.get_command(click.Context(cli), verb)
        assert program == "timewright"
        assert command is not None
        command.make_context(verb, [*rest, "a.json"])
        names = ("a.json", "b.yaml", "c.yml", "package.json", "tsconfig.json", ".hidden.json", "x.json.bak")
        for name in names:
            taken = bool(re.search(hook["files"], name)) and not re.search(hook["exclude"], name)
            assert taken == is_spec_name(name), name
