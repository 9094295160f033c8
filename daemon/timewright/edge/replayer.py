"""Runs `dist/replay.js`: histories on a workflow bundle, in a process that may hang, die or grow.

The process has no environment of ours, a cap on its memory, and dies with us. What it said of a pair of
bundle and history is kept: neither ever changes.

    {cache}/{key}    64 hex digits of SHA-256 of (bundle, replayer, history); JSON of the outcome
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from timewright.core.digest import sha256
from timewright.core.replays import Kind, Replayed, outcome_of, outcome_view
from timewright.core.stored import json_of
from timewright.edge import files, process
from timewright.edge.histories import History
from timewright.edge.toolchain import readable

_MIB: Final = 1024 * 1024
_HEAP: Final = 1024  # MiB of JavaScript
_MEMORY: Final = 4096 * _MIB  # of all: Temporal's core and V8 reserve more than they use
_START_S: Final = 45.0
_GRACE_S: Final = 5.0  # beyond a history's own limit, for what the process can't stop by itself
_AN_EVENT_S: Final = 0.002  # as in replay.ts
_MOST_STDERR: Final = 4096
_KEPT: Final = 5000  # entries of the cache
_ERROR: Final = re.compile(r"^\w*Error( \[\w+\])?: .*|^FATAL ERROR: .*", re.MULTILINE)
_TOOLS: Final = ("replay", "commands")  # what decides an outcome, besides bundle and history


@dataclass(frozen=True)
class Ran:
    """`outcomes` in the order of the histories that were looked at; `unfinished`: how many were not, for want
    of time; `known`: how many outcomes came from the cache. `problem`: why the replayer doesn't run."""

    outcomes: tuple[Replayed, ...] = ()
    unfinished: int = 0
    known: int = 0
    problem: str = ""


class Replayer:
    """Replays by the toolchain's SDK."""

    def __init__(self, toolchain: Path, node: str, cache: Path, *, limit: float = 10.0) -> None:
        """`toolchain`: the worker package. `limit`: seconds for one history; a long one gets more."""
        self.script = toolchain.resolve() / "dist" / "replay.js"
        self.toolchain, self.node, self.limit = toolchain, node, limit
        self.cache = ReplayCache(cache)

    async def run(self, bundle: Path, histories: Sequence[History], seconds: float) -> Ran:
        """Replay each history on the bundle (a joined workflows.js), within `seconds` for all."""
        until = time.monotonic() + seconds
        if not self.script.is_file():
            missing = f"dist/replay.js is missing: run `npm run build` in {self.toolchain}"
            return Ran(unfinished=len(histories), problem=missing)
        keys = await asyncio.to_thread(self._keys, bundle, histories)
        found = {at: kept for at, key in enumerate(keys) if (kept := self.cache.take(key)) is not None}
        known, waiting = len(found), [at for at in range(len(histories)) if at not in found]
        problem = ""
        while waiting and time.monotonic() < until and not problem:
            run = _Run(self, bundle, [histories[at] for at in waiting], until)
            answers = await run.answers()
            problem = "" if answers else run.problem
            for at, answer in zip(waiting, answers, strict=False):
                found[at] = answer
                self.cache.put(keys[at], answer)
            waiting = waiting[len(answers) :]
            if not answers and not problem:
                break  # out of time
        outcomes = tuple(_about(found[at], histories[at]) for at in sorted(found))
        return Ran(outcomes, len(waiting), known, problem)

    def _keys(self, bundle: Path, histories: Sequence[History]) -> list[str]:
        tools = [path.read_bytes() for path in sorted(self.script.parent.glob("*.js")) if path.stem in _TOOLS]
        head = sha256(b"\0".join((bundle.read_bytes(), *tools)))
        return [sha256(head.encode() + one.file.read_bytes()) for one in histories]


def _about(outcome: Replayed, history: History) -> Replayed:
    """An outcome with what is known of its execution besides."""
    return replace(
        outcome,
        workflow_id=history.workflow_id,
        run_id=history.run_id,
        workflow_type=history.workflow_type,
        running=history.running,
        events=history.events,
    )


@dataclass
class _Run:
    """One process, which is asked for all that is left and answers what it can."""

    by: Replayer
    bundle: Path
    histories: Sequence[History]
    until: float
    problem: str = ""
    _said: bytearray = field(default_factory=bytearray)

    async def answers(self) -> list[Replayed]:
        """Of the first histories, at least of one, unless there is a `problem` or no time."""
        try:
            child = await process.start(
                [shutil.which(self.by.node) or self.by.node, f"--max-old-space-size={_HEAP}", self.by.script],
                cwd=self.by.toolchain,
                env={},
                memory=_MEMORY,
                confine=self._cage(),
            )
        except OSError as error:
            self.problem = f"the replayer can't be started: {error.strerror}"
            return []
        listening = asyncio.create_task(self._listen(child))
        try:
            return await self._ask(child)
        finally:
            process.kill(child)
            with contextlib.suppress(ProcessLookupError):
                await child.wait()
            await listening

    def _cage(self) -> process.Confine:
        """The code of specs runs there: it reads itself, the histories and the SDK, and writes nothing."""
        asked = {one.file.parent for one in self.histories}
        return process.Confine((*readable(self.by.toolchain), self.bundle, *sorted(asked)))

    async def _ask(self, child: asyncio.subprocess.Process) -> list[Replayed]:
        if child.stdin is not None:
            with contextlib.suppress(ConnectionError):  # it ended at once: its silence is looked at below
                child.stdin.write(self._request())
                await child.stdin.drain()
                child.stdin.close()
        if await self._says(child, _START_S) != {"ready": True}:
            if self._left() > 0:
                self.problem = f"the replayer doesn't start: {await self._last_words(child)}"
            return []
        found: list[Replayed] = []
        while len(found) < len(self.histories):
            patience = self.by.limit + _GRACE_S + _AN_EVENT_S * self.histories[len(found)].events
            answer = _outcome(await self._says(child, patience))
            if answer is None:
                if self._left() > 0:
                    found.append(await self._silent(child, self.histories[len(found)]))
                break
            found.append(answer)
            if answer.kind == Kind.TIMEOUT:
                break  # it ends itself: a sandbox that was cut short can't be trusted with the next one
        return found

    def _request(self) -> bytes:
        asked = [
            {"workflowId": one.workflow_id, "runId": one.run_id, "file": str(one.file)}
            for one in self.histories
        ]
        request = {"bundle": str(self.bundle), "limitMs": self.by.limit * 1000, "histories": asked}
        return json.dumps(request).encode()

    async def _says(self, child: asyncio.subprocess.Process, seconds: float) -> Any:
        """The JSON that it says next; None where it says nothing in time, ends, or says no JSON."""
        if child.stdout is None:
            return None
        try:
            # Not wait_for: in Python 3.11 it can swallow a cancel that comes together with the answer.
            async with asyncio.timeout(min(seconds, max(self._left(), 0.0))):
                return json_of(await child.stdout.readline())
        except (TimeoutError, ValueError):
            return None

    async def _silent(self, child: asyncio.subprocess.Process, history: History) -> Replayed:
        """The outcome of a history at which the process hung or died."""
        base = Replayed(history.workflow_id, history.run_id, ok=False)
        if child.returncode is None and not await self._ends(child):
            message = f"it did not end within {self.by.limit:g} s"
            return replace(base, kind=str(Kind.TIMEOUT), message=message)
        words = await self._last_words(child)
        return replace(base, kind=str(Kind.SETUP), message=f"the replayer ended at it: {words}")

    async def _ends(self, child: asyncio.subprocess.Process) -> bool:
        """Whether it is about to end: its output is closed a moment before it is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await child.wait()
                return True
        return False

    async def _last_words(self, child: asyncio.subprocess.Process) -> str:
        if not await self._ends(child):
            return f"it says nothing within {_START_S:g} s"
        said = _ERROR.search(self._said.decode("utf-8", errors="replace"))
        return said[0].strip()[:300] if said else f"exit code {child.returncode}"

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        while child.stderr is not None and (data := await child.stderr.read(65536)):
            self._said += data
            del self._said[: max(0, len(self._said) - _MOST_STDERR)]

    def _left(self) -> float:
        return self.until - time.monotonic()


def _outcome(value: Any) -> Replayed | None:
    try:
        return outcome_of(value)
    except ValueError:
        return None


class ReplayCache:
    """Outcomes by what decides them. A cache and no more: what is damaged or gone is replayed again."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def take(self, key: str) -> Replayed | None:
        path = self.root / key
        try:
            found = outcome_of(json_of(path.read_bytes()))
            os.utime(path)
        except (OSError, ValueError):
            return None
        return found

    def put(self, key: str, outcome: Replayed) -> None:
        """Keep what the code did; not what time or trouble did."""
        if outcome.kind in (Kind.SETUP, Kind.TIMEOUT):
            return
        view: Mapping[str, Any] = outcome_view(outcome)
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_room()
            files.replace(self.root / key, json.dumps(view).encode())

    def _make_room(self) -> None:
        entries = list(os.scandir(self.root))
        if len(entries) >= _KEPT:
            for entry in sorted(entries, key=lambda one: one.stat().st_mtime)[: _KEPT // 10]:
                Path(entry.path).unlink(missing_ok=True)
