"""`timewright unpack SPEC DIR`: a spec as an ordinary project folder; the reverse of pack."""

from __future__ import annotations

from pathlib import Path

import click

from timewright.cli.common import is_yaml, printable, read_input
from timewright.cli.offline import limits_from
from timewright.config import load
from timewright.core.document import Limits, parse
from timewright.core.errors import SpecError, TimewrightError
from timewright.core.pack import SIDE_FILE, Project, named_by_package, side_text, unpacked
from timewright.edge import project


@click.command("unpack")
@click.argument("spec")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write into a folder that isn't empty; files there are replaced.")
def command(spec: str, directory: Path, force: bool) -> None:
    """Write the files of a spec into a folder. SPEC: a file, or - for standard input.

    What else the spec holds (deploy, entrypoints, metadata, …) is kept in timewright.json beside
    them, which pack reads back. Nothing is written outside of DIRECTORY, through links neither.
    """
    limits = limits_from(load())
    held = _read(spec, limits)
    if not project.is_empty(directory) and not force:
        raise TimewrightError(f"{directory} is not empty", hint="another folder, or --force to write into it")
    try:
        project.write(directory, held.files)
        if side := _side(held, directory, limits):
            project.write(directory, {SIDE_FILE: side})
    except SpecError as error:
        raise TimewrightError(error.message, hint="what was written before that is still there") from None
    click.echo(f"wrote {len(held.files) + bool(side)} files below {printable(str(directory))}")


def _read(spec: str, limits: Limits) -> Project:
    data = read_input(spec)
    try:
        return unpacked(parse(data, is_yaml=is_yaml(spec, data), limits=limits).value)
    except SpecError as error:
        lines = "".join(f"\n  - {printable(str(problem))}" for problem in error.problems)
        raise TimewrightError(f"{spec} can't be unpacked:{lines}") from None


def _side(held: Project, directory: Path, limits: Limits) -> str:
    """The text of `timewright.json`: what isn't a file, and the names of files that pack would leave
    out; '' when pack makes the same spec without it."""
    packable = project.read(directory, limits, with_side=False).files
    missing = sorted(held.files.keys() - packable.keys())
    needless = held.side == named_by_package(held.files.get("package.json", "")) and not missing
    if needless and not (directory / SIDE_FILE).exists():
        return ""
    return side_text({**held.side, **({"files": missing} if missing else {})})
