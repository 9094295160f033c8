"""What the toolchain (the worker package with its node_modules) has for specs. Read as data only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from timewright.core.dependencies import Provided
from timewright.core.stored import json_of

#: Packages that a release may import from the toolchain; the SDK must be one for host and spec.
_FOR_SPECS: Final = ("nexus-rpc", "@types/node")
_SCOPE: Final = "@temporalio"
#: Where the TypeScript versions are, ours first.
_TYPESCRIPTS: Final = ("typescript", "typescript-6", "typescript-5")


def provided(toolchain: Path) -> Provided:
    """The packages that specs get without an install. Without a toolchain: none, and the SDK 'off'."""
    modules = toolchain / "node_modules"
    try:
        scoped = sorted(entry.name for entry in os.scandir(modules / _SCOPE))
    except OSError:
        return Provided("off", {})
    names = [*(f"{_SCOPE}/{name}" for name in scoped), *_FOR_SPECS]
    found = {name: version for name in names if (version := version_of(modules / name))}
    return Provided(found.get(f"{_SCOPE}/worker", "off"), found)


def readable(toolchain: Path) -> tuple[Path, ...]:
    """What a program of the toolchain reads of it. Its packages may lie elsewhere, behind a link."""
    return (toolchain.resolve(), (toolchain / "node_modules").resolve())


def typescripts(toolchain: Path) -> tuple[tuple[str, Path], ...]:
    """(version, directory) of each TypeScript that is there, ours first."""
    homes = [toolchain / "node_modules" / name for name in _TYPESCRIPTS]
    return tuple((version, home) for home in homes if (version := version_of(home)))


def version_of(package: Path) -> str:
    """The version of an installed package; '' when it isn't there."""
    try:
        found = json_of((package / "package.json").read_bytes())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""
