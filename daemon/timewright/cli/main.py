"""The `timewright` command: its verbs, and how errors reach a person (`Error:` then `Try:`)."""

from __future__ import annotations

import os
import sys

import click

from timewright import __version__
from timewright.cli import (
    apply,
    config,
    doctor,
    init,
    listing,
    logs,
    pack,
    plan,
    run,
    schema,
    status,
    token,
    unpack,
    validate,
)
from timewright.core.errors import TimewrightError

FAILED = 1


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 as wished, 1 something failed, 2 wrong usage, 3 a plan has changes.",
)
@click.version_option(__version__, prog_name="timewright")
def cli() -> None:
    """GitOps for Temporal TypeScript workflows on a plain host.

    Follows a folder of compiled workflow specs and keeps this host's workers serving exactly them:
    checked, compiled, published atomically, loaded without a restart.
    """


_VERBS = (
    *(run, apply, plan, validate, pack, unpack, schema),
    *(status, listing, logs, doctor, config, init, token),
)
for module in _VERBS:
    cli.add_command(module.command)


def main() -> None:
    """Entry point: run a verb; a TimewrightError becomes two lines and exit code 1."""
    try:
        cli(prog_name="timewright", standalone_mode=True)
    except TimewrightError as error:
        click.echo(f"Error: {error.message}", err=True)
        if error.hint:
            click.echo(f"Try: {error.hint}", err=True)
        sys.exit(FAILED)
    except BrokenPipeError:  # `timewright logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
