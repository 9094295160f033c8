"""Workflows as people see them: the table with its reasons, one in full, all in one line. Made of views."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from timewright.cli.common import ago, left, moment, paint, safe
from timewright.cli.tables import Column, marked, table
from timewright.cli.words import BAD, INFO, Note, notes
from timewright.core.state import Status

View = dict[str, Any]

_NAMES = 5  # of workflows that share one reason: the table has them all
_COLUMNS = (
    Column("WORKFLOW"),
    Column("STATUS"),
    Column("SYNC", drop=4),
    Column("HEALTH", drop=1),
    Column("RELEASE", drop=5),
    Column("POOL", drop=6),
    Column("SINCE", drop=3),
    Column("NOTE", drop=2),
)
_MARKS = {BAD: "[red]✗[/]", INFO: "[cyan]·[/]"}


# All of them -----------------------------------------------------------------------------------


def overview_lines(out: Console, overview: View) -> list[Text]:
    """The overview: what is wrong with the source, the table, the reasons, the counts."""
    markup = []
    if problem := overview.get("passProblem"):
        markup.append(f"[red]Nothing can be changed now[/], what runs goes on: {safe(problem)}")
    if problem := overview.get("sourceProblem"):
        markup.append(f"[red]The source can't be read completely[/], nothing is undeployed: {safe(problem)}")
    if problem := overview.get("settingsProblem"):
        markup.append(f"[red]The settings can't be read[/], those from before go on: {safe(problem)}")
    markup += [line for source in overview.get("sources", ()) for line in source_lines(source)]
    shown = [view for view in overview["workflows"] if _is_shown(view)]
    lines = [*map(marked, markup)]
    if shown:
        lines += workflow_lines(out, shown)
        lines.append(marked(_counts(shown)))
    else:
        what = "Push a spec" if _follows_git(overview) else "Put a spec into the source folder"
        lines.append(Text(f"No workflow is deployed. {what}."))
    for path, failure in overview.get("refusedFiles", {}).items():
        lines.append(marked(f"[red]{safe(path)}[/] is refused: {safe(failure['message'])}"))
    return lines


def _is_shown(view: View) -> bool:
    """What is up, and what is not so for a reason that a person should know."""
    known = any(view.get(key) for key in ("held", "pin", "lastError"))
    return known or view["status"] != Status.UNDEPLOYED


def workflow_lines(out: Console, views: Sequence[View]) -> list[Text]:
    """Workflows, a line each; below it, why anything is not as wished, and what helps."""
    lines = table(out, _COLUMNS, [_row(view) for view in views])
    for note, names in _reasons(views).items():
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        mark = _MARKS.get(note.level, "[yellow]![/]")
        lines.append(marked(f"{mark} {safe(', '.join(names[:_NAMES]))}{more}: {safe(note.text)}{_try(note)}"))
    return lines


def _row(view: View) -> list[str]:
    words = [note.word for note in notes(view) if note.word and note.word != "failed"]
    return [
        safe(view["workflowId"]),
        paint(view["status"]),
        paint(view["sync"]),
        paint(view["health"]),
        safe(view.get("release")),
        safe(view.get("pool")),
        ago(moment(view.get("since"))),
        f"[yellow]{safe(', '.join(words))}[/]" if words else "",
    ]


def _try(note: Note) -> str:
    return f" [bold]→ {safe(note.hint)}[/]" if note.hint else ""


def _reasons(views: Sequence[View]) -> dict[Note, list[str]]:
    """Why something is not as wished → the workflows that it holds for."""
    found: dict[tuple[str, str], tuple[Note, list[str]]] = {}
    for view in views:
        for note in notes(view):
            _, names = found.setdefault((note.level, note.text), (note, []))
            if view["workflowId"] not in names:
                names.append(view["workflowId"])
    return {_shared(note, names): names for note, names in found.values()}


def _shared(note: Note, names: list[str]) -> Note:
    """A command for one of several workflows helps none of the others."""
    own = len(names) > 1 and names[0] in note.helps.split()
    return Note(note.level, note.word, note.text) if own else note


def _counts(views: Sequence[View]) -> str:
    counts = Counter(str(view["status"]) for view in views)
    words = Counter(note.word for view in views for note in notes(view) if note.word != "failed")
    told = [f"{count} {status}" for status, count in sorted(counts.items())]
    return ", ".join([*told, *(f"{count} {word}" for word, count in sorted(words.items()) if word)])


def oneline(overview: View, now: float | None = None) -> str:
    """Everything in one line, for a prompt or a monitor."""
    views = [view for view in overview["workflows"] if view["status"] != Status.UNDEPLOYED]
    failed = [view["workflowId"] for view in views if view.get("lastError")]
    failed += list(overview.get("refusedFiles", {}))
    counts = Counter(str(view["status"]) for view in views)
    parts = [f"{count} {status}" for status, count in sorted(counts.items())] or ["nothing deployed"]
    words = Counter(note.word for view in views for note in notes(view, now) if note.word != "failed")
    parts += [f"{count} {word}" for word, count in sorted(words.items()) if word]
    unhealthy = [view["workflowId"] for view in views if view["health"] in ("Degraded", "Missing")]
    parts += [_named(unhealthy, "unhealthy")] if unhealthy else []
    parts += [_named(failed, "failed")] if failed else []
    if overview.get("passProblem"):
        parts.append("passes fail")
    if overview.get("sourceProblem"):
        parts.append("the source can't be read")
    if overview.get("settingsProblem"):
        parts.append("the settings can't be read")
    parts += [
        f"source {source['name']} {source['state'].lower()}"
        for source in overview.get("sources", ())
        if source["kind"] == "git" and source.get("problem")
    ]
    passed = moment(overview.get("lastPass"))
    parts += [f"last pass {ago(passed, now)} ago"] if passed else ["no pass yet"]
    return ", ".join(parts)


def _named(names: Sequence[str], what: str) -> str:
    more = ", …" if len(names) > _NAMES else ""
    return f"{len(names)} {what} ({', '.join(names[:_NAMES])}{more})"


def oneline_of(view: View) -> str:
    """One workflow in one line."""
    parts = [view["workflowId"], view["status"], view["sync"], view["health"], view.get("release") or "-"]
    found = notes(view)
    return " ".join(map(str, parts)) + (f": {found[0].text}" if found else "")


# One of them -----------------------------------------------------------------------------------


def described(view: View) -> Iterator[str]:
    """One workflow in full, a line of markup each."""
    for name, value in _rows(view, time.time()):
        if value:
            yield f"[bold]{name:16}[/]{value}"
    for line in view.get("drift") or ():
        yield f"[bold]{'drift':16}[/]{safe(line)}"
    for warning in view.get("warnings") or ():
        yield f"[bold]{'warning':16}[/]{safe(warning)}"
    if error := view.get("lastError"):
        yield f"[bold]{'last error':16}[/][red]{safe(error['reason'])}[/]: {safe(error['message'])}"
        for problem in error.get("problems", ()):
            yield f"{'':16}- {safe(problem_text(problem))}"
    for note in notes(view):
        if note.helps:
            yield f"[bold]{'try':16}[/]{safe(note.helps)}"


def _rows(view: View, now: float) -> list[tuple[str, str]]:
    name = f" ({safe(view['name'])})" if view.get("name") else ""
    reason = f": {safe(view['healthReason'])}" if view.get("healthReason") else ""
    return [
        ("workflow", f"{safe(view['workflowId'])}{name}"),
        ("status", f"{paint(view['status'])}{_since(view.get('since'), now)}"),
        ("because", safe(view.get("because"))),
        ("by", safe(view.get("by"))),
        ("sync", paint(view["sync"])),
        ("health", f"{paint(view['health'])}{reason}"),
        ("live release", safe(view.get("release")) or "none"),
        ("previous", safe(view.get("previousRelease"))),
        ("last attempt", (view.get("attempted") or "")[:12] or "none"),
        *_decided(view, now),
        ("on trial", f"for {left(moment(view.get('trialUntil')), now)} more" if _is_on_trial(view) else ""),
        ("held back", safe(view.get("held"))),
        ("gone since", safe(view.get("missingSince"))),
        ("owner", safe(view.get("owner"))),
        ("pool", safe(view.get("pool"))),
        ("needs", safe(", ".join(view.get("dependsOn") or ()))),
        ("spec", safe(view.get("source"))),
        *_commits(view, now),
        ("last good read", safe(view.get("lastGoodRead")) or "never"),
        ("next retry", safe(view.get("retryAt"))),
    ]


def _commits(view: View, now: float) -> Iterator[tuple[str, str]]:
    """Of which commits the spec and the live release are; for a folder without commits, its digest."""
    asked, live = view.get("commit"), view.get("liveCommit")
    if live is not None and (asked is None or live["sha"] != asked["sha"]):
        yield "live commit", commit_text(live, now)
    yield "commit", commit_text(asked, now) if asked is not None else ""
    yield "source revision", safe(view.get("revision")) if asked is None else ""


def commit_text(commit: View, now: float | None = None) -> str:
    """A commit in one line of markup."""
    at = ago(moment(commit.get("at")), now)
    who = safe(commit["author"]) + (f", {at} ago" if at else "")
    return f"{safe(commit['short'])} {safe(commit['subject'])} ({who})"


def source_lines(source: View) -> Iterator[str]:
    """A repository that is followed, and what is wrong with it; nothing for a folder."""
    if source["kind"] != "git":
        return
    at = commit_text(source["commit"]) if source.get("commit") else "nothing fetched yet"
    ref = source.get("tag") or source.get("ref")
    where = safe(source["location"]) + (f" {safe(ref)}" if ref else "")
    yield f"[bold]source {safe(source['name'])}[/]  {where} at {at}"
    behind = source.get("behind") or 0
    if source.get("problem"):
        many = f", {behind} commit{'s' * (behind != 1)} behind" if behind else ""
        hint = f" [bold]→ {safe(source['hint'])}[/]" if source.get("hint") else ""
        yield f"[red]✗[/] {safe(source['state'])}{many}: {safe(source['problem'])}{hint}"
    rollout = source.get("rollout")
    if rollout and rollout["state"] == "failure":
        yield f"[yellow]![/] the commit is not applied: {safe(rollout['description'])}"


def _follows_git(overview: View) -> bool:
    return any(source["kind"] == "git" for source in overview.get("sources", ()))


def _decided(view: View, now: float) -> Iterator[tuple[str, str]]:
    """What people decided about it."""
    for name, key in (("suspended", "suspended"), ("pinned", "pin")):
        if decision := view.get(key):
            what = "out of service" if decision.get("kind") == "undeploy" else decision.get("release") or ""
            at = f"{safe(what)} by {safe(decision['by'])}{_since(decision.get('at'), now)}".strip()
            until = f", until {decision['until']}" if decision.get("until") else ""
            why = f": {safe(decision['reason'])}" if decision.get("reason") else ""
            yield name, f"{at}{safe(until)}{why}"


def _is_on_trial(view: View) -> bool:
    return moment(view.get("trialUntil")) > time.time()


def _since(at: str | None, now: float) -> str:
    return f" since {safe(at)} ({ago(moment(at), now)})" if at else ""


def problem_text(view: View) -> str:
    """A problem as errors show it."""
    from timewright.core.errors import Problem

    return str(Problem(**view))


def has_failed(overview: View) -> bool:
    stuck = bool(overview.get("passProblem") or overview.get("refusedFiles"))
    return stuck or any(view.get("lastError") for view in overview["workflows"])
