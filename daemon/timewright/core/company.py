"""Which specs a compiler may check in one program, and still judge each as if it were alone. Pure.

One program for many is five times cheaper than a program for each, but it has one world of global types:
what one file declares for all, or a package that it imports, another file would see as well and pass where
it must fail. So only those go together that can't be told apart by it: ES modules that declare nothing for
others, import the same packages, and have the same compiler options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from timewright.core.digest import canonical, sha256
from timewright.core.sources import DECLARATIONS, Sources
from timewright.core.syntax import Module

if TYPE_CHECKING:
    from timewright.core.spec import Spec
    from timewright.core.tsconfig import Options

#: Options that name places, or have more than one .js and its map written for a file.
_OF_PLACES: Final = frozenset(
    {"paths", "typeRoots", "allowJs", "checkJs", "declaration", "isolatedDeclarations"}
)
_PACKAGE: Final = re.compile(r"(node:)?(@[\w.-]+/)?[\w-][\w.-]*(/[\w.-]+)*")
#: `declare`: globals, and additions to the types of packages. `///`: files and types from elsewhere.
_FOR_OTHERS: Final = re.compile(r"\bdeclare\b|///")
_STATEMENTS: Final = ("import_statement", "export_statement")


def company(spec: Spec, options: Options) -> str:
    """A key: specs of the same one, with the same packages installed, may be checked in one program. '' for
    a spec that must be checked alone."""
    others = any(path.endswith(DECLARATIONS) for path in spec.files)
    packages = spec.mixes
    if (
        others
        or packages is None
        or spec.root != "src"
        or _OF_PLACES & {name for name, value in options.options.items() if value}
        or spec.package.get("name") in packages
    ):
        return ""
    return sha256(canonical([dict(options.options), spec.package.get("type"), list(packages)]))


def mixes(sources: Sources, reached: Iterable[str]) -> tuple[str, ...] | None:
    """What the reached files of a spec import from packages, sorted; None when one of them must not be in a
    program with other specs' files."""
    found: set[str] = set()
    reached = frozenset(reached)
    for path in reached:
        text = sources.files[path]
        if not path.endswith(".ts") or _FOR_OTHERS.search(text):
            return None
        module = sources.module(path)
        if module.broken or not _is_module(module) or module.unnamed:
            return None
        for said in {item.specifier for item in module.references}:
            if not any(f"{quote}{said}{quote}" in text for quote in "'\""):
                return None  # written with escapes: who knows what the compiler makes of it
            if _PACKAGE.fullmatch(said):
                found.add(said)
            elif not said.startswith(".") or sources.resolve(path, said) not in reached:
                return None
    return tuple(sorted(found))


def _is_module(module: Module) -> bool:
    return any(child.type in _STATEMENTS for child in module.root.children)
