"""What a host has to come to: the source's word and people's, followed by the simplest means.

A workflow's code is one word. `Model` knows which word has to be served, and knows nothing of releases,
passes or pools.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.e2e.specs import greeter

#: Breaks the type check; fails when the worker host loads it.
BROKEN = "\nconst broken: number = 'no number';\n"
UNLOADABLE = "\nif (Date.now() >= 0) throw new Error('no such luck');\n"


@dataclass
class Workflow:
    """One workflow as the model sees it. `word`: what its spec says, None without a spec; `live`: what has to
    be served, None for nothing. `fault`: BROKEN, UNLOADABLE or ''. `pinned`: rolled back, and the source is
    as it was then. `either`: nobody knows whether the last wish arrived, so that word may be live as well."""

    name: str
    queue: str
    versions: bool = False
    file: str = ""
    word: str | None = None
    live: str | None = None
    fault: str = ""
    pinned: bool = False
    suspended: bool = False
    known: list[str] = field(default_factory=list)  # words that were live once, the newest last

    def spec(self) -> dict[str, Any]:
        """Its document."""
        off = {} if self.versions else {"rollout": {"strategy": "off"}}
        document = greeter(self.name, str(self.word), queue=self.queue, prune=True, **off)
        document["workflowCode"] += self.fault
        return document

    def says(self, word: str, fault: str = "") -> None:
        """The source says something. What it says already is nothing new, and ends no pin."""
        if (word, fault) == (self.word, self.fault):
            return
        self.word, self.fault = word, fault
        if not self.suspended:
            self._follow()

    def resumed(self) -> None:
        self.suspended = False
        if self.word is None:
            self.live, self.pinned = None, False
        elif self.live != self.word or self.fault:
            self._follow()

    def _follow(self) -> None:
        self.pinned = False
        if not self.fault:
            self.goes_live(str(self.word))

    def goes_live(self, word: str) -> None:
        self.live = word
        self.known = [*(one for one in self.known if one != word), word]

    def removed(self) -> None:
        self.word, self.fault, self.file = None, "", ""
        if not self.suspended:
            self.live, self.pinned, self.known = None, False, []

    @property
    def statuses(self) -> tuple[str, ...]:
        """What `status` may say when all has come to rest; () for anything."""
        if self.suspended or self.pinned:
            return ()
        if self.word is None:
            return ("UNDEPLOYED", "")
        if self.fault == UNLOADABLE:  # while the worker host is dead it goes live, and fails its trial then
            return ("DEPLOYMENT_FAILED", "ROLLED_BACK")
        return ("DEPLOYMENT_FAILED",) if self.fault else ("DEPLOYED",)


class Model:
    """The workflows of one host: two share a pool that is replaced in place, one has Versions."""

    def __init__(self, mark: str) -> None:
        """`mark`: in the names of task queues, which a Temporal server has in common for all."""
        shared = f"shared-{mark}"
        self.workflows = {
            "ada": Workflow("ada", shared),
            "bob": Workflow("bob", shared),
            "cyd": Workflow("cyd", f"cyd-{mark}", versions=True),
        }
        self.count = 0

    def fresh(self) -> str:
        """A word that was never said."""
        self.count += 1
        return f"word{self.count}"
