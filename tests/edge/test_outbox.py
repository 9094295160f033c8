"""The outbox, over a real state file."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from timewright.edge.outbox import Letter, Outbox
from timewright.edge.statefile import StateFile

from tests.support import NOW, child_env, python


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFile]:
    found = StateFile(tmp_path / "state.db")
    yield found
    found.close()


@pytest.fixture
def outbox(state: StateFile) -> Outbox:
    return state.outbox


def keys(outbox: Outbox) -> list[str]:
    return [letter.key for letter in outbox.letters()]


def test_a_letter_is_read_as_it_was_put(outbox: Outbox) -> None:
    number = outbox.put("mail", "k", {"text": "ä", "list": [1]}, now=NOW)
    assert outbox.due("mail", NOW) == Letter(number, "mail", "k", {"text": "ä", "list": [1]}, NOW, 0, NOW)
    assert outbox.due("mail", NOW - 1) is None
    assert outbox.due("other", NOW) is None


def test_the_newest_of_the_same_key_replaces_the_one_that_waits(outbox: Outbox) -> None:
    outbox.put("status", "abc", {"state": "pending"}, now=NOW)
    outbox.put("other", "abc", {}, now=NOW)
    outbox.put("status", "abc", {"state": "success"}, now=NOW)
    assert [dict(item.body) for item in outbox.letters() if item.channel == "status"] == [
        {"state": "success"}
    ]
    assert outbox.waiting("other") == 1


def test_or_is_dropped_where_the_caller_says_so(outbox: Outbox) -> None:
    assert outbox.put("mail", "k", {"n": 1}, now=NOW) > 0
    assert outbox.put("mail", "k", {"n": 2}, now=NOW, replaces=False) == 0
    assert [dict(item.body) for item in outbox.letters()] == [{"n": 1}]


def test_letters_without_a_key_are_all_kept(outbox: Outbox) -> None:
    outbox.put("mail", "", {"n": 1}, now=NOW)
    outbox.put("mail", "", {"n": 2}, now=NOW)
    assert outbox.waiting("mail") == 2


def test_a_letter_that_was_replaced_while_it_was_sent_leaves_the_new_one(outbox: Outbox) -> None:
    outbox.put("status", "abc", {"state": "pending"}, now=NOW)
    sent = outbox.due("status", NOW)
    assert sent is not None
    outbox.put("status", "abc", {"state": "success"}, now=NOW)
    outbox.done(sent.id)
    assert [dict(item.body) for item in outbox.letters()] == [{"state": "success"}]
    outbox.retry(sent.id, NOW + 5, "late")  # nothing comes back
    assert outbox.waiting("status") == 1


def test_a_failed_letter_waits_and_knows_why(outbox: Outbox) -> None:
    outbox.put("mail", "k", {}, now=NOW)
    letter = outbox.due("mail", NOW)
    assert letter is not None
    outbox.retry(letter.id, NOW + 5, "500")
    assert outbox.due("mail", NOW + 4) is None
    assert outbox.next_at("mail") == NOW + 5
    again = outbox.due("mail", NOW + 5)
    assert again is not None
    assert (again.tries, again.error) == (1, "500")


def test_letters_go_in_order_and_one_that_never_works_lets_others_pass(outbox: Outbox) -> None:
    outbox.put("mail", "bad", {}, now=NOW)
    outbox.put("mail", "good", {}, now=NOW)
    for _ in range(3):
        letter = outbox.due("mail", NOW)
        assert letter is not None
        assert letter.key == "bad"
        outbox.retry(letter.id, NOW, "no")
    letter = outbox.due("mail", NOW)
    assert letter is not None
    assert letter.key == "good"


def test_the_oldest_go_beyond_the_bound(outbox: Outbox) -> None:
    for number in range(7):
        outbox.put("mail", str(number), {}, now=NOW)
    outbox.put("other", "x", {}, now=NOW)
    assert outbox.trim("mail", 5) == 2
    assert keys(outbox) == ["2", "3", "4", "5", "6", "x"]
    assert outbox.trim("mail", 5) == 0


def test_letters_of_yesterday_are_dropped_and_counted(outbox: Outbox) -> None:
    outbox.put("mail", "old", {}, now=NOW - 10)
    outbox.put("mail", "new", {}, now=NOW)
    assert outbox.expire(NOW - 5) == {"mail": 1}
    assert outbox.expire(NOW - 5) == {}
    assert keys(outbox) == ["new"]


def test_what_is_done_together_is_done_whole_or_not_at_all(state: StateFile) -> None:
    with suppress(TypeError), state.outbox.whole():
        state.outbox.put("mail", "k", {}, now=NOW)
        state.set_fact("cursor", object())
    assert (state.outbox.letters(), state.fact("cursor")) == ([], None)
    with state.outbox.whole():
        state.outbox.put("mail", "k", {}, now=NOW)
        state.set_fact("cursor", 7)
    assert (keys(state.outbox), state.fact("cursor")) == (["k"], 7)


def test_a_letter_that_was_put_survives_a_kill(tmp_path: Path) -> None:
    code = """
import sys, time
from contextlib import suppress
from pathlib import Path
from timewright.edge.statefile import StateFile
state = StateFile(Path(sys.argv[1]))
state.outbox.put("mail", "kept", {}, now=1.0)
context = state.outbox.whole()
context.__enter__()
state.outbox.put("mail", "half", {}, now=1.0)
print("done", flush=True)
time.sleep(60)
"""
    path = tmp_path / "state.db"
    with subprocess.Popen(python(code, path), env=child_env(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.send_signal(signal.SIGKILL)
    state = StateFile(path)
    assert keys(state.outbox) == ["kept"]
    state.close()
