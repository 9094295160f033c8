"""Health: what the worker host and Temporal say that runs, held against what should run; and the trial of
each new release.

A release is on trial from when it is first served: if it is to blame for a crash or can't be loaded in
that time, it is condemned, and the next pass goes back to the release before.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from timewright.core.state import Health, Record, Status
from timewright.core.verdict import (
    POLLER_AGES,
    SLOT_AGES,
    Poller,
    Serving,
    Slot,
    Verdict,
    coarse,
    culprit,
    is_seen,
    starving,
    telling_line,
    verdict,
)
from timewright.edge.pools import Key
from timewright.edge.releases import Receipt
from timewright.world import World

#: Crashes (or looks that find a release at fault) until it is condemned.
_STRIKES = 2
#: Seconds for which Temporal's list of a queue's pollers is believed, once ours were among them.
_POLLERS_S = 30.0
_UP = (Status.DEPLOYED, Status.ROLLED_BACK)


@dataclass
class _Trial:
    """How the release of a workflow has done since it went live. `restarts`: of its worker process, when
    last seen."""

    digest: str
    since: float
    version: str = ""
    restarts: int = 0
    strikes: int = 0


@dataclass(frozen=True)
class _Look:
    """What the verdicts of one look were made of, but for receipts and records. `queues`: of each, its slots
    with ages as far as they count, whom their crashes are blamed on, its pollers. `members`: the releases
    that a queue's slots name, by workflow id. `rolling`: as in World."""

    about: tuple[object, ...] = ()
    queues: Mapping[Key, object] = field(default_factory=dict)
    members: Mapping[Key, Collection[Mapping[str, str]]] = field(default_factory=dict)
    rolling: Mapping[str, tuple[Health, str]] = field(default_factory=dict)


class HealthWatch:
    """Looks at the worker host and Temporal, and keeps the records' health true."""

    def __init__(self, world: World, wake: Callable[[], None] = lambda: None) -> None:
        self.world = world
        self.serving: Serving | None = None  # what the last look saw
        self.trying = False  # a release on trial was not healthy at the last look
        self._wake = wake
        self._temporal = world.temporal
        self._trials: dict[str, _Trial] = {}
        self._last = _Look()
        self._judged: dict[str, tuple[Receipt, Record]] = {}  # by these, as they were after the verdict
        self._amiss: set[str] = set()  # workflows that were not served as they should be, when last judged
        self._asked: dict[Key, tuple[str, float, tuple[Poller, ...] | None]] = {}

    async def check(self, busy: Callable[[], Collection[str]] = tuple) -> None:
        """Look once. What isn't served as it should be is asked for again: the notification may
        have been lost. A workflow that was in `busy` before or after the look is left to the work
        under way, and so is one whose release changed meanwhile: the answer may be older."""
        asked, busy_before = dict(self.world.receipts), set(busy())
        serving = await self.world.worker.serving()
        pollers = await self._pollers(serving)
        self.serving = serving
        if serving.reachable:
            self.world.plain = serving.plain
        self.world.polling = frozenset(slot.version for slot in serving.slots if slot.state == "polling")
        skip = busy_before | set(busy())
        everything = serving
        serving = replace(serving, slots=tuple(slot for slot in serving.slots if not slot.kept))
        youngest = self._youngest(serving)
        now = self._seen(everything, pollers, youngest)
        self.trying = False
        for workflow_id in self._due(now, asked):
            receipt = asked[workflow_id]
            self._amiss.discard(workflow_id)
            self._judged.pop(workflow_id, None)
            if workflow_id in skip or self.world.receipts.get(workflow_id) is not receipt:
                continue
            found = self._judge(
                workflow_id, receipt, serving, pollers, youngest, starving(workflow_id, everything)
            )
            if found.health in (Health.DEGRADED, Health.MISSING):
                self._amiss.add(workflow_id)
            self._judged[workflow_id] = (receipt, self.world.record(workflow_id))
        self._last = now  # not before: who can't be told on a full disk is judged again
        for workflow_id in self._judged.keys() - asked.keys():
            del self._judged[workflow_id]
        for record in self._lost(skip):
            self.world.set_health(record.workflow_id, Health.MISSING, "the tree has lost its release")
        self._amiss &= self.world.receipts.keys()
        amiss = sorted(self._amiss - skip)
        if amiss and serving.reachable and not serving.temporal:
            await self._ask_again(amiss, serving)

    # what has changed since the last look --------------------------------------------------------

    def _seen(
        self, serving: Serving, pollers: Mapping[Key, tuple[Poller, ...]], youngest: Mapping[str, str]
    ) -> _Look:
        queues: dict[Key, list[object]] = defaultdict(list)
        members: dict[Key, list[Mapping[str, str]]] = defaultdict(list)
        for slot in serving.slots:
            seen = replace(slot, age=coarse(slot.age, SLOT_AGES))
            queues[slot.key].append((seen, youngest.get(slot.version)))
            members[slot.key].append(slot.releases)
        for key, listed in pollers.items():
            queues[key].append([replace(one, age=coarse(one.age, POLLER_AGES)) for one in listed])
        about = (serving.reachable, serving.error, serving.temporal, serving.plain)
        return _Look(about, queues, members, dict(self.world.rolling))

    def _due(self, now: _Look, asked: Mapping[str, Receipt]) -> list[str]:
        """The workflows to be judged: those on trial, and those of which something that a verdict is made of
        has changed. Of ten thousand at rest nothing is asked but whether they are the same."""
        last, records, judged = self._last, self.world.records, self._judged
        if now.about != last.about or self.world.plain:
            return list(asked)
        every = now.queues.keys() | last.queues.keys()
        keys = {key for key in every if now.queues.get(key) != last.queues.get(key)}
        listed = [releases for key in keys for look in (now, last) for releases in look.members.get(key, ())]
        named = {name for releases in listed for name in releases}
        rolling = now.rolling.keys() | last.rolling.keys()
        named |= {name for name in rolling if now.rolling.get(name) != last.rolling.get(name)}
        named |= self._trials.keys()
        return [
            name
            for name, receipt in asked.items()
            if (before := judged.get(name)) is None
            or before[0] is not receipt
            or before[1] is not records.get(name)
            or name in named
            or (receipt.namespace, receipt.task_queue) in keys
        ]

    # one workflow ------------------------------------------------------------------------------

    def _judge(
        self,
        workflow_id: str,
        receipt: Receipt,
        serving: Serving,
        pollers: dict[Key, tuple[Poller, ...]],
        youngest: dict[str, str],
        starved: str,
    ) -> Verdict:
        """Set the workflow's health and go on with its trial."""
        world = self.world
        if serving.plain:  # it only knows the reload call: its last answer is all there is
            record = world.record(workflow_id)
            found = Verdict(record.health, record.health_reason)
            if record.health is Health.DEGRADED:
                return found
        else:
            found = verdict(
                workflow_id,
                receipt.release,
                (receipt.namespace, receipt.task_queue),
                serving,
                address=world.config.temporal.address,
                pollers=pollers.get((receipt.namespace, receipt.task_queue)),
                youngest=youngest,
            )
            if found.health is Health.HEALTHY and workflow_id in world.rolling:
                found = Verdict(*world.rolling[workflow_id])
            if found.health is Health.HEALTHY and starved:
                found = Verdict(Health.DEGRADED, starved)
            world.set_health(workflow_id, found.health, found.reason)
        record = world.record(workflow_id)
        if record.applied == receipt.digest and record.status in _UP:
            self._try(record, found, _slot_of(workflow_id, receipt.release, serving))
        return found

    def _try(self, record: Record, found: Verdict, slot: Slot | None) -> None:
        """One more look at a release: its trial begins, goes on, ends well, or ends badly."""
        if record.proven == record.applied:
            self._trials.pop(record.workflow_id, None)
            return
        trial = self._trials.get(record.workflow_id)
        if trial is None or (trial.digest, trial.since) != (record.applied, record.since):
            trial = self._trials[record.workflow_id] = _Trial(record.applied, record.since)
        trial.strikes += _new_strikes(record, found, slot, trial)
        now = self.world.clock()
        if self._reverts(record) and trial.strikes >= _STRIKES and not record.condemned:
            self.world.note(record, condemned=found.reason or _crashes(trial.strikes, slot))
            self._wake()
        elif found.health is not Health.HEALTHY:
            self.trying = True
        elif record.trial_until is None:
            self.world.note(record, trial_until=now + self.world.config.health.trial_s)
        elif now >= record.trial_until:
            self.world.note(record, proven=record.applied, trial_until=None, condemned="")

    def _reverts(self, record: Record) -> bool:
        """Whether a bad release of this workflow is reverted. What was gone back to never is."""
        if record.status is not Status.DEPLOYED:
            return False
        return record.auto_revert if record.auto_revert is not None else self.world.config.health.revert

    def _youngest(self, serving: Serving) -> dict[str, str]:
        """Pool version → the one workflow that is on trial there, the newest of several."""
        records = self.world.records.values()
        trying = [record for record in records if record.applied and record.proven != record.applied]
        trying.sort(key=lambda record: record.since)
        return {
            slot.version: record.workflow_id
            for slot in serving.slots
            for record in trying
            if record.workflow_id in slot.releases
        }

    def _lost(self, skip: Collection[str]) -> Iterator[Record]:
        for record in list(self.world.records.values()):
            gone = record.workflow_id not in self.world.receipts and record.workflow_id not in skip
            if gone and record.status in _UP:
                yield record

    # Temporal ----------------------------------------------------------------------------------

    async def _pollers(self, serving: Serving) -> dict[Key, tuple[Poller, ...]]:
        """What Temporal lists, by namespace and task queue; queues of which it said nothing are left out."""
        if not self.world.config.health.pollers or serving.temporal:
            return {}
        slots = {slot.key: slot for slot in serving.slots if slot.current and slot.state == "polling"}
        now = time.monotonic()
        due = [key for key, slot in slots.items() if self._is_due(key, slot, now)]
        answers = await asyncio.gather(*(self._temporal.pollers(*key) for key in due))
        for key, answer in zip(due, answers, strict=True):
            self._asked[key] = (slots[key].version, now, answer)
        known = {key: answer for key, (_, _, answer) in self._asked.items() if key in slots}
        return {key: answer for key, answer in known.items() if answer is not None}

    def _is_due(self, key: Key, slot: Slot, now: float) -> bool:
        version, at, answer = self._asked.get(key, ("", 0.0, None))
        if version != slot.version or answer is None or now - at >= _POLLERS_S:
            return True
        return not is_seen(slot, answer)

    # asking again ------------------------------------------------------------------------------

    async def _ask_again(self, amiss: list[str], serving: Serving) -> None:
        if not serving.plain:
            await self.world.worker.sync()
            return
        for workflow_id in amiss:
            receipt = self.world.receipts.get(workflow_id)
            if receipt is None:
                continue
            answer = await self.world.worker.reload(workflow_id, action="deploy", release=receipt.release)
            if answer.ok:
                self.world.set_health(workflow_id, Health.HEALTHY)


def _crashes(times: int, slot: Slot | None) -> str:
    """Why a release that is served again at this moment failed its trial all the same."""
    words = f": {telling_line(slot.error)}" if slot is not None and slot.error else ""
    return f"its worker process crashed {times} times{words}"


def _slot_of(workflow_id: str, release: str, serving: Serving) -> Slot | None:
    mine = [slot for slot in serving.slots if slot.releases.get(workflow_id) == release]
    return next((slot for slot in mine if slot.current), mine[0] if mine else None)


def _new_strikes(record: Record, found: Verdict, slot: Slot | None, trial: _Trial) -> int:
    """How often the release was at fault since the last look: crashes that it is to blame for, or a look
    that finds it so."""
    strikes = 1 if found.fault else 0
    if slot is None:
        return strikes
    known = trial.version == slot.version
    crashes = slot.restarts - trial.restarts if known else 0
    trial.version, trial.restarts = slot.version, slot.restarts
    if crashes > 0 and (found.fault or culprit(slot) == record.workflow_id):
        return max(strikes, crashes)
    return strikes
