"""What became of replaying executions on new code: plain values, and the words that people read.

The replayer (`worker/src/replay.ts`) tells each execution as a JSON object; `outcome_of` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from timewright.core.errors import DeployError, Problem, Reason
from timewright.core.stored import is_number

OFF, WARN, ENFORCE, AUTO = "off", "warn", "enforce", "auto"
MODES: Final = (AUTO, OFF, WARN, ENFORCE)
HINT: Final = "keep the old path for executions that began on it: patched() of @temporalio/workflow"
_SHOWN: Final = 3


class Kind(StrEnum):
    """Why an execution can't be replayed."""

    DETERMINISM = "determinism"  # the code does something else than history holds
    FAILURE = "failure"  # the code fails a workflow task
    TIMEOUT = "timeout"  # the code doesn't come to an end
    SETUP = "setup"  # not the code's fault: no history, its type isn't there, the replayer's own trouble


@dataclass(frozen=True)
class Step:
    """A command: `kind` as in worker/src/commands.ts, `name` of what it is about, `ms` of a timer."""

    kind: str
    name: str = ""
    ms: float | None = None


@dataclass(frozen=True)
class Replayed:
    """One execution. `event`: where history and code part; `old`: the command that history holds there;
    `new`: what the code does there; `source`: `src/workflow.ts:12`, where it does so. `stuck`: why the
    execution fails already, on the code that is live. `events`: how long its history is."""

    workflow_id: str
    run_id: str
    ok: bool = True
    kind: str = ""
    message: str = ""
    event: int | None = None
    old: Step | None = None
    new: Step | None = None
    source: str = ""
    stack: str = ""
    stuck: str = ""
    workflow_type: str = ""
    running: bool = False
    events: int = 0

    @property
    def breaks(self) -> bool:
        """Whether the new code would break it: what fails on the live code too isn't made worse."""
        return not self.ok and self.kind != Kind.SETUP and not self.stuck


@dataclass(frozen=True)
class ReplayReport:
    """What a replay of one release found. `mode`: off, warn or enforce. `warnings`: what could not be
    looked at, and why. `known`: how many answers came from the cache. `problem`: why Temporal could not be
    asked or the replayer doesn't run, '' when all went well."""

    mode: str
    replayed: tuple[Replayed, ...] = ()
    warnings: tuple[str, ...] = ()
    known: int = 0
    problem: str = ""

    @property
    def broken(self) -> tuple[Replayed, ...]:
        return tuple(one for one in self.replayed if one.breaks)

    @property
    def blocks(self) -> bool:
        """Whether the release may not go live."""
        return self.mode == ENFORCE and bool(self.broken)

    @property
    def because(self) -> str:
        """The report in one sentence; '' where nothing is to be said."""
        if self.broken:
            shown = "; ".join(f"{one.workflow_id}: {sentence(one)}" for one in self.broken[:_SHOWN])
            more = len(self.broken) - _SHOWN
            return (
                f"the new code breaks {len(self.broken)} of {len(self.replayed)} executions: {shown}"
                f"{f'; and {more} more' if more > 0 else ''}"
            )
        return ""

    @property
    def hint(self) -> str:
        return HINT if self.broken else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a deploy should warn of: what it breaks where that doesn't block it, what isn't known."""
        told = (self.because,) if self.broken and not self.blocks else ()
        setup = [one for one in self.replayed if not one.ok and not one.breaks]
        return (*told, *(_unknown(setup) if setup else ()), *self.warnings)


def mode_of(said: str, configured: str, *, pinned: bool) -> str:
    """What is done: as the spec says, else as the host's settings do. `auto`: enforce where executions that
    run go on with new code; off where each stays with the version that it began on (`pinned`)."""
    mode = said or configured
    if mode == AUTO:
        return OFF if pinned else ENFORCE
    return mode


def refusal(report: ReplayReport) -> DeployError:
    """What a deploy fails with where a report `blocks`: a problem for each execution, with its line."""
    problems = [_problem(one) for one in report.broken]
    return DeployError(Reason.REPLAY_FAILED, report.because, problems=problems, hint=HINT)


def _problem(one: Replayed) -> Problem:
    file, _, line = one.source.rpartition(":")
    said = sentence(replace(one, source=""))
    return Problem(file, f"execution {one.workflow_id}: {said}", line=int(line) if line.isdigit() else None)


def outcome_of(value: Mapping[str, Any]) -> Replayed:
    """An outcome as the replayer writes it. Raises ValueError for what is none."""
    try:
        event = value.get("eventId")
        if not (event is None or is_number(event, whole=True)):
            raise TypeError("eventId is no number")
        return Replayed(
            workflow_id=str(value["workflowId"]),
            run_id=str(value["runId"]),
            ok=bool(value["ok"]),
            kind=str(value.get("kind", "")),
            message=str(value.get("message", "")),
            event=event,
            old=_step(value.get("old")),
            new=_step(value.get("new")),
            source=str(value.get("source", "")),
            stack=str(value.get("stack", "")),
            stuck=str(value.get("stuck", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an outcome of a replay: {error}") from None


def _step(value: Mapping[str, Any] | None) -> Step | None:
    """Raises TypeError, KeyError and AttributeError for what is none."""
    if not value:
        return None
    ms = value.get("ms")
    if not (ms is None or is_number(ms)):
        raise TypeError("ms is no number")
    return Step(str(value["kind"]), str(value.get("name", "")), ms)


def outcome_view(one: Replayed) -> dict[str, Any]:
    """The same as JSON; `outcome_of` reads it back."""
    view = {
        "workflowId": one.workflow_id,
        "runId": one.run_id,
        "workflowType": one.workflow_type,
        "open": one.running,
        "events": one.events,
        "ok": one.ok,
        "kind": one.kind,
        "message": one.message,
        "eventId": one.event,
        "old": asdict(one.old) if one.old else None,
        "new": asdict(one.new) if one.new else None,
        "source": one.source,
        "stack": one.stack,
        "stuck": one.stuck,
    }
    return {key: value for key, value in view.items() if value not in ("", None)}


def report_view(report: ReplayReport) -> dict[str, Any]:
    """{mode, replayed, broken, blocks, because, warnings, executions}, for JSON."""
    return {
        "mode": report.mode,
        "replayed": len(report.replayed),
        "broken": len(report.broken),
        "blocks": report.blocks,
        "because": report.because or None,
        "hint": report.hint or None,
        "warnings": list(report.warnings),
        "executions": [
            {
                **outcome_view(one),
                "breaks": one.breaks,
                **({} if one.ok else {"because": sentence(one)}),
            }
            for one in report.replayed
        ],
    }


# Words ------------------------------------------------------------------------------------------


def sentence(one: Replayed) -> str:
    """What is wrong with one execution: `event 5: history has activity charge, the new code starts a timer
    of 5 s (src/workflow.ts:12)`."""
    where = f" ({one.source})" if one.source else ""
    if one.ok:
        return "passes"
    if one.kind == Kind.DETERMINISM:
        event = f"event {one.event}: " if one.event is not None else ""
        if one.old is None and one.new is None:
            return f"{event}{one.message}"
        return f"{event}history has {had(one.old)}, the new code {does(one.new, one.old)}{where}"
    if one.kind == Kind.FAILURE:
        return f"the new code fails its workflow task: {one.message}{where}"
    if one.kind == Kind.TIMEOUT:
        return f"the new code doesn't come to an end: {one.message}{where}"
    return f"can't be replayed: {one.message}"


_HAD: Final[Mapping[str, str]] = {
    "activity": "activity {}",
    "child": "child workflow {}",
    "localActivity": "a local activity",
    "signal": "signal {} to another workflow",
    "cancelExternal": "a cancel of another workflow",
    "cancelTimer": "a cancel of a timer",
    "cancelActivity": "a cancel of an activity",
    "patch": "patch {}",
    "searchAttributes": "a change of search attributes",
    "memo": "a change of the memo",
    "nexus": "Nexus operation {}",
    "cancelNexus": "a cancel of a Nexus operation",
    "complete": "the workflow's end",
    "fail": "the workflow's failure",
    "cancel": "the workflow's end by a cancel",
    "continueAsNew": "a continue-as-new",
}
_DOES: Final[Mapping[str, str]] = {
    "activity": "calls activity {}",
    "child": "starts child workflow {}",
    "localActivity": "calls local activity {}",
    "signal": "sends signal {} to another workflow",
    "cancelExternal": "cancels another workflow",
    "cancelTimer": "cancels a timer",
    "cancelActivity": "cancels an activity",
    "patch": "asks for patch {}",
    "searchAttributes": "changes search attributes",
    "memo": "changes the memo",
    "nexus": "calls Nexus operation {}",
    "cancelNexus": "cancels a Nexus operation",
    "complete": "ends the workflow",
    "fail": "fails the workflow",
    "cancel": "ends the workflow as cancelled",
    "continueAsNew": "continues as new",
}


def had(step: Step | None) -> str:
    """A command as history has it: `activity charge`."""
    if step is None:
        return "nothing there"
    if step.kind == "timer":
        return f"a timer of {span(step.ms)}"
    return _HAD.get(step.kind, step.kind).replace("{}", step.name or "of an unknown name")


def does(step: Step | None, old: Step | None = None) -> str:
    """A command as code gives it: `calls activity charge`. `old`: what history has in its place."""
    if step is None:
        return f"has no patched('{old.name}')" if old is not None and old.kind == "patch" else "does nothing"
    if step.kind == "timer":
        return f"starts a timer of {span(step.ms)}"
    return _DOES.get(step.kind, step.kind).replace("{}", step.name or "of an unknown name")


def span(ms: float | None) -> str:
    """`5 s`, `150 ms`, `30 d`: a timer's time in the largest unit that it is a whole number of."""
    if ms is None:
        return "an unknown time"
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if ms >= size and ms % size == 0:
            return f"{ms // size:.0f} {unit}"
    return f"{ms:g} ms"


def _unknown(setup: Iterable[Replayed]) -> tuple[str, ...]:
    found = list(setup)
    first = found[0]
    why = f"it fails already ({first.stuck})" if first.stuck else first.message
    count = "1 execution" if len(found) == 1 else f"{len(found)} executions"
    return (f"{count} could not be judged by a replay: {first.workflow_id}: {why}",)
