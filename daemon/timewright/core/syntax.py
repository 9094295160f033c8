"""Reads TypeScript by syntax tree: what a module exports, imports and says. Nothing is ever run.

A comment or a string that looks like code doesn't count, which a text search can't promise.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

_TS = Parser(Language(tree_sitter_typescript.language_typescript()))
_TSX = Parser(Language(tree_sitter_typescript.language_tsx()))

_SUFFIXES = ("", ".ts", ".tsx", ".mts", ".cts", ".d.ts", "/index.ts", "/index.tsx", ".js", "/index.js")
_JS_TO_TS = {".js": ".ts", ".mjs": ".mts", ".cjs": ".cts", ".jsx": ".tsx"}
_VALUE_DECLARATIONS = ("class_declaration", "abstract_class_declaration", "enum_declaration")
_WRAPPERS = ("as_expression", "parenthesized_expression", "satisfies_expression", "non_null_expression")


@dataclass(frozen=True)
class Import:
    """One import (or `export … from`): its specifier, its line from 1, and local → imported names."""

    specifier: str
    line: int
    names: Mapping[str, str] = field(default_factory=dict)
    type_only: bool = False


@dataclass(frozen=True)
class Module:
    """What the syntax of one file says.

    `functions`: names of exported async (or Promise-returning) functions; `values`: other exported
    values. `reexports`: (specifier, exported name, original name), `*` for all.
    `broken`: the parser met an error, so the lists may be incomplete; the compiler says where.
    """

    imports: tuple[Import, ...]
    functions: tuple[str, ...]
    values: tuple[str, ...]
    reexports: tuple[tuple[str, str, str], ...]
    constants: Mapping[str, Node]
    broken: bool
    has_default: bool


@lru_cache(maxsize=64)
def read_module(path: str, text: str) -> Module:
    """Parse one file. Never raises: what can't be parsed is `broken`."""
    return _Reader().read(_parse(path, text))


def _parse(path: str, text: str) -> Node:
    parser = _TSX if path.endswith((".tsx", ".jsx")) else _TS
    return parser.parse(text.encode("utf-8")).root_node


class _Reader:
    """Walks the top level of one file and collects what it declares and exports."""

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.functions: dict[str, None] = {}
        self.values: dict[str, None] = {}
        self.reexports: list[tuple[str, str, str]] = []
        self.constants: dict[str, Node] = {}
        self.local_functions: set[str] = set()
        self.local_exports: list[tuple[str, str]] = []
        self.has_default = False

    def read(self, root: Node) -> Module:
        for node in root.named_children:
            self._statement(node)
        by_name = {local: (item, name) for item in self.imports for local, name in item.names.items()}
        for local, exported in self.local_exports:
            if local in self.local_functions:
                self.functions[exported] = None
            elif local in by_name:
                item, name = by_name[local]
                self.reexports.append((item.specifier, exported, name))
            else:
                self.values[exported] = None
        return Module(
            tuple(self.imports),
            tuple(self.functions),
            tuple(self.values),
            tuple(self.reexports),
            self.constants,
            root.has_error,
            self.has_default,
        )

    def _statement(self, node: Node) -> None:
        if node.type == "import_statement":
            self._import(node)
        elif node.type == "export_statement":
            self._export(node)
        else:
            self._declare(node, exported=False)

    def _import(self, node: Node) -> None:
        source = node.child_by_field_name("source")
        if source is None:
            return
        names: dict[str, str] = {}
        for part in _descend(node, {"import_clause"}):
            for child in part.named_children:
                if child.type == "identifier":
                    names[_text(child)] = "default"
                elif child.type == "namespace_import":
                    names[_text(child.named_children[0])] = "*"
                elif child.type == "named_imports":
                    names.update(_specifiers(child))
        type_only = any(child.type == "type" for child in node.children)
        self.imports.append(Import(_string(source), node.start_point.row + 1, names, type_only))

    def _export(self, node: Node) -> None:
        if any(child.type == "type" for child in node.children):
            return
        source = node.child_by_field_name("source")
        if any(child.type == "default" for child in node.children):
            self.has_default = True
            return
        clause = next((child for child in node.named_children if child.type == "export_clause"), None)
        if source is not None:
            specifier = _string(source)
            self.imports.append(Import(specifier, node.start_point.row + 1))
            if clause is None:
                namespace = next((c for c in node.named_children if c.type == "namespace_export"), None)
                if namespace is not None:
                    self.values[_text(namespace.named_children[0])] = None
                else:
                    self.reexports.append((specifier, "*", "*"))
            else:
                self.reexports += [(specifier, new, old) for new, old in _specifiers(clause).items()]
        elif clause is not None:
            self.local_exports += [(old, new) for new, old in _specifiers(clause).items()]
        else:
            declaration = node.child_by_field_name("declaration")
            if declaration is not None:
                self._declare(declaration, exported=True)

    def _declare(self, node: Node, *, exported: bool) -> None:
        if node.type == "function_declaration":
            name = node.child_by_field_name("name")
            if name is not None:
                self._name(_text(name), _is_async(node), exported)
        elif node.type in ("lexical_declaration", "variable_declaration"):
            for declarator in node.named_children:
                self._variable(declarator, exported)
        elif node.type in _VALUE_DECLARATIONS and exported:
            name = node.child_by_field_name("name")
            if name is not None:
                self.values[_text(name)] = None

    def _variable(self, node: Node, exported: bool) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None or name.type != "identifier":
            return
        if value is not None:
            self.constants[_text(name)] = value
        is_function = value is not None and value.type in ("arrow_function", "function_expression")
        self._name(_text(name), bool(is_function and value is not None and _is_async(value)), exported)

    def _name(self, name: str, is_function: bool, exported: bool) -> None:
        if is_function:
            self.local_functions.add(name)
        if exported:
            (self.functions if is_function else self.values)[name] = None


def _is_async(node: Node) -> bool:
    if any(child.type == "async" for child in node.children):
        return True
    returns = node.child_by_field_name("return_type")
    return returns is not None and _text(returns).lstrip(": ").startswith("Promise<")


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


_ESCAPE = re.compile(r"\\(.)")


def _string(node: Node) -> str:
    """A string literal's value; the escapes that names and specifiers need."""
    return _ESCAPE.sub(r"\1", _text(node)[1:-1])


def _specifiers(clause: Node) -> dict[str, str]:
    """`{a as b, type C}` → {"b": "a"}: new name → original name; types left out."""
    names: dict[str, str] = {}
    for item in clause.named_children:
        name = item.child_by_field_name("name")
        if name is None or any(child.type == "type" for child in item.children):
            continue
        alias = item.child_by_field_name("alias")
        names[_text(alias if alias is not None else name)] = _text(name)
    return names


def _descend(node: Node, wanted: set[str]) -> Iterator[Node]:
    return (child for child in node.named_children if child.type in wanted)


def _all_nodes(root: Node) -> Iterator[Node]:
    """Every named node, without recursion: hostile nesting can't exhaust the stack."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.named_children))


def _find_task_queue(root: Node) -> Node | None:
    """The value given to the first `taskQueue` property, or None."""
    for node in _all_nodes(root):
        if node.type == "pair":
            key, value = node.child_by_field_name("key"), node.child_by_field_name("value")
            if key is not None and value is not None and _text(key).strip("'\"") == "taskQueue":
                return value
        elif node.type == "shorthand_property_identifier" and _text(node) == "taskQueue":
            return node
    return None


# Across files ----------------------------------------------------------------------------------


def resolve(files: Mapping[str, str], importer: str, specifier: str) -> str | None:
    """The spec's own file that a relative specifier means; None when it isn't one of them."""
    if not specifier.startswith("."):
        return None
    base = posixpath.normpath(posixpath.join(posixpath.dirname(importer), specifier))
    for suffix in _SUFFIXES:
        if base + suffix in files:
            return base + suffix
    stem, extension = posixpath.splitext(base)
    written = stem + _JS_TO_TS.get(extension, extension)
    return written if written in files else None


def reachable(files: Mapping[str, str], entry: str) -> tuple[str, ...]:
    """The entry and every file of the spec that it imports, directly or not, by relative path."""
    seen: dict[str, None] = {}
    queue = [entry]
    while queue:
        path = queue.pop()
        if path in seen or path not in files:
            continue
        seen[path] = None
        for item in read_module(path, files[path]).imports:
            target = resolve(files, path, item.specifier)
            if target is not None:
                queue.append(target)
    return tuple(seen)


def exports(files: Mapping[str, str], entry: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(functions, other values) that a file exports, followed through re-exports within the spec."""
    functions: dict[str, None] = {}
    values: dict[str, None] = {}
    queue: list[tuple[str, str, str]] = [(entry, "*", "*")]  # file, name to export as, name there
    seen: set[tuple[str, str, str]] = set()
    while queue:
        job = queue.pop()
        path, new, old = job
        if job in seen or path not in files:
            continue
        seen.add(job)
        module = read_module(path, files[path])
        for names, found in ((module.functions, functions), (module.values, values)):
            found.update(dict.fromkeys(names if old == "*" else [new] if old in names else []))
        for specifier, exported, original in module.reexports:
            target = resolve(files, path, specifier)
            if target is None:
                continue
            if old == "*":
                queue.append((target, exported, original))
            elif exported in (old, "*"):
                queue.append((target, new, old if exported == "*" else original))
    return tuple(sorted(functions)), tuple(sorted(values.keys() - functions.keys()))


def task_queue(files: Mapping[str, str], worker: str) -> str | None:
    """The task queue that a worker file names by a string; None when there is no literal to see.

    `taskQueue: 'x'`, `taskQueue: process.env.Q || 'x'` (or `??`), and a constant that holds one,
    here or in a file of the spec that it is imported from.
    """
    node = _find_task_queue(_parse(worker, files[worker]))
    return _literal(files, worker, node, 8)


def _literal(files: Mapping[str, str], path: str, node: Node | None, hops: int) -> str | None:
    if node is None or hops == 0:
        return None
    if node.type == "string":
        return _string(node)
    if node.type == "template_string":
        text = _text(node)
        return None if "${" in text else text[1:-1]
    if node.type == "binary_expression":
        operator = node.child_by_field_name("operator")
        fallback = operator is not None and _text(operator) in ("||", "??")
        return _literal(files, path, node.child_by_field_name("right"), hops - 1) if fallback else None
    if node.type in _WRAPPERS:
        return _literal(files, path, node.named_children[0], hops - 1)
    if node.type in ("identifier", "shorthand_property_identifier"):
        return _named(files, path, _text(node), hops - 1)
    return None


def _named(files: Mapping[str, str], path: str, name: str, hops: int) -> str | None:
    if hops == 0:
        return None  # files that import a name from each other in a circle
    module = read_module(path, files[path])
    if name in module.constants:
        return _literal(files, path, module.constants[name], hops)
    for item in module.imports:
        target = resolve(files, path, item.specifier)
        if name in item.names and target is not None:
            return _named(files, target, item.names[name], hops - 1)
    return None
