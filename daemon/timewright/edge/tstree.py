"""A release's files: which are its sources, and what dist/ gets besides what the compiler emits."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from timewright.core.aliases import Aliases
from timewright.core.sources import DECLARATIONS
from timewright.core.spec import emitted
from timewright.core.specifiers import Output, rewrite

_CODE: Final = frozenset({".ts", ".tsx", ".mts", ".cts", ".jsx"})
_SCRIPTS: Final = (".js", ".mjs", ".cjs")
#: At the top of a release, not the spec's: what we make, and what installs or configures things.
_OURS: Final = frozenset({"dist", "bundle", "node_modules"})
_TOP: Final = frozenset({"package.json", "tsconfig.json", "release.toml"})


def is_declaration(name: str) -> bool:
    return name.endswith(DECLARATIONS)


def is_code(name: str) -> bool:
    """Whether it is compiled (TypeScript, JSX); plain JavaScript may also be copied as it is."""
    return PurePosixPath(name).suffix in _CODE and not is_declaration(name)


def sources(directory: Path, root: str = "src") -> list[str]:
    """Every file of the spec below its root, by its path in the release, sorted. Links are not followed."""
    found = []
    for folder, folders, names in os.walk(directory / root):
        at = Path(folder).relative_to(directory)
        if at == Path():
            folders[:] = [name for name in folders if name not in _OURS]
            names = [name for name in names if name not in _TOP]
        folders[:] = [name for name in folders if not name.startswith(".") and name != "node_modules"]
        found += [(at / name).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def inputs(directory: Path) -> dict[str, bytes]:
    """Every file of a release that a compiler may read, by its path in it: all but what we make."""
    found = {}
    for folder, folders, names in os.walk(directory):
        at = os.path.relpath(folder, directory)
        if at == ".":
            folders[:] = [name for name in folders if name not in _OURS]
        for name in names:
            path = f"{folder}/{name}"
            if not os.path.islink(path):  # noqa: PTH114 - on the hot path
                with open(path, "rb") as file:  # noqa: PTH123 - as above
                    found[name if at == "." else f"{at}/{name}"] = file.read()
    return found


def read(directory: Path, name: str) -> str:
    return (directory / name).read_text("utf-8", errors="replace")


def finish(directory: Path, root: str = "src") -> None:
    """After the compiler: put what it didn't emit beside it, and make dist/ run in plain Node."""
    copy_rest(directory, root)
    correct(directory, root)


def copy_rest(directory: Path, root: str) -> None:
    """Files that are not TypeScript go to their places in dist/, where nothing was emitted there."""
    for name in sources(directory, root):
        if is_code(name) or is_declaration(name):
            continue
        target = directory / emitted(name, root)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((directory / name).read_bytes())


def correct(directory: Path, root: str) -> None:
    """Write what Node needs where the code says an alias, or leaves out what only tools add."""
    options = _document(directory / "tsconfig.json").get("compilerOptions", {})
    aliases = Aliases.of(options)
    complete = module_format(directory) == "esm" and not str(options.get("module")).startswith("node")
    named = options.get("allowImportingTsExtensions") or options.get("rewriteRelativeImportExtensions")
    if not aliases and not complete and not named:
        return
    scripts = [path for path in (directory / "dist").rglob("*") if path.is_file()]
    names = frozenset(path.relative_to(directory).as_posix() for path in scripts)
    output = Output(names, aliases, root, complete)
    for name in sorted(names):
        if name.endswith(_SCRIPTS):
            path = directory / name
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                text = file.read()
            new = rewrite(text, name, output)
            if new != text:
                path.write_text(new, "utf-8", errors="surrogateescape", newline="")


def module_format(directory: Path) -> str:
    """What Node will take dist/*.js for, as TypeScript would decide it: cjs or esm."""
    options = _document(directory / "tsconfig.json").get("compilerOptions", {})
    manifest = _document(directory / "package.json")
    return "cjs" if options.get("module") == "commonjs" or manifest.get("type") != "module" else "esm"


def _document(path: Path) -> Mapping[str, Any]:
    """A JSON file's object; empty when there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
