"""What of a project's folder belongs into its spec, and why the rest doesn't. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pathspec import GitIgnoreSpec

from timewright.core.document import parse
from timewright.core.errors import SpecError
from timewright.core.names import forbidden_problem, path_problem
from timewright.core.pack import SIDE_FILE
from timewright.core.spec import strip_comments

CODE_SUFFIXES = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".json")

_NEVER = {"node_modules": "packages are installed, not packed", ".git": "git's own"}
_MADE = dict.fromkeys(("dist", "build", "out"), "made by a build") | {"coverage": "made by tests"}
_FOREIGN_LOCKS = (
    *("npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", "deno.lock"),
)
_SECRETS = GitIgnoreSpec.from_lines(
    [".env", ".env.*", "*.env", ".envrc", ".npmrc", ".yarnrc*", ".netrc", "*.pem", "*.key", "*.p12", "*.pfx",
     "*.jks", "id_rsa*", "id_ecdsa*", "id_ed25519*", ".aws/", ".ssh/"]
)  # fmt: skip
_MOST_HOPS = 16


def may_hold_secrets(path: str) -> bool:
    """Whether files of that name are known to hold secrets."""
    return bool(_SECRETS.match_file(path))


class GlobError(ValueError):
    """A pattern that means nothing; its text says which."""


def globs(patterns: Iterable[str]) -> GitIgnoreSpec:
    """Patterns as .gitignore has them. Raises GlobError."""
    lines = list(patterns)
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise GlobError(str(error)) from None


def gitignore(text: str) -> GitIgnoreSpec:
    """A .gitignore's patterns; those that mean nothing are passed over, as git does."""
    lines = text.splitlines()
    try:
        return globs(lines)
    except GlobError:
        return globs(line for line in lines if _is_glob(line))


def _is_glob(line: str) -> bool:
    try:
        globs([line])
    except GlobError:
        return False
    return True


@dataclass(frozen=True)
class Ignore:
    """One .gitignore: `folder` where it stands ('' or with a final slash), and its patterns."""

    folder: str
    patterns: GitIgnoreSpec


@dataclass(frozen=True)
class Rules:
    """What a person asked for (`include`, `exclude`), what `timewright.json` lists (`also`), and the
    folders that the project's compiler writes to (`outputs`)."""

    include: GitIgnoreSpec = field(default_factory=lambda: globs(()))
    exclude: GitIgnoreSpec = field(default_factory=lambda: globs(()))
    also: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()

    def folder(self, path: str, ignores: Sequence[Ignore]) -> str:
        """Why what lies in a folder is left out; '' when it isn't."""
        name = posixpath.basename(path)
        if name in _NEVER:
            return _NEVER[name]
        if self.exclude.match_file(f"{path}/"):
            return "excluded"
        if _SECRETS.match_file(f"{path}/"):
            return "may hold secrets"
        if name.startswith("."):
            return "hidden"
        if path in self.outputs:
            return "the compiler's output"
        if path in _MADE:
            return _MADE[path]
        return "in .gitignore" if ignored(f"{path}/", ignores) else ""

    def may_enter(self, path: str) -> bool:
        """May a folder that is left out hold something that is wanted by name?"""
        if posixpath.basename(path) in _NEVER:
            return False
        return len(self.include) > 0 or any(item.startswith(f"{path}/") for item in self.also)

    def file(self, path: str, above: str, ignores: Sequence[Ignore]) -> str:
        """Why a file is left out; '' when it isn't. `above`: why its folder is, or ''."""
        name = posixpath.basename(path)
        if name in _FOREIGN_LOCKS:
            return "only npm's lock file (package-lock.json) is understood"
        if message := path_problem(path):
            return f"its path {message}"
        if message := forbidden_problem(path):
            return "may hold secrets" if _SECRETS.match_file(path) else message
        if path in self.also:
            return ""
        if self.exclude.match_file(path):
            return "excluded"
        if _SECRETS.match_file(path):
            return "may hold secrets"
        if self.include.match_file(path):
            return ""
        if above or name.startswith("."):
            return above or "hidden"
        if name.endswith((".tsbuildinfo", ".log")):
            return "made by a build"
        return "in .gitignore" if ignored(path, ignores) else ""


def ignored(path: str, ignores: Sequence[Ignore]) -> bool:
    """Does the nearest .gitignore that knows this path (a folder's ends with a slash) leave it out?"""
    for ignore in reversed(ignores):
        verdict = ignore.patterns.check_file(path[len(ignore.folder) :]).include
        if verdict is not None:
            return verdict
    return False


def why_not_text(data: bytes) -> str:
    """Why a file's bytes can't stand in a document; '' when they can."""
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    return "is not text: it holds a NUL character" if "\x00" in text else ""


def outputs(read: Callable[[str], str | None]) -> frozenset[str]:
    """The folders below the project that its tsconfig.json compiles into, through local `extends`.
    `read`: a project file's text, None when there is none."""
    found: set[str] = set()
    queue, seen = ["tsconfig.json", "tsconfig.build.json"], set[str]()
    while queue and len(seen) < _MOST_HOPS:
        path = queue.pop(0)
        text = None if path in seen else read(path)
        seen.add(path)
        config = _jsonc(text)
        here = posixpath.dirname(path)
        options = config.get("compilerOptions")
        for key in ("outDir", "declarationDir"):
            target = options.get(key) if isinstance(options, dict) else None
            if isinstance(target, str) and target:
                found.add(posixpath.normpath(posixpath.join(here, target)))
        bases = config.get("extends")
        for base in bases if isinstance(bases, list) else [bases]:
            if isinstance(base, str) and base.startswith("."):
                whole = posixpath.normpath(posixpath.join(here, base))
                queue.append(whole if whole.endswith(".json") else f"{whole}.json")
    return frozenset(path for path in found if not path.startswith(("..", "/")) and path not in (".", "src"))


def outer_bases(read: Callable[[str], str | None]) -> tuple[str, ...]:
    """What tsconfig.json extends outside of the project: it can't be packed."""
    bases = _jsonc(read("tsconfig.json")).get("extends")
    named = bases if isinstance(bases, list) else [bases]
    return tuple(
        base for base in named if isinstance(base, str) and posixpath.normpath(base).startswith("..")
    )


def _jsonc(text: str | None) -> dict[str, Any]:
    """JSON with comments as an object; {} for anything else: the compiler will say what is wrong."""
    try:
        value = parse(strip_comments(text or "").encode()).value
    except SpecError:
        return {}
    return value if isinstance(value, dict) else {}


def listed(side: dict[str, Any]) -> frozenset[str]:
    """The files that `timewright.json` names, though pack would leave them out."""
    files = side.get("files")
    names = files if isinstance(files, list) else []
    return frozenset(name for name in names if isinstance(name, str) and name != SIDE_FILE)
