"""A rollout on one screen: lines of markup, from the API's view. Pure: the caller says what time it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from timewright.cli import tables
from timewright.cli.common import ago, lasting, moment, safe
from timewright.cli.tables import Column, marked

View = dict[str, Any]

_BAR = 20
_MOST = 10  # versions that are shown; the newest
#: Phases that are over, and whether well; anything else is under way.
OVER = {"promoted": True, "rolledBack": False, "superseded": False}
_COLOURS = {
    "promoted": "green",
    "rolledBack": "red",
    "paused": "yellow",
    "held": "yellow",
    "manual": "yellow",
}
#: What a rollout does in a phase; the page says the same, and a test holds the two equal.
PHASES = {
    "waiting": "waits for its hosts",
    "gate": "its gate runs",
    "ramping": "its share is being changed",
    "pausing": "serves its share, and is watched",
    "manual": "waits to be promoted",
    "paused": "its gate has failed; waits for a person",
    "held": "somebody else manages the deployment",
    "promoted": "takes all new executions",
    "rolledBack": "was taken back",
    "superseded": "gave way to a newer version",
}
_COLUMNS = (
    Column("VERSION"),
    Column("STATUS"),
    Column("SHARE", drop=1),
    Column(""),
    Column("OPEN", drop=2),
    Column("SERVED BY", drop=3),
    Column("SINCE", drop=5),
    Column("RELEASES", drop=4, wraps=True),
)


def drawn(out: Console, view: View, now: float) -> list[Text]:
    """The whole screen, as lines."""
    lines = [*map(marked, _head(view, now))]
    if view["versions"]:
        lines += [Text(""), *tables.table(out, _COLUMNS, [_row(one, now) for one in _shown(view)])]
        if (more := len(view["versions"]) - _MOST) > 0:
            lines.append(marked(f"[dim]and {more} older versions[/]"))
    return lines


def _shown(view: View) -> list[View]:
    return sorted(view["versions"], key=lambda one: (one["percent"], one["since"] or ""), reverse=True)[
        :_MOST
    ]


def _head(view: View, now: float) -> Iterator[str]:
    name = safe(view["workflowId"])
    if not view["versioned"]:
        yield f"[bold]{name}[/] has no versions: new code replaces the old in place"
        return
    place = safe(f"{view['namespace']}/{view['taskQueue']}")
    yield f"[bold]{name}[/] · pool {place} · deployment {safe(view['deployment'])}"
    if view["problem"]:
        yield f"[yellow]Temporal can't be asked now: {safe(view['problem'])}[/]"
    rollout = view["rollout"]
    if rollout is None:
        yield "[dim]no rollout is known[/]"
        return
    phase = rollout["phase"]
    colour = _COLOURS.get(phase, "cyan")
    came = f" (before: {safe(rollout['from'])})" if rollout["from"] else ""
    yield f"version [bold]{safe(rollout['buildId'])}[/]{came}: [{colour}]{PHASES.get(phase, safe(phase))}[/]"
    yield from _steps(rollout, now)
    yield f"  {safe(rollout['because'])}"
    if phase == "held" and view["manager"]:
        yield f"  [yellow]it is managed by {safe(view['manager'])}[/]"
    if rollout["guilty"]:
        yield f"  [red]failed for {safe(', '.join(rollout['guilty']))}[/]"
    if absent := [name for name in rollout["hosts"]["expected"] if name not in rollout["hosts"]["arrived"]]:
        yield f"  [yellow]not yet served by {safe(', '.join(absent))}[/]"
    ended = moment(rollout["endedAt"])
    if ended:
        yield f"  [dim]{safe(rollout['strategy'])}, ended {ago(ended, now)} ago[/]"


def _steps(rollout: View, now: float) -> Iterator[str]:
    over = rollout["phase"] in OVER
    for number, step in enumerate(rollout["steps"]):
        mark, colour = "·", "dim"
        if number < rollout["step"] or rollout["phase"] == "promoted":
            mark, colour = "✓", "green"
        elif number == rollout["step"]:
            mark, colour = ("✗", "red") if over else ("▶", "cyan")
        pause = f" for {lasting(step['pauseS'])}" if step["pauseS"] else ""
        gate = ", then its gate" if step["gate"] else ""
        left = ""
        due = moment(rollout["nextAt"]) if rollout["phase"] == "pausing" else 0.0
        if number == rollout["step"] and due > now:
            left = f"  [bold]{remaining(due - now)} left[/]"
        yield f"  [{colour}]{mark} {step['rampPercentage']:g} %{pause}{gate}[/]{left}"


def remaining(seconds: float) -> str:
    """What is left of a span, as a countdown: `1h 05m`, `12m 30s`, `9s`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller:02}{name}"
    return f"{whole}s"


def _row(one: View, now: float) -> list[str]:
    colour = {"Current": "green", "Ramping": "cyan", "Unknown": "yellow"}.get(one["status"], "dim")
    full = round(_BAR * one["percent"] / 100)
    bar = f"[{colour}]{'█' * full}[/][dim]{'░' * (_BAR - full)}[/]"
    share = f"{one['percent']:g} %" if one["percent"] else ""
    served = ", ".join(f"{safe(host)}" for host in sorted(one["pollers"])) or (
        "this host" if one["served"] else ""
    )
    releases = ", ".join(
        f"{safe(name)} {safe(release)}" for name, release in sorted(one["releases"].items())[:4]
    )
    more = f" and {len(one['releases']) - 4} more" if len(one["releases"]) > 4 else ""
    since = moment(one["since"])
    count = "" if one["open"] is None else str(one["open"])
    status = f"[{colour}]{safe(one['status'])}[/]"
    return [
        safe(one["buildId"]),
        status,
        bar,
        share,
        count,
        served,
        ago(since, now) if since else "",
        releases + more,
    ]


def changed(view: View) -> tuple[object, ...]:
    """What makes a new line where the screen can't be drawn again."""
    rollout = view["rollout"] or {}
    shares = tuple((one["buildId"], one["status"], one["percent"]) for one in view["versions"])
    told = tuple(rollout.get(key) for key in ("buildId", "phase", "because"))
    return *told, shares, view["problem"]


def line(view: View) -> str:
    """One line of plain text for a log."""
    rollout = view["rollout"]
    if view["problem"]:
        return f"{view['workflowId']}: Temporal can't be asked now: {view['problem']}"
    if rollout is None:
        return f"{view['workflowId']}: no rollout is known"
    shares = ", ".join(f"{one['buildId']} {one['percent']:g} %" for one in _shown(view) if one["percent"])
    return f"{view['workflowId']}: {rollout['buildId']} {rollout['phase']}: {rollout['because']} ({shares})"
