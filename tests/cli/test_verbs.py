"""The verbs as a whole: their help, their exit codes, what a shell completes, and what starting one costs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete
from timewright.cli.main import cli
from timewright.cli.verbs import VERBS
from timewright.core.state import Status
from timewright.edge.statefile import StateFile

from tests.cli.conftest import Shell
from tests.cli.fake import DIGEST, OLDER, FakeDaemon, workflow
from tests.cli.test_looking import FAILURE
from tests.cli.test_rollout import state

PROBLEM = {"complete": False, "problem": "x", "actions": []}
TO_DO = {
    "complete": True,
    "problem": None,
    "actions": [{"action": "deploy", "workflowId": "x", "because": "y"}],
}

#: Command line → its exit code with a healthy workflow `hello`, a failed one `bad` and a plan with changes.
EXIT_CODES = {
    **dict.fromkeys(
        [
            *("--help", "--version", "status hello", "list", "show hello", "logs", "history hello"),
            *("operations", "audit", "wait hello", "deploy hello", "redeploy hello", "undeploy hello"),
            *("promote hello", "abort hello", "gate retry hello"),
            *("rollback hello", "pin hello", "unpin hello", "suspend hello", "resume hello", "prune"),
            *(
                "diff hello",
                "config",
                "schema",
                "completion bash",
                "init fresh",
                "reconcile --wait",
                "notify",
                "rollout hello",
                "rollout hello --watch",
            ),
        ],
        0,
    ),
    **dict.fromkeys(
        [
            *("status", "status bad", "status --oneline", "status nope", "show nope", "logs nope"),
            *("rollout nope", "replay nope"),
            *("deploy nope", "diff nope", "wait bad --timeout 0.1s", "validate nowhere.json"),
            *(
                "config --config broken.toml",
                "status --server http://127.0.0.1:1",
                "reconcile nope",
                "promote nope",
                "notify --test",
                "notify nope",
            ),
        ],
        1,
    ),
    **dict.fromkeys(
        [
            *(
                "",
                "nonsense",
                "status --nonsense",
                "show",
                "deploy",
                "deploy hello there",
                "gate",
                "gate retry",
                "promote hello --half",
                "wait hello --for x",
            ),
            "dashboard --port 99999",
            *("suspend", "pin hello --for soon", "status --watch --json", "completion tcsh", "logs -n 0"),
            *("status --server http://x --data y", "diff hello a --drift", "reconcile --revision HEAD"),
        ],
        2,
    ),
    "plan": 3,
}


@pytest.mark.parametrize("line", EXIT_CODES)
def test_a_command_ends_with_the_documented_exit_code(line: str, shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows["bad"] = workflow("bad", status=Status.DEPLOYMENT_FAILED, failure=FAILURE)
    daemon.rollouts = [state("promoted")]
    daemon.answers |= {"/plan": TO_DO, "/audit": [], "/workflows/hello/diff": {}}
    (shell.home / "broken.toml").write_text("[")
    done = shell.run(*line.split())
    assert done.code == EXIT_CODES[line], done.err
    assert (done.code in (0, 3)) or done.err or done.out


def test_every_verb_is_in_the_table_of_exit_codes() -> None:
    tried = {line.split()[0] for line in EXIT_CODES if line}
    assert set(VERBS) - {"run", "worker", "setup", "apply", "doctor", "pack", "unpack", "token"} <= tried


def test_the_help_names_every_exit_code() -> None:
    assert cli.epilog is not None
    assert all(f"{code} " in cli.epilog for code in set(EXIT_CODES.values()))


# help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERBS)
def test_the_line_of_a_verb_is_the_first_sentence_of_its_help(name: str) -> None:
    assert cli.commands[name].get_short_help_str(limit=200) == VERBS[name].short


@pytest.mark.parametrize("name", VERBS)
def test_every_option_and_command_has_a_help(name: str) -> None:
    command = cli.commands[name]
    nested = command.commands.values() if isinstance(command, click.Group) else []
    for one in [command, *nested]:
        assert one.help, one.name
        for parameter in one.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (one.name, parameter.name)


def test_a_verb_that_was_mistyped_is_guessed(shell: Shell) -> None:
    assert "Did you mean 'status'?" in shell.run("stauts").err


@pytest.mark.parametrize(
    "name",
    ["deploy", "undeploy", "rollback", "pin", "unpin", "suspend", "resume", "prune", "promote", "abort"],
)
def test_verbs_that_change_something_share_their_options(name: str) -> None:
    options = {option for parameter in cli.commands[name].params for option in parameter.opts}
    assert {"-m", "--reason", "--no-wait", "--timeout", "--json", "--server", "--token-file"} <= options


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if verb.section in ("Look", "Change")])
def test_what_looks_or_changes_speaks_json_and_to_other_hosts(name: str) -> None:
    command = cli.commands[name]
    for one in command.commands.values() if isinstance(command, click.Group) else [command]:
        options = {option for parameter in one.params for option in parameter.opts}
        assert {"--json", "--server", "--data"} <= options, one.name


# completion ------------------------------------------------------------------------------------


def completed(*words: str) -> list[CompletionItem]:
    *before, incomplete = words
    return ShellComplete(cli, {}, "timewright", "_X").get_completions(list(before), incomplete)


def values(*words: str) -> list[Any]:
    return [item.value for item in completed(*words)]


def test_verbs_are_completed_with_their_line() -> None:
    assert [(item.value, item.help) for item in completed("und")] == [("undeploy", VERBS["undeploy"].short)]
    assert values("") == list(VERBS)


def test_ids_are_completed_from_the_daemon(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows = {name: workflow(name) for name in ("hello", "help", "order")}
    assert values("deploy", "he") == ["hello", "help"]
    assert values("prune", "hello", "he") == ["hello", "help"]
    assert values("status", "--data", str(shell.data), "o") == ["order"]


def test_releases_are_completed_from_the_history(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.history["hello"] = [
        {"release": DIGEST[:12], "because": "hello.json changed"},
        {"release": None, "because": "refused"},
        {"release": OLDER[:12], "because": "new\x1b[2J"},
    ]
    assert values("rollback", "hello", "") == [DIGEST[:12], OLDER[:12]]
    assert values("diff", "hello", OLDER[:12], "7") == [DIGEST[:12]]
    assert "\x1b" not in str(completed("pin", "hello", "3")[0].help)


def test_ids_are_completed_from_the_state_file_without_a_word(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    state = StateFile(shell.data / "state.db")
    from timewright.core.state import Record

    state.save(Record("hello"))
    state.close()
    assert values("status", "h") == ["hello"]
    assert capsys.readouterr() == ("", "")


def test_nothing_to_be_had_completes_nothing_and_says_nothing(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert values("deploy", "h") == []
    assert values("deploy", "--config", "nowhere.toml", "h") == []
    assert values("rollback", "--server", "nonsense", "hello", "h") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_of_its_own(name: str, shell: Shell) -> None:
    done = shell.run("completion", name)
    assert done.code == 0
    assert f"_TIMEWRIGHT_COMPLETE={name}_complete" in done.out


def test_bash_completes_ids_with_its_script(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows = {name: workflow(name) for name in ("hello", "help", "order")}
    (shell.home / "timewright").write_text(f'#!/bin/sh\nexec {sys.executable} -m timewright.cli.main "$@"\n')
    (shell.home / "timewright").chmod(0o755)
    words = "COMP_WORDS=(timewright deploy he); COMP_CWORD=2"
    ask = f"{words}; _timewright_completion timewright; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "-c", f'eval "$(timewright completion bash)"; {ask}'],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            "PATH": f"{shell.home}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join(sys.path),
            "TIMEWRIGHT_DATA_DIRECTORY": str(shell.data),
        },
    )
    assert (done.stdout, done.stderr) == ("hello help\n", "")


# what starting costs ---------------------------------------------------------------------------

SLOW = ("httpx", "rich", "temporalio", "fastapi", "uvicorn", "yaml", "tree_sitter", "structlog", "asyncio")


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("--help", ()),
        ("status --oneline", ("rich",)),
        ("list", ()),
        ("status", ("rich",)),
        ("logs", ("rich",)),
    ],
)
def test_a_verb_loads_only_what_it_needs(
    line: str, allowed: tuple[str, ...], shell: Shell, daemon: FakeDaemon
) -> None:
    script = (
        "import sys\n"
        "from timewright.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print([name for name in {SLOW} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *line.split()],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "TIMEWRIGHT_DATA_DIRECTORY": str(shell.data)},
    )
    assert done.returncode == 0, done.stderr
    assert set(eval(done.stderr)) <= set(allowed)
