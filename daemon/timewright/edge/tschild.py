"""One `tsc --api --async` child: its protocol (JSON-RPC over stdio), its memory and its end.

The only module that knows how TypeScript 7.1 talks. The child gets no environment of ours, and a cap
on what it may allocate.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from timewright.edge import process
from timewright.edge.process import Confine

MIB: Final = 1024 * 1024
_MAX_MESSAGE: Final = 256 * MIB


def tsc_binary(toolchain: Path) -> Path:
    """The native compiler for this machine, as npm installs it below `toolchain`."""
    system = {"win32": "win32"}.get(sys.platform, sys.platform)
    package = f"typescript-{system}-{machine()}"
    return toolchain / "node_modules" / "@typescript" / package / "lib" / "tsc"


def machine() -> str:
    """This processor, as Node names it: x64, arm64, …"""
    name = platform.machine().lower()
    return {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(name, name)


@dataclass(frozen=True)
class Limits:
    """`timeout`: seconds for one release. `memory`: bytes above which an idle child is replaced.
    `grace`: seconds that the first lane may be busy before a second starts; `idle`: seconds after
    which an unused second lane is closed."""

    timeout: float = 60.0
    memory: int = 1024 * MIB
    grace: float = 2.0
    idle: float = 60.0

    @property
    def ceiling(self) -> int:
        """Bytes at which a child is killed in the middle of a job: a type bomb (faults.md E14)."""
        return self.memory * 2


class ChildGoneError(Exception):
    """The child died, or answered what it never should."""


@dataclass
class Child:
    """One running `tsc --api`: requests by number, answers as they come."""

    process: asyncio.subprocess.Process
    places: tuple[tuple[int, int], ...] = ()  # the trees that it may read
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    snapshots: set[int] = field(default_factory=set)
    kept: frozenset[int] = frozenset()
    anchor: int | None = None
    said: bytearray = field(default_factory=bytearray)
    number: int = 0
    verdict: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(cls, binary: Path, cwd: Path, limits: Limits, confine: Confine | None = None) -> Child:
        # GOMEMLIMIT makes the collector work harder near the limit; the rest of our environment is
        # none of the compiler's business, so that no message can quote it.
        env = {"GOMEMLIMIT": str(limits.memory), "TMPDIR": str(cwd)}
        # As they were before: what comes to be while it starts, it may not have been let into.
        places = confine.places() if confine is not None else ()
        running = await process.start(
            [binary, "--api", "--async", "--cwd", cwd],
            cwd=cwd,
            env=env,
            memory=limits.ceiling + 512 * MIB,
            confine=confine,
        )
        child = cls(running, places)
        child.tasks = [asyncio.create_task(child._read()), asyncio.create_task(child._listen())]
        return child

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """One request. Raises ChildGoneError when the child can't answer it."""
        if self.process.returncode is not None or self.process.stdin is None:
            raise ChildGoneError("the compiler has ended")
        self.number += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[self.number] = answer
        body = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}).encode()
        try:
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await self.process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise ChildGoneError(str(error)) from error
        # Not cancelled with its caller: an answer that comes later still names a snapshot to release.
        return await asyncio.shield(answer)

    async def open(self, config: Path) -> tuple[int, Mapping[str, Any] | None]:
        """Open a project in a new snapshot: (snapshot, project), no project when there is no such file.

        Beside the anchor, where there is one: what that has read of the SDK is found there, and everything
        else is read as it is now.
        """
        changes = {"openProjects": [str(config)], "ensurePrograms": [str(config)]}
        if self.anchor is None:
            answer = await self.ask("createSnapshot", changes)
        else:
            answer = await self.ask("updateSnapshot", {"snapshot": self.anchor, "changes": changes})
        mine = (item for item in answer["projects"] if item.get("configFileName") == str(config))
        return answer["snapshot"], next(mine, None)

    def keep(self, snapshots: frozenset[int]) -> None:
        """These stay, whatever is let go of."""
        self.kept = snapshots

    @property
    def is_tidy(self) -> bool:
        """Whether nothing is open but what is to stay."""
        return self.snapshots == {self.anchor} | self.kept

    async def release(self) -> None:
        """Let go of every snapshot but the anchor's, and what is kept."""
        for snapshot in sorted(self.snapshots - self.kept - {self.anchor}):
            self.snapshots.discard(snapshot)
            await self.ask("release", {"snapshot": snapshot})

    def memory(self) -> int:
        """Resident bytes now; 0 where the system doesn't say."""
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - polled
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        process.kill(self.process)

    async def close(self) -> None:
        self.kill()
        await self.process.wait()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Hand each answer to whom it belongs, until the child ends."""
        stream = self.process.stdout
        try:
            while stream is not None:
                self._answer(json.loads(await _frame(stream)))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError) as error:
            self.kill()  # a stream that makes no sense can't be read on
            self._fail(error)

    def _answer(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise ValueError("not a message of the compiler")
        answer = self.waiting.pop(message.get("id", -1), None)
        result = message.get("result")
        if isinstance(result, dict) and isinstance(result.get("snapshot"), int):
            self.snapshots.add(result["snapshot"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(ChildGoneError(str(message["error"].get("message", "error"))))
            answer.exception()  # looked at: nobody may wait any more
        else:
            answer.set_result(result)

    def _fail(self, error: Exception) -> None:
        waiting, self.waiting = self.waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(ChildGoneError(self.verdict or f"the compiler ended: {error}"))
                answer.exception()

    async def _listen(self) -> None:
        """Keep the last words: a Go crash says much, and a full pipe would stop the child."""
        stream = self.process.stderr
        while stream is not None and (data := await stream.read(65536)):
            self.said += data
            del self.said[:-65536]

    @property
    def out_of_memory(self) -> bool:
        return self.verdict == "memory" or b"out of memory" in self.said or b"cannot allocate" in self.said


async def _frame(stream: asyncio.StreamReader) -> bytes:
    """One message: headers, an empty line, Content-Length bytes. Raises ValueError on anything else."""
    head = await stream.readuntil(b"\r\n\r\n")
    match = re.search(rb"(?i)content-length:\s*(\d+)", head)
    if match is None or int(match[1]) > _MAX_MESSAGE:
        raise ValueError("not a message of the compiler")
    return await stream.readexactly(int(match[1]))
