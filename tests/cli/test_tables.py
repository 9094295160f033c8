"""Tables fit the terminal that they are read on; what only a terminal gets: colour, questions, a redraw."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from timewright.cli.tables import Column, table

from tests.cli.conftest import Shell
from tests.cli.fake import FakeDaemon, serving, workflow

REPO = Path(__file__).resolve().parents[2]
COLUMNS = (
    *(Column("NAME"), Column("STATUS", drop=1), Column("POOL", drop=3), Column("SINCE", drop=2)),
    Column("BECAUSE", wraps=True),
)
ROW = [
    "a-rather-long-workflow-id",
    "DEPLOYED",
    "default/default",
    "3m",
    "the spec was changed by somebody, so",
]


def drawn(width: int | None, *rows: list[str]) -> list[str]:
    out = Console(file=StringIO(), force_terminal=width is not None, width=width or 1000)
    return [line.plain for line in table(out, COLUMNS, rows)]


def test_where_there_is_room_a_row_is_a_line() -> None:
    assert drawn(120, ROW) == [
        "NAME                       STATUS    POOL             SINCE  BECAUSE",
        "a-rather-long-workflow-id  DEPLOYED  default/default  3m     the spec was changed by somebody, so",
    ]


def test_off_a_terminal_nothing_is_dropped_or_wrapped() -> None:
    long = [*ROW[:-1], "word " * 400 + "end"]
    assert drawn(None, long)[1].endswith("word end")
    assert len(drawn(None, long)) == 2


@pytest.mark.parametrize("width", range(10, 121))
def test_a_table_fits_every_terminal_and_cuts_neither_ids_nor_reasons(width: int) -> None:
    lines = drawn(width, ROW, ["b", "FAILED", "p", "1s", "x"])
    wide = max(width, len(ROW[0]) + 2)  # an id is longer than the terminal is wide: the terminal wraps it
    assert max(map(len, lines)) <= max(wide, 4 + 24)
    text = " ".join(" ".join(lines).split())
    assert ROW[0] in text
    for word in ROW[-1].split():
        assert word in text


def test_what_matters_least_goes_first() -> None:
    headers = {tuple(drawn(width, ROW)[0].split()) for width in range(40, 121)}
    assert headers == {
        ("NAME", "STATUS", "POOL", "SINCE", "BECAUSE"),
        ("NAME", "STATUS", "SINCE", "BECAUSE"),
        ("NAME", "STATUS", "BECAUSE"),
        ("NAME", "BECAUSE"),
        ("NAME",),
    }


def test_a_column_that_is_empty_everywhere_is_left_out() -> None:
    assert drawn(120, ["a", "x", "", "", "y"])[0].split() == ["NAME", "STATUS", "BECAUSE"]


def test_wide_characters_take_their_room() -> None:
    lines = drawn(120, ["工作流", "x", "p", "s", "y"], ["abcdef", "x", "p", "s", "y"])
    assert lines[1].index("x") + 3 == lines[2].index("x")  # three characters, six cells


# on a terminal ---------------------------------------------------------------------------------


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, shell: Shell, *arguments: str, width: int = 100, height: int = 30, **env: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "timewright.cli.main", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=shell.home,
            env={
                **kept,
                "TERM": "xterm-256color",
                "PYTHONPATH": str(REPO / "daemon"),
                "TIMEWRIGHT_DATA_DIRECTORY": str(shell.data),
                **env,
            },
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> str:
        """Read until a text was printed."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            assert self._read(), self.seen
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        code = self.process.wait(30)
        os.close(self._master)
        return code

    def _read(self) -> bool:
        try:
            ready, _, _ = select.select([self._master], [], [], 0.5)
            data = os.read(self._master, 65536) if ready else b"" if self.process.poll() is not None else None
        except OSError:  # nobody holds the other end
            return False
        self.seen += (data or b"").decode("utf-8", "replace")
        return data != b""


def test_colour_is_for_terminals_and_for_those_who_want_it(shell: Shell, daemon: FakeDaemon) -> None:
    assert "\x1b" not in shell.run("status").out
    coloured = Terminal(shell, "status")
    assert coloured.end() == 0
    assert "\x1b[32mDEPLOYED\x1b[0m" in coloured.seen
    plain = Terminal(shell, "status", NO_COLOR="1")
    plain.end()
    assert "\x1b[3" not in plain.seen


def test_a_narrow_terminal_keeps_ids_and_what_is_wrong(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows = {"hello": workflow(drift=("dist/workflow.js was changed",))}
    narrow = Terminal(shell, "status", width=40, NO_COLOR="1")
    narrow.end()
    header = next(
        line for line in narrow.seen.splitlines() if line.startswith("\x1b[1mWORKFLOW") or "WORKFLOW" in line
    )
    assert "POOL" not in header
    assert "RELEASE" not in header
    assert "drifted" in narrow.seen
    assert "dist/workflow.js was changed" in narrow.seen.replace("\r\n", "")


@pytest.mark.parametrize(("answer", "code", "asked"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_a_person_is_asked_before_a_workflow_goes_out_of_service(
    answer: str, code: int, asked: int, shell: Shell, daemon: FakeDaemon
) -> None:
    terminal = Terminal(shell, "undeploy", "hello")
    terminal.until("Take hello out of service? [y/N]")
    terminal.type(answer)
    assert terminal.end() == code
    assert len(daemon.posts()) == asked


def test_yes_asks_nobody(shell: Shell, daemon: FakeDaemon) -> None:
    terminal = Terminal(shell, "undeploy", "hello", "--yes")
    assert terminal.end() == 0
    assert "[y/N]" not in terminal.seen


def test_a_person_is_asked_before_a_prune_and_sees_what_goes(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows["old"] = workflow(
        "old", missing_since=1.0, held="old.json is gone", held_reason="Vanished"
    )
    terminal = Terminal(shell, "prune", "--confirm")
    assert "old.json is gone" in terminal.until("Undeploy old? [y/N]")
    terminal.type("n\n")
    assert terminal.end() == 1
    assert daemon.posts() == []


def test_ctrl_c_stops_the_waiting_and_not_the_operation(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.ends["deploy"] = None
    terminal = Terminal(shell, "deploy", "hello")
    terminal.until("deploy hello")
    terminal.type("\x03")
    terminal.until("^C")  # the terminal drops what it hasn't shown yet when it sees this
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 1
    assert "It goes on without you: timewright operations" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_watch_draws_again_and_leaves_what_was_last(shell: Shell) -> None:
    fake = FakeDaemon(workflows={"hello": workflow()})
    path = shell.data / "api.sock"
    with serving(fake, path):
        terminal = Terminal(shell, "status", "--watch", height=20)
        terminal.until("1 DEPLOYED")
        fake.workflows = {f"w{number:02}": workflow(f"w{number:02}") for number in range(40)}
        terminal.until("lines more: make the window higher")
        fake.workflows = {"hello": workflow(drift=("x was changed",))}
        terminal.until("changed by hand")
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.end() == 0
    last = terminal.seen.split("\x1b[?1049l")[-1]
    assert "changed by hand: x was changed" in last
    assert "\x1b[?25h" in terminal.seen  # the cursor is back


def test_watch_needs_a_terminal_and_is_for_people(shell: Shell, daemon: FakeDaemon) -> None:
    assert shell.run("status", "--watch").code == 2
    assert "--watch is for people" in shell.run("status", "--watch", "--json").err


@pytest.mark.parametrize("line", ["status", "list", "logs", "status --json"])
def test_a_reader_that_goes_away_is_no_error(line: str, shell: Shell, daemon: FakeDaemon) -> None:
    daemon.workflows = {f"w{number}": workflow(f"w{number}", because="x" * 500) for number in range(400)}
    daemon.events = []
    script = f"{sys.executable} -m timewright.cli.main {line} | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": str(REPO / "daemon"),
            "TIMEWRIGHT_DATA_DIRECTORY": str(shell.data),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout[-2:] == "0\n"
