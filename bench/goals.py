"""What was aimed at, and what was measured. Pure: from result files' figures to one row a goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: {part: the content of its result file}
Results = Mapping[str, Mapping[str, Any]]
OURS: Final = "timewright"
IN_PLACE: Final = "timewright-in-place"


class MissingError(Exception):
    """A figure that no result file has."""


@dataclass(frozen=True)
class Goal:
    """`measured` raises MissingError. `at_least`: whether `bound` is a lower bound. `unit`: as in "{} ×"."""

    about: str
    part: str
    bound: float
    at_least: bool
    unit: str
    measured: Callable[[Results], float]

    def row(self, results: Results) -> Row:
        try:
            value = self.measured(results)
        except MissingError as error:
            return Row(self, None, str(error))
        met = value >= self.bound if self.at_least else value <= self.bound
        return Row(self, value, "yes" if met else "**no**")


@dataclass(frozen=True)
class Row:
    """A goal and what became of it; `value` is None where it wasn't measured."""

    goal: Goal
    value: float | None
    met: str


def median(results: Results, part: str, size: int | str, peer: str, measure: str) -> float:
    figures = results.get(part, {}).get("figures", {})
    series = f"{size}/{peer}/{measure}"
    if series not in figures:
        raise MissingError("not measured")
    return float(figures[series]["median"])


def sizes(results: Results, part: str, peer: str, measure: str) -> list[int]:
    """At which sizes a peer was measured."""
    figures = results.get(part, {}).get("figures", {})
    parts = [name.split("/") for name in figures]
    found = sorted(int(s) for s, p, m in parts if (p, m) == (peer, measure) and s.isdigit())
    if not found:
        raise MissingError("not measured")
    return found


def faster(peer: str, theirs: str, ours: str, by: str = OURS) -> Callable[[Results], float]:
    """How many times faster a change is in place than at a peer: the least over all sizes."""

    def measured(results: Results) -> float:
        return min(
            median(results, "change", size, peer, theirs) / median(results, "change", size, by, ours)
            for size in sizes(results, "change", peer, theirs)
        )

    return measured


def watch(size: int) -> Callable[[Results], float]:
    return lambda results: (
        median(results, "change", size, "tsc-watch", "dist_s")
        / median(results, "change", size, OURS, "bundle_s")
    )


def flat(results: Results) -> float:
    """The slowest size beside the quickest."""
    found = [
        median(results, "change", size, OURS, "bundle_s")
        for size in sizes(results, "change", OURS, "bundle_s")
    ]
    if len(found) < 2:
        raise MissingError("not measured")
    return max(found) / min(found)


def rollback(measure: str) -> Callable[[Results], float]:
    """The worst over all sizes."""

    def measured(results: Results) -> float:
        return max(
            median(results, "change", size, f"{OURS}-rollback", measure)
            / median(results, "change", size, OURS, measure)
            for size in sizes(results, "change", OURS, measure)
        )

    return measured


def throughput(size: int) -> Callable[[Results], float]:
    return lambda results: (
        median(results, "first", size, OURS, "placed_per_s")
        / median(results, "first", size, "script-ts5", "placed_per_s")
    )


def restart(results: Results) -> float:
    ours = median(results, "restart", 10000, OURS, "ready_s")
    return ours / median(results, "restart", 10000, "git status, tree", "ready_s")


def ticks(size: int) -> Callable[[Results], float]:
    return lambda results: sum(
        median(results, "idle", size, kind, "cpu_ticks") for kind in ("daemon", "compiler")
    )


def beside_watch(results: Results) -> float:
    ours = sum(median(results, "idle", 1000, kind, "pss_mib") for kind in ("daemon", "compiler"))
    return ours / median(results, "idle", 1000, "tsc-watch", "pss_mib")


def growth(results: Results) -> float:
    """MiB for each further workflow, each used once."""
    found = sizes(results, "memory", "worker processes", "used_mib")
    if len(found) < 2:
        raise MissingError("not measured")
    low, high = found[0], found[-1]
    least, most = (median(results, "memory", size, "worker processes", "used_mib") for size in (low, high))
    return (most - least) / (high - low)


def added_wait(peer: str) -> Callable[[Results], float]:
    return lambda results: median(results, "swap", "swaps", peer, "added_s")


def daemon_memory(size: int) -> Callable[[Results], float]:
    return lambda results: median(results, "idle", size, "daemon", "pss_mib")


TIMES: Final = "{} ×"
MIB: Final = "{} MiB"
TICKS: Final = "{} ticks"


def _least(about: str, part: str, bound: float, measured: Callable[[Results], float]) -> Goal:
    return Goal(about, part, bound, True, TIMES, measured)


def _most(about: str, part: str, bound: float, unit: str, measured: Callable[[Results], float]) -> Goal:
    return Goal(about, part, bound, False, unit, measured)


GOALS: Final = (
    _least(
        "A change in place, beside the script with `tsc` 5.9 and the SDK's bundler",
        "change", 80, faster("script-ts5", "bundle_s", "bundle_s"),
    ),
    _least(
        "… beside the script with native `tsc` 7 and the bundler",
        "change", 30, faster("script-ts7", "bundle_s", "bundle_s"),
    ),
    _least("… beside `tsc --watch` over 10 specs, which only checks and emits", "change", 1, watch(10)),
    _least("… beside `tsc --watch` over 1,000 specs", "change", 6, watch(1000)),
    _most("… from 1 to 10,000 specs: the slowest size beside the quickest", "change", 1.5, TIMES, flat),
    _least(
        "New code serving, its worker replaced, beside the script with `tsc` 5.9 that restarts the worker",
        "change", 10, faster("script-ts5", "serving_s", "serving_s", IN_PLACE),
    ),
    _least(
        "… beside the script with native `tsc` 7 that restarts the worker",
        "change", 10, faster("script-ts7", "serving_s", "serving_s", IN_PLACE),
    ),
    _least(
        "New code serving with Versions, which break nothing that runs, beside the script with `tsc` 5.9",
        "change", 10, faster("script-ts5", "serving_s", "serving_s"),
    ),
    _most("Worst added wait of an execution during a change: Versions", "swap", 1, "{} s",
          added_wait("versions")),
    _most("… replaced in place", "swap", 1, "{} s", added_wait("in place")),
    _most("A rollback's share of a deploy, until in place", "change", 0.2, TIMES, rollback("bundle_s")),
    _least("First deploy of 200, specs a second beside the script with `tsc` 5.9", "first", 120,
           throughput(200)),
    _least("First deploy of 1,000", "first", 120, throughput(1000)),
    _most("Restart with 10,000 deployed, beside `git status` on the same tree", "restart", 2, TIMES, restart),
    _most("CPU of daemon and compiler in an idle minute: 1,000 specs", "idle", 0, TICKS, ticks(1000)),
    _most("… 10,000 specs", "idle", 0, TICKS, ticks(10000)),
    _most("Memory of the daemon: 1,000 specs", "idle", 80, MIB, daemon_memory(1000)),
    _most("… 10,000 specs", "idle", 80, MIB, daemon_memory(10000)),
    _most("Memory of daemon and compiler at 1,000 specs, beside `tsc --watch`", "idle", 0.333, TIMES,
          beside_watch),
    _most("Memory of a worker process for each further workflow of its pool", "memory", 1, MIB, growth),
)  # fmt: skip
