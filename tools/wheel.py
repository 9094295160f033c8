"""The wheel takes the built worker package along. An editable install has the checkout's.

One of a checkout where nothing is built, as pre-commit makes it, has the command alone: it checks documents,
and `timewright setup` says what is missing for more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WorkerFiles(BuildHookInterface):  # type: ignore[type-arg]
    """worker/{package.json,package-lock.json,dist/*.js} → timewright/worker."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        worker = Path(self.root) / "worker"
        built = sorted((worker / "dist").glob("*.js"))
        if not built:
            return
        for file in [worker / "package.json", worker / "package-lock.json", *built]:
            build_data["force_include"][str(file)] = f"timewright/{file.relative_to(self.root)}"
