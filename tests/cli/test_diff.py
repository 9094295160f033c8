"""`diff`: which releases it is about, and a diff that can do nothing to the terminal it is shown on."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from timewright.cli.diffs import print_unified

from tests.cli.conftest import Shell
from tests.cli.fake import FakeDaemon

TEXT = "--- a/src/x.ts\n+++ b/src/x.ts\n@@ -1 +1 @@\n-old \x1b[2J[red]\n+new\tline\n same\n"


@pytest.mark.parametrize(
    ("line", "a", "b"),
    [
        ("diff hello", "live", "wanted"),
        ("diff hello previous", "previous", "live"),
        ("diff hello 7cc5 3026", "7cc5", "3026"),
    ],
)
def test_without_releases_it_is_from_what_is_live_to_what_is_wanted(
    line: str, a: str, b: str, shell: Shell, daemon: FakeDaemon
) -> None:
    daemon.answers["/workflows/hello/diff"] = {}
    assert shell.run(*line.split()).code == 0
    assert daemon.requests[-1].query == {"a": a, "b": b}


def test_drift_asks_for_what_was_changed_by_hand(shell: Shell, daemon: FakeDaemon) -> None:
    daemon.answers["/workflows/hello/drift"] = {}
    assert shell.run("diff", "hello", "--drift").code == 0


def test_a_diff_is_coloured_and_moves_no_cursor() -> None:
    out = Console(
        file=(file := StringIO()), force_terminal=True, highlight=False, color_system="standard", width=80
    )
    print_unified(out, TEXT)
    shown = file.getvalue().splitlines()
    assert shown[0] == "\x1b[1m--- a/src/x.ts\x1b[0m"
    assert shown[3] == "\x1b[31m-old �[2J[red]\x1b[0m"
    assert shown[4] == "\x1b[32m+new    line\x1b[0m"
    assert shown[5] == " same"
