"""docs/bench.md and its charts, made of the result files: `python -m bench.page`.

The page's words are written by hand; what stands between `<!-- NAME -->` and `<!-- /NAME -->` is ours. A
test compares (UPDATE_DOCS=1 makes it anew).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.charts import figure
from bench.common import REPO, RESULTS
from bench.drawings import charts
from bench.goals import GOALS, OURS, MissingError, Results, Row, sizes

PAGE: Final = REPO / "docs" / "bench.md"
CHARTS: Final = REPO / "docs" / "bench"
PARTS: Final = ("change", "swap", "first", "restart", "idle", "memory", "api", "rollout", "git_push")


def read_results(folder: Path = RESULTS) -> Results:
    return {
        part: json.loads((folder / f"{part}.json").read_text())
        for part in PARTS
        if (folder / f"{part}.json").is_file()
    }


def page(results: Results, text: str) -> str:
    """The page with our parts of it made anew. Raises ValueError where it has no place for one."""
    for name, made in BLOCKS.items():
        block = f"<!-- {name} -->\n{made(results)}\n<!-- /{name} -->"
        place = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        text, count = place.subn(block.replace("\\", r"\\"), text)
        if count != 1:
            raise ValueError(f"docs/bench.md has {count} places for {name}, expected one: <!-- {name} -->")
    return text


# tables ------------------------------------------------------------------------------------------


def goals_table(results: Results) -> str:
    lines_ = ["| what | goal | measured | met |", "|---|---|---|---|"]
    lines_ += [_goal(goal.row(results)) for goal in GOALS]
    return "\n".join(lines_)


def _goal(row: Row) -> str:
    goal = row.goal
    bound = goal.unit.format(figure(goal.bound))
    said = f"≥ {bound}" if goal.at_least else bound if goal.bound == 0 else f"≤ {bound}"
    value = "" if row.value is None else goal.unit.format(figure(row.value))
    return f"| {goal.about} | {said} | {value} | {row.met} |"


def runs_table(results: Results) -> str:
    """Where and when each part was measured."""
    head = "| part | commit | when | rounds | took | machine | left out |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(_run(one) for one in results.values())])


def _run(one: Any) -> str:
    machine = one["machine"]
    commit = f"`{one['commit']}`" + (" and changes" if one["changed"] else "")
    told = f"{machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}"
    told += f", load {machine['load_before']} before"
    left = ", ".join(f"{peer} ({why})" for peer, why in one["left_out"].items())
    when = one["date"][:16].replace("T", " ")
    rounds = one["settings"].get("rounds", 1)
    return f"| `{one['part']}` | {commit} | {when} | {rounds} | {one['took_s']} s | {told} | {left} |"


def versions_line(results: Results) -> str:
    found = [one["versions"] for one in results.values()]
    if not found:
        return "Not measured yet."
    names = {
        "timewright": "timewright", "python": "Python", "node": "Node", "typescript": "TypeScript",
        "typescript_5": "and", "temporal_sdk": "Temporal's TypeScript SDK", "esbuild": "esbuild",
        "git": "git",
    }  # fmt: skip
    said = ", ".join(f"{label} {found[0][key]}" for key, label in names.items() if found[0].get(key))
    return f"Measured with {said}."


def changes_table(results: Results) -> str:
    """All medians of `change`, in milliseconds."""
    rows = ["| specs | peer | event | dist | bundle | serving |", "|---|---|---|---|---|---|"]
    figures = results.get("change", {}).get("figures", {})
    keys = sorted({tuple(name.split("/")[:2]) for name in figures}, key=lambda k: (int(k[0]), _order(k[1])))
    for size, peer in keys:
        if peer == "stages":
            continue
        cells = [
            _milliseconds(figures, f"{size}/{peer}/{stage}_s")
            for stage in ("event", "dist", "bundle", "serving")
        ]
        rows.append(f"| {int(size):,} | {peer} | {' | '.join(cells)} |")
    return "\n".join(rows)


def stages_line(results: Results) -> str:
    """What the time of one of our deploys is made of, at the largest size."""
    try:
        size = sizes(results, "change", "stages", "check_ms")[-1]
    except MissingError:
        return "Not measured yet."
    figures = results["change"]["figures"]
    prefix = f"{size}/stages/"
    found = {n.removeprefix(prefix): f["median"] for n, f in figures.items() if n.startswith(prefix)}
    worth = sorted(((v, n.removesuffix("_ms")) for n, v in found.items() if v >= 1), reverse=True)
    told = ", ".join(f"{name} {figure(value)}" for value, name in worth)
    return f"Stages of one deploy of ours at {size:,} specs, medians in ms: {told}."


def _order(peer: str) -> tuple[bool, str]:
    return (not peer.startswith(OURS), peer)


def _milliseconds(figures: Any, series: str) -> str:
    if series not in figures:
        return ""
    one = figures[series]
    return f"{one['median'] * 1000:,.0f} ± {one['mad'] * 1000:,.0f}"


def _shown(name: str, alt: str) -> Callable[[Results], str]:
    def made(results: Results) -> str:
        there = f"{name}.svg" in charts(results)
        return f"![{alt}](bench/{name}.svg)" if there else "Not measured yet."

    return made


BLOCKS: Final[dict[str, Callable[[Results], str]]] = {
    "goals": goals_table,
    "runs": runs_table,
    "versions": versions_line,
    "changes": changes_table,
    "stages": stages_line,
    "chart change": _shown("change", "One change until it is in place, beside four peers"),
    "chart flat": _shown("flat", "One change until it is in place, by the number of specs"),
    "chart serving": _shown("serving", "One change until it is served, beside three peers"),
    "chart swap": _shown("swap", "Waits of executions while their code is changed"),
    "chart first": _shown("first", "Specs a second in a first deploy, by their number"),
    "chart restart": _shown("restart", "A restart beside git status"),
    "chart idle": _shown("idle", "Memory of each process at rest"),
    "chart memory": _shown("memory", "Memory by the size of a pool"),
    "chart api": _shown("api", "Latency of three calls, at rest and busy"),
    "chart rollout": _shown("rollout", "Deploys with Versions, in place, and a rollback"),
    "chart git": _shown("git", "From git push to new code, beside git-sync"),
}


def write() -> None:
    results = read_results()
    CHARTS.mkdir(parents=True, exist_ok=True)
    made = charts(results)
    for name, text in made.items():
        (CHARTS / name).write_text(text, "utf-8")
    for path in CHARTS.glob("*.svg"):
        if path.name not in made:
            path.unlink()
    PAGE.write_text(page(results, PAGE.read_text("utf-8")), "utf-8")
    print(f"written: {PAGE.relative_to(REPO)} and {len(made)} charts")


if __name__ == "__main__":
    write()
