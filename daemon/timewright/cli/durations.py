"""Spans of time on the command line: `90s`, `15m`, `2h`, `1h30m`, `3d`."""

from __future__ import annotations

import math
import re

import click

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SHAPE = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")


class Duration(click.ParamType[float]):
    """Seconds, more than none."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        text = str(value).strip()
        seconds = seconds_of(text)
        if seconds is None:
            self.fail(f"{text!r} is no span of time: write it as 90s, 15m, 2h, 1h30m or 3d", param, ctx)
        if not 0 < seconds < math.inf:
            self.fail(f"{text!r} is no time at all", param, ctx)
        return seconds


def seconds_of(text: str) -> float | None:
    """Seconds; None for what is no span of time. A number alone is one of seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _SHAPE.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([dhms])", text))
