"""The `deploy` block of a spec: how to roll the workflow out. Unknown keys are errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from timewright.core.document import Path
from timewright.core.names import id_problem, name_problem
from timewright.core.rollout import Rollout, RolloutReader

T = TypeVar("T")

KEYS = (
    *("taskQueue", "namespace", "owner", "isolation", "prune", "keepReleases", "env"),
    *("dependsOn", "suspend", "autoRevert"),
    *("rollout", "versioning", "replay", "onUndeploy"),
)
_MOST_DEPENDS_ON = 100
_OWN_PREFIXES = ("TEMPORAL_", "TIMEWRIGHT_", "NODE_", "LD_")


@dataclass(frozen=True)
class Deploy:
    """The `deploy` block: how to roll the workflow out. None means: the config's default."""

    task_queue: str | None = None
    namespace: str | None = None
    owner: str | None = None
    isolation: str | None = None
    prune: bool | None = None
    keep_releases: int | None = None
    env: tuple[tuple[str, str], ...] = ()
    depends_on: tuple[str, ...] = ()
    suspend: bool = False
    auto_revert: bool | None = None
    rollout: Rollout = field(default_factory=Rollout)


@dataclass
class DeployReader:
    """Reads one block and collects its problems as (path, message, hint)."""

    problems: list[tuple[Path, str, str]] = field(default_factory=list)

    def problem(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append((path, message, hint))

    def read(self, value: Any) -> Deploy:
        if value is None:
            return Deploy()
        if not isinstance(value, dict):
            self.problem(("deploy",), f"must be an object, is {kind_of(value)}")
            return Deploy()
        for key in value:
            if key not in KEYS:
                close = get_close_matches(key, KEYS, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(KEYS)}"
                self.problem(("deploy", key), "is not a key of deploy", hint)
        return Deploy(
            task_queue=self._queue_name(value, "taskQueue"),
            namespace=self._queue_name(value, "namespace"),
            owner=self._queue_name(value, "owner"),
            isolation=self._isolation(value),
            prune=self._typed(value, "prune", bool, "true or false"),
            keep_releases=self._keep(value),
            env=self._env(value),
            depends_on=self._depends_on(value),
            suspend=bool(self._typed(value, "suspend", bool, "true or false")),
            auto_revert=self._typed(value, "autoRevert", bool, "true or false"),
            rollout=RolloutReader(self.problem).read(value),
        )

    def _typed(self, block: Mapping[str, Any], key: str, kind: type[T], words: str) -> T | None:
        value = block.get(key)
        if value is None or isinstance(value, kind):
            return value
        self.problem(("deploy", key), f"must be {words}, is {kind_of(value)}")
        return None

    def _queue_name(self, block: Mapping[str, Any], key: str) -> str | None:
        value = self._typed(block, key, str, "a string")
        if value is not None and (message := name_problem(value)):
            self.problem(("deploy", key), message)
            return None
        return value

    def _isolation(self, block: Mapping[str, Any]) -> str | None:
        value = block.get("isolation")
        if value not in (None, "shared", "process"):
            self.problem(("deploy", "isolation"), f"must be 'shared' or 'process', is {value!r}"[:200])
            return None
        return value

    def _keep(self, block: Mapping[str, Any]) -> int | None:
        value = block.get("keepReleases")
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000):
            return value
        self.problem(("deploy", "keepReleases"), "must be a whole number from 1 to 1000")
        return None

    def _depends_on(self, block: Mapping[str, Any]) -> tuple[str, ...]:
        value = self._typed(block, "dependsOn", list, "a list of workflow ids") or []
        if len(value) > _MOST_DEPENDS_ON:
            self.problem(("deploy", "dependsOn"), f"names more than {_MOST_DEPENDS_ON} workflows")
            return ()
        names: list[str] = []
        for index, name in enumerate(value):
            message = "" if isinstance(name, str) else f"must be a workflow id, is {kind_of(name)}"
            if message := message or id_problem(name):
                self.problem(("deploy", "dependsOn", index), message)
            elif name not in names:
                names.append(name)
        return tuple(names)

    def _env(self, block: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        value = self._typed(block, "env", dict, "an object of name → text") or {}
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith(_OWN_PREFIXES):
                self.problem(("deploy", "env", name), "is not a name that a spec may set")
            elif not isinstance(text, str) or "\x00" in text:
                self.problem(("deploy", "env", name), f"must be text, is {kind_of(text)}")
        return tuple(sorted(value.items()))


def kind_of(value: Any) -> str:
    if value is None:
        return "null"
    for kind, words in (
        (bool, "true or false"),
        (str, "text"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return words
    return "an object"
