"""The errors that people see: what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why something is not as wished. A closed list: logs, status, API and metrics use these words."""

    INVALID_SPEC = "InvalidSpec"
    NOT_COMPILED = "NotCompiled"
    DUPLICATE_WORKFLOW_ID = "DuplicateWorkflowId"
    NAME_CONFLICT = "NameConflict"
    TYPE_CHECK_FAILED = "TypeCheckFailed"
    BUNDLE_FAILED = "BundleFailed"
    DEPENDENCY_FAILED = "DependencyFailed"
    DEPENDENCY_UNAVAILABLE = "DependencyUnavailable"
    COMPILE_TIMEOUT = "CompileTimeout"
    COMPILER_UNAVAILABLE = "CompilerUnavailable"
    LOAD_FAILED = "LoadFailed"
    RELOAD_FAILED = "ReloadFailed"
    WORKER_CRASHED = "WorkerCrashed"
    WAITING_FOR_WORKER = "WaitingForWorker"
    STORAGE_FAILED = "StorageFailed"
    HEALTH_CHECK_FAILED = "HealthCheckFailed"
    ROLLBACK_FAILED = "RollbackFailed"
    REPLAY_FAILED = "ReplayFailed"
    REPLAY_UNAVAILABLE = "ReplayUnavailable"
    GATE_FAILED = "GateFailed"
    ROLLOUT_FAILED = "RolloutFailed"
    TOO_MANY_VERSIONS = "TooManyVersions"
    OPEN_EXECUTIONS = "OpenExecutions"
    KNOWN_BAD = "KnownBad"
    DEPENDS_ON_MISSING = "DependsOnMissing"
    DEPENDS_ON_CYCLE = "DependsOnCycle"
    WAITING_FOR_DEPENDS_ON = "WaitingForDependsOn"
    PRUNE_BLOCKED = "PruneBlocked"
    VANISHED = "Vanished"
    SUSPENDED = "Suspended"
    PINNED = "Pinned"
    UNDEPLOYED_BY_HAND = "UndeployedByHand"
    DRIFTED = "Drifted"
    SOURCE_UNREADABLE = "SourceUnreadable"
    QUARANTINED = "Quarantined"
    INTERNAL_ERROR = "InternalError"


#: Failures that the same input can't repeat: worth another try without a change of the spec.
TRANSIENT = frozenset(
    {
        Reason.COMPILE_TIMEOUT,
        Reason.DEPENDENCY_UNAVAILABLE,
        Reason.COMPILER_UNAVAILABLE,
        Reason.STORAGE_FAILED,
        Reason.RELOAD_FAILED,
        Reason.TOO_MANY_VERSIONS,
        Reason.REPLAY_UNAVAILABLE,
        Reason.INTERNAL_ERROR,
    }
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one document.

    `where` is the path inside the document (`files["src/workflow.ts"]`, `deploy.taskQueue`) or, for
    code, the file in the release (`src/workflow.ts`). `line` and `column` count from 1, None where
    there is none. `code` is a compiler's code (`TS2345`) or ''. `hint` says what to do, or ''.
    """

    where: str
    message: str
    hint: str = ""
    line: int | None = None
    column: int | None = None
    code: str = ""

    def __str__(self) -> str:
        place = self.where
        if self.line is not None:
            place += f":{self.line}"
            if self.column is not None:
                place += f":{self.column}"
        text = f"{place}: " if place else ""
        text += f"{self.code}: " if self.code else ""
        text += self.message
        return f"{text} ({self.hint})" if self.hint else text


class TimewrightError(Exception):
    """An error for a person: `message` says what and where, `hint` what to try."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Code(StrEnum):
    """What kind of answer a refused request gets: the API's `code`. A closed list."""

    NOT_FOUND = "NOT_FOUND"
    BAD_REQUEST = "BAD_REQUEST"
    CONFLICT = "CONFLICT"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"


class RequestError(TimewrightError):
    """Somebody asked for something that can't be done; nothing was changed."""

    def __init__(self, code: Code, message: str, *, hint: str = "", problems: Iterable[Problem] = ()) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.problems = tuple(problems)


class DeployError(TimewrightError):
    """One workflow can't be deployed; whatever runs stays. `problems` may be empty."""

    def __init__(
        self, reason: Reason, message: str, *, problems: Iterable[Problem] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.problems = tuple(problems)

    @property
    def transient(self) -> bool:
        return self.reason in TRANSIENT


class SpecError(DeployError):
    """A document that is not a spec we can deploy; every problem found is in `problems`."""

    def __init__(self, problems: Iterable[Problem], *, reason: Reason = Reason.INVALID_SPEC) -> None:
        found = tuple(problems)
        head = str(found[0]) if found else "not a spec"
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        super().__init__(reason, head + more, problems=found)
