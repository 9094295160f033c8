"""What a row of the history means to people who are told of it, and how it is put into words. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from string import Template
from typing import Final, Protocol

from timewright.core.state import Failure, Health, Status


class Kind(StrEnum):
    """What people can ask to be told of."""

    DEPLOYED = "deployed"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    DEGRADED = "degraded"
    RECOVERED = "recovered"
    DRIFT = "drift"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    SOURCE = "source"


class Row(Protocol):
    """A row of the history, as edge/statefile.py has it."""

    @property
    def id(self) -> int: ...
    @property
    def at(self) -> float: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def old(self) -> str | None: ...
    @property
    def new(self) -> str: ...
    @property
    def because(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class News:
    """What one row means. `kind`: of what simply happened. `begins`: the condition that holds from now on,
    with a `mark` that is another one when it is worth telling again; `settles`: only when it lasts. `ends`:
    conditions that are over, which is worth telling where they were told. `pauses`: they don't hold now, and
    aren't over. `forgets`: they are over, and nobody asks."""

    kind: Kind | None = None
    begins: str = ""
    mark: str = ""
    settles: bool = False
    ends: tuple[str, ...] = ()
    pauses: tuple[str, ...] = ()
    forgets: tuple[str, ...] = ()


NOTHING: Final = News()
_SICK: Final = (Health.DEGRADED, Health.MISSING)
_BAD_SOURCE: Final = ("Refused", "Unreachable")
_NUMBERS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")


def condition(kind: Kind, subject: str) -> str:
    """The name of what holds for a workflow or a source: `failed/hello`, `source/main`."""
    return f"{kind}/{subject}"


def split(name: str) -> tuple[Kind, str]:
    """Kind and subject of a condition."""
    kind, _, subject = name.partition("/")
    return Kind(kind), subject


def news_of(row: Row) -> News:
    """What a row means; NOTHING for most."""
    if row.kind == "status":
        return _of_status(row)
    if row.kind == "health":
        return _of_health(row)
    if row.kind == "drift":
        name = condition(Kind.DRIFT, row.workflow_id)
        drifted = row.new == "drifted"
        return News(begins=name, mark=_mark(row.because)) if drifted else News(forgets=(name,))
    if row.kind == "suspension":
        return News(Kind.SUSPENDED if row.new else Kind.RESUMED)
    if row.kind == "source":
        return _of_source(row)
    return NOTHING


def _of_status(row: Row) -> News:
    failed = condition(Kind.FAILED, row.workflow_id)
    drift = condition(Kind.DRIFT, row.workflow_id)
    if row.old is None:  # found in the tree when the state file was lost
        return NOTHING
    if row.new == Status.DEPLOYMENT_FAILED:
        return News(begins=failed, mark=_mark_of_failure(row))
    if row.new == Status.DEPLOYED:
        fresh = row.old == Status.DEPLOYING
        return News(Kind.DEPLOYED if fresh else None, ends=(failed,), forgets=(drift,) if fresh else ())
    if row.new == Status.ROLLED_BACK:
        return News(Kind.ROLLED_BACK, ends=(failed,), forgets=(drift,))
    if row.new == Status.UNDEPLOYED:
        return News(forgets=(failed, drift, condition(Kind.DEGRADED, row.workflow_id)))
    return NOTHING


def _mark_of_failure(row: Row) -> str:
    """Another error, or another revision, is news; another number in it (a time, a wait) is none."""
    failure = row.failure
    words = f"{failure.reason} {failure.message}" if failure is not None else row.because
    return _mark(f"{row.revision} {_NUMBERS.sub('#', words)}")


def _of_health(row: Row) -> News:
    name = condition(Kind.DEGRADED, row.workflow_id)
    if row.new in _SICK:
        return News(begins=name, settles=True)
    if row.new == Health.HEALTHY:
        return News(ends=(name,))
    return News(pauses=(name,)) if row.new == Health.PROGRESSING else News(forgets=(name,))


def _of_source(row: Row) -> News:
    name = condition(Kind.SOURCE, source_of(row))
    if row.new not in _BAD_SOURCE:
        return News(ends=(name,))
    text = row.because if row.new == "Refused" else ""  # each refused commit is news; each lost packet isn't
    return News(begins=name, mark=_mark(f"{row.new} {text}"))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def source_of(row: Row) -> str:
    """The source that a row of kind 'source' is about: following.py says it first."""
    return row.because.partition(":")[0].removeprefix("source ").strip()


# Who is told -----------------------------------------------------------------------------------


def concerns(workflow_id: str, owner: str, workflows: Iterable[str], owners: Iterable[str]) -> bool:
    """Whether a route takes what is about a workflow ('' for all of them, or a source): `workflows` are
    globs, `owners` names; no owners: any."""
    owners = tuple(owners)
    if owners and owner not in owners:
        return False
    return any(fnmatchcase(workflow_id, glob) if workflow_id else glob == "*" for glob in workflows)


# In words --------------------------------------------------------------------------------------

#: What a title or a body may name. `what`: the kind as a person would say it.
NAMES: Final = (
    *("kind", "what", "workflow", "owner", "status", "health", "because", "commit", "author", "subject"),
    *("source", "release", "host", "at"),
)
_MOST_TITLE: Final = 200
_MOST_BODY: Final = 3000
_WORDS: Final[Mapping[Kind, str]] = {
    Kind.ROLLED_BACK: "rolled back",
    Kind.DRIFT: "drifted",
}


def what(kind: Kind, row: Row) -> str:
    """A kind as it is said: `hello rolled back`, `source main refused`."""
    if row.kind == "source":
        return row.new.lower() if row.new in _BAD_SOURCE else "in sync again"
    return _WORDS.get(kind, kind.value)


def template_problem(text: str) -> str:
    """What is wrong with a title or a body; '' when nothing is."""
    template = Template(text)
    if not template.is_valid():
        return "has a '$' without a name after it; write '$$' for a dollar"
    unknown = [name for name in template.get_identifiers() if name not in NAMES]
    if unknown:
        return f"has no ${unknown[0]}; it may have ${', $'.join(NAMES)}"
    return ""


def title(text: str, facts: Mapping[str, str]) -> str:
    """One line, without what would do something in a header or a terminal."""
    line = " ".join(Template(text).substitute(facts).split())
    return cut("".join(char for char in line if char.isprintable()), _MOST_TITLE)


def body(text: str, facts: Mapping[str, str]) -> str:
    """The lines of a text. One that names things, none of which is there, is left out."""
    lines = []
    for line in text.split("\n"):
        template = Template(line)
        named = template.get_identifiers()
        if not named or any(facts[name] for name in named):
            lines.append(template.substitute(facts).rstrip())
    whole = "\n".join(lines).strip()
    return cut("".join(char for char in whole if char.isprintable() or char in "\n\t"), _MOST_BODY)


def cut(text: str, most: int) -> str:
    """Not longer than services take."""
    return text if len(text) <= most else text[: most - 1] + "…"


def summary(held: Mapping[str, tuple[int, tuple[str, ...]]], host: str) -> tuple[str, str]:
    """Title and body of one notice for many. `held`: kind → how many, and the first of their names."""
    total = sum(count for count, _ in held.values())
    lines = []
    for kind, (count, names) in held.items():
        more = ", …" if count > len(names) else ""
        lines.append(f"{kind}: {count} ({', '.join(names)}{more})")
    return f"and {total:,} more ({host})", cut("\n".join(lines), _MOST_BODY)
