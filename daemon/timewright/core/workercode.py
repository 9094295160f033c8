"""What a spec's worker file asks for, by its syntax: which workflows and activities, on which task
queue, and whether a shared Worker can stand for it.

In a shared pool the worker file isn't run; the host makes one Worker for the whole queue. What that
Worker can't do for the spec (interceptors, converters, activities that the file makes itself) must
be seen here, so that it is never silently left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tree_sitter import Node

from timewright.core.sources import Sources, is_code
from timewright.core.syntax import all_nodes, callee, string, text

#: Said to Temporal, or about how much at once: a shared Worker has the host's own.
_HOSTS: Final = frozenset(
    [
        "connection",
        "namespace",
        "identity",
        "buildId",
        "useVersioning",
        "workerDeploymentOptions",
        "shutdownGraceTime",
        "shutdownForceTime",
        "debugMode",
        "reuseV8Context",
        "showStackTraceSources",
        "enableSDKTracing",
        "isolateExecutionTimeout",
        "stickyQueueScheduleToStartTimeout",
        "maxHeartbeatThrottleInterval",
        "defaultHeartbeatThrottleInterval",
        "enableNonLocalActivities",
        "workflowThreadPoolSize",
        "nonStickyToStickyPollRatio",
        "tuner",
        "workflowTaskPollerBehavior",
        "activityTaskPollerBehavior",
        "nexusTaskPollerBehavior",
    ]
)
#: Of those, what nobody misses when the host decides.
_QUIET: Final = frozenset({"connection", "namespace", "identity", "taskQueue", "workflowsPath", "activities"})
_READ: Final = frozenset({"taskQueue", "workflowsPath", "activities"})


@dataclass(frozen=True)
class WorkerCode:
    """`workflows`, `activities`: the files that Worker.create is given. `missing`: the specifier of
    a workflowsPath that names none of the files. `queue`: the task queue, where its text can be seen.
    `own`: why only the spec's own worker process can serve it; empty: a shared Worker can.
    `tuning`: options that a shared Worker has from the host instead.
    `creates`: False when no Worker is made at all."""

    workflows: str | None = None
    activities: str | None = None
    missing: str = ""
    queue: str | None = None
    own: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()
    creates: bool = False


def worker_files(sources: Sources) -> tuple[str, ...]:
    """The files that make a Worker, tests left out, sorted."""
    return tuple(
        path
        for path in sorted(sources.files)
        if is_code(path) and not is_test(path) and _mentions(sources, path) and _creates(sources, path)
    )


def is_test(path: str) -> bool:
    """Whether a file's name says that it is a test."""
    parts = path.casefold().split("/")
    folders = {"test", "tests", "__tests__", "__mocks__", "e2e"}
    return bool(folders & set(parts[:-1])) or any(mark in parts[-1] for mark in (".test.", ".spec."))


def read_worker(sources: Sources, entry: str) -> WorkerCode:
    """What the worker file `entry` (or the one file that it leaves the making to) asks for."""
    made = [
        (path, node)
        for path in sources.reachable(entry)
        if is_code(path) and _mentions(sources, path)
        for node in _creates(sources, path)
    ]
    if not made:
        return WorkerCode(queue=only_queue(sources, entry))
    reader = _Reader(sources, *made[0])
    if len(made) > 1:
        reader.reasons.append(f"{entry} makes {len(made)} Workers")
    return reader.read()


def _mentions(sources: Sources, path: str) -> bool:
    """A cheap look before the syntax is read."""
    return ".create" in sources.files[path] and "Worker" in sources.files[path]


def _creates(sources: Sources, path: str) -> list[Node]:
    """Every `Worker.create(…)` of a file."""
    return [
        node
        for node in all_nodes(sources.module(path).root)
        if node.type == "call_expression" and (called := callee(node)).endswith("Worker.create")
        if called == "Worker.create" or called.endswith(".Worker.create")
    ]


@dataclass
class _Reader:
    """Reads the options of one Worker.create."""

    sources: Sources
    path: str
    call: Node
    reasons: list[str] = field(default_factory=list)
    options: dict[str, Node] = field(default_factory=dict)

    def read(self) -> WorkerCode:
        given = self.call.child_by_field_name("arguments")
        options = given.named_children[0] if given is not None and given.named_children else None
        self._collect(options)
        for name in self.options.keys() - _READ - _HOSTS:
            if not name.startswith("max"):
                self.reasons.append(f"{self._at(self.options[name])} gives its Worker {name}")
        workflows, missing = self._workflows()
        return WorkerCode(
            workflows=workflows,
            activities=self._activities(),
            missing=missing,
            queue=self._queue(),
            own=tuple(sorted(self.reasons)),
            tuning=tuple(sorted(self.options.keys() - _QUIET)),
            creates=True,
        )

    def _at(self, node: Node) -> str:
        return f"{self.path}:{node.start_point.row + 1}"

    def _collect(self, node: Node | None) -> None:
        """The options by name; what can't be read is a reason."""
        if node is not None and node.type == "identifier":
            node = self.sources.module(self.path).constants.get(text(node), node)
        if node is None or node.type != "object":
            self.reasons.append(
                f"{self._at(node or self.call)} gives its Worker options that can't be read here"
            )
            return
        for item in node.named_children:
            key, value = item.child_by_field_name("key"), item.child_by_field_name("value")
            if item.type == "shorthand_property_identifier":
                self.options[text(item)] = item
            elif item.type == "pair" and key is not None and value is not None:
                self.options[text(key).strip("'\"")] = value
            elif item.type != "comment":
                self.reasons.append(f"{self._at(item)} gives its Worker options that can't be read here")

    def _workflows(self) -> tuple[str | None, str]:
        """(the file that workflowsPath names, or None; its specifier when it names none)."""
        node = self._value("workflowsPath")
        if node is None:
            return None, ""
        specifier = next((string(one) for one in all_nodes(node) if one.type == "string"), None)
        if specifier is None:
            self.reasons.append(f"{self._at(node)} gives its Worker a workflowsPath that can't be read here")
            return None, ""
        if "__dirname" in text(node) and not specifier.startswith("."):  # path.join(__dirname, 'workflows')
            specifier = f"./{specifier.lstrip('/')}"
        found = self.sources.resolve(self.path, specifier)
        return (found, "") if found is not None else (None, specifier)

    def _value(self, name: str) -> Node | None:
        """An option's expression; of a constant of this file, what it holds."""
        node = self.options.get(name)
        if node is not None and node.type in ("identifier", "shorthand_property_identifier"):
            return self.sources.module(self.path).constants.get(text(node), node)
        return node

    def _activities(self) -> str | None:
        """The module whose functions are the activities; None when there are none, or (with a reason)
        when the worker makes them in another way."""
        given, node = self.options.get("activities"), self._value("activities")
        if given is None or node is None:
            return None
        found = self._imported(text(given), ("*",)) if given.type.endswith("identifier") else None
        found = found or self._picked(node)
        if found is None:
            self.reasons.append(f"{self._at(node)} makes the activities itself")
        return found

    def _picked(self, node: Node) -> str | None:
        """`{ ...activities }` and `{ greet, other }`, when all are of one module."""
        if node.type != "object" or not node.named_children:
            return None
        modules = set()
        for item in node.named_children:
            if item.type == "spread_element":
                inner = item.named_children[0]
                modules.add(self._imported(text(inner), ("*",)) if inner.type == "identifier" else None)
            elif item.type == "shorthand_property_identifier":
                modules.add(self._imported(text(item), (text(item),)))
            else:
                return None
        return modules.pop() if len(modules) == 1 else None

    def _imported(self, name: str, wanted: tuple[str, ...]) -> str | None:
        """The spec's file that a name is imported from, as one of `wanted`."""
        for item in self.sources.module(self.path).imports:
            if item.names.get(name) in wanted:
                return self.sources.resolve(self.path, item.specifier)
        return None

    def _queue(self) -> str | None:
        if (given := self.options.get("taskQueue")) is not None:
            return self.sources.literal(self.path, given)
        return only_queue(self.sources, self.path)


def only_queue(sources: Sources, path: str) -> str | None:
    """The one task queue that a file names, where Worker.create can't be read; None for several."""
    found = {
        sources.literal(path, value)
        for node in all_nodes(sources.module(path).root)
        if (value := _queue_value(node)) is not None
    } - {None}
    return found.pop() if len(found) == 1 else None


def _queue_value(node: Node) -> Node | None:
    if node.type == "pair":
        key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
        return value if key is not None and text(key).strip("'\"") == "taskQueue" else None
    return node if node.type == "shorthand_property_identifier" and text(node) == "taskQueue" else None


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
