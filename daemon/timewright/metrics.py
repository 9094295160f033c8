"""Prometheus metrics. What stands is read off the records at each scrape; what happens is counted as it does.

One series for each workflow only where an alert has to name it (`timewright_workflow_healthy`,
`timewright_workflow_synced`): everything else is counted by word, so that a thousand workflows cost little.
Counters by word begin at 0: Prometheus sees no increase in a series that appears with its first event.
"""

from __future__ import annotations

import os
from collections import Counter as Count
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from timewright import __version__
from timewright.core.digest import SHORT
from timewright.core.errors import Reason
from timewright.core.plan import suspension_of
from timewright.core.state import TRANSITIONS, Health, Pinned, Status, Sync, shown_health
from timewright.reconcile import Reconciler
from timewright.world import Change, World

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_P = "timewright_"


class Metrics:
    """The metrics of one daemon."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._transitions = Counter(
            f"{_P}transitions_total",
            "Transitions of workflows' statuses, by the status left and the one entered.",
            ["old", "new"],
            registry=self._registry,
        )
        self._failures = Counter(
            f"{_P}failures_total",
            "Failed deploys and rollbacks, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._stages = Histogram(
            f"{_P}stage_seconds",
            "How long the stages of deploys took.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._deploys = Histogram(
            f"{_P}deploy_seconds",
            "Time in all stages of deploys and rollbacks, by how they ended.",
            ["result"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._begin_at_zero()
        self._registry.register(_Standing(world, reconciler))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        world.listeners.append(self._count)

    def _begin_at_zero(self) -> None:
        for old, successors in TRANSITIONS.items():
            for new in successors:
                self._transitions.labels(old, new)
        for reason in Reason:
            self._failures.labels(reason)
        for result in (Status.DEPLOYED, Status.ROLLED_BACK, Status.DEPLOYMENT_FAILED):
            self._deploys.labels(result)

    def render(self) -> bytes:
        """The text of /metrics."""
        return generate_latest(self._registry)

    def _count(self, change: Change) -> None:
        if change.kind != "status":
            return
        before, after = change.before, change.after
        self._transitions.labels(before.status, after.status).inc()
        if after.status is Status.DEPLOYMENT_FAILED and after.failure is not None:
            self._failures.labels(after.failure.reason).inc()
        for stage, milliseconds in change.timings.items():
            self._stages.labels(stage).observe(milliseconds / 1000)
        if change.timings:
            self._deploys.labels(after.status).observe(sum(change.timings.values()) / 1000)


class _Standing(Collector):
    """What can be read off the world as it is."""

    def __init__(self, world: World, reconciler: Reconciler) -> None:
        self._world, self._reconciler = world, reconciler

    def collect(self) -> Iterator[Metric]:
        yield from self._passes()
        yield from self._workflows()
        yield from self._each()
        yield from self._sources()
        yield from self._commits()
        yield from self._surroundings()

    def _passes(self) -> Iterator[Metric]:
        passes, desired = self._reconciler.passes, self._reconciler.desired
        yield _count("passes_total", "Passes that ended.", passes.count)
        yield _gauge("last_pass_timestamp_seconds", "When the last pass ended.", passes.last)
        yield _gauge(
            "last_pass_seconds",
            "How long the last pass took to look and to start its work.",
            passes.last_seconds,
        )
        yield _gauge(
            "last_complete_read_timestamp_seconds",
            "When the source was last read completely.",
            passes.last_complete,
        )
        complete = desired is not None and desired.complete
        yield _gauge("source_complete", "1 while the source can be read completely.", complete)
        yield _gauge(
            "source_specs", "Specs in the source that can be read.", len(desired.wanted) if desired else 0
        )
        refused = len(self._world.state.refused())
        yield _gauge("source_refused_files", "Files of the source without a readable workflow id.", refused)
        yield _gauge("queue_depth", "Workflows that are being worked on.", len(self._reconciler.busy()))
        running = len(self._world.state.desk.operations(state="running", last=1000))
        yield _gauge("operations_running", "Operations that people asked for and that go on.", running)

    def _workflows(self) -> Iterator[Metric]:
        now, everything = self._world.clock(), self._world.suspension
        records = list(self._world.records.values())
        up = [record for record in records if record.status is not Status.UNDEPLOYED]
        suspensions = {r.workflow_id: suspension_of(r, everything, now) for r in up}
        health = [shown_health(record, suspensions[record.workflow_id])[0] for record in up]
        yield _by("workflows", "Workflows, by status.", "status", Status, (r.status for r in records))
        yield _by(
            "workflows_by_sync",
            "Workflows that are not undeployed, by sync.",
            "sync",
            Sync,
            (r.sync() for r in up),
        )
        yield _by(
            "workflows_by_health", "Workflows that are not undeployed, by health.", "health", Health, health
        )
        held = [r.held_reason for r in records if r.held]
        yield _by(
            "workflows_held", "Workflows of which something is held back, by reason.", "reason", Reason, held
        )
        pins = [record.pin.kind for record in records if record.pin is not None]
        yield _by("workflows_pinned", "Workflows that don't follow their spec, by why.", "kind", Pinned, pins)
        yield _gauge("workflows_suspended", "Suspended workflows.", sum(map(bool, suspensions.values())))
        all_of_it = everything is not None and everything.holds(now)
        yield _gauge("suspended", "1 while everything is suspended.", all_of_it)
        yield _gauge(
            "workflows_drifted", "Workflows whose tree was changed by hand.", sum(bool(r.drift) for r in up)
        )
        trial = sum(record.trial_until is not None for record in up)
        yield _gauge("workflows_on_trial", "Releases on trial.", trial)
        waiting = sum(record.retry_at is not None for record in records)
        yield _gauge("retries_waiting", "Failed deploys that wait for their next try.", waiting)

    def _each(self) -> Iterator[Metric]:
        healthy = GaugeMetricFamily(
            f"{_P}workflow_healthy", "1 where what is live is healthy.", labels=["workflow", "pool"]
        )
        synced = GaugeMetricFamily(
            f"{_P}workflow_synced",
            "1 where what is live is what the source asks for.",
            labels=["workflow", "pool"],
        )
        for record in self._world.records.values():
            if record.status is not Status.UNDEPLOYED:
                labels = [record.workflow_id, record.pool]
                if record.applied:  # nobody is to be woken for a new spec that fails: nothing of it ran yet
                    healthy.add_metric(labels, float(record.health is Health.HEALTHY))
                synced.add_metric(labels, float(record.sync() is Sync.SYNCED))
        yield from (healthy, synced)

    def _sources(self) -> Iterator[Metric]:
        followers = self._world.sources.followers.values()
        families = {
            name: GaugeMetricFamily(f"{_P}{name}", what, labels=["source"])
            for name, what in (
                ("source_followed", "1 while a repository can be fetched and what it has is followed."),
                (
                    "source_commits_behind",
                    "Commits that a repository has and that are not followed (refused).",
                ),
                ("source_last_fetch_timestamp_seconds", "When a repository was last fetched."),
                ("source_commit_timestamp_seconds", "When the followed commit was made by its author."),
                ("source_adopted_timestamp_seconds", "When the followed commit began to be followed."),
            )
        }
        fetches = CounterMetricFamily(
            f"{_P}source_fetches", "Fetches of a repository that ended, well or badly.", labels=["source"]
        )
        for one in followers:
            adopted = one.adopted
            values = (
                float(not one.problem and adopted is not None),
                float(one.behind),
                one.fetched or 0.0,
                adopted.commit.at if adopted else 0.0,
                adopted.at if adopted else 0.0,
            )
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric([one.name], value)
            fetches.add_metric([one.name], one.fetches)
        yield from families.values()
        yield fetches

    def _commits(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            f"{_P}workflow_release_info",
            "Always 1: the live release of a workflow, and the commit that asked for it.",
            labels=["workflow", "release", "commit", "author"],
        )
        for record in self._world.records.values():
            if record.applied:
                commit = self._world.commit(record.live_revision)
                names = [commit.short, commit.author] if commit is not None else ["", ""]
                info.add_metric([record.workflow_id, record.applied[:SHORT], *names], 1)
        yield info

    def _surroundings(self) -> Iterator[Metric]:
        world, serving = self._world, self._reconciler.health.serving
        reachable = serving is not None and serving.reachable
        yield _gauge("worker_host_reachable", "1 while the worker host answers.", reachable)
        temporal = reachable and serving is not None and not serving.temporal
        yield _gauge("temporal_reachable", "1 while the worker host reaches Temporal.", temporal)
        yield _count(
            "notification_failures_total",
            "Times that the worker host was told of a change, and did not answer or answered with an error.",
            world.worker.failures,
        )
        yield _count(
            "compiler_restarts_total",
            "Times that the compiler had to be started again.",
            world.compiler.restarts,
        )
        yield _gauge("state_file_bytes", "Size of the state file.", _size(world))
        yield _gauge("data_free_bytes", "Free space where releases are kept.", _free(world))
        info = GaugeMetricFamily(f"{_P}build_info", "Always 1.", labels=["version", "sdk", "typescript"])
        info.add_metric([__version__, world.compiler.sdk_version, world.compiler.typescript_version], 1)
        yield info
        yield _gauge(
            "clock_timestamp_seconds", "The daemon's clock, to hold the other times against.", world.clock()
        )


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_P}{name}", what, value=float(value))


def _count(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_P}{name}", what, value=float(value))


def _by(name: str, what: str, label: str, words: Iterable[str], found: Iterable[str]) -> Metric:
    """How often each word is found; those that aren't are told as 0, so that a graph has no holes."""
    counts = Count(str(word) for word in found)
    family = GaugeMetricFamily(f"{_P}{name}", what, labels=[label])
    for word in words:
        family.add_metric([str(word)], counts[str(word)])
    return family


def _size(world: World) -> int:
    try:
        return world.state.path.stat().st_size
    except OSError:
        return 0


def _free(world: World) -> int:
    try:
        found = os.statvfs(world.config.data_path)
        return found.f_bavail * found.f_frsize
    except OSError:
        return 0
