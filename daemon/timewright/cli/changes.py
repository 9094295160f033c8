"""`timewright plan --from REF --to REF`: what a merge would change. For CI and for reviewers; needs no
daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from timewright.cli.common import console, print_json, printable, safe
from timewright.cli.formats import ERROR, WARNING, Finding, Result, as_github
from timewright.cli.offline import offline_host
from timewright.comparing import State, StateReader, changes, policy_of
from timewright.config import Config
from timewright.core.errors import Problem, TimewrightError
from timewright.edge.git import Git, Place, find

View = dict[str, Any]
FORMATS = ("text", "json", "markdown", "github")
#: By which a bot finds its own comment, to update it.
MARKER = "<!-- timewright plan -->"
_SIGNS = {
    "new": ("+", "green"),
    "update": ("~", "yellow"),
    "move": (">", "dim"),
    "undeploy": ("-", "red"),
    "refuse": ("!", "red"),
    "hold": ("=", "yellow"),
}
_WORDS = {
    "new": "deployed anew",
    "update": "updated",
    "move": "moved",
    "undeploy": "undeployed",
    "refuse": "refused",
    "hold": "held back",
}
_MOST_DIFF = 30_000  # characters in a comment: GitHub takes 65,536


def make(config: Config, old: str, new: str, folder: str | None, *, merge_base: bool, diff: bool) -> View:
    """comparing.changes between two states of the repository that the current directory is in. `new` '': the
    work tree's files. Raises TimewrightError."""
    return asyncio.run(_make(config, old, new, folder, merge_base=merge_base, diff=diff))


async def _make(
    config: Config, old: str, new: str, folder: str | None, *, merge_base: bool, diff: bool
) -> View:
    place = await find(Path.cwd())
    if place is None:
        raise TimewrightError(
            "this is no git work tree, or one that git does not trust",
            hint="go to the repository; another user's: git config --global --add safe.directory PATH",
        )
    git = Git(place.git_dir)
    below = _folder(config, place, folder)
    start, end = await _resolve(git, old), await _resolve(git, new) if new else ""
    if merge_base:
        base = await git.merge_base(start, end or await _resolve(git, "HEAD"))
        if base is None:
            raise TimewrightError(f"{old} and {new or 'HEAD'} have no common commit here", hint=_FETCH)
        start = base
    reader = StateReader(offline_host(config))
    before = await reader.commit(git, old, start, below)
    if end:
        after: State = await reader.commit(git, new, end, below)
    else:
        after = await reader.folder("the work tree", place.top / below)
    one = config.followed[0]
    said = one.settings.prune if "source.prune" in config.origin else True
    view = changes(before, after, policy_of(said, one.settings.max_deletes), with_diff=diff)
    return {**view, "folder": below}


_FETCH = "a shallow clone has few commits: git fetch --unshallow, or fetch-depth: 0 for actions/checkout"


async def _resolve(git: Git, ref: str) -> str:
    sha = await git.resolve(ref)
    if sha is None:
        raise TimewrightError(
            f"there is no commit {ref!r} in this clone",
            hint=f"git fetch origin {ref.split('/')[-1]}; {_FETCH}",
        )
    return sha


def _folder(config: Config, place: Place, given: str | None) -> str:
    """The folder of specs, below the top of the repository: as it was given, else as the settings have it."""
    if given is not None:
        path = Path.cwd() / given
    else:
        settings = config.followed[0].settings
        path = place.top / settings.subdir if settings.git else config.path(settings.path)
    try:
        below = path.resolve().relative_to(place.top.resolve())
    except ValueError:
        raise TimewrightError(
            f"{path} is not in this repository ({place.top})", hint="--path says where the specs are"
        ) from None
    return "" if str(below) == "." else below.as_posix()


# Showing ---------------------------------------------------------------------------------------


def show(view: View, form: str) -> None:
    """Print it in one of FORMATS."""
    if form == "json":
        print_json(view)
    elif form == "markdown":
        click.echo(as_markdown(view))
    elif form == "github":
        click.echo(as_github(list(_results(view))), nl=False)
    else:
        _print(view)


def has_errors(view: View) -> bool:
    """A merge that is refused something new."""
    return not view["complete"] or any(_is_new_refusal(action) for action in view["actions"])


def has_changes(view: View) -> bool:
    return any(action["change"] not in ("hold", "refuse") for action in view["actions"])


def _is_new_refusal(action: View) -> bool:
    return action["change"] == "refuse" and not action["before"]


def _title(side: View) -> str:
    commit = side["commit"]
    return f"{side['title']} ({commit['short']})" if commit else str(side["title"])


def _print(view: View) -> None:
    out = console()
    out.print(f"From {safe(_title(view['from']))} to {safe(_title(view['to']))}:")
    if not view["complete"]:
        out.print(f"[red]The specs can't be read completely[/]: {safe(view['problem'])}")
    for action in view["actions"]:
        sign, style = _SIGNS[action["change"]]
        name = safe(action["workflowId"] or action.get("source") or "(a file)")
        still = "still refused: " if action.get("before") else ""
        out.print(f"[{style}]{sign} {action['change']:9}[/] {name}: {still}{safe(action['because'])}")
        for line in _details(action):
            out.print(f"    {safe(line)}")
        for file in action.get("files") or ():
            if file.get("diff"):
                from timewright.cli.diffs import print_unified

                print_unified(out, file["diff"])
    for pool in view["pools"]:
        if pool["others"]:
            others = safe(", ".join(pool["others"]))
            out.print(f"pool {safe(pool['pool'])} gets another bundle, which {others} share")
    out.print(_summary(view))


def _summary(view: View) -> str:
    counts = {
        word: sum(action["change"] == change for action in view["actions"]) for change, word in _WORDS.items()
    }
    told = [f"{count} {word}" for word, count in counts.items() if count]
    left = view["specs"] - counts["deployed anew"] - counts["updated"] - counts["moved"]
    return (
        ", ".join([*told, f"{max(0, left)} as they are"])
        if told
        else f"Nothing changes: {view['specs']} specs."
    )


def _details(action: View) -> Iterator[str]:
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


def as_markdown(view: View) -> str:
    """A comment for a pull request."""
    lines = [MARKER, "### timewright plan", ""]
    if not view["complete"]:
        lines += [f"**The specs can't be read completely**: {_md(view['problem'] or '')}", ""]
    if view["actions"]:
        lines += ["| | workflow | why | what |", "|---|---|---|---|"]
        for action in view["actions"]:
            name = action["workflowId"] or action.get("source") or ""
            word = "still refused" if action.get("before") else _WORDS[action["change"]]
            what = "<br>".join(_md(line) for line in _details(action))
            lines.append(f"| {word} | {_code(name)} | {_md(action['because'])} | {what} |")
        lines.append("")
    for pool in view["pools"]:
        if pool["others"]:
            others = ", ".join(_code(name) for name in pool["others"])
            lines += [f"Pool {_code(pool['pool'])} gets another bundle, which {others} share.", ""]
    lines += _diffs(view)
    lines.append(_md(_summary(view)))
    return "\n".join(lines)


def _diffs(view: View) -> list[str]:
    lines: list[str] = []
    room = _MOST_DIFF
    for action in view["actions"]:
        texts = [file["diff"] for file in action.get("files") or () if file.get("diff")]
        text = "\n".join(texts)
        if not text:
            continue
        if len(text) > room:
            return [*lines, "More differs than a comment has room for.", ""]
        room -= len(text)
        fence = "`" * 8  # more than code is likely to have
        lines += [f"<details><summary>{_md(action['workflowId'])}</summary>", "", f"{fence}diff", text, fence]
        lines += ["", "</details>", ""]
    return lines


def _md(text: str) -> str:
    """Text of a stranger in a table's cell: no markup, no link, nobody mentioned."""
    found = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\`*_{}[]#|~!":
        found = found.replace(char, f"\\{char}")
    return found.replace("@", "@\u200b").replace("://", ":\u200b//")


def _code(text: str) -> str:
    return "`" + printable(text).replace("`", "'").replace("|", "\\|") + "`"


def _results(view: View) -> Iterator[Result]:
    """What is refused, and what will be undeployed, as annotations."""
    prefix = f"{view['folder']}/" if view["folder"] else ""
    for action in view["actions"]:
        name = action["workflowId"]
        if action["change"] == "refuse":
            level = WARNING if action["before"] else ERROR
            problems = [Problem(**problem) for problem in action["problems"]]
            found = tuple(Finding(level, action["reason"], problem) for problem in problems)
            yield Result(prefix + action["source"], name, found)
        elif action["change"] in ("undeploy", "hold"):
            yield Result(prefix, name, (Finding(WARNING, "Plan", Problem(name or "", action["because"])),))
