"""What became of a commit: whether all that it changed is applied and healthy. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from timewright.core.errors import Reason
from timewright.core.policy import is_policy_name
from timewright.core.state import Failure, Health, Record, Status
from timewright.core.worlds import Broken, Desired, Wanted


class Landing(StrEnum):
    """How a commit has fared."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True)
class Outcome:
    """What became of a commit. `workflows`: those whose specs it changed; `failed`: those of them that are
    not as it asks. `final`: nothing of it can change by itself any more."""

    state: Landing
    description: str
    workflows: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    final: bool = False


@dataclass(frozen=True)
class _Found:
    """One workflow, or one file without a readable id."""

    name: str
    state: Landing
    why: str = ""
    final: bool = True


_PASSING: Final = (Reason.WAITING_FOR_DEPENDS_ON, Reason.VANISHED)


def judge(
    changed: Collection[str],
    desired: Desired,
    records: Mapping[str, Record],
    refused: Mapping[str, Failure],
    busy: Set[str],
    *,
    prunes: bool,
    tries: int,
) -> Outcome:
    """What became of the files in `changed` (whole paths). `desired`: what a pass has read of that commit.
    `prunes`: what is gone is to be undeployed. `tries`: failures that may pass count as such after so
    many."""
    paths = {*changed, *_below_policies(changed, desired)}
    found = list(_all(paths, desired, records, refused, busy, prunes=prunes, tries=tries))
    failed = [one for one in found if one.state is Landing.FAILURE]
    pending = [one for one in found if one.state is Landing.PENDING]
    names = tuple(sorted({one.name for one in found}))
    final = all(one.final for one in found)
    if failed:
        first = f"{failed[0].name}: {failed[0].why}"
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        ids = tuple(one.name for one in failed)
        return Outcome(Landing.FAILURE, first + more, names, ids, final and not pending)
    if pending:
        done = len(found) - len(pending)
        text = f"{done} of {len(found)} applied; {pending[0].name}: {pending[0].why}"
        return Outcome(Landing.PENDING, text, names)
    what = "no workflow changed" if not found else f"{_count(len(names))} applied and healthy"
    return Outcome(Landing.SUCCESS, what, names, (), final)


def _count(number: int) -> str:
    return "1 workflow" if number == 1 else f"{number} workflows"


def _below_policies(changed: Collection[str], desired: Desired) -> Iterator[str]:
    """Specs that get their defaults from a policy that changed."""
    folders = [posixpath.dirname(path) for path in changed if is_policy_name(posixpath.basename(path))]
    for item in desired.items if folders else ():
        if any(not folder or item.source.startswith(f"{folder}/") for folder in folders):
            yield item.source


def _all(
    paths: Set[str],
    desired: Desired,
    records: Mapping[str, Record],
    refused: Mapping[str, Failure],
    busy: Set[str],
    *,
    prunes: bool,
    tries: int,
) -> Iterator[_Found]:
    spoken: set[str] = set()
    for item in sorted(desired.items, key=lambda item: item.source):
        if item.workflow_id is not None:
            spoken.add(item.workflow_id)
        if item.source not in paths:
            continue
        failure = refused.get(item.source)
        if failure is not None:  # also a second file for a workflow that another one has
            yield _Found(item.source, Landing.FAILURE, _why(failure))
        elif isinstance(item, Wanted):
            yield _wanted(item, records.get(item.workflow_id), busy, tries)
        elif item.workflow_id is None or records.get(item.workflow_id) is None:
            yield _Found(item.workflow_id or item.source, Landing.FAILURE, _broken(item))
        else:
            yield _Found(item.workflow_id, Landing.FAILURE, _broken(item))
    for path in sorted(paths & desired.settling):
        yield _Found(path, Landing.PENDING, "still being read", False)
    for record in records.values():
        if record.source in paths - desired.settling and record.workflow_id not in spoken:
            yield _gone(record, busy, prunes=prunes)


def _wanted(item: Wanted, record: Record | None, busy: Set[str], tries: int) -> _Found:
    name = item.workflow_id
    if record is None or name in busy or record.status in (Status.DEPLOYING, Status.ROLLING_BACK):
        return _Found(
            name, Landing.PENDING, record.because if record is not None else "not looked at yet", False
        )
    if record.failure is not None and record.status is Status.DEPLOYMENT_FAILED:
        if record.failure.transient and record.attempts < tries:
            return _Found(name, Landing.PENDING, record.because, False)
        return _Found(name, Landing.FAILURE, _why(record.failure), not record.failure.transient)
    if record.applied != item.digest:
        if record.held and record.held_reason not in _PASSING:
            return _Found(name, Landing.FAILURE, record.held)
        return _Found(name, Landing.PENDING, record.held or "waiting for its turn", False)
    if record.health is Health.HEALTHY:
        return _Found(name, Landing.SUCCESS, "", record.trial_until is None)
    return _Found(name, Landing.PENDING, record.health_reason or "not served yet", False)


def _gone(record: Record, busy: Set[str], *, prunes: bool) -> _Found:
    name = record.workflow_id
    if record.status is Status.UNDEPLOYED:
        return _Found(name, Landing.SUCCESS)
    keeps = record.prune is False or (record.prune is None and not prunes)
    if keeps and record.held_reason == Reason.PRUNE_BLOCKED:
        return _Found(name, Landing.SUCCESS)
    if record.held and record.held_reason not in _PASSING and name not in busy:
        return _Found(name, Landing.FAILURE, record.held)
    return _Found(name, Landing.PENDING, "being undeployed", False)


def _why(failure: Failure) -> str:
    return f"{failure.reason}: {failure.message}"


def _broken(item: Broken) -> str:
    first = str(item.problems[0]) if item.problems else "it is no spec"
    return f"{item.reason}: {first}"
