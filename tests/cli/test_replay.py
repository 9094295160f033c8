"""`timewright replay`: what it says, and how it ends. Real replays: tests/e2e/test_replay.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from timewright.cli.common import console
from timewright.cli.replays import find, print_report
from timewright.core.errors import TimewrightError
from timewright.core.replays import Kind, Replayed, ReplayReport, Step
from timewright.edge.releases import Releases

from tests.cli.conftest import Shell
from tests.support import publish

FINE = Replayed("order-2", "r2", workflow_type="order", running=True, events=17)
BROKEN = Replayed(
    "order-1",
    "r1",
    ok=False,
    kind=Kind.DETERMINISM,
    message="No command scheduled",
    event=5,
    old=Step("activity", "charge"),
    new=Step("timer", ms=5000),
    source="src/workflow.ts:12",
    workflow_type="order",
    events=23,
)
SETUP = Replayed("[x]", "r3", ok=False, kind=Kind.SETUP, message="no\x1b[31m history", workflow_type="order")


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    found = Releases(tmp_path / "data")
    found.prepare()
    return found


def test_each_execution_is_a_line_and_each_failure_a_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReplayReport("enforce", (FINE, BROKEN, SETUP), ("big was left out: it is too long",))
    print_report(console(), report, "order, release abc")
    assert (
        capsys.readouterr().out
        == """\
passes  order-2  order, open, 17 events
breaks  order-1  order, closed, 23 events
unknown [x]  order, closed, 0 events  can't be replayed: no\N{REPLACEMENT CHARACTER}[31m history

order-1 run r1, event 5
  history has   activity charge
  the new code  starts a timer of 5 s
  Temporal says No command scheduled
  source        src/workflow.ts:12

Note: big was left out: it is too long
Try: keep the old path for executions that began on it: patched() of @temporalio/workflow
order, release abc: 1 of 3 executions pass, 1 would break, 1 could not be judged
"""
    )


def test_nothing_to_replay_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(console(), ReplayReport("enforce"), "order, release abc")
    assert capsys.readouterr().out == "order, release abc: there is nothing to replay\n"


def test_without_a_release_the_one_that_was_last_to_be_deployed_is_judged(releases: Releases) -> None:
    older = publish(releases, version="v1", created=1.0)
    newer = publish(releases, version="v2", created=2.0)
    assert find(releases, "hello", "", "").release == newer.release
    assert find(releases, "hello", "", older.digest).release == older.release
    assert find(releases, "hello", older.release[:6], "").release == older.release


def test_a_release_that_is_not_built_is_told(releases: Releases) -> None:
    publish(releases)
    with pytest.raises(TimewrightError, match="hello has no release ffff"):
        find(releases, "hello", "ffff", "")


def test_a_workflow_without_a_release_ends_with_1_and_says_where_it_looked(shell: Shell) -> None:
    done = shell.run("replay", "nobody")
    assert (done.code, done.out) == (1, "")
    assert "no release of nobody is built on this host" in done.err


def test_a_history_that_is_not_there_is_wrong_usage(shell: Shell) -> None:
    done = shell.run("replay", "hello", "--history", "gone.json")
    assert done.code == 2
    assert "gone.json" in done.err
