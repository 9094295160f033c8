"""Histories of executions, out of Temporal or out of files, as the replayer wants them: one file each.

    {into}/{n}.history     temporal.api.history.v1.History as it goes over the wire

They hold what people's workflows were given: the directory is ours alone, and its maker removes it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from timewright.core.visibility import on_queue, quoted

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution

MOST_EVENTS: Final = 20_000
_PAGE: Final = 1000
_AT_ONCE: Final = 4
_RUNNING: Final = 1  # temporal.api.enums.v1.WorkflowExecutionStatus


class NoHistoryError(Exception):
    """A file that is no history. The text says which, and why."""


@dataclass(frozen=True)
class History:
    """One execution's history on disk. `events`: how many."""

    workflow_id: str
    run_id: str
    workflow_type: str
    running: bool
    events: int
    file: Path


@dataclass(frozen=True)
class Fetched:
    """`left_out`: executions that are too long or could not be read, with the reason. `problem`: why Temporal
    could not be asked, '' when all went well."""

    histories: tuple[History, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Bounds:
    """`open`, `closed`: executions of each type. `bytes` of all histories together; `seconds` for all."""

    open: int
    closed: int
    bytes: int
    seconds: float
    events: int = MOST_EVENTS


async def fetch(
    client: Client, workflow_types: Iterable[str], queue: str, bounds: Bounds, into: Path
) -> Fetched:
    """The most recent executions of each type on a task queue of the client's namespace, the open ones
    first. Never raises for what Temporal answers or doesn't."""
    fetcher = _Fetcher(client, bounds, into)
    try:
        async with asyncio.timeout(bounds.seconds):
            found = await fetcher.find(workflow_types, queue)
            await fetcher.read_all(found)
    except TimeoutError:
        return fetcher.fetched(f"Temporal took longer than {bounds.seconds:g} s to answer")
    except Exception as error:  # a server may answer anything, and a deploy must not die of it
        return fetcher.fetched(f"Temporal could not be asked: {_words(error)}")
    return fetcher.fetched()


class _Fetcher:
    def __init__(self, client: Client, bounds: Bounds, into: Path) -> None:
        self.client, self.bounds, self.into = client, bounds, into
        self.room = bounds.bytes
        self.few = asyncio.Semaphore(_AT_ONCE)
        self.histories: dict[int, History] = {}
        self.left_out: list[str] = []

    def fetched(self, problem: str = "") -> Fetched:
        ordered = tuple(history for _, history in sorted(self.histories.items()))
        return Fetched(ordered, tuple(self.left_out), problem)

    async def find(self, workflow_types: Iterable[str], queue: str) -> list[WorkflowExecution]:
        """Visibility lists the newest first."""
        found: list[WorkflowExecution] = []
        for status, most in (("=", self.bounds.open), ("!=", self.bounds.closed)):
            for workflow_type in workflow_types if most else ():
                query = (
                    f"WorkflowType = {quoted(workflow_type)} AND {on_queue(queue)}"
                    f" AND ExecutionStatus {status} 'Running'"
                )
                listed = self.client.list_workflows(query, limit=most, page_size=most)
                found.extend([one async for one in listed])
        return found

    async def read_all(self, executions: list[WorkflowExecution]) -> None:
        # A failure of one is that one's; only time ends all.
        await asyncio.gather(*(self._read(at, one) for at, one in enumerate(executions)))

    async def _read(self, at: int, execution: WorkflowExecution) -> None:
        async with self.few:
            try:
                data, events, why = await self._events(execution)
            except Exception as error:  # e.g. its retention ended between the list and now
                data, events, why = b"", 0, f"its history can't be read: {_words(error)}"
        if why:
            self.left_out.append(f"{execution.id} was left out: {why}")
            return
        file = self.into / f"{at}.history"
        await asyncio.to_thread(_write, file, data)
        open_ = execution.status is not None and int(execution.status) == _RUNNING
        self.histories[at] = History(
            execution.id, execution.run_id, execution.workflow_type, open_, events, file
        )

    async def _events(self, execution: WorkflowExecution) -> tuple[bytes, int, str]:
        """(the history, how many events, why it is left out or '')."""
        from temporalio.api.history.v1 import History as Message

        handle = self.client.get_workflow_handle(execution.id, run_id=execution.run_id)
        message, size = Message(), 0
        async for event in handle.fetch_history_events(page_size=_PAGE):
            message.events.append(event)
            size += event.ByteSize()
            self.room -= event.ByteSize()
            if self.room < 0 or len(message.events) > self.bounds.events:
                self.room += size
                too_long = len(message.events) > self.bounds.events
                return b"", 0, self._too_long() if too_long else self._too_large()
        return message.SerializeToString(deterministic=True), len(message.events), ""

    def _too_long(self) -> str:
        return f"it has more than {self.bounds.events} events"

    def _too_large(self) -> str:
        return f"the histories together are larger than {self.bounds.bytes >> 20} MiB (replay.most_mib)"


def read_file(path: Path, at: int, into: Path) -> History:
    """A history that somebody kept: JSON as `temporal workflow show -o json` and the web UI write it.

    Raises NoHistoryError.
    """
    from temporalio.api.history.v1 import History as Message
    from temporalio.client import WorkflowHistory

    try:
        found = WorkflowHistory.from_json(path.stem, path.read_text("utf-8"))
    except OSError as error:
        raise NoHistoryError(f"{path} can't be read: {error.strerror}") from None
    except Exception as error:  # of the parser, for whatever it was given
        raise NoHistoryError(f"{path} is no history of an execution as JSON: {_words(error)}") from None
    first = found.events[0] if found.events else None
    if first is None or not first.HasField("workflow_execution_started_event_attributes"):
        raise NoHistoryError(f"{path} is no history: it doesn't begin with the start of an execution")
    started = first.workflow_execution_started_event_attributes
    file = into / f"{at}.history"
    _write(file, Message(events=found.events).SerializeToString(deterministic=True))
    return History(
        workflow_id=started.workflow_id or path.stem,
        run_id=started.original_execution_run_id or path.stem,
        workflow_type=started.workflow_type.name,
        running=not _closes(found.events[-1]),
        events=len(found.events),
        file=file,
    )


def _closes(event: Any) -> bool:
    """Whether this is an execution's last event."""
    kind: str = event.WhichOneof("attributes") or ""
    ends = ("completed", "failed", "timed_out", "canceled", "terminated", "continued_as_new")
    return kind in {f"workflow_execution_{end}_event_attributes" for end in ends}


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def _words(error: Exception) -> str:
    """An error in one short line."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 200 else f"{line[:200]}…"
