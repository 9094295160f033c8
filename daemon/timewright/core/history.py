"""What people mean by history: each attempt to change what is live, and what became of it.

A fold over the rows of one workflow. Rows may begin anywhere (the state file was lost), stop anywhere (a
crash) and be of any kind; those that are no transition of the status say nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from timewright.core.digest import SHORT
from timewright.core.state import Failure, Status


class Row(Protocol):
    """A row of the history, as edge/statefile.py keeps it."""

    @property
    def id(self) -> int: ...
    @property
    def at(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def old(self) -> str | None: ...
    @property
    def new(self) -> str: ...
    @property
    def because(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def timings(self) -> Mapping[str, float]: ...
    @property
    def actor(self) -> str: ...


class Attempt(StrEnum):
    """What was attempted."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    UNDEPLOY = "undeploy"


class Outcome(StrEnum):
    """What became of it."""

    RUNNING = "running"
    LIVE = "live"
    FAILED = "failed"  # it never went live; what was live before goes on
    SUPERSEDED = "superseded"  # something else was asked for before it was done
    REPLACED = "replaced"  # it was live until another release was
    ROLLED_BACK = "rolled back"  # it was live until somebody, or its health, went back from it
    UNDEPLOYED = "undeployed"  # it was live until it was taken down; of an undeploy: done


@dataclass(frozen=True)
class Rollout:
    """One attempt. `id`: of its first row. `digest`: of the release, '' where there is none (a spec that
    can't be read, an undeploy). Times in seconds since the epoch; `finished`: when it went live or failed.
    `stages`: milliseconds. `tries`: how often it was begun, crashes and all. `ended`: when what was live
    was so no more, `ended_because` why, and `ended_by` the digest of what came instead, if anything did."""

    id: int
    kind: Attempt
    digest: str
    started: float
    because: str
    actor: str = ""
    revision: str = ""
    source: str = ""
    outcome: Outcome = Outcome.RUNNING
    finished: float | None = None
    result: str = ""  # the last row's own words
    stages: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    tries: int = 1
    ended: float | None = None
    ended_because: str = ""
    ended_by: str = ""

    @property
    def release(self) -> str:
        return self.digest[:SHORT]


_BEGINS = {
    Status.DEPLOYING: Attempt.DEPLOY,
    Status.ROLLING_BACK: Attempt.ROLLBACK,
    Status.UNDEPLOYING: Attempt.UNDEPLOY,
}
_LIVE = {Status.DEPLOYED: Attempt.DEPLOY, Status.ROLLED_BACK: Attempt.ROLLBACK}


def rollouts(rows: Iterable[Row]) -> tuple[Rollout, ...]:
    """The attempts that these rows of one workflow tell of, in order. `rows`: oldest first."""
    fold = _Fold()
    for row in rows:
        if row.kind == "status":
            fold.take(row)
    return tuple(fold.done)


class _Fold:
    """Rows in, attempts out. `open`, `live`: places in `done` of what is under way and of what is live."""

    def __init__(self) -> None:
        self.done: list[Rollout] = []
        self.open: int | None = None
        self.live: int | None = None

    def take(self, row: Row) -> None:
        try:
            status = Status(row.new)
        except ValueError:
            return  # a newer version's word
        if status in _BEGINS:
            self._begin(row, _BEGINS[status])
        elif status in _LIVE:
            self._go_live(row, _LIVE[status])
        elif status is Status.DEPLOYMENT_FAILED:
            self._fail(row)
        else:
            self._take_down(row)

    def _begin(self, row: Row, kind: Attempt) -> None:
        if self.open is not None:
            under_way = self.done[self.open]
            same = not row.digest or not under_way.digest or row.digest == under_way.digest
            if under_way.kind is kind and same:  # taken up again after a crash
                digest = under_way.digest or row.digest
                self.done[self.open] = replace(under_way, tries=under_way.tries + 1, digest=digest)
                return
            self._close(row, Outcome.SUPERSEDED, row.because)
        self.open = self._add(row, kind)

    def _go_live(self, row: Row, kind: Attempt) -> None:
        live = self.done[self.live] if self.live is not None else None
        if not row.digest and row.old is not None:  # what was live goes on: its spec went away meanwhile
            self._close(row, Outcome.SUPERSEDED, row.because)
            return
        under_way = self.done[self.open] if self.open is not None else None
        if (
            under_way is not None
            and under_way.kind is not Attempt.UNDEPLOY
            and under_way.digest == row.digest
        ):
            place = self.open
            self._close(row, Outcome.LIVE, row.because)
        else:
            self._close(row, Outcome.SUPERSEDED, row.because)
            if live is not None and live.digest == row.digest:
                return  # the source asks again for what is live
            place = self._add(row, kind)
            self.done[place] = replace(
                self.done[place], outcome=Outcome.LIVE, finished=row.at, result=row.because
            )
        if place != self.live:
            back = kind is Attempt.ROLLBACK
            why = self.done[place].because if place is not None else row.because
            self._end_live(row, Outcome.ROLLED_BACK if back else Outcome.REPLACED, why)
            self.live = place

    def _fail(self, row: Row) -> None:
        if self.open is None or self.done[self.open].kind is Attempt.UNDEPLOY:
            self._close(row, Outcome.SUPERSEDED, row.because)
            self.open = self._add(row, Attempt.DEPLOY)
        self._close(row, Outcome.FAILED, row.because, row.failure)

    def _take_down(self, row: Row) -> None:
        under_way = self.done[self.open] if self.open is not None else None
        if under_way is not None and under_way.kind is Attempt.UNDEPLOY:
            why = under_way.because
            self._close(row, Outcome.UNDEPLOYED, row.because)
        else:
            why = row.because
            self._close(row, Outcome.SUPERSEDED, why)
            if self.live is not None:
                self.open = self._add(row, Attempt.UNDEPLOY)
                self._close(row, Outcome.UNDEPLOYED, why)
        self._end_live(row, Outcome.UNDEPLOYED, why)
        self.live = None

    def _add(self, row: Row, kind: Attempt) -> int:
        made = Rollout(
            row.id, kind, row.digest, row.at, row.because, row.actor, row.revision, row.source,
            stages=dict(row.timings),
        )  # fmt: skip
        self.done.append(made)
        return len(self.done) - 1

    def _close(self, row: Row, outcome: Outcome, result: str, failure: Failure | None = None) -> None:
        """End what is under way, if anything is."""
        if self.open is None:
            return
        was = self.done[self.open]
        ours = outcome in (Outcome.LIVE, Outcome.FAILED)
        self.done[self.open] = replace(
            was,
            outcome=outcome,
            finished=row.at,
            result=result,
            failure=failure,
            digest=was.digest or (row.digest if ours else ""),
            stages={**was.stages, **row.timings} if ours else was.stages,
        )
        self.open = None

    def _end_live(self, row: Row, outcome: Outcome, why: str) -> None:
        """What was live until now is so no more."""
        if self.live is None:
            return
        was = self.done[self.live]
        self.done[self.live] = replace(
            was, outcome=outcome, ended=row.at, ended_because=why, ended_by=row.digest
        )
