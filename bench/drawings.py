"""Which charts are drawn of which figures. Pure: from result files to SVG text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.charts import Bar, bars, lines
from bench.goals import OURS, MissingError, Results, median, sizes


def charts(results: Results) -> dict[str, str]:
    """{file name: SVG}, of what was measured."""
    found = {}
    for name, made in CHART_MAKERS.items():
        try:
            found[f"{name}.svg"] = made(results)
        except MissingError:
            continue
    return found


def _bar(results: Results, part: str, size: int | str, peer: str, measure: str, label: str = "") -> Bar:
    median(results, part, size, peer, measure)
    one = results[part]["figures"][f"{size}/{peer}/{measure}"]
    return Bar(label or peer, one["median"], one["low"], one["high"], peer.startswith(OURS))


def _bars_of(results: Results, part: str, size: int | str, peers: tuple[str, ...], measure: str) -> list[Bar]:
    """Those that were measured. Raises MissingError where none was."""
    found = []
    for peer in peers:
        try:
            found.append(_bar(results, part, size, peer, measure))
        except MissingError:
            continue
    if not found:
        raise MissingError("not measured")
    return found


def _size_for_bars(results: Results) -> int:
    """The largest at which a script took part."""
    return sizes(results, "change", "script-ts7", "serving_s")[-1]


def change_chart(results: Results) -> str:
    size = _size_for_bars(results)
    ours = _bar(results, "change", size, OURS, "bundle_s", "timewright: dist + bundle")
    rows = [ours]
    for peer, measure, label in (
        ("tsc-watch", "dist_s", "tsc --watch: dist only"),
        ("nodemon", "dist_s", "nodemon: dist only"),
        ("script-ts7", "bundle_s", "script, tsc 7: dist + bundle"),
        ("script-ts5", "bundle_s", "script, tsc 5.9: dist + bundle"),
    ):
        try:
            rows.append(_bar(results, "change", size, peer, measure, label))
        except MissingError:
            continue
    return bars(f"One change among {size:,} specs, until it is in place", _note(), "s", rows)


def serving_chart(results: Results) -> str:
    size = _size_for_bars(results)
    peers = (OURS, f"{OURS}-rollback", "script-ts7", "nodemon", "script-ts5")
    rows = _bars_of(results, "change", size, peers, "serving_s")
    return bars(f"One change among {size:,} specs, until a result of the new code", _note(), "s", rows)


def flat_chart(results: Results) -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for name, peer, measure in (
        ("timewright", OURS, "bundle_s"),
        ("tsc --watch (dist)", "tsc-watch", "dist_s"),
        ("script, tsc 7", "script-ts7", "bundle_s"),
        ("script, tsc 5.9", "script-ts5", "bundle_s"),
    ):
        try:
            found = sizes(results, "change", peer, measure)
        except MissingError:
            if peer == OURS:
                raise
            continue
        series[name] = [(s, 1000 * median(results, "change", s, peer, measure)) for s in found]
    return lines("One change, until it is in place", "Medians.", "specs deployed", "ms", series)


def first_chart(results: Results) -> str:
    series = {}
    for name, peer in (
        ("timewright", OURS),
        ("script, tsc 7", "script-ts7"),
        ("script, tsc 5.9", "script-ts5"),
    ):
        found = sizes(results, "first", peer, "placed_per_s")
        series[name] = [(s, median(results, "first", s, peer, "placed_per_s")) for s in found]
    return lines(
        "First deploy", "Medians; higher is better.", "specs in the folder", "specs a second", series
    )


def restart_chart(results: Results) -> str:
    size = sizes(results, "restart", OURS, "ready_s")[-1]
    peers = (OURS, "git status, tree", "git status, specs")
    rows = _bars_of(results, "restart", size, peers, "ready_s")
    return bars(f"Restart with {size:,} specs deployed and nothing changed", _note(), "s", rows)


def idle_chart(results: Results) -> str:
    rows = []
    for size in sizes(results, "idle", "daemon", "pss_mib"):
        for kind in ("daemon", "compiler", "worker host", "worker processes"):
            one = _bar(results, "idle", size, kind, "pss_mib")
            rows.append(Bar(f"{kind}, {size:,} specs", one.value, one.low, one.high, ours=True))
    rows += _bars_of(results, "idle", 1000, ("tsc-watch",), "pss_mib")
    return bars("Memory at rest", "Proportional set size after a minute of rest.", "MiB", rows)


def memory_chart(results: Results) -> str:
    series = {}
    for name, kind, measure in (
        ("worker process, each used", "worker processes", "used_mib"),
        ("… loaded only", "worker processes", "loaded_mib"),
        ("compiler", "compiler", "used_mib"),
        ("daemon", "daemon", "used_mib"),
    ):
        found = sizes(results, "memory", kind, measure)
        series[name] = [(s, median(results, "memory", s, kind, measure)) for s in found]
    return lines("Memory as one pool grows", "Proportional set size.", "workflows in the pool", "MiB", series)


def api_chart(results: Results) -> str:
    rows = []
    for call in ("healthz", "one workflow", "all workflows"):
        for when in ("idle", "busy"):
            for share in ("p50", "p99"):
                measure = f"{call}_{share}_ms"
                size = sizes(results, "api", when, measure)[0]
                value = median(results, "api", size, when, measure)
                rows.append(Bar(f"{call}, {when}, {share}", value, value, value, ours=when == "idle"))
    return bars("The API's answers, 1,000 specs", "At rest, and while deploys go on.", "ms", rows)


def swap_chart(results: Results) -> str:
    rows = []
    for peer in ("versions", "in place"):
        for measure, label in (
            ("calm_s", "median, no change"),
            ("p99_s", "p99, changes"),
            ("worst_s", "worst, changes"),
        ):
            value = median(results, "swap", "swaps", peer, measure)
            rows.append(Bar(f"{peer}: {label}", value, value, value, ours=measure != "calm_s"))
    return bars("What executions wait while their code is changed", "Eight starts a second.", "s", rows)


def rollout_chart(results: Results) -> str:
    rows = []
    for peer in ("in place", "versions", "rollback"):
        one = _bar(results, "rollout", "deploy", peer, "serving_s")
        rows.append(Bar(one.label, one.value, one.low, one.high, ours=True))
    return bars("Deploys with Versions, in place, and the way back", _note(), "s", rows)


def git_chart(results: Results) -> str:
    rows = []
    for peer, label in (
        ("webhook", "timewright, webhook"),
        ("polling", "timewright, polling"),
        ("git-sync, signal", ""),
        ("git-sync, polling", ""),
    ):
        try:
            one = _bar(results, "git_push", "push", peer, "serving_s", label)
        except MissingError:
            continue
        rows.append(Bar(one.label, one.value, one.low, one.high, ours=bool(label)))
    if not rows:
        raise MissingError("not measured")
    return bars("From git push to a result of the new code", _note(), "s", rows)


def _note() -> str:
    return "Medians with quartiles, logarithmic: each grid line is a ratio. Shorter is better."


CHART_MAKERS: Final[dict[str, Callable[[Results], str]]] = {
    "change": change_chart,
    "flat": flat_chart,
    "serving": serving_chart,
    "swap": swap_chart,
    "first": first_chart,
    "restart": restart_chart,
    "idle": idle_chart,
    "memory": memory_chart,
    "api": api_chart,
    "rollout": rollout_chart,
    "git": git_chart,
}
