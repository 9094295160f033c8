"""The `@tsconfig/*` packages that we ship, read once as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timewright.core.spec import strip_comments


def tsconfig_bases(toolchain: Path) -> dict[str, Mapping[str, Any]]:
    """Package name → its tsconfig.json, for `core.tsconfig.compiler_options`. Empty when none is there."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted((toolchain / "node_modules" / "@tsconfig").glob("*/tsconfig.json")):
        try:
            value = json.loads(strip_comments(path.read_text("utf-8")))
        except (OSError, ValueError):
            continue  # a damaged one is as good as none: the spec that wants it is told so
        if isinstance(value, dict):
            found[f"@tsconfig/{path.parent.name}"] = value
    return found
