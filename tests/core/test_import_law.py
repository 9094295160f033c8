"""The import law of ARCHITECTURE.md, read off the syntax trees: who may use whom, and who may touch what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "daemon" / "timewright"
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
ROOMS = {"core": "DECIDES", "edge": "TOUCHES", "cli": "SHOWS", "api": "SHOWS"}

#: From the bottom up; a module may import its own layer and those below.
LAYERS = (
    {"core"},
    {"edge"},
    {
        *(
            "reconcile",
            "apply",
            "build",
            "comparing",
            "desired",
            "diffing",
            "drift",
            "golive",
            "health",
            "notes",
        ),
        *(
            "delivery",
            "following",
            "landings",
            "notify",
            "oldversions",
            "operations",
            "policies",
            "pooled",
            "pooling",
            "replaying",
            "retention",
            "rollacts",
            "rollflow",
            "rollhandle",
            "rollouts",
            "rollserve",
            "rollshow",
            "sourcing",
            "statuses",
            "views",
            "waking",
            "world",
        ),
    },
    {"control", "looking", "service", "specfile", "embedded", "metrics"},
    {"cli", "api"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
SHARED = {"config", "log"}  # for all but core and edge; they themselves know core alone

#: What core may import: nothing here reads a clock, a file, a socket, the environment or chance.
PURE = {
    *("__future__", "abc", "base64", "bisect", "collections", "dataclasses", "difflib", "enum", "fnmatch"),
    *("functools", "hashlib", "hmac", "itertools", "json", "math", "operator", "posixpath", "re", "string"),
    *("textwrap", "tomllib", "types", "typing", "unicodedata", "urllib.parse"),
    "pathspec",  # its patterns; what it has for walking folders is not used
    *("tree_sitter", "tree_sitter_typescript", "semantic_version", "yaml", "rtoml", "timewright.core"),
}
STARTERS = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "startfile"}
PROCESS_MODULES = {"subprocess", "multiprocessing", "pty", "concurrent.futures.process"}


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text("utf-8"))


def imports(module: Path) -> Iterator[str]:
    """Every module that a module imports, anywhere in it: `timewright.core.plan`, `os`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """`timewright.core.plan` → `core`; `timewright.apply` → `apply`."""
    return name.removeprefix("timewright.").split(".")[0]


def own_room(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def names(module: Path) -> Iterator[str]:
    """Every dotted name that a module uses: `os.fork`, `asyncio.create_subprocess_exec`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Name):
            yield node.id


def is_within(name: str, allowed: set[str]) -> bool:
    return any(name == item or name.startswith(f"{item}.") for item in allowed)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_its_own_layer_and_those_below(module: Path) -> None:
    mine = own_room(module)
    for name in imports(module):
        if name == "timewright" or not name.startswith("timewright."):
            continue
        theirs = room(name)
        if mine in SHARED:
            assert theirs in {"core", *SHARED}, f"{module} imports {name}"
        elif theirs in SHARED:
            assert mine not in ("core", "edge"), f"{module} imports {name}"
        elif mine in LEVEL and theirs in LEVEL:
            assert LEVEL[theirs] <= LEVEL[mine], f"{module} imports {name}"


def test_every_module_has_a_place_in_the_law() -> None:
    assert {own_room(module) for module in MODULES} - LEVEL.keys() - SHARED == {"__init__"}


@pytest.mark.parametrize("module", [item for item in MODULES if item.parts[0] == "core"], ids=str)
def test_core_imports_nothing_that_touches_the_world(module: Path) -> None:
    for name in imports(module):
        assert is_within(name, PURE), f"{module} imports {name}"
    for name in names(module):
        assert name not in ("open", "print", "input", "eval", "exec", "__import__"), f"{module} uses {name}"


#: confine.py is also a program of its own, which becomes the one that it confines.
STARTING = (Path("edge/process.py"), Path("edge/confine.py"))


@pytest.mark.parametrize("module", [item for item in MODULES if item not in STARTING], ids=str)
def test_only_the_process_module_starts_processes(module: Path) -> None:
    for name in imports(module):
        assert not is_within(name, PROCESS_MODULES), f"{module} imports {name}"
    for name in names(module):
        last = name.rsplit(".", 1)[-1]
        assert not last.startswith(("create_subprocess", "subprocess_exec", "subprocess_shell")), name
        if name.startswith("os."):
            assert last not in STARTERS, f"{module} uses {name}"
            assert not last.startswith(("exec", "spawn")), f"{module} uses {name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_command_goes_through_a_shell(module: Path) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            raise AssertionError(f"{module}:{node.value.lineno} passes shell=")
    assert not [name for name in names(module) if name.endswith("create_subprocess_shell")]


@pytest.mark.parametrize("name", [path.parent.name for path in PACKAGE.glob("*/__init__.py")])
def test_each_room_states_its_law_in_its_first_words(name: str) -> None:
    law = ast.get_docstring(tree(Path(name, "__init__.py")))
    assert law is not None
    assert law.startswith(ROOMS[name])


@pytest.mark.parametrize("name", ["core", "edge"])
def test_the_rooms_below_name_the_test_that_holds_them_to_their_law(name: str) -> None:
    assert "tests/core/test_import_law.py" in (ast.get_docstring(tree(Path(name, "__init__.py"))) or "")
