"""What the compiler's tests share: the toolchain, and releases written from a few lines."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timewright.core.errors import Problem
from timewright.core.tsconfig import compiler_options, render

TOOLCHAIN = Path(__file__).resolve().parents[2] / "worker"
HARNESS = Path(__file__).resolve().parent / "harness"


def write_release(
    directory: Path,
    files: Mapping[str, str],
    *,
    options: Mapping[str, object] | None = None,
    entries: Sequence[str] = ("src/workflow.ts",),
    package: Mapping[str, object] | None = None,
    **about: Any,
) -> Path:
    """A release ready to compile: its files, our tsconfig.json, and the link to node_modules.

    `about`: more for `compiler_options` (typescript, root, javascript, mixed).
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    package = package or {}
    (directory / "package.json").write_text(json.dumps(package))
    kind = str(package.get("type", ""))
    chosen = compiler_options({"compilerOptions": options or {}}, package_type=kind, **about)
    (directory / "tsconfig.json").write_text(render(chosen, entries))
    link = directory / "node_modules"
    if not link.is_symlink():
        link.symlink_to(TOOLCHAIN / "node_modules")
    return directory


def printed(problems: Sequence[Problem]) -> str:
    """Problems as `tsc --pretty false` prints them."""
    lines = []
    for item in problems:
        place = f"{item.where}({item.line},{item.column}): " if item.line is not None else ""
        lines.append(f"{place}error {item.code}: {item.message}\n")
    return "".join(lines)


def in_sandbox(
    bundle: Path, runs: Sequence[Mapping[str, Any]], *, reuse: bool = True
) -> list[dict[str, Any]]:
    """Run workflows of a joined bundle in the SDK's own sandbox; see harness/sandbox.js."""
    job = json.dumps({"bundle": str(bundle), "reuse": reuse, "timeout": 1000, "runs": list(runs)})
    said: list[dict[str, Any]] = json.loads(node(HARNESS / "sandbox.js", TOOLCHAIN, stdin=job))
    return said


def node(*words: str | Path, stdin: str = "", cwd: Path | None = None) -> str:
    """Run Node to its end and return what it printed."""
    done = subprocess.run(
        ["node", *map(str, words)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
