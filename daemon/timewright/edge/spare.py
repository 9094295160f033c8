"""A process that waits in front of its cage, for a job that is waited for.

To fork a daemon that has grown and to make a cage behind that takes 15 ms and more, in which the daemon does
nothing else. Who waits was started while nobody did, without a copy of our memory, and goes into its cage
and becomes the command as soon as it is told of them (`confine.py --wait`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from timewright.edge import process
from timewright.edge.confine import NOT_BEGUN
from timewright.edge.process import Confine, Finished

#: Seconds from the last job to the start of the next process: many jobs in a row have none of it.
_QUIET: Final = 1.0


class Spare:
    """One process at most. Whoever finds none has one started, as anywhere else."""

    def __init__(self, quiet: float = _QUIET) -> None:
        """`quiet`: seconds without a job after which another one is made ready."""
        self._quiet = quiet
        self._waiting: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closed = False

    def soon(self) -> None:
        """Have one ready when nothing was asked for a while."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._quiet, self._start)

    @property
    def is_ready(self) -> bool:
        return self._waiting is not None and self._waiting.returncode is None

    async def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        timeout: float,  # noqa: ASYNC109 - as `process.run`
        memory: int,
        confine: Confine,
    ) -> Finished:
        """As `process.run`, without an environment; it raises what that raises."""
        waiting = self._taken()
        try:
            if waiting is not None:
                job = process.confined(command, confine, cwd=cwd, memory=memory)
                finished = await process.end(waiting, job, timeout)
                if finished.code != NOT_BEGUN:  # else it has done nothing, and why is said by the other way
                    return finished
            return await process.run(
                command, cwd=cwd, env={}, timeout=timeout, memory=memory, confine=confine
            )
        finally:
            self.soon()

    async def close(self) -> None:
        """End who waits. No job may be running."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            await self._starting
        if (waiting := self._taken()) is not None:
            process.kill(waiting)
            await waiting.communicate()

    def _taken(self) -> asyncio.subprocess.Process | None:
        """The one that waits, for nobody else from now on."""
        waiting = self._waiting if self.is_ready else None
        self._waiting = None
        return waiting

    def _start(self) -> None:
        if not self.is_ready and (self._starting is None or self._starting.done()):
            self._starting = asyncio.create_task(self._make())

    async def _make(self) -> None:
        with contextlib.suppress(OSError):  # no process to be had: then none waits
            self._waiting = await process.wait_in_front()
