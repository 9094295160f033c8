"""Documents: strict JSON and YAML into plain values, with the line of every path.

Two parsers that disagree are a hole (faults.md finding 7): a document is parsed here, once, and
only values that passed go on. Work is linear in the document's size; nothing recurses.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import yaml

from timewright.core.errors import Problem, SpecError

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Limits:
    """What a document may cost: `bytes` of the file, `depth` of nesting, `items` in all, `files` of code."""

    bytes: int = 8 * 1024 * 1024
    depth: int = 64
    items: int = 200_000
    files: int = 500


@dataclass(frozen=True)
class Document:
    """A parsed document: its value, and its text for finding lines again."""

    value: Any
    text: str
    yaml: bool = False

    def line(self, path: Path) -> int | None:
        """The line (from 1) where the value at `path` starts; None when the path isn't there."""
        return self._places.get(path)

    @cached_property
    def _places(self) -> dict[Path, int]:
        """Made once: a document with thousands of problems asks for thousands of lines."""
        if "\n" not in self.text:
            return {}  # all on one line: a number would say nothing
        return dict(_yaml_places(self.text) if self.yaml else _json_places(self.text))


def show(path: Path) -> str:
    """A path as people read it: `deploy.rollout.steps[0]`, `files["src/workflow.ts"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$]*", part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return text or "(document)"


def parse(data: bytes, *, is_yaml: bool = False, limits: Limits | None = None) -> Document:
    """Parse the bytes of one file. Raises SpecError, never anything else."""
    limits = limits or Limits()
    if len(data) > limits.bytes:
        _refuse(
            f"{len(data)} bytes is more than the limit of {limits.bytes}",
            hint="split the workflow, or raise source.max_spec_bytes",
        )
    text = _decode(data)
    value = _parse_yaml(text, limits) if is_yaml else _parse_json(text, limits)
    _check_texts(value)
    return Document(value, text, is_yaml)


class UnreadableError(SpecError):
    """Text that is no JSON or YAML: perhaps a file that is still being written."""


def _refuse(
    message: str,
    *,
    line: int | None = None,
    column: int | None = None,
    hint: str = "",
    kind: type[SpecError] = SpecError,
) -> NoReturn:
    raise kind([Problem("(document)", message, hint, line, column)])


def _decode(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        _refuse("starts with a byte order mark", hint="save it as UTF-8 without BOM")
    try:
        return data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(f"byte {error.start} is not UTF-8", line=line, hint="save it as UTF-8", kind=UnreadableError)


# JSON ------------------------------------------------------------------------------------------

# Possessive quantifiers: an unclosed string of megabytes can't make the pattern go back and forth.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}:,]|[^\s\[\]{}:,"]++', re.DOTALL)


def _parse_json(text: str, limits: Limits) -> Any:
    _check_shape(text, limits)
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            duplicates.extend(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return result

    try:
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        _refuse(
            f"is not JSON: {error.msg}",
            line=error.lineno,
            column=error.colno,
            hint="is the file complete?",
            kind=UnreadableError,
        )
    except RecursionError:  # the depth was checked; a safety net for a limit set too high
        _refuse("is nested too deeply")
    if duplicates:
        raise SpecError(
            Problem("(document)", f"the key {key!r} stands twice in one object", "keep one of them")
            for key in dict.fromkeys(duplicates)
        )
    return value


def _check_shape(text: str, limits: Limits) -> None:
    depth = items = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "[{":
            depth += 1
            if depth > limits.depth:
                _refuse(f"is nested deeper than {limits.depth} levels", line=_line_at(text, match.start()))
        elif token in "]}":
            depth -= 1
        else:
            items += token == ","
            if items > limits.items:
                _refuse(f"has more than {limits.items} values")


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _no_constant(name: str) -> NoReturn:
    _refuse(f"{name} is not JSON", hint="use a number or null")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(f"the number {text[:40]} is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > 40:
        _refuse(f"the number {text[:20]}… has {len(text)} digits")
    return int(text)


def _json_places(text: str) -> Iterator[tuple[Path, int]]:
    """Each value's path with its line, in document order; only for text that parsed."""
    stack: list[list[Any]] = []  # one frame for each open container: [is_object, key or index]
    expect_key = False
    line, counted = 1, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        line += text.count("\n", counted, match.start())
        counted = match.start()
        if token == ",":
            expect_key = bool(stack[-1][0])
            if not expect_key:
                stack[-1][1] += 1
        elif token in "]}":
            stack.pop()
            expect_key = False
        elif expect_key and token.startswith('"'):
            stack[-1][1] = json.loads(token)
            expect_key = False
        elif token != ":":
            yield tuple(frame[1] for frame in stack), line
            if token in "[{":
                expect_key = token == "{"
                stack.append([expect_key, "" if expect_key else 0])


# YAML ------------------------------------------------------------------------------------------
# Built from the event stream, not by yaml.load: no recursion, no aliases (the "billion laughs"),
# no tags that make objects, duplicate keys seen, and the line of each value at hand.

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TOO_DEEP = "exceeded maximum nesting depth"  # libyaml, in PyYAML 6.0.4 and later
_resolver = yaml.SafeLoader("")
_TAG = "tag:yaml.org,2002:"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Builder:
    """Builds one value out of YAML events, keeping each value's path and line."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.root: Any = None
        self.places: list[tuple[Path, int]] = []
        self.stack: list[tuple[Any, list[str]]] = []  # (container, [pending key])
        self.path: list[str | int] = []
        self.items = 0

    def feed(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            _refuse("uses a YAML anchor or alias", line=line, hint="write the value out")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if event.tag and event.tag.split(":")[-1] not in ("map", "seq"):
                _refuse(f"uses the YAML tag {event.tag}", line=line, hint="plain values only")
            container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._add(container, line)
            self.stack.append((container, []))
            if len(self.stack) > self.limits.depth:
                _refuse(f"is nested deeper than {self.limits.depth} levels", line=line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.stack.pop()
            self._leave()

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        container, pending = self.stack[-1] if self.stack else (None, [])
        if isinstance(container, dict) and not pending:
            if event.value in container:
                _refuse(f"the key {event.value!r} stands twice in one mapping", line=line)
            pending.append(event.value)
            return
        self._add(_construct(event, line), line)
        self._leave()

    def _add(self, value: Any, line: int) -> None:
        self.items += 1
        if self.items > self.limits.items:
            _refuse(f"has more than {self.limits.items} values")
        if not self.stack:
            self.root = value
            self.path = []
        else:
            container, pending = self.stack[-1]
            if isinstance(container, list):
                self.path.append(len(container))
                container.append(value)
            elif pending:
                self.path.append(pending[0])
                container[pending.pop()] = value
            else:
                _refuse("has a mapping key that is not plain text", line=line)
        self.places.append((tuple(self.path), line))

    def _leave(self) -> None:
        if self.path:
            self.path.pop()


def _construct(event: yaml.ScalarEvent, line: int) -> Any:
    tag = event.tag or _resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
    if tag == "tag:yaml.org,2002:timestamp":
        return event.value  # JSON has no dates; `2026-11-22` stays the text it is
    if tag in _NUMBERS and len(event.value) > 40:  # base 60 is quadratic, base 16 has no limit of its own
        _refuse(f"the number {event.value[:20]}… has {len(event.value)} digits", line=line)
    try:
        value = _resolver.construct_object(yaml.ScalarNode(tag, event.value))
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError):
        _refuse(f"{event.value[:40]!r} can't be read as {str(tag).removeprefix(_TAG)}", line=line)
    finally:  # the constructor keeps what it made, for aliases that we don't have
        _resolver.constructed_objects.clear()
        _resolver.recursive_objects.clear()
        _resolver.state_generators.clear()
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(f"the number {event.value[:40]} is not finite", line=line)
    if not isinstance(value, str | int | float | bool | None):
        _refuse(f"has a value of type {tag}", line=line, hint="use text, numbers, true/false or null")
    return value


def _build_yaml(text: str, limits: Limits) -> _Builder:
    builder = _Builder(limits)
    documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            _refuse("holds more than one YAML document", hint="one spec a file")
        builder.feed(event)
    return builder


def _parse_yaml(text: str, limits: Limits) -> Any:
    try:
        return _build_yaml(text, limits).root
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark else None
        if what == _TOO_DEEP:  # it reads ahead of our own limit, which is lower
            _refuse(f"is nested deeper than {limits.depth} levels", line=line)
        _refuse(
            f"is not YAML: {what}",
            line=line,
            column=mark.column + 1 if mark else None,
            kind=UnreadableError,
        )
    except RecursionError:
        _refuse("is nested too deeply")


def _yaml_places(text: str) -> Sequence[tuple[Path, int]]:
    return _build_yaml(text, Limits(depth=1 << 30, items=1 << 30)).places


# Both ------------------------------------------------------------------------------------------


def walk(value: Any) -> Iterator[tuple[Path, Any]]:
    """Every value below (and with) `value`, with its path; no recursion."""
    queue: list[tuple[Path, Any]] = [((), value)]
    while queue:
        path, here = queue.pop()
        yield path, here
        children: Iterable[tuple[str | int, Any]] = ()
        if isinstance(here, dict):
            children = here.items()
        elif isinstance(here, list):
            children = enumerate(here)
        queue.extend(((*path, key), child) for key, child in children)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _check_texts(value: Any) -> None:
    for path, here in walk(value):
        keys = here if isinstance(here, dict) else ()
        for text in (here, *keys):
            if isinstance(text, str) and _SURROGATE.search(text):
                place = show(path).encode("ascii", "backslashreplace").decode()
                raise SpecError([Problem(place, "holds half of a surrogate pair, which no file can store")])
