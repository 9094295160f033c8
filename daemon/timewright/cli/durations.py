"""Spans of time on the command line: `90s`, `15m`, `2h`, `1h30m`, `3d`."""

from __future__ import annotations

import math

import click

from timewright.core.durations import seconds_of


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
