"""`timewright pack DIR`: a spec out of an ordinary Temporal TypeScript project folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from timewright.cli.common import printable
from timewright.cli.offline import offline_host
from timewright.config import load
from timewright.core.document import Limits
from timewright.core.errors import DeployError, Problem, TimewrightError
from timewright.core.pack import Project, id_from, packed, render
from timewright.core.packrules import GlobError
from timewright.core.prepare import Host, prepare
from timewright.edge import project
from timewright.edge.files import replace


@click.command("pack")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--output", default="-", help="The file to write; - for standard output.  [default: -]")
@click.option("--id", "workflow_id", default="", help="The workflowId. Without it: package.json's name.")
@click.option("--name", default="", help="The name for people.")
@click.option("--task-queue", default="", help="Sets deploy.taskQueue.")
@click.option("--worker", default="", metavar="FILE", help="Which worker, where a project has several.")
@click.option("--include", multiple=True, metavar="GLOB", help="Pack these though they would be left out.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these out.")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Write YAML; so does an output name that ends in .yaml."
)
@click.option("--force", is_flag=True, help="Write it though it has errors.")
def command(
    directory: Path,
    output: str,
    workflow_id: str,
    name: str,
    task_queue: str,
    worker: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    as_yaml: bool,
    force: bool,
) -> None:
    """Make a spec from a project folder, and check it.

    Left out, and said so: packages, build output, what .gitignore names, hidden files, links, what
    isn't text. Files that may hold secrets (.env, .npmrc, keys) are never packed. GLOB is as in
    .gitignore. Exit code 1 if the spec has errors; it isn't written then, unless with --force.
    """
    host = offline_host(load())
    found = _read(directory, output, host.limits, include, exclude)
    side = found.side or {}
    document = packed(Project(found.files, side), workflow_id=workflow_id, name=name, task_queue=task_queue)
    if worker:
        document["entrypoints"] = {**document.get("entrypoints", {}), "worker": worker}
    if "workflowId" not in document:
        document = {"workflowId": _id_of(directory), **document}
    as_yaml = as_yaml or output.endswith((".yaml", ".yml"))
    data = render(document, as_yaml=as_yaml)
    good = _report(found, data, as_yaml, host)
    if good or force:
        _write(output, data)
        where = "standard output" if output == "-" else output
        _say(f"packed {len(found.files)} files as workflow {document['workflowId']} into {where}")
    if not good:
        sys.exit(1)


def _read(
    directory: Path, output: str, limits: Limits, include: tuple[str, ...], exclude: tuple[str, ...]
) -> project.Found:
    """The project's files; the spec that an earlier pack left among them is none of them."""
    target, root = Path(output).resolve(), directory.resolve()
    own = target.relative_to(root).as_posix() if output != "-" and target.is_relative_to(root) else ""
    try:
        return project.read(directory, limits, include=include, exclude=exclude, skip=own)
    except GlobError as error:
        raise click.UsageError(str(error)) from None


def _id_of(directory: Path) -> str:
    made = id_from(directory.resolve().name)
    if not made:
        raise TimewrightError(
            f"{directory} has no package.json with a name", hint="give the workflowId: --id NAME"
        )
    return made


def _report(found: project.Found, data: bytes, as_yaml: bool, host: Host) -> bool:
    """Say what was left out and what is wrong; is it a spec that can be deployed?"""
    for path, why in found.left_out:
        _say(f"left out  {path}: {why}")
    for warning in found.warnings:
        _say(f"warning   {warning}")
    problems = list(found.problems)
    try:
        for warning in prepare(data, host, is_yaml=as_yaml).warnings:
            _say(f"warning   {warning}")
    except DeployError as error:
        problems += error.problems or (Problem("", error.message, error.hint),)
    for problem in problems:
        _say(f"error     {problem}")
    return not problems


def _write(output: str, data: bytes) -> None:
    if output == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        replace(Path(output), data)
    except OSError as error:
        raise TimewrightError(f"{output} can't be written: {error.strerror}") from None


def _say(text: Any) -> None:
    click.echo(printable(str(text)), err=True)
