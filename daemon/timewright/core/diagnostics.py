"""What the TypeScript compiler says, as problems of one release. Pure.

Both ways of asking (the warm service and a cold `tsc -p`) end here, so that they can't differ in
order, wording or number. No path of the machine gets through: people read these lines (faults.md E6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from timewright.core.errors import Problem, Reason

_ERROR: Final = 1
_PRINTED = re.compile(
    r"^(?:(?P<file>\S[^\n]*?)\((?P<line>\d+),(?P<column>\d+)\): )?error (?P<code>TS\d+): (?P<text>.*)$"
)
_MISSING: Final = ("TS2307", "TS2792")
_NOT_FOUND = re.compile(r"^Cannot find module '([^']+)'")
_UNTYPED = re.compile(r"^Could not find a declaration file for module '([^'./][^']*)'")
_NO_TYPES = re.compile(r"^Cannot find type definition file for '([^']+)'")

#: What to do about the errors that builders meet most.
_HINTS: Final[Mapping[str, str]] = {
    "TS6059": "a release can only use its own files: with src/, those below it",
    "TS2589": "the type is too deep for the compiler; write it out or simplify it",
}


@dataclass(frozen=True)
class Places:
    """How to show absolute paths: `directory` of the release, and roots known by another name.

    `names`: pairs of (absolute path without a final slash, what to show instead; '' for nothing).
    """

    directory: str
    names: tuple[tuple[str, str], ...] = ()

    def show(self, text: str) -> str:
        """The text without any path of the machine that we know. Longest roots first."""
        pairs = ((self.directory, ""), *self.names)
        for path, name in sorted(pairs, key=lambda pair: -len(pair[0])):
            text = text.replace(path + "/", f"{name}/" if name else "").replace(path, name or ".")
        return text


def from_service(answers: Iterable[Mapping[str, Any]], places: Places) -> list[Problem]:
    """Problems from the service's DiagnosticResponse objects; only errors count."""
    return [_from_answer(answer, places) for answer in answers if answer.get("category") == _ERROR]


def _from_answer(answer: Mapping[str, Any], places: Places) -> Problem:
    start = answer.get("startPosition") if answer.get("fileName") else None
    return _problem(
        places,
        where=str(answer.get("fileName") or ""),
        line=start["line"] + 1 if start else None,
        column=start["character"] + 1 if start else None,
        code=f"{answer.get('source') or 'TS'}{answer['code']}",
        text=_flatten(answer),
    )


def from_host(answers: Iterable[Mapping[str, Any]], places: Places) -> list[Problem]:
    """Problems from what our Node host of TypeScript 5 and 6 says (worker/src/tshost.ts); all are errors."""
    return [
        _problem(
            places,
            where=str(item["fileName"]),
            line=int(item["line"]) or None,
            column=int(item["column"]) or None,
            code=f"TS{int(item['code'])}",
            text=str(item["text"]),
        )
        for item in answers
    ]


def _flatten(answer: Mapping[str, Any], depth: int = 0) -> str:
    """A message and its chain, indented as `tsc` prints them."""
    text = ("\n" + "  " * depth if depth else "") + str(answer["text"])
    return text + "".join(_flatten(child, depth + 1) for child in answer.get("messageChain") or ())


def from_printed(output: str, places: Places) -> list[Problem]:
    """Problems from what `tsc --pretty false` printed; lines that continue a message are indented."""
    found: list[Problem] = []
    current: re.Match[str] | None = None
    text: list[str] = []
    for line in [*output.splitlines(), None]:
        match = _PRINTED.match(line) if line is not None else None
        if line is not None and match is None and line.startswith("  ") and current is not None:
            text.append(line)
            continue
        if current is not None:
            found.append(_from_match(current, text, places))
        current, text = match, []
    return found


def _from_match(match: re.Match[str], more: Sequence[str], places: Places) -> Problem:
    return _problem(
        places,
        where=match["file"] or "",
        line=int(match["line"]) if match["line"] else None,
        column=int(match["column"]) if match["column"] else None,
        code=match["code"],
        text="\n".join((match["text"], *more)),
    )


def _problem(
    places: Places, *, where: str, line: int | None, column: int | None, code: str, text: str
) -> Problem:
    return Problem(
        where=places.show(where),
        message=places.show(text),
        hint=_hint(code, text),
        line=line,
        column=column,
        code=code,
    )


def _hint(code: str, text: str) -> str:
    package = missing_package(code, text)
    if package is not None:
        return f'add "{package}" to the dependencies in package.json, or import a file with ./'
    missing = _NOT_FOUND.match(text) if code in _MISSING else None
    if missing is not None and missing[1].startswith("."):
        return "add the file to the spec: what a build step generates must come with it"
    if missing is not None and missing[1].startswith(("@/", "~")):
        return "is it an alias? Then paths in the tsconfig must name it, and the spec must have the file"
    untyped = _UNTYPED.match(text)
    if untyped is not None:
        return f'add "@types/{untyped[1]}" to package.json, or a .d.ts file that declares the module'
    return _HINTS.get(code, "")


def missing_package(code: str, text: str) -> str | None:
    """The package that a "module not found" is about; None for other errors and for relative files."""
    match = None
    if code in _MISSING:
        match = _NOT_FOUND.match(text)
    elif code == "TS2688":
        match = _NO_TYPES.match(text)
    # `@/x` and `~/x` are what aliases look like; no package has such a name.
    if match is None or match[1].startswith((".", "/", "#", "@/", "~", "node:")):
        return None
    parts = match[1].split("/")
    return "/".join(parts[:2] if parts[0].startswith("@") else parts[:1])


def tidy(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, in the order of files, lines and columns; those without a file first."""
    return tuple(sorted(set(problems), key=_order))


def _order(problem: Problem) -> tuple[str, int, int, str, str]:
    return (problem.where, problem.line or 0, problem.column or 0, problem.code, problem.message)


def reason(problems: Iterable[Problem]) -> Reason:
    """Why a check failed: DEPENDENCY_FAILED when a package is missing, since the rest may follow from it."""
    if any(missing_package(problem.code, problem.message) for problem in problems):
        return Reason.DEPENDENCY_FAILED
    return Reason.TYPE_CHECK_FAILED


def headline(problems: Sequence[Problem]) -> str:
    """One line for people: the first problem and how many more there are."""
    first = str(problems[0]).split("\n", 1)[0]
    more = len(problems) - 1
    return f"{first} (and {more} more)" if more else first


def bounded(problems: Sequence[Problem], limit: int = 50) -> tuple[Problem, ...]:
    """The first `limit` problems, and one more that says how many were left out."""
    if len(problems) <= limit:
        return tuple(problems)
    left = len(problems) - limit
    return (*problems[:limit], Problem(where="", message=f"{left} more errors are not shown"))
