"""Differences as people read them: unified diffs, coloured on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from timewright.cli.common import printable, safe

View = dict[str, Any]

_SIGNS = {"added": "[green]+[/]", "removed": "[red]-[/]", "missing": "[red]-[/]"}


def print_diff(out: Console, view: View, *, names_only: bool = False) -> None:
    """What differs between two releases: the facts, then the files."""
    _print_facts(out, view)
    files = view.get("files") or []
    for file in files:
        _print_file(out, file, names_only)
    if not files and not view.get("facts"):
        out.print("Nothing differs.")


def print_drift(out: Console, view: View, *, names_only: bool = False) -> None:
    """How the live release was changed by hand."""
    differences = view.get("differences") or []
    for difference in differences:
        _print_file(out, difference, names_only)
    if not differences:
        out.print("Nothing was changed by hand.")


def _print_facts(out: Console, view: View) -> None:
    for fact in view.get("facts") or ():
        old, new = fact.get("a"), fact.get("b")
        out.print(f"[bold]{safe(fact['name']):24}[/]{safe(str(old))} → {safe(str(new))}")


def _print_file(out: Console, file: View, names_only: bool) -> None:
    kind = file.get("change") or file.get("kind") or ""
    out.print(f"{_SIGNS.get(kind, '[yellow]~[/]')} [bold]{safe(file['path'])}[/] {safe(kind)}")
    if names_only:
        return
    if file.get("diff"):
        print_unified(out, file["diff"])
    elif file.get("note"):
        out.print(f"  [dim]{safe(file['note'])}[/]")


def print_unified(out: Console, text: str) -> None:
    """A unified diff, a line at a time: what is in it can't move the cursor."""
    for line in text.splitlines():
        style = _style(line)
        shown = safe(printable(line.replace("\t", "    ")))
        out.print(f"[{style}]{shown}[/]" if style else shown)


def _style(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "bold"
    if line.startswith("@@"):
        return "cyan"
    return {"+": "green", "-": "red"}.get(line[:1], "")
