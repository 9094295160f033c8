"""What differs between two releases, or between a release and what the source asks for. Pure.

Everything goes from `a` to `b`. Values of environment variables are never part of it, only their names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from timewright.core.digest import sha256
from timewright.core.masking import mask, may_hold_secrets, printable

#: Bounds of what is compared as text and of what is shown of it.
MOST_BYTES: Final = 256 * 1024  # of one file
MOST_LINES_COMPARED: Final = 4000
MOST_LINES: Final = 400  # of one file's diff
MOST_FILES: Final = 100  # with a text diff
MOST_WIDTH: Final = 500  # characters of a line


@dataclass(frozen=True)
class Text:
    """A file's text; None where there is none, and `why`."""

    text: str | None
    why: str = ""


@dataclass(frozen=True)
class Side:
    """One of the two. `files`: path → SHA-256 of what the spec gave. `compiled`: the same of what was made
    of it, None when nothing was made yet. `texts`: of the files that differ. `asked`: packages that
    package.json names, name → range; `installed`: name → version. `bundle`: (SHA-256, bytes)."""

    name: str
    files: Mapping[str, str]
    texts: Mapping[str, Text] = field(default_factory=dict)
    compiled: Mapping[str, str] | None = None
    asked: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    placement: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    workflow_types: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    bundle: tuple[str, int] | None = None


@dataclass(frozen=True)
class FileChange:
    """`change`: 'added', 'removed' or 'changed'. `diff`: unified, None where `note` says why not; `note`
    also says of a diff that it is cut."""

    path: str
    change: str
    diff: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Change:
    """A value that is another one; None for none."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Names:
    """Names that came, went, or stand for something else."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diff:
    """All that differs. `compiled`, `installed`, `bundle`: None where one side has none yet."""

    files: tuple[FileChange, ...]
    compiled: Names | None
    asked: tuple[Change, ...]
    installed: tuple[Change, ...] | None
    options: tuple[Change, ...]
    placement: tuple[Change, ...]
    env: Names
    workflow_types: Names
    activities: Names
    versions: tuple[Change, ...]
    bundle: tuple[tuple[str, int] | None, tuple[str, int] | None] | None


def compare(a: Side, b: Side) -> Diff:
    """What has to be done to `a` to get `b`."""
    both = a.compiled is not None and b.compiled is not None
    packages = a.installed is not None and b.installed is not None
    return Diff(
        files=tuple(_files(a, b)),
        compiled=names(a.compiled or {}, b.compiled or {}) if both else None,
        asked=tuple(_masked(change) for change in changes(a.asked, b.asked)),
        installed=changes(a.installed or {}, b.installed or {}) if packages else None,
        options=changes(a.options, b.options),
        placement=changes(a.placement, b.placement),
        env=names(a.env, b.env),
        workflow_types=names(dict.fromkeys(a.workflow_types), dict.fromkeys(b.workflow_types)),
        activities=names(dict.fromkeys(a.activities), dict.fromkeys(b.activities)),
        versions=changes(a.versions, b.versions),
        bundle=(a.bundle, b.bundle) if both and a.bundle != b.bundle else None,
    )


def differing(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    """The keys under which the two hold other values."""
    return (key for key in sorted({*a, *b}) if a.get(key) != b.get(key))


def names(a: Mapping[str, Any], b: Mapping[str, Any]) -> Names:
    return Names(
        added=tuple(sorted(b.keys() - a.keys())),
        removed=tuple(sorted(a.keys() - b.keys())),
        changed=tuple(sorted(key for key in a.keys() & b.keys() if a[key] != b[key])),
    )


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(Change(key, a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key))


def _masked(change: Change) -> Change:
    """A package may come from a URL with a token in it."""
    old, new = (mask(value) if isinstance(value, str) else value for value in (change.old, change.new))
    return Change(change.name, old, new)


def _files(a: Side, b: Side) -> Iterator[FileChange]:
    secrets = (*a.env.values(), *b.env.values())
    nothing = Text("")
    for count, path in enumerate(differing(a.files, b.files)):
        word = "added" if path not in a.files else "removed" if path not in b.files else "changed"
        old = a.texts.get(path, nothing) if path in a.files else nothing
        new = b.texts.get(path, nothing) if path in b.files else nothing
        if count >= MOST_FILES:
            yield FileChange(path, word, None, f"only the first {MOST_FILES} files are shown as text")
        else:
            diff, note = as_diff(path, old, new, secrets)
            yield FileChange(path, word, diff, note)


def as_diff(path: str, old: Text, new: Text, secrets: Iterable[str] = ()) -> tuple[str | None, str]:
    """(unified diff or None, note). What looks like a secret is masked, after the comparison: a changed
    password shows as a changed line."""
    for side in (old, new):
        if side.text is None:
            return None, side.why
    if may_hold_secrets(path):
        return None, "files of that name may hold secrets: not shown"
    before, after = (old.text or "").split("\n"), (new.text or "").split("\n")
    if max(len(before), len(after)) > MOST_LINES_COMPARED:
        return None, f"more than {MOST_LINES_COMPARED} lines: not shown"
    found = list(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", n=3, lineterm=""))
    note = ""
    if len(found) > MOST_LINES:
        note = f"cut: {len(found) - MOST_LINES} more lines"
    wide = "\n".join(line[: 4 * MOST_WIDTH] for line in found[:MOST_LINES])
    return "\n".join(_shown(mask(wide, secrets))), note


def _shown(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        shown = printable(line)
        yield shown if len(shown) <= MOST_WIDTH else f"{shown[:MOST_WIDTH]}…"


def text_of(data: bytes, digest: str | None = None) -> Text:
    """Bytes as a text to compare. `digest`: what they must have to be what they are taken for."""
    if digest is not None and sha256(data) != digest:
        return Text(None, "it is not as it was built: see its drift")
    if len(data) > MOST_BYTES:
        return Text(None, f"more than {MOST_BYTES // 1024} KiB: not shown")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Text(None, "binary: not shown")
    return Text(None, "binary: not shown") if "\0" in text else Text(text)


def proven(candidates: Iterable[str | None], digest: str) -> str | None:
    """The one among texts that has this digest."""
    for text in candidates:
        if text is not None and sha256(text.encode("utf-8", "surrogatepass")) == digest:
            return text
    return None


def is_compiled(path: str) -> bool:
    """Whether a release's file was made by timewright, not given by its spec."""
    return path.startswith(("dist/", "bundle/")) or path == "node_modules"


def split_files(files: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """A receipt's files: (given, compiled)."""
    given = {path: digest for path, digest in files.items() if not is_compiled(path)}
    return given, {path: digest for path, digest in files.items() if is_compiled(path)}
