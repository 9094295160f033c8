"""What people may ask of a running daemon, and what they are shown: the one place behind API and CLI.

Every method takes who asks. What an actor may not see doesn't exist for them (NOT_FOUND). Refusals are
RequestErrors and change nothing; what is granted is durable before the method returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from timewright.edge.desk import Operation
from timewright.reconcile import Reconciler
from timewright.views import View
from timewright.world import World


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


class Control:
    """The requests, over one world."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        self.world, self.reconciler = world, reconciler

    # looking; raises RequestError(NOT_FOUND) for what isn't there or isn't theirs

    def overview(self, actor: Actor, *, undeployed: bool = False) -> View:
        """{lastPass, sourceProblem, suspended, workflows: [...], refusedFiles: {path: failure}}"""
        raise NotImplementedError

    def workflow(self, actor: Actor, workflow_id: str) -> View:
        """views.workflow_view of one workflow."""
        raise NotImplementedError

    def history(self, actor: Actor, workflow_id: str, *, last: int = 50) -> list[View]:
        """Its releases and what became of them, newest first: views.rollout_view."""
        raise NotImplementedError

    def events(
        self, actor: Actor, *, workflow_id: str | None = None, after: int = 0, last: int = 100
    ) -> list[View]:
        """Lines of the log in order: views.event_view."""
        raise NotImplementedError

    async def wait_for_event(self, after: int, timeout: float) -> None:  # noqa: ASYNC109
        """Until there is an event with a higher id, or `timeout` seconds."""
        raise NotImplementedError

    async def plan(self, actor: Actor) -> View:
        """{complete, problem, actions: [views.action_view]}: what the next pass would do."""
        raise NotImplementedError

    async def diff(self, actor: Actor, workflow_id: str, a: str, b: str) -> View:
        """What differs between two releases; short ids, or `live`, `previous`, `wanted`."""
        raise NotImplementedError

    async def drift(self, actor: Actor, workflow_id: str) -> View:
        """How the live release differs from what was built; looks at the tree now."""
        raise NotImplementedError

    def operation(self, actor: Actor, operation_id: str) -> View:
        raise NotImplementedError

    def operations(self, actor: Actor, *, last: int = 100) -> list[View]:
        raise NotImplementedError

    def audit(self, actor: Actor, *, after: int = 0, last: int = 100) -> list[View]:
        """Admins only."""
        raise NotImplementedError

    def ready(self) -> str:
        """'' when the daemon follows its source; else why not."""
        raise NotImplementedError

    # asking; all return the operation to follow. NOT_FOUND, CONFLICT, BAD_REQUEST, FORBIDDEN

    def deploy(self, actor: Actor, workflow_id: str, *, force: bool = False, reason: str = "") -> Operation:
        """Deploy what the source asks for, now: ends a backoff, lifts an undeploy by hand. CONFLICT: it is
        deployed already, pinned, suspended, or known as bad; `force` overrides (and lifts the pin).
        BAD_REQUEST: its spec is invalid or not compiled."""
        raise NotImplementedError

    def redeploy(self, actor: Actor, workflow_id: str, *, reason: str = "") -> Operation:
        """The same with force: the release is checked, published and loaded again."""
        raise NotImplementedError

    def undeploy(self, actor: Actor, workflow_id: str, *, reason: str = "") -> Operation:
        """Out of service until `deploy`, whatever the source says. CONFLICT: it isn't deployed."""
        raise NotImplementedError

    def rollback(self, actor: Actor, workflow_id: str, release: str = "", *, reason: str = "") -> Operation:
        """Back to an earlier release ('' : the one before), until the source changes the spec. CONFLICT: it
        is live already, or there is none; NOT_FOUND: no such release is kept."""
        raise NotImplementedError

    def pin(
        self,
        actor: Actor,
        workflow_id: str,
        release: str = "",
        *,
        reason: str = "",
        seconds: float | None = None,
    ) -> Operation:
        """Hold at a release ('' : the live one), whatever the source says, until `unpin` or for `seconds`."""
        raise NotImplementedError

    def unpin(self, actor: Actor, workflow_id: str, *, reason: str = "") -> Operation:
        """Follow the source again. CONFLICT: it isn't pinned."""
        raise NotImplementedError

    def suspend(
        self, actor: Actor, workflow_id: str | None, *, reason: str = "", seconds: float | None = None
    ) -> Operation:
        """Deploy and undeploy nothing of it (None: of all; admins only) until `resume`, or for `seconds`."""
        raise NotImplementedError

    def resume(self, actor: Actor, workflow_id: str | None, *, reason: str = "") -> Operation:
        raise NotImplementedError

    def prune(self, actor: Actor, workflow_ids: Sequence[str], *, reason: str = "") -> list[Operation]:
        """Confirm that these, whose specs are gone, may be undeployed. CONFLICT: a spec is there."""
        raise NotImplementedError

    async def put_spec(
        self, actor: Actor, workflow_id: str, data: bytes, *, is_yaml: bool = False
    ) -> Operation:
        """Write a spec into the source folder, atomically. BAD_REQUEST with all problems: it is no spec, or
        says another workflowId, or isn't theirs."""
        raise NotImplementedError

    def delete_spec(self, actor: Actor, workflow_id: str, *, reason: str = "") -> Operation:
        """Remove the spec's file from the source folder and undeploy it."""
        raise NotImplementedError

    async def finished(self, operation_id: str, timeout: float) -> Operation:  # noqa: ASYNC109
        """The operation when it is done, or as it is after `timeout` seconds."""
        raise NotImplementedError
