"""What one reconciler works with: the outside things, and its view of where every workflow stands."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple

from timewright import log
from timewright.config import Config
from timewright.core.commits import Commit
from timewright.core.deployments import deployment_name
from timewright.core.digest import SHORT
from timewright.core.earlier import earlier_release
from timewright.core.names import id_problem
from timewright.core.prepare import Host, Ready
from timewright.core.rollout import Strategy, rollout_of
from timewright.core.state import Health, Pin, Pinned, Record, Status, Suspension
from timewright.core.stored import shaped
from timewright.core.worlds import Live
from timewright.edge.cache import CompileCache
from timewright.edge.compiler import Compiler
from timewright.edge.dependencies import Dependencies
from timewright.edge.deployments import Deployments
from timewright.edge.failpoint import failpoint
from timewright.edge.holds import ALL, Holds
from timewright.edge.links import Links
from timewright.edge.pools import Key, Pools, PoolVersion
from timewright.edge.releases import Receipt, Releases
from timewright.edge.statefile import Bad, StateFile
from timewright.edge.temporal import Temporal
from timewright.edge.worker import WorkerHost
from timewright.sourcing import Sources

#: Who is named where no person asked, and nobody knows whose change it was.
SOURCE: Final = "source"
_VERSIONING = "temporal.versioning"
_SHA = 40  # characters of a commit's name, at least
_CLOCK_S = 60.0  # seconds that a clock may be set back without a word
_DECISIONS = "decisions"  # the fact that counts what people decided
_COMMITS_KEPT = 5000  # in memory


@dataclass(frozen=True)
class Change:
    """A row that went into the history: the record before and after it. `timings`: milliseconds by stage."""

    kind: str
    before: Record
    after: Record
    digest: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)


class _Look(NamedTuple):
    """What a workflow's Live was made of at the last look, and it."""

    receipt: Receipt
    record: Record | None
    version: PoolVersion | None
    live: Live


@dataclass
class World:
    """The tools of a pass, and what it knows. Only the event loop's thread touches it."""

    config: Config
    state: StateFile
    releases: Releases
    pools: Pools
    compiler: Compiler
    worker: WorkerHost
    host: Host
    dependencies: Dependencies
    cache: CompileCache
    holds: Holds
    clock: Callable[[], float] = time.time
    records: dict[str, Record] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)  # live ones, by workflow id
    pool_versions: dict[Key, PoolVersion] = field(default_factory=dict)
    pool_links: dict[Key, str] = field(default_factory=dict)
    pool_locks: dict[Key, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    suspension: Suspension | None = None  # of everything
    bad: dict[tuple[str, str], str] = field(default_factory=dict)  # (workflow id, digest) → why
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    versioning: bool | None = None  # whether the server has Worker Versioning; None: not known yet
    polling: frozenset[str] = frozenset()  # pool versions that the worker host served at the last look
    plain: bool = False  # the worker host only knows the reload call: it has no Versions
    # Workflow id → the health that its rollout gives it, and how far that is.
    rolling: dict[str, tuple[Health, str]] = field(default_factory=dict)
    coming: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))  # deploys on their way
    pooled_at: dict[Key, float] = field(default_factory=dict)  # when each got its last version (monotonic)
    ready: Ready = field(default_factory=Ready)  # read to be planned, not yet built
    settings_problem: str = ""  # why the settings on disk are not the ones in force
    pulse: Callable[[], None] = lambda: None  # to be called by work that takes its time: it goes on
    _commits: dict[str, Commit] = field(default_factory=dict)
    _lives: dict[str, _Look] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sources = Sources(self)
        self._links = Links(self.releases.links)
        self.temporal = Temporal(self.config.temporal.address)
        self.deployments = Deployments(self.temporal, self.config.rollout.manager)
        self.versioning = self.state.fact(_VERSIONING)

    def learn_versioning(self, supported: bool) -> None:
        """What the server can do, also for the next start: it may begin before the server does."""
        if supported != self.versioning:
            self.versioning = supported
            self.state.set_fact(_VERSIONING, supported)

    def deployment(self, key: Key, members: Collection[Receipt]) -> str:
        """Temporal's Worker Deployment of a pool with these members; '' where code is replaced in place."""
        if not self.versioning or self.plain or not members:
            return ""
        said = [rollout_of(receipt.rollout).strategy for receipt in members]
        if any(receipt.isolation == "process" for receipt in members):
            wished = [one for one in said if one is not None]  # its own worker.ts: only where asked for
        else:
            wished = [one or Strategy(self.config.rollout.strategy) for one in said]
        return deployment_name(key[1]) if any(one is not Strategy.OFF for one in wished) else ""

    def changed(self, change: Change) -> None:
        """Tell who listens (metrics, the event stream) of something that went into the history."""
        for listener in self.listeners:
            listener(change)

    # what the source says of itself

    def commit(self, revision: str) -> Commit | None:
        """What is known of a revision that is a commit."""
        known = self._commits.get(revision)
        if known is None and len(revision) >= _SHA:
            known = self.state.commit(revision)
            if known is not None:
                if len(self._commits) > _COMMITS_KEPT:
                    self._commits.clear()
                self._commits[revision] = known
        return known

    def author(self, revision: str) -> str:
        """Who is named where no person asked us: the author of the commit, else the source."""
        commit = self.commit(revision)
        return f"git:{commit.author}" if commit is not None and not commit.dirty else SOURCE

    def tell_source(self, old: str, new: str, because: str, revision: str, name: str = "") -> None:
        """A source has changed: a row of history, whose `source` is its name, and a line in the log."""
        actor = self.author(revision) if revision else ""
        self.change("", "source", old, new, because, actor=actor, revision=revision, source=name)

    # what was reverted

    def remember_bad(self, bad: Bad) -> None:
        """Not to be deployed again, unless forced: by the release's digest and by the source's word."""
        self.state.add_bad(bad)
        self._take_bad(bad)
        self.keep(bad.workflow_id)

    def forgive(self, workflow_id: str, digest: str, asked: str) -> None:
        """A person forces it."""
        for known in self.state.bad():
            if known.workflow_id == workflow_id and (known.digest == digest or known.asked == asked):
                self.state.forgive(workflow_id, known.digest)
        self.load_bad()
        self.keep(workflow_id)

    def load_bad(self) -> None:
        self.bad.clear()
        for bad in self.state.bad():
            self._take_bad(bad)

    def _take_bad(self, bad: Bad) -> None:
        for word in (bad.digest, bad.asked):
            if word:
                self.bad[bad.workflow_id, word] = bad.because

    def earlier(self, record: Record) -> str:
        """The digest of the release to go back to; '' when there is none."""
        kept = [receipt.digest for receipt in self.releases.outlines(record.workflow_id)]
        bad = {digest for workflow_id, digest in self.bad if workflow_id == record.workflow_id}
        return earlier_release(self.state.steps(record.workflow_id), record.applied, kept, bad)

    # where a workflow stands

    def record(self, workflow_id: str) -> Record:
        return self.records.get(workflow_id) or Record(workflow_id)

    def move(
        self,
        record: Record,
        new: Status,
        because: str,
        *,
        digest: str = "",
        timings: Mapping[str, float] | None = None,
        **changes: Any,
    ) -> Record:
        """A transition: row, history and one log line, all of the same `because`. `changes`: `actor`, and
        further fields of Record."""
        moved = self.state.transition(
            record, new, because=because, now=self.clock(), digest=digest, timings=timings, **changes
        )
        self.records[record.workflow_id] = moved
        self._log_move(record, moved, digest, timings or {})
        self.changed(Change("status", record, moved, digest, dict(timings or {})))
        return moved

    def change(
        self, workflow_id: str, kind: str, old: str, new: str, because: str, *, actor: str = "", **fields: Any
    ) -> Record:
        """Something that is no transition of the status and belongs into the history all the same: `kind` is
        'health', 'pin', 'suspension', 'drift', … Row, history and one log line, of the same `because`."""
        record = self.record(workflow_id)
        changed = replace(record, **fields)
        self.state.record_change(
            changed, kind=kind, old=old, new=new, because=because, actor=actor, now=self.clock()
        )
        if workflow_id:
            self.records[workflow_id] = changed
        worse = new in (Health.DEGRADED, Health.MISSING, "Unreachable", "Refused")
        worse = worse or (kind == "drift" and bool(fields.get("drift")))
        say = log.get().warning if worse else log.get().info
        say(kind, workflow=workflow_id, old=old, new=new, because=because, **({"by": actor} if actor else {}))
        self.changed(Change(kind, record, changed))
        return changed

    def note(self, record: Record, **changes: Any) -> Record:
        """Change what is known of a workflow without moving it; nothing happens when nothing changes."""
        changed = replace(record, **changes)
        if changed != record:
            self.state.save(changed)
            self.records[record.workflow_id] = changed
        return changed

    def set_health(self, workflow_id: str, health: Health, reason: str = "") -> None:
        """Keep a workflow's health. Only another word makes a row of history: a reason may change often."""
        record = self.records.get(workflow_id)
        if record is None or (record.health, record.health_reason) == (health, reason):
            return
        if record.health is health:
            self.note(record, health_reason=reason)
            return
        fields: dict[str, Any] = {"health": health, "health_reason": reason, "health_since": self.clock()}
        plain = {Health.HEALTHY: "it is served as it should be", Health.UNKNOWN: "nothing of it is live"}
        because = reason or plain.get(health, "")
        self.change(workflow_id, "health", record.health, health, because, **fields)

    def _log_move(self, old: Record, new: Record, digest: str, timings: Mapping[str, float]) -> None:
        failed = new.status is Status.DEPLOYMENT_FAILED
        keys: dict[str, Any] = {"workflow": new.workflow_id, "old": old.status, "new": new.status}
        keys["because"] = new.because
        if digest:
            keys["release"] = digest[:12]
        if commit := self.commit(new.revision):
            keys["commit"] = str(commit)
        if timings:
            keys["took_ms"] = round(sum(timings.values()))
        if failed and new.failure is not None:
            keys["reason"] = new.failure.reason
            keys["problems"] = [str(problem) for problem in new.failure.problems[:20]]
        (log.get().error if failed else log.get().info)("transition", **keys)

    # what people decided

    def set_pin(self, workflow_id: str, pin: Pin | None, actor: str, reason: str, **fields: Any) -> None:
        """Pin a workflow, or unpin it."""
        before = self.record(workflow_id).pin
        old, new = _pin_words(before), _pin_words(pin)
        because = f"{new or 'unpinned'} by {actor}" + (f": {reason}" if reason else "")
        self.change(workflow_id, "pin", old, new, because, actor=actor, pin=pin, **fields)
        self.keep(workflow_id)

    def suspend(
        self, workflow_id: str | None, suspension: Suspension | None, actor: str, reason: str
    ) -> None:
        """Suspend a workflow, or all (None); or resume."""
        new, old = ("suspended", "") if suspension else ("", "suspended")
        what = "suspended" if suspension else "resumed"
        because = f"{what} by {actor}" + (f": {reason}" if reason else "")
        if workflow_id is not None:
            self.change(workflow_id, "suspension", old, new, because, actor=actor, suspension=suspension)
            self.keep(workflow_id)
            return
        self.state.set_fact("suspension", asdict(suspension) if suspension else None)
        self.suspension = suspension
        self._write_hold(ALL, {"suspension": suspension and asdict(suspension)})
        self.change("", "suspension", old, new, f"all workflows {because}", actor=actor)

    def follow_clock(self, last: float | None) -> None:
        """What is to happen so many seconds from now does so also when the clock was set back since `last`,
        the time of the pass before."""
        now = self.clock()
        if last is None or now > last - _CLOCK_S:
            return
        log.get().warning("clock", because=f"it was set back by {last - now:.0f} s; waits go by the new time")
        for record in list(self.records.values()):
            times = {name: getattr(record, name) for name in ("retry_at", "missing_since", "trial_until")}
            moved = {name: at + now - last for name, at in times.items() if at is not None}
            self.note(record, **moved)

    def expire(self, workflow_ids: Collection[str] | None = None) -> None:
        """End what has come to its end: pins and suspensions for a time; of these workflows, or all."""
        now = self.clock()
        names = self.records.keys() if workflow_ids is None else self.records.keys() & set(workflow_ids)
        for record in [self.records[name] for name in names]:
            if record.pin is not None and record.pin.until is not None and now >= record.pin.until:
                self.set_pin(record.workflow_id, None, "timewright", "its time is over")
            if record.suspension is not None and not record.suspension.holds(now):
                self.suspend(record.workflow_id, None, "timewright", "its time is over")
        if self.suspension is not None and not self.suspension.holds(now):
            self.suspend(None, None, "timewright", "its time is over")

    def keep(self, workflow_id: str) -> None:
        """Decisions outlive the state file: write down those that are in force for a workflow."""
        record = self.record(workflow_id)
        bad = [asdict(item) for item in self.state.bad() if item.workflow_id == workflow_id]
        decided = {"pin": record.pin, "suspension": record.suspension}
        content = {key: asdict(value) if value else None for key, value in decided.items()}
        self._write_hold(workflow_id, {**content, "bad": bad})

    def _write_hold(self, name: str, content: Mapping[str, Any]) -> None:
        """The state file counts first: who has counted more has what is newer."""
        count = int(self.state.fact(_DECISIONS) or 0) + 1
        self.state.set_fact(_DECISIONS, count)
        self.holds.write(name, content)
        self.holds.set_count(count)

    @property
    def is_behind(self) -> bool:
        """Whether the state file knows fewer decisions than were made: it was lost, or is an old copy."""
        return int(self.state.fact(_DECISIONS) or 0) < self.holds.count()

    def load_decisions(self) -> None:
        """What people decided before this start."""
        self.load_bad()
        stored = self.state.fact("suspension")
        self.suspension = Suspension(**stored) if stored else None

    def restore_decisions(self) -> int:
        """After the state file was lost, or an old copy was put in its place: decisions are those that were
        kept apart; returns how many workflows have some. What doesn't look like one is passed over."""
        for record in list(self.records.values()):
            self.note(record, pin=None, suspension=None)
        for bad in self.state.bad():
            self.state.forgive(bad.workflow_id, bad.digest)
        self.state.set_fact("suspension", None)
        count = 0
        for name, content in self.holds.read():
            with suppress(TypeError, ValueError, KeyError):
                self._restore(name, content)
                count += 1
        self.load_decisions()
        self.state.set_fact(_DECISIONS, self.holds.count())  # last: a restore that is cut short is done again
        return count

    def _restore(self, name: str, content: Mapping[str, Any]) -> None:
        suspension = shaped(Suspension, content["suspension"]) if content.get("suspension") else None
        if name == ALL:
            self.state.set_fact("suspension", suspension and asdict(suspension))
            return
        pin = shaped(Pin, content["pin"]) if content.get("pin") else None
        bad = shaped(tuple[Bad, ...], content.get("bad", []))
        if id_problem(name) or any(item.workflow_id != name for item in bad):
            raise ValueError(f"{name} is no workflow's")
        for item in bad:
            self.state.add_bad(item)
        self.note(self.record(name), pin=pin, suspension=suspension)

    # what the tree holds

    def look(self, busy: Collection[str] = ()) -> dict[str, Live]:
        """Read the tree's links again; receipts and pool versions only where a link has changed.
        Workflows in `busy` are left alone: work under way knows better than a glance at its middle."""
        links = self._links.read()
        for workflow_id in self.receipts.keys() - links.keys() - set(busy):
            del self.receipts[workflow_id]
        for workflow_id, release in links.items():
            if workflow_id not in busy:
                self._take(workflow_id, release)
        for key in {(r.namespace, r.task_queue) for r in self.receipts.values()} | self.pool_links.keys():
            self._look_at_pool(key)
        self._lives = {workflow_id: self._live(receipt) for workflow_id, receipt in self.receipts.items()}
        return {workflow_id: seen.live for workflow_id, seen in self._lives.items()}

    def look_at(self, workflow_id: str) -> Live | None:
        """The same for one workflow that is not busy."""
        release = self._links.one(workflow_id)
        if release is None:
            self.receipts.pop(workflow_id, None)
        else:
            self._take(workflow_id, release)
        receipt = self.receipts.get(workflow_id)
        if receipt is None:
            return None
        self._look_at_pool((receipt.namespace, receipt.task_queue))
        seen = self._lives[workflow_id] = self._live(receipt)
        return seen.live

    def live_names(self) -> set[str]:
        """`{workflow id}/{release}` of all that is live, as last looked at."""
        return {f"{receipt.workflow_id}/{receipt.release}" for receipt in self.receipts.values()}

    def live(self, workflow_id: str) -> Live | None:
        """What it held when last looked at."""
        receipt = self.receipts.get(workflow_id)
        return self._live(receipt).live if receipt is not None else None

    def _take(self, workflow_id: str, release: str) -> None:
        known = self.receipts.get(workflow_id)
        if known is None or known.release != release:
            receipt = self.releases.outline(workflow_id, release)
            if receipt is not None:
                self.receipts[workflow_id] = receipt
            else:
                self.receipts.pop(workflow_id, None)

    def _look_at_pool(self, key: Key) -> None:
        link = self.pools.link(key)
        if link is None:
            self.pool_links.pop(key, None)
            self.pool_versions.pop(key, None)
        elif link != self.pool_links.get(key):
            version = self.pools.current(key)
            if version is not None:
                self.pool_links[key], self.pool_versions[key] = link, version

    def _live(self, receipt: Receipt) -> _Look:
        """What was seen at the last look, where nothing that it was made of has changed; else with the very
        same Live, where nothing of that has: a pass compares."""
        record = self.records.get(receipt.workflow_id)
        version = self.pool_versions.get((receipt.namespace, receipt.task_queue))
        known = self._lives.get(receipt.workflow_id)
        same = known is not None and known.receipt is receipt
        if known is not None and same and known.record is record and known.version is version:
            return known
        pooled = version is not None and version.members.get(receipt.workflow_id) == receipt.release
        prune = record.prune if record is not None else receipt.prune
        if known is not None and same and (known.live.pooled, known.live.prune) == (pooled, prune):
            return _Look(receipt, record, version, known.live)
        live = Live(
            receipt.workflow_id,
            receipt.digest,
            receipt.placement,
            receipt.workflow_types,
            receipt.activity_names,
            pooled=pooled,
            prune=prune,
        )
        return _Look(receipt, record, version, live)

    # after a loss of the state file

    def adopt_tree(self) -> int:
        """Take up what the tree holds and the state file doesn't know; returns how many."""
        adopted = 0
        for live in self.look().values():
            if live.workflow_id in self.records:
                continue
            receipt = self.receipts[live.workflow_id]
            record = Record(
                live.workflow_id,
                Status.DEPLOYED,
                self.clock(),
                f"found in the tree, deployed from {receipt.source}",
                name=receipt.name,
                source=receipt.source,
                revision=receipt.revision,
                read_at=receipt.created,
                attempted=receipt.digest,
                applied=receipt.digest,
                live_revision=receipt.revision,
                pool=receipt.placement.pool,
                **spoken(receipt),
            )
            if receipt.author or receipt.subject:
                sha, _, dirty = receipt.revision.partition("-")
                known = Commit(sha, receipt.author, "", receipt.subject, dirty=bool(dirty))
                if self.state.commit(receipt.revision) is None:
                    self.state.add_commits([known])
            failpoint("before-rebuild")
            self.state.adopt(record, now=self.clock())
            failpoint("after-rebuild")
            self.records[live.workflow_id] = record
            adopted += 1
        return adopted


def _pin_words(pin: Pin | None) -> str:
    if pin is None:
        return ""
    return "undeployed" if pin.kind is Pinned.UNDEPLOY else f"{pin.kind} to {pin.digest[:SHORT]}"


def spoken(receipt: Receipt) -> dict[str, Any]:
    """What a release's spec said of its workflow, for records that have lost it."""
    return {"owner": receipt.owner, "depends_on": receipt.depends_on, "prune": receipt.prune}


def receipt_row(receipt: Receipt) -> dict[str, Any]:
    """A receipt as the state file's releases table keeps it, without the list of files."""
    return {key: value for key, value in asdict(receipt).items() if key != "files"}
