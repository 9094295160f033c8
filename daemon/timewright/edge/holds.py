"""What people decided about workflows, beside the state file: pins, suspensions, releases that were reverted.

The state file can be rebuilt from the tree, these can't; and a rollback that is forgotten with a damaged
state file would put the bad release back into service at night.

    holds/{workflowId}.json   holds/_all.json   holds/_count.json

The count of decisions is in the state file, too: one that has counted fewer came out of a backup.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from timewright.core.stored import is_number, json_of
from timewright.edge import files
from timewright.edge.failpoint import failpoint

ALL = "_all"  # no workflow id begins so
_COUNT = "_count"


class Holds:
    """The folder of decisions of one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.sweep(self.root)

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep what was decided of one workflow, or of ALL; nothing but empty values removes the file."""
        path = self.root / f"{name}.json"
        kept = {key: value for key, value in content.items() if value}
        failpoint("before-hold")
        if kept:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.replace(path, json.dumps(kept).encode(), mode=0o600)
        elif path.exists():
            path.unlink(missing_ok=True)
            files.sync_directory(self.root)
        failpoint("after-hold")

    def count(self) -> int:
        """How many decisions were counted; 0 when that can't be read."""
        try:
            found = json_of((self.root / f"{_COUNT}.json").read_bytes())["decisions"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return found if isinstance(found, int) and is_number(found, whole=True) and found > 0 else 0

    def set_count(self, count: int) -> None:
        self.write(_COUNT, {"decisions": count})

    def read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Everything that was kept; a file that can't be read is passed over."""
        with suppress(FileNotFoundError):
            for entry in sorted(os.scandir(self.root), key=lambda item: item.name):
                name, dot, kind = entry.name.rpartition(".")
                if dot and kind == "json" and name != _COUNT and entry.is_file(follow_symlinks=False):
                    with suppress(OSError, ValueError):
                        content = json_of(Path(entry.path).read_bytes())
                        if isinstance(content, dict):
                            yield name, content
