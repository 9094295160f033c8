"""Source maps (version 3) of parts that are joined into one file. Pure.

The fields of a mapping count from the one before, over all lines. So when a part is put after other
code, only its first segment (and the first that has a name) must be written anew: from where the
code before it ended, instead of from zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUE: Final = {ord(digit): number for number, digit in enumerate(_DIGITS)}
_SEGMENT = re.compile(r"[^;,]+")


@dataclass(frozen=True)
class State:
    """Where mappings stand: index of the source, its line and column, index of the name; all from 0."""

    source: int = 0
    line: int = 0
    column: int = 0
    name: int = 0


@dataclass(frozen=True)
class Rebasable:
    """Mappings cut where they must be written anew.

    `head` + first segment + `middle` + first segment with a name + `tail` is the whole. `first` and
    `named` are those segments' fields (empty when there is none). `end`: the state after the last.
    """

    head: str
    first: tuple[int, ...]
    middle: str
    named: tuple[int, ...]
    tail: str
    end: State

    def after(self, before: State, sources: int, names: int) -> tuple[str, State]:
        """The mappings when put after code whose mappings end at `before`, and where they end then.

        `sources` and `names`: how many of each the code before has; ours are listed after them.
        """
        first = self.first
        if first:
            moved = (sources - before.source, -before.line, -before.column)
            first = (first[0], *(was + by for was, by in zip(first[1:4], moved, strict=True)), *first[4:])
        named = self.named
        if len(first) == 5:
            first = (*first[:4], first[4] + names - before.name)
        elif named:
            named = (*named[:4], named[4] + names - before.name)
        text = f"{self.head}{encode(first)}{self.middle}{encode(named)}{self.tail}"
        has_name = len(first) == 5 or bool(named)
        end = State(
            self.end.source + sources if first else before.source,
            self.end.line if first else before.line,
            self.end.column if first else before.column,
            self.end.name + names if has_name else before.name,
        )
        return text, end


def cut(mappings: str) -> Rebasable:
    """Find the segments that count from zero. Raises ValueError for text that is not mappings."""
    source = line = column = name = 0
    first: re.Match[str] | None = None
    named: re.Match[str] | None = None
    for match in _SEGMENT.finditer(mappings):
        fields = decode(match[0])
        if len(fields) < 4:
            continue
        first = first or match
        source, line, column = source + fields[1], line + fields[2], column + fields[3]
        if len(fields) == 5:
            named = named or match
            name += fields[4]
    end = State(source, line, column, name)
    if first is None:
        return Rebasable(mappings, (), "", (), "", end)
    head, fields = mappings[: first.start()], decode(first[0])
    if named is None or named.start() == first.start():
        return Rebasable(head, fields, mappings[first.end() :], (), "", end)
    middle = mappings[first.end() : named.start()]
    return Rebasable(head, fields, middle, decode(named[0]), mappings[named.end() :], end)


def decode(segment: str) -> tuple[int, ...]:
    """A segment's fields. Raises ValueError."""
    fields: list[int] = []
    value = shift = 0
    for char in segment:
        digit = _VALUE.get(ord(char))
        if digit is None:
            raise ValueError("not a source map's mappings")
        value |= (digit & 31) << shift
        if digit & 32:
            shift += 5
            continue
        fields.append(-(value >> 1) if value & 1 else value >> 1)
        value = shift = 0
    return tuple(fields)


def encode(fields: tuple[int, ...]) -> str:
    """The segment of these fields."""
    text = []
    for field in fields:
        value = (-field << 1) | 1 if field < 0 else field << 1
        while True:
            digit, value = value & 31, value >> 5
            text.append(_DIGITS[digit | 32 if value else digit])
            if not value:
                break
    return "".join(text)


def closed_up(line: str, at: int, width: int) -> str:
    """One line's mappings when `width` columns are taken out of its code from column `at` on, where none of
    them stands. Raises ValueError for text that is not mappings."""
    column, segments = 0, line.split(",")
    for index, segment in enumerate(segments):
        first, *rest = decode(segment) if segment else (0,)
        column += first
        if column > at:
            segments[index] = encode((first - width, *rest))
            break
    return ",".join(segments)


def to_json(cut_mappings: Rebasable) -> dict[str, Any]:
    """For keeping beside a map, so that the cut is made once, when the part is built."""
    end = cut_mappings.end
    return {
        "head": len(cut_mappings.head),
        "first": cut_mappings.first,
        "middle": len(cut_mappings.middle),
        "named": cut_mappings.named,
        "end": [end.source, end.line, end.column, end.name],
    }


def from_json(kept: Mapping[str, Any], mappings: str) -> Rebasable:
    """The cut again, from what was kept and the mappings. Raises KeyError or TypeError for junk."""
    first, named = tuple(kept["first"]), tuple(kept["named"])
    head = mappings[: kept["head"]]
    start = kept["head"] + len(encode(first))
    middle = mappings[start : start + kept["middle"]]
    tail = mappings[start + kept["middle"] + len(encode(named)) :]
    return Rebasable(head, first, middle, named, tail, State(*kept["end"]))
