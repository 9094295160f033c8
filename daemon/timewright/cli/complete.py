"""What a shell completes besides verbs and options: workflow ids and releases. Says nothing and takes no time
when that can't be had: people are typing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from timewright.cli.common import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from timewright.cli.sight import Sight

F = TypeVar("F", bound=Callable[..., Any])


def workflow_argument(*, required: bool = True) -> Callable[[F], F]:
    """The argument ID: a workflow."""
    return click.argument(
        "workflow_id", metavar="ID" if required else "[ID]", required=required, shell_complete=workflow_ids
    )


def release_argument(name: str = "release") -> Callable[[F], F]:
    """An optional argument: one of the workflow's releases."""
    return click.argument(
        name, metavar=f"[{name.upper()}]", required=False, default="", shell_complete=releases
    )


def workflow_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    found = _asked(ctx, lambda sight: sight.overview(undeployed=True)["workflows"])
    return _items({view["workflowId"]: view["status"] for view in found}, incomplete)


def releases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    workflow_id = ctx.params.get("workflow_id")
    if not isinstance(workflow_id, str):
        return []
    found = _asked(ctx, lambda sight: sight.history(workflow_id, last=20))
    return _items(
        {view["release"]: view.get("because", "") for view in found if view.get("release")}, incomplete
    )


def _asked(ctx: click.Context, ask: Callable[[Sight], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    from timewright.cli.where import GIVEN, where_from

    try:
        where = where_from(ctx, {key: ctx.params.get(key) for key in GIVEN})
        with where.sight(quiet=True) as sight:
            return ask(sight)
    except Exception:  # a traceback in the middle of a line that is being typed helps nobody
        return []


def _items(found: dict[str, str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(printable(name), help=printable(about)[:60])
        for name, about in found.items()
        if name.startswith(incomplete)
    ]
