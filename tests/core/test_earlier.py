from __future__ import annotations

import pytest
from timewright.core.earlier import earlier_release


def walk(story: str) -> list[tuple[str, str]]:
    """`A B <A`: A is deployed, then B, then it is rolled back to A. `!B`: a deploy of B fails."""
    steps = []
    for word in story.split():
        if word.startswith("<"):
            steps += [("ROLLING_BACK", word[1:]), ("ROLLED_BACK", word[1:])]
        elif word.startswith("!"):
            steps += [("DEPLOYING", word[1:]), ("DEPLOYMENT_FAILED", word[1:])]
        else:
            steps += [("DEPLOYING", word), ("DEPLOYED", word)]
    return steps


@pytest.mark.parametrize(
    ("story", "live", "earlier"),
    [
        ("A", "A", ""),
        ("A B", "B", "A"),
        ("A B C", "C", "B"),
        ("A B A", "A", "B"),
        ("A !B C", "C", "A"),
        ("A B <A", "A", ""),
        ("A B C <B", "B", "A"),
        ("A B C <B <A", "A", ""),
        ("A B <A C", "C", "A"),
        ("A B <A B", "B", "A"),
        ("A A B", "B", "A"),
        ("", "B", "A"),
        ("", "A", ""),
    ],
)
def test_what_was_before_is_told_by_the_order_in_which_releases_went_live(
    story: str, live: str, earlier: str
) -> None:
    assert earlier_release(walk(story), live, ["C", "B", "A"], ()) == earlier


def test_what_is_bad_or_not_kept_is_passed_over() -> None:
    assert earlier_release(walk("A B C"), "C", ["C", "B", "A"], {"B"}) == "A"
    assert earlier_release(walk("A B C"), "C", ["C", "A"], ()) == "A"
    assert earlier_release(walk("A B C"), "C", ["C"], ()) == ""
