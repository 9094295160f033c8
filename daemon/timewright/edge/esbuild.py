"""esbuild's native binary: one process for each job, no Node. Its errors become problems in src/."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from timewright.core.errors import DeployError, Problem, Reason
from timewright.edge import process
from timewright.edge.spare import Spare
from timewright.edge.tschild import Limits, machine

_SAID: Final = re.compile(
    r"^\S+ \[ERROR\] (?P<text>.+?)\n(?:\n    (?P<file>[^\n]+?):(?P<line>\d+):(?P<column>\d+):)?", re.MULTILINE
)
_SOURCES: Final = {".js": (".ts", ".tsx", ".jsx"), ".mjs": (".mts",), ".cjs": (".cts",)}
_UNWRITTEN: Final = re.compile(r"^\S+ \[ERROR\] Failed to write to output file: (?P<text>.+)$", re.MULTILINE)
_UNRESOLVED: Final = re.compile(r'Could not resolve "([^"]+)"')


def binary(toolchain: Path) -> Path:
    """esbuild for this machine, as npm installs it below `toolchain`."""
    return toolchain / "node_modules" / "@esbuild" / f"{sys.platform}-{machine()}" / "bin" / "esbuild"


async def run(
    command: Sequence[str | Path],
    cwd: Path,
    limits: Limits,
    releases: Sequence[Path] = (),
    spare: Spare | None = None,
) -> process.Finished:
    """Run it to its end, in a cage of these releases (none: the one in `cwd`) and their packages.

    `spare`: may have a process that waits for that.

    Raises DeployError: COMPILE_TIMEOUT, COMPILER_UNAVAILABLE.
    """
    trees = tuple(releases) or (cwd,)
    packages = {(tree / "node_modules").resolve() for tree in trees}
    cage = process.Confine(tuple(packages), write=trees)
    start = spare.run if spare is not None else functools.partial(process.run, env={})
    try:
        finished = await start(command, cwd=cwd, timeout=limits.timeout, memory=limits.ceiling, confine=cage)
    except TimeoutError:
        raise DeployError(Reason.COMPILE_TIMEOUT, f"bundling took longer than {limits.timeout:g} s") from None
    except OSError as error:
        raise DeployError(
            Reason.COMPILER_UNAVAILABLE,
            f"esbuild can't be started: {error.strerror}",
            hint="run `npm ci` in the toolchain's directory",
        ) from error
    if finished.code < 0:
        raise DeployError(Reason.COMPILER_UNAVAILABLE, f"esbuild was ended by signal {-finished.code}")
    return finished


def refused(directory: Path, said: str, reason: Reason, root: str = "src") -> DeployError:
    """What esbuild printed, as an error with problems at their places in the sources (below `root`),
    where they can be told; STORAGE_FAILED, which is tried again, where it could not write."""
    if unwritten := _UNWRITTEN.search(said):
        what = unwritten["text"].rpartition(": ")[2]
        return DeployError(
            Reason.STORAGE_FAILED, f"the disk refused: {what}", hint="is it full or read-only?"
        )
    problems = [_problem(directory, match, root) for match in _SAID.finditer(said)]
    if not problems:
        text = said.strip().replace(f"{directory}/", "")[-400:]
        return DeployError(reason, f"esbuild failed: {text}")
    return failed(reason, problems)


def failed(reason: Reason, problems: Sequence[Problem]) -> DeployError:
    """One error for several problems; its message is the first of them."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return DeployError(reason, f"{problems[0]}{more}", problems=problems)


def _problem(directory: Path, match: re.Match[str], root: str) -> Problem:
    text = match["text"].replace(f"{directory}/", "")
    unresolved = _UNRESOLVED.match(text)
    name = match["file"] or ""
    where = source_of(directory, name, root)
    line: int | None = int(match["line"]) if match["line"] else None
    column: int | None = int(match["column"]) + 1 if match["column"] else None
    if where != name:
        # The line is one of dist/; only an import can be found again in the source.
        line, column = place(directory, where, unresolved[1]) if unresolved else (None, None)
    return Problem(where, text, _hint(unresolved), line, column)


def _hint(unresolved: re.Match[str] | None) -> str:
    if unresolved is None:
        return ""
    if unresolved[1].startswith("."):
        return "add the file, or correct the path"
    return f'add "{unresolved[1]}" to the dependencies in package.json'


def source_of(directory: Path, name: str, root: str = "src") -> str:
    """dist/a.js → src/a.ts where that is what it was made of; any other name as it is."""
    path = PurePosixPath(name)
    if path.parts[:1] == ("dist",):
        for suffix in (*_SOURCES.get(path.suffix, ()), path.suffix):
            source = PurePosixPath(root, *path.parts[1:]).with_suffix(suffix)
            if (directory / source).is_file():
                return source.as_posix()
    return name


def place(directory: Path, where: str, specifier: str) -> tuple[int | None, int | None]:
    """Line and column (from 1) of the first string that is `specifier`; None when there is none."""
    text = read(directory, where)
    match = re.search(rf"""['"`]{re.escape(specifier)}['"`]""", text)
    if match is None:
        return None, None
    line = text.count("\n", 0, match.start()) + 1
    return line, match.start() - text.rfind("\n", 0, match.start())


def read(directory: Path, where: str) -> str:
    """A file's text; '' when it can't be read (esbuild names some that don't exist)."""
    try:
        return (directory / where).read_text("utf-8", errors="replace")
    except OSError:
        return ""
