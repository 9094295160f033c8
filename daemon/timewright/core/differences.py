"""How a release in the tree differs from what was built: values, and the short lines that people read.

`core/plan.py` mends by itself what is only missing: a line ends with " is missing" for that and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Lines of one workflow that are shown; what is more is counted.
MOST_LINES = 10


class Kind(StrEnum):
    """What became of a path."""

    RECEIPT = "receipt"  # release.toml itself, which tells what should be there
    LINK = "link"  # the workflow's link, or what its pool serves
    CHANGED = "changed"
    SPECIAL = "special"  # something else lies in its place: a pipe, a link, a folder
    UNREADABLE = "unreadable"
    MISSING = "missing"
    ADDED = "added"


_WEIGHT = {kind: weight for weight, kind in enumerate(Kind)}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was built. `path`: below the release, printable; a folder ends with '/'.
    `line`: the whole sentence."""

    path: str
    kind: Kind
    line: str


def changed(path: str) -> Difference:
    return Difference(path, Kind.CHANGED, f"{path} was changed")


def missing(path: str) -> Difference:
    return Difference(path, Kind.MISSING, f"{path} is missing")


def added(path: str) -> Difference:
    return Difference(path, Kind.ADDED, f"{path} was added")


def replaced(path: str, by: str) -> Difference:
    """`by`: 'a link', 'a pipe', …"""
    return Difference(path, Kind.SPECIAL, f"{path} was replaced by {by}")


def unreadable(path: str, why: str) -> Difference:
    return Difference(path, Kind.UNREADABLE, f"{path} can't be read: {why}")


def ordered(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """The gravest first: what is merely missing or added never hides what was changed."""
    return tuple(sorted(differences, key=lambda item: (_WEIGHT[item.kind], item.path, item.line)))


def lines(differences: Iterable[Difference], most: int = MOST_LINES) -> tuple[str, ...]:
    """The sentences of these, at most `most`, the last one counting what is left out."""
    found = ordered(differences)
    if len(found) <= most:
        return tuple(item.line for item in found)
    shown, rest = found[: most - 1], found[most - 1 :]
    only_missing = all(item.kind is Kind.MISSING for item in rest)
    more = f"each of {len(rest)} more files is missing" if only_missing else f"and {len(rest)} more"
    return (*(item.line for item in shown), more)
