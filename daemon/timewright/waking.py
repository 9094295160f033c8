"""What the loop of passes waits for, and what is known of why it was woken."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """What a wake was about: files of sources, by path, and workflows."""

    files: frozenset[str] = frozenset()
    workflows: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.files or self.workflows)


class Wake:
    """An event that remembers what it is about. Only the event loop's thread touches it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._files: set[str] = set()
        self._workflows: set[str] = set()
        self._everything = False

    def set(self) -> None:
        """Look at everything."""
        self._everything = True
        self._event.set()

    def files(self, names: Collection[str]) -> None:
        """These files have changed, as far as one can tell; with no names anything may have."""
        if not names:
            self._everything = True
        self._files.update(names)
        self._event.set()

    def workflow(self, workflow_id: str) -> None:
        """Somebody asks for something of this workflow."""
        self._workflows.add(workflow_id)
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> bool:
        return await self._event.wait()

    def take(self) -> Named:
        """What it was woken for since the last call; nothing is named where all has to be looked at."""
        named = Named() if self._everything else Named(frozenset(self._files), frozenset(self._workflows))
        self._event.clear()
        self._files.clear()
        self._workflows.clear()
        self._everything = False
        return named
