"""What people and programs are shown, once: CLI, API, page and events make their words of these.

Shapes are JSON values with camelCase keys; times are ISO 8601 in UTC with milliseconds, or null.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from timewright.core.actions import Action, Deploy, Hold, Refuse
from timewright.core.commits import Commit
from timewright.core.errors import Problem
from timewright.core.history import Outcome, Rollout, rollouts
from timewright.core.plan import suspension_of
from timewright.core.sourcestate import SourceState
from timewright.core.state import Failure, Pin, Record, Suspension, shown_health
from timewright.edge.desk import Audited, Operation
from timewright.edge.statefile import Event

View = dict[str, Any]


def iso(moment: float | None) -> str | None:
    """`2026-11-23T05:13:44.120Z`; None for never."""
    if not moment:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


Commits = Callable[[str], Commit | None]  # what is known of a revision


def _no_commits(_: str) -> Commit | None:
    return None


def workflow_view(
    record: Record,
    everything: Suspension | None = None,
    now: float | None = None,
    commits: Commits = _no_commits,
) -> View:
    """One workflow. `everything`: the suspension of all workflows. `now`: seconds since the epoch."""
    suspension = suspension_of(record, everything, time.time() if now is None else now)
    health, health_reason = shown_health(record, suspension)
    return {
        "workflowId": record.workflow_id,
        "name": record.name,
        "owner": record.owner or None,
        "status": record.status,
        "since": iso(record.since),
        "because": record.because,
        "by": record.actor or None,
        "sync": record.sync(),
        "health": health,
        "healthReason": health_reason,
        "healthSince": iso(record.health_since),
        "source": record.source,
        "revision": record.revision,
        "commit": commit_view(commits(record.revision)),
        "liveRevision": record.live_revision or None,
        "liveCommit": commit_view(commits(record.live_revision)),
        "lastGoodRead": iso(record.read_at),
        "attempted": record.attempted or None,
        "applied": record.applied or None,
        "release": short(record.applied),
        "previousRelease": short(record.previous),
        "pool": record.pool or None,
        "lastError": failure_view(record.failure) if record.failure else None,
        "attempts": record.attempts,
        "retryAt": iso(record.retry_at),
        "held": record.held or None,
        "heldReason": record.held_reason or None,
        "pin": pin_view(record.pin) if record.pin else None,
        "suspended": _suspended(record, suspension),
        "trialUntil": iso(record.trial_until),
        "drift": list(record.drift),
        "dependsOn": list(record.depends_on),
        "missingSince": iso(record.missing_since),
        "warnings": list(record.warnings),
    }


def commit_view(commit: Commit | None) -> View | None:
    """A commit; None where a revision is none, or nothing is known of it."""
    if commit is None:
        return None
    return {
        "sha": commit.sha,
        "short": commit.short,
        "author": commit.author,
        "subject": commit.subject,
        "at": iso(commit.at),
        "source": commit.source or None,
        "dirty": commit.dirty,
    }


def source_view(source: SourceState) -> View:
    """One source, and what became of its commit."""
    outcome = source.outcome
    return {
        "name": source.name,
        "kind": source.kind,
        "location": source.location,
        "ref": source.ref or None,
        "tag": source.tag or None,
        "owner": source.owner or None,
        "state": source.state,
        "problem": source.problem or None,
        "hint": source.hint or None,
        "commit": commit_view(source.commit),
        "remote": source.remote or None,
        "behind": source.behind,
        "specs": source.specs,
        "adoptedAt": iso(source.adopted),
        "lastFetch": iso(source.fetched),
        "nextFetch": iso(source.next_fetch),
        "fetches": source.fetches,
        "rollout": None
        if outcome is None
        else {
            "commit": source.commit.sha if source.commit is not None else None,
            "state": outcome.state,
            "description": outcome.description,
            "workflows": list(outcome.workflows),
            "failed": list(outcome.failed),
            "final": outcome.final,
        },
    }


def short(digest: str) -> str | None:
    """A release's id, as people use it."""
    return digest[:12] or None


def pin_view(pin: Pin) -> View:
    return {
        "kind": pin.kind,
        "release": short(pin.digest),
        "by": pin.actor,
        "at": iso(pin.at),
        "reason": pin.reason,
        "until": iso(pin.until),
        "liftedByAChangeOfTheSpec": bool(pin.against),
    }


def suspension_view(suspension: Suspension, scope: str) -> View:
    """`scope`: 'workflow' or 'all'."""
    return {
        "by": suspension.actor,
        "at": iso(suspension.at),
        "reason": suspension.reason,
        "until": iso(suspension.until),
        "scope": scope,
    }


def _suspended(record: Record, suspension: Suspension | None) -> View | None:
    if suspension is None:
        return None
    return suspension_view(suspension, "workflow" if suspension is record.suspension else "all")


def failure_view(failure: Failure) -> View:
    return {
        "reason": failure.reason,
        "message": failure.message,
        "problems": [problem_view(problem) for problem in failure.problems],
    }


def problem_view(problem: Problem) -> View:
    return {key: value for key, value in problem.__dict__.items() if value not in ("", None)}


def event_view(event: Event, commits: Commits = _no_commits) -> View:
    """One line of the log, and one event of the stream."""
    return {
        "id": event.id,
        "at": iso(event.at),
        "kind": event.kind,
        "workflowId": event.workflow_id or None,
        "old": event.old,
        "new": event.new,
        "because": event.because,
        "by": event.actor or None,
        "release": short(event.digest),
        "revision": event.revision,
        "commit": commit_view(commits(event.revision)),
        "source": event.source,
        "error": failure_view(event.failure) if event.failure else None,
        "timingsMs": dict(event.timings),
    }


def operation_view(operation: Operation) -> View:
    return {
        "id": operation.id,
        "kind": operation.kind,
        "workflowId": operation.workflow_id or None,
        "by": operation.actor,
        "reason": operation.reason,
        "state": operation.state,
        "createdAt": iso(operation.at),
        "finishedAt": iso(operation.finished),
        "because": operation.because,
    }


def audit_view(row: Audited) -> View:
    return {
        "id": row.id,
        "at": iso(row.at),
        "by": row.actor,
        "role": row.role,
        "verb": row.verb,
        "workflowId": row.workflow_id or None,
        "outcome": row.outcome,
        "detail": row.detail,
    }


def action_view(action: Action) -> View:
    """One step of a plan."""
    view: View = {
        "action": type(action).__name__.lower(),
        "workflowId": action.workflow_id,
        "because": action.because,
    }
    if isinstance(action, Deploy):
        view |= {"release": short(action.wanted.digest), "source": action.wanted.source}
    if isinstance(action, Refuse):
        view |= {"source": action.source, "reason": action.reason}
        view["problems"] = [problem_view(problem) for problem in action.problems]
    if isinstance(action, Hold):
        view["reason"] = action.reason
    return view


def refused_view(refused: Mapping[str, tuple[str, Failure]]) -> View:
    """Files of the source that hold no readable workflow id, by path."""
    return {path: failure_view(failure) for path, (_, failure) in refused.items()}


def history_view(
    events: Iterable[Event], record: Record, kept: Collection[str], commits: Commits = _no_commits
) -> list[View]:
    """What became of each attempt to change what is live, newest first. `events`: of one workflow, oldest
    first. `kept`: digests of the releases that the tree holds."""
    found = rollouts(events)
    return [rollout_view(rollout, record, kept, commits) for rollout in reversed(found)]


def rollout_view(
    rollout: Rollout, record: Record, kept: Collection[str], commits: Commits = _no_commits
) -> View:
    """One attempt. `kept`: its release can be gone back to."""
    return {
        "id": rollout.id,
        "kind": rollout.kind,
        "release": short(rollout.digest),
        "digest": rollout.digest or None,
        "outcome": rollout.outcome,
        "live": rollout.outcome is Outcome.LIVE and rollout.digest == record.applied,
        "kept": rollout.digest in kept,
        "by": rollout.actor or None,
        "because": rollout.because,
        "result": rollout.result,
        "startedAt": iso(rollout.started),
        "finishedAt": iso(rollout.finished),
        "tries": rollout.tries,
        "stagesMs": dict(rollout.stages),
        "revision": rollout.revision,
        "commit": commit_view(commits(rollout.revision)),
        "source": rollout.source,
        "error": failure_view(rollout.failure) if rollout.failure else None,
        "endedAt": iso(rollout.ended),
        "endedBecause": rollout.ended_because or None,
        "replacedBy": short(rollout.ended_by),
    }
