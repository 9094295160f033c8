"""What people may ask of a running daemon, and what they are shown: the one place behind API and CLI.

Every method takes who asks. What an actor may not see doesn't exist for them (NOT_FOUND). Refusals are
RequestErrors and change nothing; what is granted is durable before the method returns.
"""

from __future__ import annotations

from collections.abc import Sequence

from timewright.core.digest import SHORT
from timewright.core.errors import Code, RequestError
from timewright.core.orders import Ask
from timewright.core.plan import suspension_of
from timewright.core.state import Asked, Pin, Pinned, Record, Status, Suspension
from timewright.core.worlds import Broken, Wanted
from timewright.edge.deployments import TemporalAwayError
from timewright.edge.desk import Operation
from timewright.edge.releases import Receipt
from timewright.looking import ALL, Actor, Looking, Role, need
from timewright.reconcile import Reconciler
from timewright.specfile import SpecFiles
from timewright.views import View
from timewright.world import World

__all__ = ["Actor", "Control", "Role"]


class Control(Looking):
    """The requests, over one world."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        super().__init__(world, reconciler)
        self._specs = SpecFiles(world, reconciler)

    def deploy(self, actor: Actor, workflow_id: str, *, force: bool = False, reason: str = "") -> Operation:
        """Deploy what the source asks for, now: ends a backoff, lifts an undeploy by hand. CONFLICT: it is
        deployed already, pinned, suspended, or known as bad; `force` overrides (and lifts the pin).
        BAD_REQUEST: its spec is invalid or not compiled."""
        return self._deploy("deploy", actor, workflow_id, force=force, reason=reason)

    def redeploy(self, actor: Actor, workflow_id: str, *, reason: str = "") -> Operation:
        """What a deploy would make live, or what a pin holds, is checked, published and loaded again, from a
        fresh process. It lifts no rollback, and forgives no release that was reverted: CONFLICT."""
        record = self._change(actor, workflow_id, force=False)
        pin = self._pin(record)
        if pin is not None and pin.kind is not Pinned.UNDEPLOY:
            return self._ask("redeploy", record, actor, reason, force=True)
        self._refuse_reverted(record, self._wanted(record))
        return self._deploy("redeploy", actor, workflow_id, force=True, reason=reason)

    def _deploy(self, kind: str, actor: Actor, workflow_id: str, *, force: bool, reason: str) -> Operation:
        record = self._change(actor, workflow_id, force=force)
        spec = self._wanted(record)
        busy = self.reconciler.busy_with(workflow_id)
        if not force:
            if busy == spec.digest:  # what is asked for is under way
                return self.reconciler.operations.start(kind, workflow_id, actor.name, reason)
            self._refuse_deploy(record, spec)
        if record.pin is not None:
            self._set_pin(record, None, actor, reason or f"{kind} asked for")
        return self._ask(kind, self.world.record(workflow_id), actor, reason, force=force)

    def _ask(self, kind: str, record: Record, actor: Actor, reason: str, *, force: bool) -> Operation:
        """Have the next pass do it."""
        self.world.note(record, request=Asked(actor.name, self.world.clock(), reason, force))
        return self._begin(kind, record.workflow_id, actor, reason)

    def _refuse_deploy(self, record: Record, spec: Wanted) -> None:
        """Raises CONFLICT where a deploy would change nothing, or undo what somebody decided."""
        workflow_id = record.workflow_id
        pin = self._pin(record)
        if pin is not None and pin.kind is not Pinned.UNDEPLOY:
            raise RequestError(
                Code.CONFLICT,
                f"{workflow_id} is held at release {pin.digest[:SHORT]} by {pin.actor} ({pin.kind})",
                hint=f"timewright unpin {workflow_id}, or deploy --force",
            )
        self._refuse_reverted(record, spec)
        live = self.world.receipts.get(workflow_id)
        settled = record.status is Status.DEPLOYED and record.applied == spec.digest and not record.drift
        if settled and live is not None and live.digest == spec.digest:
            raise RequestError(
                Code.CONFLICT,
                f"{workflow_id} is deployed already, at release {live.release}",
                hint=f"timewright redeploy {workflow_id} does it again",
            )

    def _refuse_reverted(self, record: Record, spec: Wanted) -> None:
        bad = self.world.bad
        why = bad.get((record.workflow_id, spec.digest)) or bad.get((record.workflow_id, spec.asked))
        if why:
            raise RequestError(
                Code.CONFLICT,
                f"release {spec.digest[:SHORT]} was reverted before: {why}",
                hint="change the spec, or deploy --force",
            )

    def undeploy(self, actor: Actor, workflow_id: str, *, force: bool = False, reason: str = "") -> Operation:
        """Out of service until `deploy`, whatever the source says; `force`: whatever is open. CONFLICT: it
        isn't deployed."""
        record = self._change(actor, workflow_id, force=force)
        if record.status is Status.UNDEPLOYED and workflow_id not in self.world.receipts:
            raise RequestError(Code.CONFLICT, f"{workflow_id} is not deployed")
        self._set_pin(record, self._new_pin(Pinned.UNDEPLOY, "", actor, reason), actor, reason)
        if force:  # also past open executions
            asked = Asked(actor.name, self.world.clock(), reason, force)
            self.world.note(self.world.record(workflow_id), request=asked)
        return self._begin("undeploy", workflow_id, actor, reason)

    def rollback(
        self, actor: Actor, workflow_id: str, release: str = "", *, force: bool = False, reason: str = ""
    ) -> Operation:
        """Back to an earlier release ('' : the one before), until the source changes the spec. CONFLICT: it
        is live already, or there is none; NOT_FOUND: no such release is kept."""
        record = self._change(actor, workflow_id, force=force)
        target = self._kept(record, release) if release else self._earlier(record)
        live = self.world.receipts.get(workflow_id)
        if live is not None and live.digest == target.digest and record.applied == target.digest:
            hint = f"timewright pin {workflow_id} holds it there"
            raise RequestError(Code.CONFLICT, f"release {target.release} is live already", hint=hint)
        self._refuse_bad(record, target, force=force)
        pin = self._new_pin(Pinned.ROLLBACK, target.digest, actor, reason, against=self._word(record))
        self._set_pin(record, pin, actor, reason)
        return self._begin("rollback", workflow_id, actor, reason)

    def pin(
        self,
        actor: Actor,
        workflow_id: str,
        release: str = "",
        *,
        force: bool = False,
        reason: str = "",
        seconds: float | None = None,
    ) -> Operation:
        """Hold at a release ('' : the live one), whatever the source says, until `unpin` or for `seconds`."""
        record = self._change(actor, workflow_id, force=force)
        live = self.world.receipts.get(workflow_id)
        target = self._kept(record, release) if release else live
        if target is None:
            raise RequestError(Code.CONFLICT, f"{workflow_id} is not deployed", hint="name a release to pin")
        self._refuse_bad(record, target, force=force)
        pin = self._new_pin(Pinned.PIN, target.digest, actor, reason, seconds=seconds)
        self._set_pin(record, pin, actor, reason)
        return self._begin("pin", workflow_id, actor, reason)

    def unpin(self, actor: Actor, workflow_id: str, *, reason: str = "") -> Operation:
        """Follow the source again. CONFLICT: it isn't pinned."""
        record = self._change(actor, workflow_id, force=True)
        if record.pin is None:
            raise RequestError(Code.CONFLICT, f"{workflow_id} is not pinned")
        self._set_pin(record, None, actor, reason)
        return self._begin("unpin", workflow_id, actor, reason)

    def suspend(
        self, actor: Actor, workflow_id: str | None, *, reason: str = "", seconds: float | None = None
    ) -> Operation:
        """Deploy and undeploy nothing of it (None: of all; admins only) until `resume`, or for `seconds`."""
        now = self.world.clock()
        suspension = Suspension(actor.name, now, reason, now + seconds if seconds is not None else None)
        return self._suspend("suspend", actor, workflow_id, suspension, reason)

    def resume(self, actor: Actor, workflow_id: str | None, *, reason: str = "") -> Operation:
        """End a suspension. CONFLICT: there is none."""
        return self._suspend("resume", actor, workflow_id, None, reason)

    def _suspend(
        self, kind: str, actor: Actor, workflow_id: str | None, suspension: Suspension | None, reason: str
    ) -> Operation:
        now = self.world.clock()
        if workflow_id is None:
            need(actor, Role.ADMIN)
            before = self.world.suspension
        else:
            before = self._change(actor, workflow_id, force=True).suspension
        if suspension is None and (before is None or not before.holds(now)):
            hint = ""
            if workflow_id is not None and self.world.suspension is not None:
                hint = "all workflows are: timewright resume --all"
            what = workflow_id or "the daemon"
            raise RequestError(Code.CONFLICT, f"{what} is not suspended", hint=hint)
        self.world.suspend(workflow_id, suspension, actor.name, reason)
        self.reconciler.wake()
        because = (
            "nothing is changed by itself until resumed" if suspension else "the source is followed again"
        )
        return self.reconciler.operations.immediate(kind, workflow_id or ALL, actor.name, reason, because)

    def prune(self, actor: Actor, workflow_ids: Sequence[str], *, reason: str = "") -> list[Operation]:
        """Confirm that these, whose specs are gone, may be undeployed. CONFLICT: a spec is there."""
        desired = self.reconciler.desired
        if desired is None or not desired.complete:
            why = desired.problem if desired is not None else "it was not read yet"
            raise RequestError(Code.CONFLICT, f"the source can't be read completely: {why}")
        records = [self._change(actor, workflow_id, force=False) for workflow_id in workflow_ids]
        there = {item.workflow_id: item.source for item in desired.items}
        for record in records:
            if record.workflow_id in there or record.missing_since is None:
                spec = there.get(record.workflow_id, record.source)
                raise RequestError(
                    Code.CONFLICT,
                    f"the spec of {record.workflow_id} is there ({spec}): only what is gone can be pruned",
                    hint=f"timewright undeploy {record.workflow_id} takes it out of service",
                )
        operations = []
        for record in records:
            self.world.note(self.world.record(record.workflow_id), prune_by=actor.name)
            operations.append(self._begin("prune", record.workflow_id, actor, reason))
        return operations

    async def put_spec(
        self, actor: Actor, workflow_id: str, data: bytes, *, is_yaml: bool = False
    ) -> Operation:
        """Write a spec into the source folder, atomically. BAD_REQUEST with all problems: it is no spec, or
        says another workflowId, or isn't theirs."""
        need(actor, Role.DEPLOYER)
        record = self.world.records.get(workflow_id)
        if record is not None:
            self._find(actor, workflow_id)
        path, prepared = await self._specs.check(workflow_id, data, is_yaml=is_yaml)
        owner = prepared.spec.deploy.owner or ""
        if not actor.sees(owner):
            owners = ", ".join(sorted(actor.owners or ()))
            raise RequestError(Code.BAD_REQUEST, f"deploy.owner must be one of: {owners}")
        await self._specs.write(path, data)
        return self._begin("put", workflow_id, actor, "")

    def delete_spec(
        self, actor: Actor, workflow_id: str, *, force: bool = False, reason: str = ""
    ) -> Operation:
        """Remove the spec's file from the source folder and undeploy it."""
        record = self._change(actor, workflow_id, force=force)
        desired = self.reconciler.desired
        users = (
            [spec.workflow_id for spec in desired.wanted if workflow_id in spec.depends_on] if desired else []
        )
        if users:
            raise RequestError(Code.CONFLICT, f"{', '.join(users[:5])} depends on {workflow_id}")
        self._specs.remove(record)
        if record.pin is not None:
            self._set_pin(record, None, actor, "its spec was deleted")
        self.world.note(self.world.record(workflow_id), prune_by=actor.name)
        return self._begin("delete", workflow_id, actor, reason)

    async def finished(self, operation_id: str, timeout: float) -> Operation:  # noqa: ASYNC109
        """The operation when it is done, or as it is after `timeout` seconds."""
        operation = await self.reconciler.operations.finished(operation_id, timeout)
        if operation is None:
            raise RequestError(Code.NOT_FOUND, f"there is no operation {operation_id!r}")
        return operation

    def reconcile(
        self, actor: Actor, name: str, *, allow_rewind: bool = False, revision: str = "", reason: str = ""
    ) -> View:
        """Fetch a repository, or look at a folder, now. {source, fetches}: what `fetches` of its view will
        be when that is done. `allow_rewind` (admins only): follow what is found even if it does not descend
        from what is followed; once, and only `revision` where it is given."""
        one = next((one for one in self.world.sources.followed if one.title == name), None)
        if one is None or not self._sees_source(actor, one):
            raise self._no_source(actor, name)
        need(actor, Role.ADMIN if allow_rewind else Role.DEPLOYER)
        why = f"{actor.name} asked for it" + (f": {reason}" if reason else "")
        follower = self.world.sources.followers.get(name)
        if follower is None:
            if allow_rewind:
                raise RequestError(Code.BAD_REQUEST, f"source {name} is a folder, which can't be rewound")
            self.reconciler.wake()
            return {"source": name, "fetches": self.reconciler.passes.count + 1}
        fetches = follower.ask(why, allow_rewind=allow_rewind, revision=revision)
        return {"source": name, "fetches": fetches}

    async def steer(
        self, actor: Actor, workflow_id: str, action: str, *, full: bool = False, reason: str = ""
    ) -> Operation:
        """Tell the rollout of its pool's newest version: 'promote' (to the next step; `full`: to the end),
        'abort' (back to the version before; what it changes is remembered as bad), 'retry-gate'. CONFLICT:
        none is under way. FORBIDDEN: it is about workflows of others, too."""
        record = self._change(actor, workflow_id, force=True)
        rollouts, receipt = self.reconciler.rollouts, self.world.receipts.get(record.workflow_id)
        key = (receipt.namespace, receipt.task_queue) if receipt is not None else ("", "")
        pooled = rollouts.pools.get(key)
        if pooled is None or not pooled.wish:
            hint = f"timewright rollout {workflow_id} shows its versions"
            raise RequestError(Code.CONFLICT, f"no rollout of {workflow_id} is under way", hint=hint)
        concerned = pooled.order.workflows if pooled.order is not None else ()
        seen = {one.workflow_id for one in self._visible(actor)}
        if not seen.issuperset(concerned):
            raise RequestError(Code.FORBIDDEN, "this rollout changes workflows of others, too")
        kind = {"promote": "promote", "abort": "abort", "retry-gate": "retry"}[action]
        try:
            await rollouts.ask(key, Ask(kind, actor.name, reason, full))
        except LookupError:
            raise RequestError(Code.CONFLICT, f"the rollout of {workflow_id} is over") from None
        except TemporalAwayError as error:
            raise RequestError(Code.CONFLICT, f"Temporal can't be told now: {error}") from None
        because = f"the rollout was told: {action}" + (" to the end" if full else "")
        self.world.change(workflow_id, "rollout", "", action, f"{action} by {actor.name}", actor=actor.name)
        return self.reconciler.operations.immediate(action, workflow_id, actor.name, reason, because)

    # helpers -----------------------------------------------------------------------------------

    def _change(self, actor: Actor, workflow_id: str, *, force: bool) -> Record:
        """A workflow that the actor may change; not while it is suspended, unless forced."""
        record = self._find(actor, workflow_id)
        need(actor, Role.DEPLOYER)
        suspension = suspension_of(record, self.world.suspension, self.world.clock())
        if suspension is not None and not force:
            why = f": {suspension.reason}" if suspension.reason else ""
            which = workflow_id if suspension is record.suspension else "--all"
            raise RequestError(
                Code.CONFLICT,
                f"{workflow_id} is suspended by {suspension.actor}{why}",
                hint=f"timewright resume {which}, or --force",
            )
        return record

    def _wanted(self, record: Record) -> Wanted:
        """The workflow's spec. Raises BAD_REQUEST when it is refused, CONFLICT when it is gone."""
        desired = self.reconciler.desired
        for spec in desired.wanted if desired is not None else ():
            if spec.workflow_id == record.workflow_id:
                return spec
        if record.failure is not None and self._broken(record) is not None:
            raise RequestError(
                Code.BAD_REQUEST,
                f"{record.source} is refused: {record.failure.message}",
                problems=record.failure.problems,
            )
        raise RequestError(
            Code.CONFLICT,
            f"the source has no spec of {record.workflow_id}",
            hint="put one there, or `timewright rollback` to a release that is kept",
        )

    def _broken(self, record: Record) -> Broken | None:
        desired = self.reconciler.desired
        for item in desired.broken if desired is not None else ():
            if record.workflow_id == item.workflow_id or record.source == item.source:
                return item
        return None

    def _word(self, record: Record) -> str:
        """The source's word that a pin stands against; '' when there is none."""
        desired = self.reconciler.desired
        for spec in desired.wanted if desired is not None else ():
            if spec.workflow_id == record.workflow_id:
                return spec.asked
        broken = self._broken(record)
        return broken.content if broken is not None else ""

    def _pin(self, record: Record) -> Pin | None:
        """The pin, if it is in force."""
        pin = record.pin
        if pin is None or (pin.until is not None and self.world.clock() >= pin.until):
            return None
        return pin if not pin.against or pin.against == self._word(record) else None

    def _new_pin(
        self,
        kind: Pinned,
        digest: str,
        actor: Actor,
        reason: str,
        *,
        against: str = "",
        seconds: float | None = None,
    ) -> Pin:
        now = self.world.clock()
        return Pin(kind, digest, actor.name, now, reason, against, now + seconds if seconds else None)

    def _set_pin(self, record: Record, pin: Pin | None, actor: Actor, reason: str) -> None:
        self.world.set_pin(record.workflow_id, pin, actor.name, reason)

    def _begin(self, kind: str, workflow_id: str, actor: Actor, reason: str) -> Operation:
        operation = self.reconciler.operations.start(kind, workflow_id, actor.name, reason)
        self.reconciler.wake(workflow_id)
        return operation

    def _kept(self, record: Record, release: str) -> Receipt:
        """A release in the tree by its id, or by its first characters."""
        kept = self.world.releases.outlines(record.workflow_id)
        found = [receipt for receipt in kept if len(release) >= 4 and receipt.digest.startswith(release)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(receipt.release for receipt in kept) or "none"
        what = "more than one release" if found else "no release"
        raise RequestError(
            Code.NOT_FOUND, f"{what} {release!r} of {record.workflow_id} is kept", hint=f"kept: {names}"
        )

    def _earlier(self, record: Record) -> Receipt:
        digest = self.world.earlier(record)
        if not digest:
            raise RequestError(
                Code.CONFLICT,
                f"there is no earlier release of {record.workflow_id} to go back to",
                hint=f"timewright history {record.workflow_id}",
            )
        return self._kept(record, digest)

    def _refuse_bad(self, record: Record, target: Receipt, *, force: bool) -> None:
        why = self.world.bad.get((record.workflow_id, target.digest))
        if why and not force:
            raise RequestError(
                Code.CONFLICT,
                f"release {target.release} was reverted before: {why}",
                hint="--force, if you must",
            )
