"""A tsconfig with all that it `extends`, as one set of options. Pure: files come in as values.

The compiler never follows `extends` itself: it would open any path of the machine (faults.md
finding 2). Bases are the `@tsconfig/*` packages that we ship, and the spec's own files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from timewright.core.document import parse
from timewright.core.errors import SpecError

#: How many files deep a chain may be; real ones have two or three.
_DEEPEST: Final = 16
#: How many in all: two that extend two that extend two would be without end otherwise.
_MOST: Final = 64


@dataclass
class Merged:
    """`options`: each as the last file that has it says, with the folder of that file (of the release;
    '.' for its root). `notes`: one line for each thing not followed. `others`: the remaining keys."""

    options: dict[str, tuple[object, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    others: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def merge(
    tsconfig: Mapping[str, object], bases: Mapping[str, Mapping[str, Any]], own: Mapping[str, str]
) -> Merged:
    """The options of a spec's tsconfig, which lies at the root of its release.

    `bases`: name of an npm package → its tsconfig.json. `own`: path in the release → text (JSON,
    comments are fine). Never raises.
    """
    merged = Merged()
    _Merger(merged, bases, own).add("tsconfig.json", tsconfig)
    return merged


@dataclass
class _Merger:
    merged: Merged
    bases: Mapping[str, Mapping[str, Any]]
    own: Mapping[str, str]
    chain: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str, document: Mapping[str, object]) -> None:
        """Take a file into the options: first what it extends, so that its own words win."""
        if name in self.chain:
            self.merged.note(f"tsconfig.extends: {name} extends itself; left out")
            return
        if len(self.chain) == _DEEPEST or self.count == _MOST:
            self.merged.note("tsconfig.extends: too many files; the rest is left out")
            return
        self.chain.append(name)
        self.count += 1
        extends = document.get("extends")
        for item in extends if isinstance(extends, list) else [extends] if extends is not None else []:
            self._extend(name, item)
        self._options(name, document)
        self.chain.pop()

    def _options(self, name: str, document: Mapping[str, object]) -> None:
        options = document.get("compilerOptions", {})
        if isinstance(options, Mapping):
            folder = "." if name in self.bases else posixpath.dirname(name) or "."
            for key, value in options.items():
                if value is None:  # null takes back what a base says
                    self.merged.options.pop(str(key), None)
                else:
                    self.merged.options[str(key)] = (value, folder)
        else:
            self.merged.note(f"{name.removesuffix('.json')}.compilerOptions: must be an object; ignored")
        if name == "tsconfig.json":
            self.merged.others |= set(map(str, document)) - {"compilerOptions", "extends"}

    def _extend(self, name: str, wanted: object) -> None:
        if not isinstance(wanted, str) or not wanted:
            self.merged.note("tsconfig.extends: must be a name or a list of names; ignored")
        elif wanted.startswith((".", "/")) or "\\" in wanted or ":" in wanted:
            self._own(name, wanted)
        else:
            self._package(wanted)

    def _package(self, wanted: str) -> None:
        package = wanted.removesuffix("/tsconfig.json").removesuffix("/tsconfig")
        found = self.bases.get(package)
        if found is None:
            self.merged.note(
                f"tsconfig.extends: the options of {wanted[:200]} are not known here; "
                "put those that matter into the spec's own tsconfig"
            )
        else:
            self.add(package, found)

    def _own(self, name: str, wanted: str) -> None:
        folder = "." if name in self.bases else posixpath.dirname(name)
        path = posixpath.normpath(posixpath.join(folder, wanted))
        path = path if path in self.own or path.endswith(".json") else f"{path}.json"
        text = self.own.get(path)
        if path in self.chain:
            self.merged.note(f"tsconfig.extends: {path} extends itself; left out")
        elif text is None:
            shown = posixpath.basename(wanted.replace("\\", "/"))[:200]
            self.merged.note(
                f"tsconfig.extends: {shown} is not a file of the spec; add it, or put its options here"
            )
        else:
            self._read(path, text)

    def _read(self, path: str, text: str) -> None:
        # Here and not above: core/spec may want tsconfig's rules for itself one day.
        from timewright.core.spec import strip_comments

        try:
            value = parse(strip_comments(text.removeprefix("\ufeff")).encode("utf-8", "surrogatepass")).value
        except SpecError as error:
            self.merged.note(f"{path}: {error.problems[0].message}; ignored")
            return
        if isinstance(value, Mapping):
            self.add(path, value)
        else:
            self.merged.note(f"{path}: must be an object; ignored")
