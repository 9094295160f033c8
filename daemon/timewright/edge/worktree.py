"""A plain folder that happens to be a git work tree: which commit a file is of, and whether it has changed.

The folder belongs to whoever writes specs into it, its `.git` too; nothing of that runs here (see git.py),
and what can't be told is left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from timewright.core.commits import Commit
from timewright.edge.git import Git, GitError, Place, find

_LOOK_AGAIN_S = 30.0  # a folder becomes a work tree, or ceases to be one, so often


class WorkTree:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: Place | None = None
        self._looked = float("-inf")

    async def commits(self, read: Mapping[str, bytes]) -> Mapping[str, Commit]:
        """Path → the commit that last changed it, for files that hold what git has of them (`read`: what was
        found); the head with `dirty` for others. Nothing in no work tree, or where there is no commit yet."""
        place = await self._find()
        if place is None:
            return {}
        git = Git(place.git_dir)
        try:
            head = await git.resolve("HEAD")
            if head is None:
                return {}
            commit, listed, changed = await asyncio.gather(
                git.commit(head), git.tree(head, place.prefix), git.origins(head, place.prefix, {*read})
            )
        except GitError:
            return {}
        oids = {entry.path: entry.oid for entry in listed}
        return {
            path: changed.get(path, commit)
            if oids.get(path) == blob_id(data, len(head))
            else replace(commit, dirty=True)
            for path, data in read.items()
        }

    async def _find(self) -> Place | None:
        if self._place is None and time.monotonic() < self._looked + _LOOK_AGAIN_S:
            return None
        if self._place is None or not self._place.git_dir.exists():
            self._looked = time.monotonic()
            self._place = await find(self._folder) if self._may_be_one() else None
        return self._place

    def _may_be_one(self) -> bool:
        """A look that costs no process: git, too, looks for `.git` from here upwards."""
        here = self._folder.resolve()
        return any(os.path.lexists(folder / ".git") for folder in (here, *here.parents))


def blob_id(data: bytes, length: int) -> str:
    """The name that git gives to a content. `length`: of the repository's names: 40 (SHA-1) or 64."""
    kind = hashlib.sha1 if length == 40 else hashlib.sha256
    return kind(b"blob %d\0" % len(data) + data).hexdigest()
