"""Who may see what of a daemon, and the answers to those who look."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from timewright import views
from timewright.config import Followed
from timewright.core.actions import Action, Deploy, Hold, Settle
from timewright.core.errors import Code, RequestError
from timewright.core.prepare import Defaults
from timewright.core.sourcestate import SourceState
from timewright.core.state import Record, Status
from timewright.diffing import diff_view
from timewright.drift import drift_view
from timewright.edge.desk import Operation
from timewright.edge.statefile import Event
from timewright.landings import state_of
from timewright.reconcile import Reconciler
from timewright.rollshow import rollout_view
from timewright.views import View
from timewright.world import Change, World

ALL: Final = ""  # the workflow id of what concerns all of them


class Role(IntEnum):
    """What an actor may do; each may what the ones before may."""

    VIEWER = 1  # look
    DEPLOYER = 2  # change workflows of their owners
    ADMIN = 3  # everything, of everyone


@dataclass(frozen=True)
class Actor:
    """Who asks. `owners`: whose workflows they see, None for all of them. `name` is shown and kept."""

    name: str
    role: Role
    owners: frozenset[str] | None = None

    def sees(self, owner: str) -> bool:
        return self.owners is None or (owner != "" and owner in self.owners)


class Looking:
    """What one may see, over one world."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        self.world, self.reconciler = world, reconciler
        self._news = asyncio.Event()
        world.listeners.append(self._on_change)

    def overview(self, actor: Actor, *, undeployed: bool = False) -> View:
        """{lastPass, passProblem, sourceProblem, settingsProblem, suspended, sources: [...],
        workflows: [...], refusedFiles: {path: failure}}"""
        now, last = self.world.clock(), self.world.state.fact("last_pass") or {}
        records = [record for record in self._visible(actor) if undeployed or is_shown(record)]
        everything = self.world.suspension
        held = everything if everything is not None and everything.holds(now) else None
        return {
            "lastPass": views.iso(last.get("at")),
            "passProblem": self.reconciler.passes.problem or None,
            "sourceProblem": last.get("problem") or None,
            "settingsProblem": self.world.settings_problem or None,
            "suspended": views.suspension_view(held, "all") if held else None,
            "sources": self.sources(actor),
            "workflows": [
                views.workflow_view(record, everything, now, self.world.commit) for record in records
            ],
            "refusedFiles": views.refused_view(self.world.state.refused()) if actor.owners is None else {},
        }

    def workflow(self, actor: Actor, workflow_id: str) -> View:
        """views.workflow_view of one workflow."""
        record = self._find(actor, workflow_id)
        return views.workflow_view(record, self.world.suspension, self.world.clock(), self.world.commit)

    async def rollout(self, actor: Actor, workflow_id: str) -> View:
        """rollshow.rollout_view of its pool, without what the actor doesn't see. Raises NOT_FOUND."""
        record = self._find(actor, workflow_id)
        seen = {one.workflow_id for one in self._visible(actor)}
        receipt = self.world.receipts.get(workflow_id)
        namespace, _, queue = record.pool.partition("/")
        key = (receipt.namespace, receipt.task_queue) if receipt is not None else (namespace, queue)
        return await rollout_view(self.reconciler.rollouts, workflow_id, key, seen.__contains__)

    def sources(self, actor: Actor) -> list[View]:
        """views.source_view of all that the actor may see: those without an owner are everybody's."""
        found = [one for one in self.world.sources.followed if self._sees_source(actor, one)]
        return [self._source_view(actor, self._source(one)) for one in found]

    def _sees_source(self, actor: Actor, one: Followed) -> bool:
        return not one.settings.owner or actor.sees(one.settings.owner)

    def _source_view(self, actor: Actor, state: SourceState) -> View:
        """The view, without what it says of workflows that the actor doesn't see."""
        view = views.source_view(state)
        rollout = view["rollout"]
        if actor.owners is None or rollout is None:
            return view
        seen = {record.workflow_id for record in self._visible(actor)}
        own = {key: [name for name in rollout[key] if name in seen] for key in ("workflows", "failed")}
        told = rollout["description"] if seen.issuperset(rollout["workflows"]) else str(rollout["state"])
        return {**view, "rollout": {**rollout, **own, "description": told}}

    async def source(self, actor: Actor, name: str, revision: str = "") -> View:
        """views.source_view of one, with `contains`: whether the commit that it stands at has `revision` in
        its history (null: none was asked for). Of a folder, `rollout` is about all of it. Raises
        NOT_FOUND."""
        for one in self.world.sources.followed:
            if one.title == name and self._sees_source(actor, one):
                view = self._source_view(actor, self._source(one, whole=True))
                view["contains"] = await self._contains(one, revision) if revision else None
                return view
        raise self._no_source(actor, name)

    async def _contains(self, one: Followed, revision: str) -> bool:
        follower = self.world.sources.followers.get(one.title)
        return follower is not None and await follower.contains(revision)

    def _no_source(self, actor: Actor, name: str) -> RequestError:
        hint = "sources: " + ", ".join(one.title for one in self.world.sources.followed)
        return RequestError(
            Code.NOT_FOUND, f"there is no source {name!r} here", hint=hint if actor.owners is None else ""
        )

    def _source(self, one: Followed, *, whole: bool = False) -> SourceState:
        follower = self.world.sources.followers.get(one.title)
        if follower is not None:
            return state_of(follower, self.reconciler.landings.outcome(follower))
        desired = self.reconciler.desired
        part = desired.part(one.prefix) if desired is not None else None
        state = "Never" if part is None else "Synced" if part.complete else "Unreachable"
        return SourceState(
            name=one.title,
            kind="folder",
            location=str(self.world.config.path(one.settings.path)),
            state=state,
            owner=one.settings.owner,
            problem=part.problem if part is not None else "",
            fetches=self.reconciler.passes.count,
            outcome=self.reconciler.landings.outcome_of_folder(one) if whole else None,
        )

    def history(self, actor: Actor, workflow_id: str, *, last: int = 50) -> list[View]:
        """Its releases and what became of them, newest first: views.rollout_view."""
        record = self._find(actor, workflow_id)
        events = self.world.state.history(workflow_id)
        kept = {receipt.digest for receipt in self.world.releases.outlines(workflow_id)}
        return views.history_view(events, record, kept, self.world.commit)[:last]

    def events(
        self,
        actor: Actor,
        *,
        workflow_id: str | None = None,
        after: int = 0,
        last: int = 100,
        first: int = 0,
    ) -> list[View]:
        """Lines of the log in order: views.event_view. The `last` ones with id > `after`, or the `first`."""
        if workflow_id is not None:
            self._find(actor, workflow_id)
        only = None
        if actor.owners is not None:
            only = [ALL, *(record.workflow_id for record in self._visible(actor))]
        hidden = {one.title for one in self.world.sources.followed if not self._sees_source(actor, one)}
        events: list[Event] = []
        while True:
            rows = self.world.state.history(workflow_id, after=after, last=last, first=first, only=only)
            events += [row for row in rows if row.kind != "source" or row.source not in hidden]
            if not first or len(rows) < first or len(events) >= first:
                break
            after = rows[-1].id  # what was left out may not look like the end
        events = events[:first] if first else events
        return [views.event_view(event, self.world.commit) for event in events]

    async def wait_for_event(self, after: int, timeout: float) -> None:  # noqa: ASYNC109
        """Until there is an event with a higher id, or `timeout` seconds."""
        if self.world.state.last_event() > after:
            return
        news = self._news
        try:
            await asyncio.wait_for(news.wait(), timeout)
        except TimeoutError:
            return

    async def plan(self, actor: Actor) -> View:
        """{complete, problem, actions: [views.action_view]}: what a pass would do with what was read last."""
        desired = self.reconciler.desired
        if desired is None:
            raise RequestError(
                Code.CONFLICT, "the source was not read yet", hint="the daemon has just started; try again"
            )
        actions = self.reconciler.plan(desired, patient=False)
        shown = [action for action in actions if self._sees_action(actor, action)]
        return {
            "complete": desired.complete,
            "problem": desired.problem or None,
            "actions": [views.action_view(action) for action in shown],
        }

    async def diff(self, actor: Actor, workflow_id: str, a: str, b: str) -> View:
        """What differs between two releases; short ids, or `live`, `previous`, `wanted`."""
        record = self._find(actor, workflow_id)
        return await diff_view(self.world, workflow_id, a, b, self._defaults(record))

    async def drift(self, actor: Actor, workflow_id: str) -> View:
        """How the live release differs from what was built; looks at the tree now."""
        record = self._find(actor, workflow_id)
        return await drift_view(self.world, workflow_id, self._defaults(record))

    def _defaults(self, record: Record) -> Defaults:
        """What policies give to the workflow's spec."""
        return self.reconciler.source.defaults(record.source) or ()

    def operation(self, actor: Actor, operation_id: str) -> View:
        """views.operation_view of one that the actor may see."""
        operation = self.world.state.desk.operation(operation_id)
        if operation is None or not self._sees_operation(actor, operation):
            raise RequestError(Code.NOT_FOUND, f"there is no operation {operation_id!r}")
        return views.operation_view(operation)

    def operations(self, actor: Actor, *, last: int = 100) -> list[View]:
        """The last ones, newest first."""
        found = self.world.state.desk.operations(last=last if actor.owners is None else 10 * last)
        shown = [operation for operation in found if self._sees_operation(actor, operation)]
        return [views.operation_view(operation) for operation in shown[:last]]

    def audit(self, actor: Actor, *, after: int = 0, last: int = 100) -> list[View]:
        """Admins only."""
        need(actor, Role.ADMIN)
        return [views.audit_view(row) for row in self.world.state.desk.audited(after=after, last=last)]

    def ready(self) -> str:
        """'' when the daemon follows its source; else why not."""
        passes, config = self.reconciler.passes, self.world.config
        if passes.problem:
            return f"passes fail: {passes.problem}"
        if not passes.count:
            return "the first pass is under way"
        silence = self.world.clock() - passes.last
        if silence > 60 + 3 * config.source.scan_interval_s:
            return f"no pass has succeeded for {silence:.0f} s"
        return ""

    def _on_change(self, _: Change) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _visible(self, actor: Actor) -> list[Record]:
        records = sorted(self.world.records.values(), key=lambda record: record.workflow_id)
        return [record for record in records if actor.sees(record.owner)]

    def _find(self, actor: Actor, workflow_id: str) -> Record:
        record = self.world.records.get(workflow_id)
        if record is None or not actor.sees(record.owner):
            raise RequestError(
                Code.NOT_FOUND, f"there is no workflow {workflow_id!r} here", hint="timewright list"
            )
        return record

    def _sees_action(self, actor: Actor, action: Action) -> bool:
        if action.workflow_id is None:
            return actor.owners is None
        record = self.world.records.get(action.workflow_id)
        if record is not None and record.source:
            return actor.sees(record.owner)
        wanted = action.wanted if isinstance(action, Deploy | Settle | Hold) else None
        return actor.sees(wanted.owner if wanted is not None else "")

    def _sees_operation(self, actor: Actor, operation: Operation) -> bool:
        if operation.workflow_id == ALL:
            return True
        return actor.sees(self.world.record(operation.workflow_id).owner) or operation.actor == actor.name


def is_shown(record: Record) -> bool:
    """Whether a list has it: what is up, and what is held back from being so."""
    return record.status is not Status.UNDEPLOYED or bool(record.held)


def need(actor: Actor, role: Role) -> None:
    if actor.role < role:
        raise RequestError(
            Code.FORBIDDEN,
            f"{actor.name} is a {actor.role.name.lower()}; that takes a {role.name.lower()}",
        )
