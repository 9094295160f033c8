"""The policy files of the source: defaults for `deploy`, by folder and pattern.

A policy file that can't be read says nothing about its folder: specs there that did not change keep
the defaults that they had, and one that did change waits until the policy can be read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from timewright.core.digest import sha256
from timewright.core.errors import Problem, Reason, SpecError
from timewright.core.policy import Policy, defaults_for, is_policy_name, read_policy
from timewright.core.prepare import Defaults
from timewright.core.worlds import Broken
from timewright.edge import source


def is_policy(path: str) -> bool:
    """Whether a file of the source is a policy, and no spec."""
    return is_policy_name(posixpath.basename(path))


@dataclass(frozen=True)
class Policies:
    """What was read: `good` policies, and files that could not be read (yet), as path → why."""

    good: tuple[Policy, ...] = ()
    broken: Mapping[str, Broken | None] = field(default_factory=dict)
    owner: Callable[[str], str] = lambda _: ""  # whose the specs of a source are, where nobody says

    def defaults(self, path: str) -> Defaults | None:
        """What policies give to the spec at `path`; None when one that may cover it can't be read."""
        if self.blocking(path) is not None:
            return None
        block, _ = defaults_for(path, self.good)
        if "owner" not in block and (owner := self.owner(path)):
            block = {**block, "owner": owner}
        return tuple(sorted(block.items()))

    def blocking(self, path: str) -> str | None:
        """The unreadable policy file whose folder the spec lies in."""
        for name in sorted(self.broken):
            folder = posixpath.dirname(name)
            if not folder or path.startswith(f"{folder}/"):
                return name
        return None


def refused(path: str, content: str, policy: str, workflow_id: str | None) -> Broken:
    """A spec that can't be deployed, since its defaults can't be told."""
    problem = Problem("deploy", f"its defaults in {policy} can't be read", f"correct {policy}")
    return Broken(path, content, Reason.INVALID_SPEC, (problem,), workflow_id)


class PolicyReader:
    """Reads policy files, each content once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Policy | Broken] = {}

    def unread(self, seen: Iterable[source.Seen]) -> list[str]:
        """Which of the policy files have to be read."""
        return [
            one.path
            for one in seen
            if not one.busy and one.digest is not None and (one.path, one.digest) not in self._known
        ]

    def read(self, seen: Iterable[source.Seen], contents: Mapping[str, bytes]) -> Policies:
        """What the policy files among `seen` say. `contents`: of those that were not read before."""
        good: list[Policy] = []
        broken: dict[str, Broken | None] = {}
        known: dict[tuple[str, str], Policy | Broken] = {}
        for one in seen:
            found = self._one(one, contents)
            if found is None or one.digest is None:
                broken[one.path] = found if isinstance(found, Broken) else None
                continue
            known[one.path, one.digest] = found
            if isinstance(found, Broken):
                broken[one.path] = found
            else:
                good.append(found)
        self._known = known
        return Policies(tuple(good), broken)

    def _one(self, seen: source.Seen, contents: Mapping[str, bytes]) -> Policy | Broken | None:
        if seen.busy or seen.digest is None:
            return None
        found = self._known.get((seen.path, seen.digest))
        if found is not None:
            return found
        data = contents.get(seen.path)
        if data is None or sha256(data) != seen.digest:
            return None
        try:
            return read_policy(data, seen.path)
        except SpecError as error:
            return Broken(seen.path, seen.digest, error.reason, error.problems)
