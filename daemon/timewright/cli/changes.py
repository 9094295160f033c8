"""`timewright plan --from REF --to REF`: what a merge would change. For CI and for reviewers; needs no
daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from timewright.cli.comment import as_markdown, details, summary
from timewright.cli.common import console, print_json, safe
from timewright.cli.formats import ERROR, WARNING, Finding, Result, as_github
from timewright.cli.offline import offline_host
from timewright.comparing import State, StateReader, changes, policy_of
from timewright.config import Config
from timewright.core.errors import Problem, TimewrightError
from timewright.core.sources import is_code
from timewright.edge.git import Git, GitError, Place, find

View = dict[str, Any]
FORMATS = ("text", "json", "markdown", "github")
_SIGNS = {
    "new": ("+", "green"),
    "update": ("~", "yellow"),
    "move": (">", "dim"),
    "settings": (">", "dim"),
    "undeploy": ("-", "red"),
    "refuse": ("!", "red"),
    "hold": ("=", "yellow"),
}


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
    try:
        before, after = await _read(
            config, git, place, (old, start), (new, end), below, merge_base=merge_base
        )
    except GitError as error:
        raise TimewrightError(f"this clone can't be read: {error.message}", hint=_PARTIAL) from None
    if after.desired.complete and not (before.desired.items or after.desired.items):
        raise TimewrightError(
            f"neither {before.title} nor {after.title} has specs in {below or 'the repository'}",
            hint="--path says where the specs are, from where you are",
        )
    one = config.followed[0]
    said = one.settings.prune if "source.prune" in config.origin else True
    view = changes(before, after, policy_of(said, one.settings.max_deletes), with_diff=diff)
    return {**view, "folder": below}


async def _read(
    config: Config,
    git: Git,
    place: Place,
    old: tuple[str, str],
    new: tuple[str, str],
    below: str,
    *,
    merge_base: bool,
) -> tuple[State, State]:
    """Both states of the folder `below`. `old`, `new`: (as asked for, commit; '' for the work tree)."""
    start, end = old[1], new[1]
    if merge_base:
        base = await git.merge_base(start, end or await _resolve(git, "HEAD"))
        if base is None:
            names = f"{old[0]} and {new[0] or 'HEAD'}"
            raise TimewrightError(f"{names} have no common commit here", hint=_FETCH)
        start = base
    reader = StateReader(offline_host(config))
    before = await reader.commit(git, old[0], start, below)
    if end:
        return before, await reader.commit(git, new[0], end, below)
    return before, await reader.folder("the work tree", place.top / below)


_FETCH = "a shallow clone has few commits: git fetch --unshallow, or fetch-depth: 0 for actions/checkout"
_PARTIAL = "a partial clone (--filter) lacks contents, which are not fetched here: clone without a filter"


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
        for line in details(action):
            out.print(f"    {safe(line)}")
        for file in action.get("files") or ():
            if file.get("diff"):
                from timewright.cli.diffs import print_unified

                print_unified(out, file["diff"])
    for pool in view["pools"]:
        if pool["others"]:
            others = safe(", ".join(pool["others"]))
            out.print(f"pool {safe(pool['pool'])} gets another bundle, which {others} share")
    out.print(summary(view))


def _results(view: View) -> Iterator[Result]:
    """What is refused, and what will be undeployed, as annotations: these of no file, since it is gone."""
    prefix = f"{view['folder']}/" if view["folder"] else ""
    for action in view["actions"]:
        name = action["workflowId"]
        if action["change"] == "refuse":
            level = WARNING if action["before"] else ERROR
            problems = [Problem(**problem) for problem in action["problems"]]
            found = tuple(_finding(level, action["reason"], problem) for problem in problems)
            yield Result(prefix + action["source"], name, found)
        elif action["change"] in ("undeploy", "hold"):
            yield Result("", name, (Finding(WARNING, "Plan", Problem(name or "", action["because"])),))


def _finding(level: str, reason: str, problem: Problem) -> Finding:
    """With its line, where that is one of the document and not of a file in it."""
    if is_code(problem.where) or problem.where in ("package.json", "tsconfig.json"):
        return Finding(level, reason, problem, in_code=True)
    return Finding(level, reason, problem, problem.line, problem.column)
