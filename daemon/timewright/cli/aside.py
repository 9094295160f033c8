"""What a daemon's state file says while the daemon is down, in the shapes of its answers. Only reads."""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType
from typing import Any

from timewright import views
from timewright.config import Config
from timewright.core.errors import Code, RequestError
from timewright.core.gitrefs import location
from timewright.core.sourcestate import SourceState
from timewright.core.state import Record, Status, Suspension
from timewright.edge.statefile import StateFile

View = dict[str, Any]


class StateSight:
    """One state file, open to be read."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.state = StateFile(config.state_path, read_only=True)

    def __enter__(self) -> StateSight:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.state.close()

    def overview(self, *, undeployed: bool = False) -> View:
        last_pass = self.state.fact("last_pass") or {}
        everything = self._everything()
        records = [
            record
            for record in self.state.records().values()
            if undeployed or record.held or record.status is not Status.UNDEPLOYED
        ]
        return {
            "lastPass": views.iso(last_pass.get("at")),
            "passProblem": None,  # only the daemon knows
            "sourceProblem": last_pass.get("problem") or None,
            "settingsProblem": None,
            "suspended": views.suspension_view(everything, "all") if everything else None,
            "sources": self.sources(),
            "workflows": [
                views.workflow_view(record, everything, None, self.state.commit) for record in records
            ],
            "refusedFiles": views.refused_view(self.state.refused()),
        }

    def workflow(self, workflow_id: str) -> View:
        return views.workflow_view(self._record(workflow_id), self._everything(), None, self.state.commit)

    def sources(self) -> list[View]:
        """What was adopted last; nobody fetches now."""
        found = []
        for one in self.config.followed:
            is_git = bool(one.settings.git)
            state = SourceState(
                one.title,
                "git" if is_git else "folder",
                location(one.settings.git) if is_git else str(self.config.path(one.settings.path)),
                "Unknown",
                ref=one.settings.ref,
                owner=one.settings.owner,
            )
            found.append(views.source_view(_adopted(self.config, state) if is_git else state))
        return found

    def history(self, workflow_id: str, *, last: int = 50) -> list[View]:
        from timewright.edge.releases import Releases

        record, config = self._record(workflow_id), self.config
        tree = Releases(config.data_path, config.workflows_path, config.activities_path)
        kept = {receipt.digest for receipt in tree.outlines(workflow_id)}
        return views.history_view(self.state.history(workflow_id), record, kept, self.state.commit)[:last]

    def events(self, workflow_id: str | None, *, after: int = 0, last: int = 100) -> list[View]:
        if workflow_id is not None:
            self._record(workflow_id)
        found = self.state.history(workflow_id, after=after, last=last)
        return [views.event_view(event, self.state.commit) for event in found]

    def operations(self, *, last: int = 100) -> list[View]:
        return [views.operation_view(operation) for operation in self.state.desk.operations(last=last)]

    def audit(self, *, last: int = 100) -> list[View]:
        return [views.audit_view(row) for row in self.state.desk.audited(last=last)]

    def _record(self, workflow_id: str) -> Record:
        record = self.state.record(workflow_id)
        if record is None:
            message = f"there is no workflow {workflow_id!r} here"
            raise RequestError(Code.NOT_FOUND, message, hint="timewright list")
        return record

    def _everything(self) -> Suspension | None:
        """The suspension of all workflows that holds now."""
        stored = self.state.fact("suspension")
        suspension = Suspension(**stored) if stored else None
        return suspension if suspension is not None and suspension.holds(time.time()) else None


def _adopted(config: Config, state: SourceState) -> SourceState:
    from timewright.edge import listing

    try:
        adopted = listing.load(config.data_path / "sources" / state.name / "adopted.json")
    except ValueError:
        adopted = None
    if adopted is None:
        return state
    return replace(
        state,
        tag=adopted.tag,
        commit=adopted.commit,
        specs=len(adopted.files),
        adopted=adopted.at,
        outcome=adopted.outcome,
    )
