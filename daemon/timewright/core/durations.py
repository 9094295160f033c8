"""Spans of time as people write them: `90s`, `15m`, `2h`, `1h30m`, `3d`."""

from __future__ import annotations

import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SHAPE = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")


def seconds_of(text: str) -> float | None:
    """Seconds; None for what is no span of time. A number alone is one of seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _SHAPE.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([dhms])", text))


def words_of(seconds: float) -> str:
    """A span as people write it, the other way around: 5400 → 1h30m."""
    left = round(seconds)
    if left < 1:
        return f"{seconds:g}s"
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])
