"""Writes specs into a folder source, for people who push them through the API."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from timewright.core.errors import Code, DeployError, RequestError
from timewright.core.names import id_problem
from timewright.core.prepare import Prepared, prepare
from timewright.core.state import Record
from timewright.edge import files
from timewright.reconcile import Reconciler
from timewright.world import World

_PUSH: Final = "commit it and push it there"


class SpecFiles:
    """The spec files of the source folder."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        self.world, self.reconciler = world, reconciler

    async def check(self, workflow_id: str, data: bytes, *, is_yaml: bool) -> tuple[str, Prepared]:
        """Where a spec belongs, and what it is. Raises RequestError with everything that is wrong with it;
        what it would break elsewhere in the source counts as well."""
        if message := id_problem(workflow_id):
            raise RequestError(Code.BAD_REQUEST, f"workflowId {message}")
        path = self._place(workflow_id, is_yaml=is_yaml)
        defaults = self.reconciler.source.defaults(path)
        if defaults is None:
            raise RequestError(Code.CONFLICT, f"the policy for {path} can't be read", hint="correct it first")
        try:
            prepared = await asyncio.to_thread(
                prepare, data, self.world.host, is_yaml=is_yaml, defaults=dict(defaults)
            )
        except DeployError as error:
            raise RequestError(
                Code.BAD_REQUEST, error.message, hint=error.hint, problems=error.problems
            ) from None
        if prepared.spec.workflow_id != workflow_id:
            message = (
                f"the spec's workflowId is {prepared.spec.workflow_id!r}, the address says {workflow_id!r}"
            )
            raise RequestError(Code.BAD_REQUEST, message)
        return path, prepared

    def _place(self, workflow_id: str, *, is_yaml: bool) -> str:
        """The file of a workflow: the one that it has, else one named after it."""
        desired = self.reconciler.desired
        items = desired.items if desired is not None else ()
        for item in items:
            if item.workflow_id == workflow_id:
                if is_yaml and item.source.endswith(".json"):
                    raise RequestError(Code.CONFLICT, f"its spec is {item.source}", hint="send JSON")
                self._home(item.source)
                return item.source
            if item.workflow_id is not None and item.workflow_id.casefold() == workflow_id.casefold():
                message = f"{workflow_id!r} differs from {item.workflow_id!r} only in case"
                raise RequestError(Code.CONFLICT, message, hint="choose another workflowId")
        folder = self.world.sources.folder()
        if folder is None:
            raise RequestError(Code.CONFLICT, "this host follows git repositories only", hint=_PUSH)
        path = f"{folder.prefix}{workflow_id}.{'yaml' if is_yaml else 'json'}"
        if os.path.lexists(self._home(path)):
            raise RequestError(Code.CONFLICT, f"{path} is there already, and holds something else")
        return path

    def _home(self, path: str) -> Path:
        """Where a spec lies on disk. Raises CONFLICT for one of a repository."""
        home = self.world.sources.home(path)
        if home is None:
            raise RequestError(Code.CONFLICT, f"{path} is in a git repository", hint=_PUSH)
        return home

    async def write(self, path: str, data: bytes) -> None:
        """Put a file in place by a rename: a reader sees the old one or the new one."""
        await asyncio.to_thread(self._write, path, data)

    def _write(self, path: str, data: bytes) -> None:
        try:
            files.replace(self._home(path), data)
        except OSError as error:
            message = f"{path} can't be written into the source folder: {error.strerror}"
            raise RequestError(Code.CONFLICT, message, hint="is it full, or read-only?") from None

    def remove(self, record: Record) -> None:
        """Remove a workflow's spec file. Raises CONFLICT when it has none, or it can't be removed."""
        desired = self.reconciler.desired
        items = desired.items if desired is not None else ()
        sources = [
            i.source for i in items if i.workflow_id == record.workflow_id or i.source == record.source
        ]
        if not sources:
            raise RequestError(Code.CONFLICT, f"the source has no spec of {record.workflow_id}")
        if len(sources) > 1:
            raise RequestError(
                Code.CONFLICT, f"{record.workflow_id} has more than one file: {', '.join(sources)}"
            )
        target = self._home(sources[0])
        try:
            target.unlink(missing_ok=True)
            files.sync_directory(target.parent)
        except OSError as error:
            message = f"{sources[0]} can't be removed from the source folder: {error.strerror}"
            raise RequestError(Code.CONFLICT, message) from None
