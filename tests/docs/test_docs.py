"""Documents are held to the product."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
from timewright.cli.main import cli
from timewright.core import deploy

REPO = Path(__file__).resolve().parents[2]


EXIT_CODES = """## Exit codes

| code | means |
|---|---|
| 0 | as wished |
| 1 | something failed: a spec, an operation, a wait, a refused call; or there was no answer |
| 2 | wrong usage |
| 3 | `plan` has something to do |

Who closes our standard output (`| head`) has read enough: that is 0.

## Which daemon

Verbs talk to the daemon of the settings (`api.socket`). With `--server URL` or `TIMEWRIGHT_SERVER` they talk
to another host's, with the token of `--token-file` or `TIMEWRIGHT_TOKEN`; this host's settings are not read
then. While the daemon is down, `status`, `list`, `show`, `history`, `logs`, `operations` and `audit` read
its state file, and say so on standard error (not with `--json` or `--oneline`). `NO_COLOR` takes the colours
away.

Nobody is asked anything without a terminal. On one, `undeploy` and `prune --confirm` ask; `--yes` answers.
"""


def reference() -> str:
    """docs/cli.md as it should be: the help of every verb."""
    parts = [
        "# The command line\n",
        "Made from `--help` by `UPDATE_DOCS=1 pytest tests/docs`; a test compares.\n",
        EXIT_CODES,
    ]
    for words, command in commands("timewright", cli):
        command._help_option = None  # click keeps it, and other tests call verbs without the group
        context = click.Context(command, info_name=words, terminal_width=100, **cli.context_settings)
        parts.append(f"## `{words}`\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def commands(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        for name, nested in sorted(command.commands.items()):
            yield from commands(f"{words} {name}", nested)


def test_the_command_reference_is_what_help_prints() -> None:
    page = REPO / "docs" / "cli.md"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(reference(), "utf-8")
    assert page.read_text("utf-8") == reference()


def test_readme_names_the_two_commands() -> None:
    text = (REPO / "README.md").read_text("utf-8")
    assert "make run " in text
    assert "make test " in text


def test_every_file_that_a_page_names_is_there() -> None:
    for page in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        text = (REPO / page).read_text("utf-8")
        for name in re.findall(r"`((?:daemon|worker|tests|docs|specs|bench)/[\w./-]*)`", text):
            built = name.startswith("worker/dist")
            assert built or (REPO / name).exists(), f"{page} names {name}"
        for name in re.findall(r"\]\(([\w./-]+)\)", text):
            assert (REPO / name).exists(), f"{page} links to {name}"


def test_every_verb_of_the_changelog_exists() -> None:
    text = (REPO / "CHANGELOG.md").read_text("utf-8")
    verbs = re.findall(r"`timewright run`.*", text)[0]
    for verb in re.findall(r"`(?:timewright )?(\w+)`", verbs):
        assert verb in cli.commands


def test_the_spec_page_describes_every_key_of_deploy_and_no_other() -> None:
    text = (REPO / "docs" / "spec.md").read_text("utf-8")
    block = text.split("## `deploy`")[1].split("## Checks")[0]
    described = re.findall(r"^\| `(\w+)`", block, re.MULTILINE)
    assert sorted(described) == sorted(deploy.KEYS)


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (REPO / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"make ([a-z0-9]+)`", (REPO / page).read_text("utf-8")):
            assert target in targets, f"{page} names make {target}"
