from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core.retry import Backoff


@pytest.mark.parametrize(
    ("attempt", "wait"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 1800.0), (99, 1800.0)]
)
def test_the_wait_doubles_until_the_tries_are_used_up_and_is_long_then(attempt: int, wait: float) -> None:
    assert Backoff(tries=5, first=5.0, most=180.0).wait(attempt, 0.0) == wait


def test_the_wait_never_grows_beyond_the_most() -> None:
    assert Backoff(tries=2000, first=1.0, most=60.0).wait(1500, 0.0) == 60.0


@given(st.integers(1, 4), st.floats(0, 1))
def test_chance_lengthens_a_wait_by_a_tenth_at_most(attempt: int, jitter: float) -> None:
    plain, real = Backoff().wait(attempt, 0.0), Backoff().wait(attempt, jitter)
    assert plain <= real <= plain * 1.1 + 1e-9
