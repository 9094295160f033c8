"""How often the source is scanned: often while things happen, seldom at rest, often where events get lost."""

from __future__ import annotations

from timewright.core.worlds import Desired
from timewright.service import Pace

SAME, OTHER = Desired(complete=True, revision="a"), Desired(complete=True, revision="b")


def rests(pace: Pace, *read: Desired, sound: bool = True) -> list[int]:
    return [pace.after(desired, sound=sound) for desired in read]


def test_while_nothing_happens_scans_become_rare_and_stay_one_a_minute() -> None:
    assert rests(Pace(10), *[SAME] * 6) == [1, 2, 4, 6, 6, 6]


def test_what_wakes_us_makes_them_frequent_again() -> None:
    pace = Pace(10)
    rests(pace, *[SAME] * 5)
    pace.heard()
    assert rests(pace, OTHER, OTHER, OTHER) == [1, 2, 4]


def test_a_change_that_no_event_told_keeps_them_frequent_for_good() -> None:
    pace = Pace(10)
    rests(pace, *[SAME] * 5)
    assert rests(pace, OTHER, *[OTHER] * 5) == [1] * 6
    pace.heard()
    assert rests(pace, SAME, *[SAME] * 3) == [1] * 4


def test_without_file_events_they_stay_as_they_are_set() -> None:
    assert rests(Pace(10), *[SAME] * 4, sound=False) == [1] * 4


def test_an_interval_of_more_than_a_minute_is_kept() -> None:
    assert rests(Pace(300), *[SAME] * 4) == [1] * 4
