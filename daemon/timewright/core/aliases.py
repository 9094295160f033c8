"""What a tsconfig's `paths` and `baseUrl` mean, as data. Pure.

TypeScript resolves such a specifier and leaves it in the emitted code as it was, where Node knows
nothing of it. So three places need the same answer: which files an entry point reaches, what the
compiler is told, and what is written into dist/ instead of the alias.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ABSOLUTE: Final = re.compile(r"^(/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*:)")
_CONFIG_DIR: Final = "${configDir}"


@dataclass(frozen=True)
class Aliases:
    """`patterns`: (pattern with at most one `*`, paths in the release with at most one `*`), as written.

    `base`: the folder that a bare specifier may mean ('.' for the release's root), None for none.
    `notes`: one line for each thing that was left out. False when nothing is an alias.
    """

    patterns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    base: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, options: Mapping[str, object], directory: str = ".", base_directory: str | None = None
    ) -> Aliases:
        """The aliases of some compilerOptions. `directory`: the folder of the release that has their
        tsconfig; `base_directory`: the same for `baseUrl`, where another file says it.

        Never raises: what can't be followed is left out, with a line in `notes`.
        """
        notes: list[str] = []
        base = _base(options.get("baseUrl"), directory if base_directory is None else base_directory, notes)
        paths = options.get("paths")
        if paths is not None and not isinstance(paths, Mapping):
            notes.append("compilerOptions.paths: must be an object; ignored")
        patterns = []
        for pattern, targets in paths.items() if isinstance(paths, Mapping) else ():
            kept = _targets(str(pattern), targets, directory if base is None else base, notes)
            if kept:
                patterns.append((str(pattern), kept))
        return cls(tuple(patterns), base, tuple(notes))

    def __bool__(self) -> bool:
        return bool(self.patterns) or self.base is not None

    def targets(self, specifier: str) -> tuple[str, ...]:
        """Paths in the release that a specifier may mean, best first, without rules for extensions.

        Empty for a relative or absolute specifier, a URL, and one that no pattern matches.
        """
        if not specifier or specifier.startswith((".", "/")) or _ABSOLUTE.match(specifier):
            return ()
        found = [_put(target, star) for target, star in self._match(specifier)]
        if self.base is not None:
            found.append(posixpath.join(self.base, specifier))
        return tuple(dict.fromkeys(path for path in map(_inside, found) if path is not None))

    def _match(self, specifier: str) -> list[tuple[str, str | None]]:
        """(target, what the `*` stands for) by the pattern that TypeScript takes: exact, else longest."""
        best: tuple[int, tuple[str, ...], str] | None = None
        for pattern, targets in self.patterns:
            if pattern == specifier:
                return [(target, None) for target in targets]
            prefix, star, suffix = pattern.partition("*")
            fits = len(specifier) >= len(prefix) + len(suffix)
            if star and fits and specifier.startswith(prefix) and specifier.endswith(suffix):
                middle = specifier[len(prefix) : len(specifier) - len(suffix)]
                if best is None or len(prefix) > best[0]:
                    best = (len(prefix), targets, middle)
        return [] if best is None else [(target, best[2]) for target in best[1]]

    def paths(self) -> dict[str, list[str]]:
        """The same for the compiler, as `paths` relative to the release's root.

        `baseUrl` becomes a last candidate of each pattern: TypeScript 7 has no such option any more.
        """
        made = {pattern: [_dotted(target) for target in targets] for pattern, targets in self.patterns}
        if self.base is not None:
            made.setdefault("*", [])
            for pattern, targets in made.items():
                last = _dotted(posixpath.normpath(posixpath.join(self.base, pattern)))
                targets += [last] if last not in targets else []
        return made


def _base(value: object, directory: str, notes: list[str]) -> str | None:
    if value is None:
        return None
    path = _place(value, directory) if isinstance(value, str) else None
    if path is None:
        notes.append("compilerOptions.baseUrl: must be a folder of the release; ignored")
    return path


def _targets(pattern: str, targets: object, base: str, notes: list[str]) -> tuple[str, ...]:
    """The targets of a pattern that are places in the release; notes say what was left out."""
    name = f"compilerOptions.paths[{pattern[:80]!r}]"
    if not isinstance(targets, list) or not all(isinstance(item, str) for item in targets):
        notes.append(f"{name}: must be a list of paths; ignored")
        return ()
    if pattern.count("*") > 1 or any(item.count("*") > 1 for item in targets):
        notes.append(f"{name}: can have one * at most; ignored")
        return ()
    kept, packages = [], False
    for item in targets:
        path = _place(item, base)
        if path is not None and "node_modules" in path.split("/"):
            packages = True  # packages are found by their names, without an alias
        elif path is not None:
            kept.append(path)
        else:
            notes.append(f"{name}: {item[:80]!r} is not in the release; left out")
    if packages and pattern != "*":
        notes.append(f"{name}: an alias can't lead into node_modules; import the package by its name")
    return tuple(kept)


def _place(text: str, base: str) -> str | None:
    """A path of a tsconfig as a path in the release; None when it leads out of it."""
    text = text.replace("\\", "/")
    if text.startswith(_CONFIG_DIR):
        text, base = text.removeprefix(_CONFIG_DIR).lstrip("/") or ".", "."
    if not text or "\0" in text or _ABSOLUTE.match(text):
        return None
    return _inside(posixpath.join(base, text))


def _inside(path: str) -> str | None:
    path = posixpath.normpath(path)
    return None if path.startswith(("../", "/")) or path == ".." else path


def _put(target: str, star: str | None) -> str:
    return target if star is None else target.replace("*", star, 1)


def _dotted(path: str) -> str:
    return path if path == "." else f"./{path}"
