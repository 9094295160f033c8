"""Finds a spec's entry points, and decides whether a shared Worker can serve it.

What counts, in this order: `entrypoints`, what the worker file gives to Worker.create, names by
convention, and last what the code says. A choice that people may not expect is a warning; where
two choices are equally good, it's a problem that names both.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from timewright.core.sources import CODE, Sources, is_code
from timewright.core.workercode import WorkerCode, is_test, listed, read_worker, worker_files

ROLES: Final = ("workflows", "activities", "worker")
_STEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "workflows": ("workflow", "workflows", "workflows/index", "workflow/index"),
    "activities": ("activities", "activity", "activities/index", "activity/index"),
    "worker": ("worker", "worker/index", "workers/index"),
}
_HOMES: Final = ("src/", "")
_OWN: Final = 'deploy.isolation = "process" runs your worker itself'


@dataclass(frozen=True)
class Entries:
    """`own`: why the spec gets a worker process of its own, '' when it shares one. `problems`:
    (file, or '' for the document; message; hint)."""

    workflows: str | None = None
    activities: str | None = None
    worker: str | None = None
    queue: str | None = None
    own: str = ""
    problems: tuple[tuple[str, str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(entry for entry in (self.workflows, self.activities, self.worker) if entry)


def find_entries(
    sources: Sources, named: Mapping[str, str], *, isolation: str | None = None, pin: str = ""
) -> Entries:
    """The entry points of a spec. `named`: role → file, from `entrypoints`. `isolation`: the spec's own
    word. `pin`: why our SDK can't serve it, ''."""
    return _Finder(sources, named, isolation, pin).find()


@dataclass
class _Finder:
    sources: Sources
    named: Mapping[str, str]
    isolation: str | None
    pin: str
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def find(self) -> Entries:
        workers = worker_files(self.sources)
        worker = self.named.get("worker") or self._by_name("worker") or self._only_worker(workers)
        code = read_worker(self.sources, worker) if worker else WorkerCode()
        if worker:
            self._say_other_workers(worker, workers)
        alone = len(workers) <= 1
        workflows = self.named.get("workflows") or code.workflows
        if workflows is None and (alone or code.missing):
            workflows = self._other_workflows(worker, code)
        activities = self.named.get("activities") or code.activities
        if activities is None and alone and not code.own:
            activities = self._by_name("activities") or self._typed_activities(workflows, worker)
        own = self._own(worker, code, workflows)
        if worker and not own and code.tuning:
            self.warnings.append(
                f"{worker} gives its Worker {listed(code.tuning)}: "
                f"a shared Worker has the host's own ({_OWN})"
            )
        return Entries(
            workflows, activities, worker, code.queue, own, tuple(self.problems), tuple(self.warnings)
        )

    # where things are

    def _by_name(self, role: str) -> str | None:
        """The file that the convention names: below src/, at the top, or the only one elsewhere."""
        for home in _HOMES:
            for stem in _STEMS[role]:
                for suffix in CODE:
                    if f"{home}{stem}{suffix}" in self.sources.files:
                        return f"{home}{stem}{suffix}"
        found = self._deeper(role)
        if len(found) > 1:
            self._ambiguous(role, found)
        return found[0] if found else None

    def _deeper(self, role: str) -> list[str]:
        """The conventional files nearest to the top, where none is in its usual place."""
        ends = tuple(f"/{stem}{suffix}" for stem in _STEMS[role] for suffix in CODE)
        found = [path for path in self.sources.files if path.endswith(ends) and self._is_candidate(path)]
        nearest = min((path.count("/") for path in found), default=0)
        return sorted(path for path in found if path.count("/") == nearest)

    def _is_candidate(self, path: str) -> bool:
        return is_code(path) and not is_test(path)

    def _ambiguous(self, role: str, found: Iterable[str]) -> None:
        names = list(found)
        self.problems.append(
            ("", f"{listed(names)} could all be its {role}", f'name one, as entrypoints.{role}: "{names[0]}"')
        )

    def _only_worker(self, workers: tuple[str, ...]) -> str | None:
        if len(workers) > 1:
            self._ambiguous("worker", workers)
        return workers[0] if workers else None

    def _say_other_workers(self, worker: str, workers: Iterable[str]) -> None:
        reached = set(self.sources.reachable(worker))
        for other in workers:
            if other not in reached:
                self.warnings.append(
                    f"{other} makes a Worker, too: {worker} is served, the other is not "
                    f"(deploy it as a spec of its own, with entrypoints.worker)"
                )

    def _other_workflows(self, worker: str | None, code: WorkerCode) -> str | None:
        """The workflows where the worker doesn't name a file that is there."""
        found = self._by_name("workflows") or self._by_content()
        if code.missing and worker:
            if found is None:
                self.problems.append(
                    (
                        worker,
                        f"names {code.missing!r} as its workflows, which is not one of the files",
                        "add it",
                    )
                )
            else:
                self.warnings.append(f"{worker} names {code.missing!r}, which isn't there: {found} is served")
        return found

    def _by_content(self) -> str | None:
        """The one file that exports workflows, or the one that leads to all of them."""
        found = [
            path
            for path in sorted(self.sources.files)
            if self._is_candidate(path)
            and any(item.specifier == "@temporalio/workflow" for item in self.sources.module(path).imports)
            and self.sources.exports(path)[0]
        ]
        if len(found) < 2:
            return found[0] if found else None
        over = [path for path in found if set(found) <= set(self.sources.reachable(path))]
        if len(over) != 1:
            self._ambiguous("workflows", found)
            return None
        return over[0]

    def _typed_activities(self, workflows: str | None, worker: str | None) -> str | None:
        """`import type * as activities from './billing'` in the workflows, where no worker says it."""
        if workflows is None or worker is not None:
            return None
        found = {
            target
            for path in self.sources.reachable(workflows)
            for item in self.sources.module(path).imports
            if item.type_only
            and "*" in item.names.values()
            and (target := self.sources.resolve(path, item.specifier)) is not None
        }
        return found.pop() if len(found) == 1 else None

    # who serves it

    def _own(self, worker: str | None, code: WorkerCode, workflows: str | None) -> str:
        """Why it has a worker process of its own; '' when it shares one."""
        reasons = [self.pin] if self.pin else []
        if worker:
            reasons += [*code.own, *self._unseen(worker, code)]
            if workflows and self.sources.module(workflows).has_default:
                reasons.append(f"{workflows} has a default export, which takes workflows of any type")
        if self.isolation == "process":
            if worker is None:
                self.problems.append(
                    ("deploy.isolation", "is 'process', but there is no worker code", "add src/worker.ts")
                )
            return 'deploy.isolation is "process"'
        if not reasons:
            return ""
        if worker is None:
            self.problems.append(("", self.pin, "widen the range, or add a worker file: then it has its own"))
        elif self.isolation == "shared":
            hint = "remove deploy.isolation: it then has a worker process of its own"
            self.problems.append(("deploy.isolation", f"is 'shared', but {reasons[0]}", hint))
        return "; ".join(reasons)

    def _unseen(self, worker: str, code: WorkerCode) -> Iterator[str]:
        if code.creates:
            return
        if self.sources.packages(self.sources.reachable(worker)):
            yield f"{worker} makes its Worker where it can't be seen"
        else:
            self.warnings.append(f"{worker} makes no Worker and is not run")


def resolve_named(files: Mapping[str, str], name: str) -> str | None:
    """The file that `entrypoints` names: with or without a suffix, as a source or as what it becomes."""
    path = posixpath.normpath(name)
    for candidate in (
        path,
        *(path + suffix for suffix in CODE),
        *(f"{path}/index{suffix}" for suffix in CODE),
    ):
        if candidate in files:
            return candidate
    stem, suffix = posixpath.splitext(path)
    if suffix in (".js", ".mjs", ".cjs"):
        for to in (".ts", ".tsx", ".mts", ".cts"):
            if stem + to in files:
                return stem + to
    return None
