"""The files of one spec as a program: which file a specifier means, what an entry point reaches."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tree_sitter import Node

from timewright.core.errors import Problem, SpecError
from timewright.core.syntax import Module, Reference, read_module, string, text

#: Suffixes of code, in the order in which a name without one is looked up.
CODE: Final = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
TYPESCRIPT: Final = CODE[:4]
JAVASCRIPT: Final = CODE[4:]
DECLARATIONS: Final = (".d.ts", ".d.mts", ".d.cts")
_JS_TO_TS: Final = {".js": (".ts", ".tsx"), ".mjs": (".mts",), ".cjs": (".cts",), ".jsx": (".tsx",)}
#: Names in all indexes of exports: only a hostile spec has so many.
_MOST_STEPS: Final = 100_000
_LOOKED_UP: Final = ("", *TYPESCRIPT, ".d.ts", *JAVASCRIPT, ".json", *(f"/index{suffix}" for suffix in CODE))
_WRAPPERS: Final = (
    "as_expression",
    "parenthesized_expression",
    "satisfies_expression",
    "non_null_expression",
)


_Index = dict[str, bool | tuple[str, str]]


def is_code(path: str) -> bool:
    """Whether a file is code that could be compiled (a declaration file is none)."""
    return path.endswith(CODE) and not path.endswith(DECLARATIONS)


@dataclass(frozen=True)
class Sources:
    """`files`: path → text. `aliases`: specifier → the paths that the tsconfig says it may mean."""

    files: Mapping[str, str]
    aliases: Callable[[str], tuple[str, ...]] = lambda _: ()
    _modules: dict[str, Module] = field(default_factory=dict, repr=False, compare=False)

    def module(self, path: str) -> Module:
        """A file by syntax, read once."""
        if path not in self._modules:
            self._modules[path] = read_module(path, self.files[path] if path.endswith(CODE) else "")
        return self._modules[path]

    def resolve(self, importer: str, specifier: str) -> str | None:
        """The spec's own file that a specifier means; None when it isn't one of them."""
        if specifier.startswith("."):
            return self._file(posixpath.normpath(posixpath.join(posixpath.dirname(importer), specifier)))
        for target in self.aliases(specifier):
            if (found := self._file(target)) is not None:
                return found
        return None

    def _file(self, base: str) -> str | None:
        base = "" if base == "." else base
        for suffix in _LOOKED_UP:
            candidate = base + suffix if base else suffix.removeprefix("/")
            if candidate in self.files:
                return candidate
        stem, extension = posixpath.splitext(base)
        return next((stem + to for to in _JS_TO_TS.get(extension, ()) if stem + to in self.files), None)

    def reachable(self, *entries: str) -> tuple[str, ...]:
        """The entries and every file of the spec that they name, directly or not."""
        seen: dict[str, None] = {}
        queue = deque(entries)
        while queue:
            path = queue.popleft()
            if path in seen or path not in self.files:
                continue
            seen[path] = None
            for item in self.module(path).references:
                target = self.resolve(path, item.specifier)
                if target is not None:
                    queue.append(target)
        return tuple(seen)

    def missing(self, paths: Iterable[str]) -> tuple[tuple[str, Reference], ...]:
        """(file, reference) of each relative path that names none of the files."""
        return tuple(
            (path, item)
            for path in paths
            for item in self.module(path).references
            if item.specifier.startswith(".") and self.resolve(path, item.specifier) is None
        )

    def packages(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Names of the packages that these files import, sorted (`node:` modules are none)."""
        names = {
            package_of(item.specifier)
            for path in paths
            for item in self.module(path).references
            if not item.specifier.startswith((".", "/", "node:", "#"))
            and self.resolve(path, item.specifier) is None
        }
        return tuple(sorted(names - {""}))

    def exports(self, entry: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(functions, other values) that a file exports, followed through re-exports within the spec.

        Raises SpecError where that takes more steps than any real project.
        """
        indexes: dict[str, _Index] = {}
        functions: list[str] = []
        values: list[str] = []
        for name in self._index(entry, indexes):
            found = self._settled(entry, name, indexes)
            if found is not None:
                (functions if found else values).append(name)
        return tuple(sorted(functions)), tuple(sorted(values))

    def _settled(self, path: str, name: str, indexes: dict[str, _Index]) -> bool | None:
        """Whether an exported name is a function in the end; None when it leads out of the spec."""
        seen: set[tuple[str, str]] = set()
        while (path, name) not in seen:
            seen.add((path, name))
            found = self._index(path, indexes).get(name)
            if not isinstance(found, tuple):
                return found
            path, name = found
            if name == "*":
                return False  # a whole module under one name
        return None

    def _index(self, path: str, indexes: dict[str, _Index]) -> _Index:
        """What a file exports by itself and through `export *`: name → whether it is a function, or the
        (file, name) that it is in truth. Made once for each file that is asked for, so that many names
        through a long chain of files cost their sum and not their product."""
        if path in indexes:
            return indexes[path]
        made: _Index = {}
        queue, seen = deque([path]), {path}
        while queue:
            current = queue.popleft()
            module = self.module(current)
            own: _Index = {**dict.fromkeys(module.values, False), **dict.fromkeys(module.functions, True)}
            for specifier, exported, original in module.reexports:
                target = self.resolve(current, specifier)
                if target is None:
                    continue
                if exported != "*":
                    own[exported] = (target, original)
                elif target not in seen:
                    seen.add(target)
                    queue.append(target)
            for name, found in own.items():
                made.setdefault(name, found)  # what is nearer counts
        indexes[path] = made
        if sum(map(len, indexes.values())) > _MOST_STEPS:
            raise SpecError([Problem(path, "re-exports too many names", "export fewer, or more directly")])
        return made

    def literal(self, path: str, node: Node | None, hops: int = 8) -> str | None:
        """The text that an expression has for certain; None when it can't be seen.

        `'x'`, `process.env.Q || 'x'` (or `??`), and a constant that holds one of them, in this file
        or in a file of the spec that it is imported from.
        """
        if node is None or hops == 0:
            return None
        if node.type == "string":
            return string(node)
        if node.type == "template_string":
            whole = text(node)
            return None if "${" in whole else whole[1:-1]
        if node.type == "binary_expression":
            operator = node.child_by_field_name("operator")
            fallback = operator is not None and text(operator) in ("||", "??")
            return self.literal(path, node.child_by_field_name("right"), hops - 1) if fallback else None
        if node.type in _WRAPPERS:
            return self.literal(path, node.named_children[0], hops - 1)
        if node.type in ("identifier", "shorthand_property_identifier"):
            return self._named(path, text(node), hops - 1)
        return None

    def _named(self, path: str, name: str, hops: int) -> str | None:
        if hops == 0:
            return None  # files that import a name from each other in a circle
        module = self.module(path)
        if name in module.constants:
            return self.literal(path, module.constants[name], hops)
        for item in module.imports:
            target = self.resolve(path, item.specifier)
            if name in item.names and target is not None:
                return self._named(target, item.names[name], hops - 1)
        return None


def package_of(specifier: str) -> str:
    """`@scope/name/deep` → `@scope/name`, `name/deep` → `name`."""
    parts = specifier.split("/")
    return "/".join(parts[:2] if specifier.startswith("@") else parts[:1])
