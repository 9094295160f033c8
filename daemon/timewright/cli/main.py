"""The `timewright` command: its verbs, and how errors reach a person (`Error:` then `Try:`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import click

from timewright import __version__
from timewright.cli.verbs import VERBS, Commands
from timewright.core.errors import TimewrightError

FAILED = 1


class Verbs(click.Group):
    """The group. Its help and its completion read the table of verbs, without loading any of them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commands = Commands()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, VERBS))
        for section, verbs in groupby(VERBS.items(), lambda item: item[1].section):
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), verb.short) for name, verb in verbs])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=verb.short)
            for name, verb in VERBS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Who closes our standard output has read enough: `timewright logs | head`."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ctx.exit(0)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 as wished, 1 something failed, 2 wrong usage, 3 a plan has changes.",
)
@click.version_option(__version__, prog_name="timewright")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """GitOps for Temporal TypeScript workflows on a plain host.

    Follows a folder of compiled workflow specs and keeps this host's workers serving exactly them:
    checked, compiled, published atomically, loaded without a restart.
    """
    if os.environ.get("NO_COLOR"):  # rich knows it, click doesn't
        ctx.color = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run a verb; a TimewrightError becomes `Error:`, `Try:` and exit code 1."""
    try:
        cli(arguments, prog_name="timewright", standalone_mode=True)
    except TimewrightError as error:
        from timewright.cli.common import print_error

        print_error(error)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
