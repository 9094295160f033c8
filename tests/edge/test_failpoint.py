"""The fault points: one list of them, each of which stands in the code, and nothing in production."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest
from timewright.edge.failpoint import POINTS, arm, disarm, failpoint, parsed

from tests.support import ROOT, run_python

KILLED = -signal.SIGKILL
LISTED = [name for group in POINTS.values() for name in group]
CODE = (
    "from timewright.edge.failpoint import failpoint as f; f('before-link'); print('past'); f('after-link')"
)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    disarm()


def test_each_listed_point_stands_in_the_code_and_each_point_in_the_code_is_listed() -> None:
    used = set()
    for path in (ROOT / "daemon").rglob("*.py"):
        if path.name != "failpoint.py":
            used |= set(re.findall(r'failpoint\(f?"([a-z-]+)["{]', path.read_text()))
    assert used == set(LISTED)
    assert len(LISTED) == len(set(LISTED))


def test_each_call_of_a_point_is_one_that_the_search_finds() -> None:
    for path in (ROOT / "daemon").rglob("*.py"):
        if path.name != "failpoint.py":
            text = path.read_text()
            assert len(re.findall(r"\bfailpoint\(", text)) == len(
                re.findall(r'failpoint\(f?"[a-z-]+["{]', text)
            )


def test_an_armed_point_kills_where_it_is_named_and_nowhere_else() -> None:
    assert run_python(CODE).stdout == "past\n"
    assert run_python(CODE, TIMEWRIGHT_FAILPOINT="before-link").returncode == KILLED
    armed = run_python(CODE, TIMEWRIGHT_FAILPOINT="after-link", PYTHONUNBUFFERED="1")
    assert (armed.returncode, armed.stdout) == (KILLED, "past\n")


def test_a_point_may_be_armed_for_its_third_time_and_with_others() -> None:
    code = f"{CODE}; f('before-link'); print('twice'); f('before-link'); print('never')"
    both = "after-link=sleep:0,before-link=kill:3"
    armed = run_python(code, TIMEWRIGHT_FAILPOINT=both, PYTHONUNBUFFERED="1")
    assert (armed.returncode, armed.stdout) == (KILLED, "past\ntwice\n")


def test_a_point_may_fail_as_a_full_disk_does() -> None:
    arm("before-link", parsed("raise:ENOSPC"))
    with pytest.raises(OSError, match="No space left"):
        failpoint("before-link")
    failpoint("after-link")
    disarm()
    failpoint("before-link")


@pytest.mark.parametrize("action", ["raise:E2NOTHING", "raise", "explode", "kill:x", "sleep:"])
def test_a_fault_that_is_none_is_refused(action: str) -> None:
    with pytest.raises(ValueError, match=r"fault is|name of an error|invalid literal|could not convert"):
        parsed(action)


def test_a_point_that_stands_nowhere_is_refused_and_not_waited_for() -> None:
    with pytest.raises(ValueError, match="no fault point 'before-lunch'"):
        arm("before-lunch", parsed("kill"))
    arm("parse-hello", parsed("kill"))
    assert "no fault point" in run_python(CODE, TIMEWRIGHT_FAILPOINT="before-lunch").stderr
