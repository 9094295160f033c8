"""The policy files of the source: defaults for `deploy`, by folder and pattern.

A policy file that can't be read says nothing about its folder: specs there that did not change keep
the defaults that they had, and one that did change waits until the policy can be read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timewright.core.document import Limits
from timewright.core.errors import Problem, Reason, SpecError
from timewright.core.policy import Policy, defaults_for, is_policy_name, read_policy
from timewright.core.worlds import Broken
from timewright.edge import source

Defaults = tuple[tuple[str, Any], ...]  # key of deploy → value, sorted


def is_policy(path: str) -> bool:
    """Whether a file of the source is a policy, and no spec."""
    return is_policy_name(posixpath.basename(path))


@dataclass(frozen=True)
class Policies:
    """What was read: `good` policies, and files that could not be read (yet), as path → why."""

    good: tuple[Policy, ...] = ()
    broken: Mapping[str, Broken | None] = field(default_factory=dict)

    def defaults(self, path: str) -> Defaults | None:
        """What policies give to the spec at `path`; None when one that may cover it can't be read."""
        if self.blocking(path) is not None:
            return None
        block, _ = defaults_for(path, self.good)
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

    def read(self, root: Path, seen: Iterable[source.Seen], limits: Limits) -> Policies:
        """What the policy files among `seen` say."""
        good: list[Policy] = []
        broken: dict[str, Broken | None] = {}
        known: dict[tuple[str, str], Policy | Broken] = {}
        for one in seen:
            found = self._one(root, one, limits)
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

    def _one(self, root: Path, seen: source.Seen, limits: Limits) -> Policy | Broken | None:
        if seen.busy or seen.digest is None:
            return None
        found = self._known.get((seen.path, seen.digest))
        if found is not None:
            return found
        try:
            data = source.read_file(root, seen.path, limits).data
            return read_policy(data, seen.path)
        except source.UnreadableError:
            return None
        except SpecError as error:
            return Broken(seen.path, seen.digest, error.reason, error.problems)
