"""What verbs look at: the daemon's answers, or the same shapes made of its state file (aside.py).

Shapes are those of views.py. The API's routes stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from timewright.cli.client import Client, DaemonDownError, Sent

View = dict[str, Any]


class Sight(Protocol):
    """What can be seen with and without a daemon. NOT_FOUND is a RequestError."""

    def overview(self, *, undeployed: bool = False) -> View: ...
    def workflow(self, workflow_id: str) -> View: ...
    def history(self, workflow_id: str, *, last: int = 50) -> list[View]: ...
    def events(self, workflow_id: str | None, *, after: int = 0, last: int = 100) -> list[View]: ...
    def operations(self, *, last: int = 100) -> list[View]: ...
    def audit(self, *, last: int = 100) -> list[View]: ...


class Daemon:
    """A daemon, by its API."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def is_up(self) -> bool:
        """Whether anybody answers."""
        try:
            self.client.open()
        except DaemonDownError:
            return False
        return True

    # looking

    def overview(self, *, undeployed: bool = False) -> View:
        found: View = self.client.get("workflows", undeployed=undeployed)
        return found

    def workflow(self, workflow_id: str) -> View:
        found: View = self.client.get("workflows", workflow_id)
        return found

    def history(self, workflow_id: str, *, last: int = 50) -> list[View]:
        return _items(self.client.get("workflows", workflow_id, "history", last=last))

    def events(self, workflow_id: str | None, *, after: int = 0, last: int = 100) -> list[View]:
        of = ("workflows", workflow_id, "logs") if workflow_id is not None else ("logs",)
        return _items(self.client.get(*of, after=after, last=last))

    def stream(self, workflow_id: str | None, *, after: int = 0) -> Iterator[Sent]:
        """Events with an id above `after`, as they happen, until the daemon ends the stream."""
        return self.client.stream("events", last_id=str(after), workflow=workflow_id)

    def operations(self, *, last: int = 100) -> list[View]:
        return _items(self.client.get("operations", last=last))

    def operation(self, operation_id: str, *, wait: float = 0.0) -> View:
        """`wait`: seconds that it may take to be done."""
        found: View = self.client.get("operations", operation_id, wait=wait)
        return found

    def audit(self, *, last: int = 100) -> list[View]:
        return _items(self.client.get("audit", last=last))

    def source(self, name: str, *, revision: str = "") -> View:
        found: View = self.client.get("sources", name, revision=revision)
        return found

    def sources(self) -> list[View]:
        return _items(self.client.get("sources"))

    def reconcile(self, name: str, body: Mapping[str, Any]) -> View:
        found: View = self.client.post("sources", name, "reconcile", body=body)
        return found

    def plan(self) -> View:
        found: View = self.client.get("plan")
        return found

    def diff(self, workflow_id: str, a: str, b: str) -> View:
        found: View = self.client.get("workflows", workflow_id, "diff", a=a, b=b)
        return found

    def rollout(self, workflow_id: str) -> View:
        found: View = self.client.get("workflows", workflow_id, "rollout")
        return found

    def drift(self, workflow_id: str) -> View:
        found: View = self.client.get("workflows", workflow_id, "drift")
        return found

    # asking; each answers with the operation to follow

    def ask(self, verb: str, workflow_id: str | None, body: Mapping[str, Any]) -> View:
        """`workflow_id` None: of all workflows (suspend, resume)."""
        path = ("workflows", workflow_id, verb) if workflow_id is not None else (verb,)
        operation: View = self.client.post(*path, body=body)
        return operation

    def prune(self, workflow_ids: Sequence[str], reason: str) -> list[View]:
        body = {"workflowIds": list(workflow_ids), **({"reason": reason} if reason else {})}
        return _items(self.client.post("prune", body=body))


def _items(answer: Any) -> list[View]:
    """A list, as it is or as the one list of an object."""
    if isinstance(answer, list):
        return answer
    lists = [value for value in answer.values() if isinstance(value, list)] if answer else []
    return lists[0] if lists else []
