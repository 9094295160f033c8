"""What a merge would change, as a comment for a pull request; and the words for it, wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from timewright.cli.common import printable
from timewright.core.errors import Problem

View = dict[str, Any]
WORDS = {
    "new": "deployed anew",
    "update": "updated",
    "move": "moved",
    "settings": "rolled out otherwise",
    "undeploy": "undeployed",
    "refuse": "refused",
    "hold": "held back",
}
#: By which a bot finds its own comment, to update it.
MARKER = "<!-- timewright plan -->"
#: Characters in a comment, of which GitHub takes 65,536: of its table, its pools, its diffs; of one cell.
_MOST_TABLE, _MOST_POOLS, _MOST_DIFF, _MOST_CELL = 25_000, 5_000, 25_000, 1_500


def as_markdown(view: View) -> str:
    """A comment for a pull request."""
    lines = [MARKER, "### timewright plan", ""]
    if not view["complete"]:
        lines += [f"**The specs can't be read completely**: {_md(view['problem'] or '')}", ""]
    lines += _table(view["actions"])
    lines += _shared(view["pools"])
    lines += _diffs(view)
    lines.append(_md(summary(view)))
    return "\n".join(lines)


def _table(actions: list[View]) -> list[str]:
    rows = list(_within(map(_row, actions), _MOST_TABLE))
    if not rows:
        return []
    more = len(actions) - len(rows)
    note = [f"… and {more} more, for which a comment has no room.", ""] if more else []
    return ["| | workflow | why | what |", "|---|---|---|---|", *rows, "", *note]


def _row(action: View) -> str:
    name = action["workflowId"] or action.get("source") or ""
    word = "still refused" if action.get("before") else WORDS[action["change"]]
    told = [_md(line[:_MOST_CELL]) for line in details(action)]
    shown = list(_within(told, _MOST_CELL))
    if more := len(told) - len(shown):
        shown.append(f"… and {more} more")
    because = _md(action["because"][:_MOST_CELL])
    return f"| {word} | {_code(name[:_MOST_CELL])} | {because} | {'<br>'.join(shown)} |"


def _shared(pools: list[View]) -> list[str]:
    told = []
    for pool in pools:
        if others := pool["others"]:
            more = f" and {len(others) - 10} more" if len(others) > 10 else ""
            names = ", ".join(_code(name) for name in others[:10])
            told.append(f"Pool {_code(pool['pool'])} gets another bundle, which {names}{more} share.\n")
    return list(_within(told, _MOST_POOLS))


def _within(texts: Iterable[str], room: int) -> Iterator[str]:
    """The first of these texts, as many as there is room for in characters."""
    for text in texts:
        room -= len(text)
        if room < 0:
            return
        yield text


def _diffs(view: View) -> list[str]:
    lines: list[str] = []
    room, left_out = _MOST_DIFF, 0
    for action in view["actions"]:
        text = "\n".join(file["diff"] for file in action.get("files") or () if file.get("diff"))
        if not text:
            continue
        if len(text) > room:
            left_out += 1
            continue
        room -= len(text)
        longest = max(map(len, re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)  # code can't end it, and write the comment from there on
        lines += [f"<details><summary>{_md(action['workflowId'])}</summary>", "", f"{fence}diff", text, fence]
        lines += ["", "</details>", ""]
    if left_out:
        lines += [f"The diffs of {left_out} more have no room in a comment.", ""]
    return lines


def _md(text: str) -> str:
    """Text of a stranger in a table's cell: no markup, no link, nobody mentioned."""
    found = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\`*_{}[]#|~!":
        found = found.replace(char, f"\\{char}")
    return found.replace("@", "@\u200b").replace("://", ":\u200b//").replace("www.", "www\u200b.")


def _code(text: str) -> str:
    return "`" + printable(text).replace("`", "'").replace("|", "\\|") + "`"


def summary(view: View) -> str:
    """All of it in one line."""
    counts = {
        word: sum(action["change"] == change for action in view["actions"]) for change, word in WORDS.items()
    }
    told = [f"{count} {word}" for word, count in counts.items() if count]
    if not told:
        return f"Nothing changes: {view['specs']} specs."
    return ", ".join([*told, f"{view['unchanged']} as they are"])


def details(action: View) -> Iterator[str]:
    """What of a workflow changes, a line each."""
    for file in action.get("files") or ():
        yield f"{file['change']} {file['path']}"
    for what in ("dependencies", "options", "placement", "versions"):
        for change in action.get(what) or ():
            yield f"{change['name']}: {_value(change['old'])} → {_value(change['new'])}"
    for what, title in (("env", "env"), ("workflowTypes", "workflow type"), ("activities", "activity")):
        names = action.get(what) or {}
        for word in ("added", "removed", "changed"):
            yield from (f"{title} {name} {word}" for name in names.get(word, ()))
    for problem in action.get("problems") or ():
        yield f"- {Problem(**problem)}"


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
