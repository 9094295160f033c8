"""Joining source maps without decoding them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timewright.core import sourcemap
from timewright.core.sourcemap import State

Row = tuple[int, int, int, int, int, int | None]  # line, generated column, source, line, column, name


def rows(mappings: str) -> list[Row]:
    """All positions, decoded the slow and plain way."""
    found: list[Row] = []
    source = line = column = name = 0
    for number, text in enumerate(mappings.split(";")):
        at = 0
        for segment in text.split(","):
            if not segment:
                continue
            fields = sourcemap.decode(segment)
            at += fields[0]
            if len(fields) < 4:
                continue
            source, line, column = source + fields[1], line + fields[2], column + fields[3]
            if len(fields) == 5:
                name += fields[4]
            found.append((number, at, source, line, column, name if len(fields) == 5 else None))
    return found


@st.composite
def mappings(draw: st.DrawFn) -> str:
    """Mappings with jumps in every direction, segments without a source, lines without any."""
    position = st.tuples(
        st.integers(0, 90),
        st.integers(0, 3),
        st.integers(0, 9000),
        st.integers(0, 300),
        st.none() | st.integers(0, 5),
    )
    last = [0, 0, 0, 0]
    lines = []
    for line in draw(st.lists(st.lists(position, max_size=4), max_size=6)):
        at, segments = 0, []
        for column, *rest, name in sorted(line, key=lambda item: item[0]):
            if draw(st.integers(0, 9)) == 0:
                segments.append(sourcemap.encode((column - at,)))
            else:
                deltas = [new - old for new, old in zip(rest, last[:3], strict=True)]
                last[:3] = rest
                tail = () if name is None else (name - last[3],)
                last[3] = last[3] if name is None else name
                segments.append(sourcemap.encode((column - at, *deltas, *tail)))
            at = column
        lines.append(",".join(segments))
    return ";".join(lines)


@given(st.lists(mappings(), min_size=1, max_size=4))
def test_joined_mappings_say_what_the_single_ones_say(parts: list[str]) -> None:
    state, joined, expected, line = State(), [], [], 0
    for number, part in enumerate(parts):
        sources, names = number * 4, number * 6
        text, state = sourcemap.cut(part).after(state, sources, names)
        joined.append(text)
        expected += [
            (line + a, b, c + sources, d, e, None if f is None else f + names)
            for a, b, c, d, e, f in rows(part)
        ]
        line += part.count(";") + 1
    assert rows(";".join(joined)) == expected


@given(mappings())
def test_a_cut_that_was_kept_as_json_is_the_same_cut(part: str) -> None:
    cut = sourcemap.cut(part)
    assert sourcemap.from_json(json.loads(json.dumps(sourcemap.to_json(cut))), part) == cut


@given(st.lists(st.integers(-(2**40), 2**40), max_size=5))
def test_what_is_encoded_can_be_decoded(fields: list[int]) -> None:
    assert sourcemap.decode(sourcemap.encode(tuple(fields))) == tuple(fields)


def test_text_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ValueError, match="mappings"):
        sourcemap.cut("AAAA;*")


def test_mappings_follow_when_columns_are_taken_out_of_a_line() -> None:
    line = ",".join(sourcemap.encode(fields) for fields in ((0, 0, 0, 0), (40, 0, 0, 5, 0), (10, 0, 1, 0)))
    moved = [sourcemap.decode(segment) for segment in sourcemap.closed_up(line, 5, 30).split(",")]
    assert moved == [(0, 0, 0, 0), (10, 0, 0, 5, 0), (10, 0, 1, 0)]
    assert sourcemap.closed_up("AAAA", 5, 30) == "AAAA"
    assert sourcemap.closed_up("", 5, 30) == ""
