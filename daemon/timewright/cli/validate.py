"""`timewright validate FILE…`: is this spec one that would deploy? Touches nothing."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from timewright.cli.common import console, json_option, print_json, problem_view, safe
from timewright.config import Config, load
from timewright.core.document import Limits
from timewright.core.errors import DeployError, Problem, Reason, SpecError
from timewright.core.spec import Spec, read_spec
from timewright.edge.compiler import CompileJob, Compiler
from timewright.service import make_compiler


@click.command("validate")
@click.option("--parse-only", is_flag=True, help="Check the document, don't compile it.")
@json_option
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...], parse_only: bool, as_json: bool) -> None:
    """Check spec files: document, types, bundle. Needs no daemon, server or network."""
    config = load()
    results = asyncio.run(_validate(config, files, parse_only))
    if as_json:
        print_json([{"file": str(path), **_view(error)} for path, error in results])
    else:
        for path, error in results:
            _show(path, error)
    sys.exit(1 if any(error for _, error in results) else 0)


async def _validate(
    config: Config, files: tuple[Path, ...], parse_only: bool
) -> list[tuple[Path, DeployError | None]]:
    specs = [(path, _read(config, path)) for path in files]
    good = {path: spec for path, spec in specs if isinstance(spec, Spec)}
    errors: dict[Path, DeployError | None] = {path: e for path, e in specs if not isinstance(e, Spec)}
    if good and not parse_only:
        errors.update(await _compile(config, good))
    return [(path, errors.get(path)) for path in files]


def _read(config: Config, path: Path) -> Spec | DeployError:
    limits = Limits(bytes=config.source.max_spec_bytes, files=config.source.max_files)
    try:
        return read_spec(path.read_bytes(), is_yaml=path.suffix in (".yaml", ".yml"), limits=limits)
    except OSError as error:
        return SpecError(
            [Problem(str(path), f"can't be read: {error.strerror}")], reason=Reason.SOURCE_UNREADABLE
        )
    except SpecError as error:
        return error


async def _compile(config: Config, specs: dict[Path, Spec]) -> dict[Path, DeployError | None]:
    results: dict[Path, DeployError | None] = {}
    with tempfile.TemporaryDirectory(prefix="timewright-") as scratch:
        compiler = make_compiler(config, Path(scratch, "cache"))
        await compiler.start()
        try:
            for number, (path, spec) in enumerate(specs.items()):
                results[path] = await _compile_one(compiler, config, spec, Path(scratch, str(number)))
        finally:
            await compiler.close()
    return results


async def _compile_one(compiler: Compiler, config: Config, spec: Spec, build: Path) -> DeployError | None:
    build.mkdir()
    write_sources(build, spec, str(config.toolchain_path / "node_modules"))
    try:
        await compiler.compile(CompileJob(build, spec.workflows, spec.activities, spec.worker))
    except DeployError as error:
        return error
    return None


def _show(path: Path, error: DeployError | None) -> None:
    out = console()
    if error is None:
        out.print(f"[green]ok[/]     {safe(str(path))}")
        return
    out.print(f"[red]error[/]  {safe(str(path))}: {error.reason}")
    for problem in error.problems or (error.message,):
        out.print(f"       - {safe(str(problem))}")


def _view(error: DeployError | None) -> dict[str, Any]:
    if error is None:
        return {"ok": True}
    problems = [problem_view(problem) for problem in error.problems]
    return {"ok": False, "reason": error.reason, "message": error.message, "problems": problems}
