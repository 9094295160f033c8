"""Two kinds of charts as SVG text: bars and lines, both on logarithmic scales, for ratios are what counts.

Pure. Readable on a light and on a dark page: a white card with dark text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
LEFT, RIGHT, TOP = 210, 90, 58
ROW = 24
OURS, THEIRS = "#1f77b4", "#b0b7bf"
COLOURS = ("#1f77b4", "#d62728", "#7f7f7f", "#2ca02c", "#9467bd", "#8c564b")


@dataclass(frozen=True)
class Bar:
    """`low` to `high`: the quartiles, drawn as a whisker. A `value` of 0 is drawn as nothing."""

    label: str
    value: float
    low: float
    high: float
    ours: bool = False


def bars(title: str, note: str, unit: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars, one below the other, each with its value."""
    known = [edge for bar in rows for edge in (bar.value, bar.low, bar.high) if edge > 0] or [1.0]
    axis = _Axis(min(known) / 1.5, max(known), LEFT, WIDTH - RIGHT)
    bottom = TOP + ROW * len(rows)
    parts = [*_head(title, note, bottom + 34), *_grid(axis, TOP - 4, bottom, unit)]
    for number, bar in enumerate(rows):
        y = TOP + ROW * number
        middle = y + ROW / 2
        parts.append(_text(LEFT - 8, middle + 4, bar.label, "end", bold=bar.ours))
        if bar.value <= 0:
            parts.append(_text(LEFT + 6, middle + 4, f"0 {unit}", "start"))
            continue
        end = axis.at(bar.value)
        colour = OURS if bar.ours else THEIRS
        parts.append(
            f'<rect x="{LEFT}" y="{y + 4}" width="{end - LEFT:.1f}" height="{ROW - 8}" fill="{colour}"/>'
        )
        if 0 < bar.low < bar.high:
            low, high = axis.at(bar.low), axis.at(bar.high)
            parts.append(
                f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"'
                ' stroke="#333" fill="none"/>'
            )
        after = max(end, axis.at(bar.high) if bar.high > 0 else end)
        parts.append(_text(after + 6, middle + 4, f"{figure(bar.value)} {unit}", "start", bold=bar.ours))
    return _svg(parts, bottom + 34)


def lines(
    title: str, note: str, across: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """Lines over a size, both axes logarithmic; the first one is ours."""
    points = [point for one in series.values() for point in one if point[0] > 0 and point[1] > 0]
    points = points or [(1.0, 1.0)]
    bottom = 330
    xs = _Axis(min(x for x, _ in points), max(x for x, _ in points), 70, WIDTH - 190)
    ys = _Axis(min(y for _, y in points) / 1.3, max(y for _, y in points) * 1.3, bottom, TOP)
    parts = _head(title, f"{note} In {unit}, by {across}.", bottom + 40)
    for tick in ys.ticks():
        y = ys.at(tick)
        parts.append(f'<path d="M70 {y:.1f}H{WIDTH - 190}" stroke="#e3e6ea"/>')
        parts.append(_text(64, y + 4, figure(tick), "end"))
    for x in sorted({x for x, _ in points}):
        parts.append(_text(xs.at(x), bottom + 18, figure(x), "middle"))
    for number, (name, one) in enumerate(series.items()):
        known = [(xs.at(x), ys.at(y)) for x, y in one if x > 0 and y > 0]
        if not known:
            continue
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in known)
        width = 3 if number == 0 else 1.5
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="{width}" fill="none"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in known]
        last = TOP + 16 + 20 * number
        parts.append(f'<rect x="{WIDTH - 178}" y="{last - 9}" width="12" height="10" fill="{colour}"/>')
        parts.append(_text(WIDTH - 160, last, name, "start", bold=number == 0))
    return _svg(parts, bottom + 40)


def figure(value: float) -> str:
    """Three figures at most, as people write them: 1,230 · 12.3 · 0.12."""
    if value == 0:
        return "0"
    exact = float(f"{value:.3g}")
    places = 0 if abs(exact) >= 100 else 1 if abs(exact) >= 10 else 2 if abs(exact) >= 0.1 else 4
    text = f"{exact:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class _Axis:
    """A logarithmic scale from `low` at the pixel `start` to `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        if self.high <= self.low:
            return (self.start + self.end) / 2
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten within; where there are less than two, halves and fifths of them too."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            found = [tick for tick in found if self.low <= tick <= self.high]
            if len(found) >= 2:
                return found
        return found


def _grid(axis: _Axis, top: float, bottom: float, unit: str) -> list[str]:
    parts = []
    for tick in axis.ticks():
        x = axis.at(tick)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="#e3e6ea"/>')
        parts.append(_text(x, bottom + 18, f"{figure(tick)} {unit}", "middle"))
    return parts


def _head(title: str, note: str, height: int) -> list[str]:
    return [
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff"/>',
        _text(14, 24, title, "start", bold=True, size=15),
        _text(14, 42, note, "start", size=11),
    ]


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False, size: int = 12) -> str:
    weight = ' font-weight="bold"' if bold else ""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="{size}"{weight}>{escape(text)}</text>'


def _svg(parts: Sequence[str], height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" font-family="system-ui, sans-serif" fill="#222">'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
