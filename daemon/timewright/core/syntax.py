"""Reads TypeScript by syntax tree: what a module exports, imports and says. Nothing is ever run.

A comment or a string that looks like code doesn't count, which a text search can't promise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

_LANGUAGES = {
    ".ts": Language(tree_sitter_typescript.language_typescript()),
    ".tsx": Language(tree_sitter_typescript.language_tsx()),
}
_PARSERS = {kind: Parser(language) for kind, language in _LANGUAGES.items()}
#: Names of functions whose text is worth a look; a chain of calls can be as long as the file.
_SHORT = 40
_VALUE_DECLARATIONS = ("class_declaration", "abstract_class_declaration", "enum_declaration")


@dataclass(frozen=True)
class Import:
    """One import (or `export … from`): its specifier, its line from 1, and local → imported names."""

    specifier: str
    line: int
    names: Mapping[str, str] = field(default_factory=dict)
    type_only: bool = False


@dataclass(frozen=True)
class Reference:
    """A place that names a module: its specifier and its line from 1. `kind`: 'import' (also
    import() and export … from), 'require', or 'path' (require.resolve, new URL(…, import.meta.url))."""

    specifier: str
    line: int
    kind: str


@dataclass(frozen=True)
class Module:
    """What the syntax of one file says.

    `functions`: names of exported async (or Promise-returning) functions; `values`: other exported
    values. `reexports`: (specifier, exported name, original name), `*` for all.
    `references`: every module that the file names, in order. `unnamed`: a call imports what no plain string
    names: a compiler may see through `` import(`x`) ``, and `references` doesn't.
    `broken`: the parser met an error, so the lists may be incomplete; the compiler says where.
    """

    root: Node
    imports: tuple[Import, ...]
    functions: tuple[str, ...]
    values: tuple[str, ...]
    reexports: tuple[tuple[str, str, str], ...]
    references: tuple[Reference, ...]
    unnamed: bool
    constants: Mapping[str, Node]
    broken: bool
    has_default: bool


def read_module(path: str, text: str) -> Module:
    """Parse one file. Never raises: what can't be parsed is `broken`."""
    kind = ".tsx" if path.endswith((".tsx", ".jsx")) else ".ts"
    root = _PARSERS[kind].parse(text.encode("utf-8")).root_node
    return _Reader().read(root, *_references(root))


def _references(root: Node) -> tuple[tuple[Reference, ...], bool]:
    """Those with a plain name, and whether a call has none. Not by a query of tree-sitter's: that takes
    quadratic time on code that is wide and wrong."""
    found, unnamed = [], False
    for node in all_nodes(root):
        if (type_ := node.type) in _NAMING:
            kind, named = _NAMING[type_](node)
            if named is not None and named.type == "string":
                found.append(Reference(string(named), named.start_point.row + 1, kind))
            elif kind and type_ == "call_expression":
                unnamed = True
    return tuple(found), unnamed


def _statement_source(node: Node) -> tuple[str, Node | None]:
    return "import", node.child_by_field_name("source")


def _call_source(node: Node) -> tuple[str, Node | None]:
    """`import('x')`, `require('x')`, `require.resolve('x')`, `import.meta.resolve('x')`."""
    called = callee(node)
    kind = _CALLS.get(called)
    return kind or "", _argument(node, 0) if kind else None


def _url_source(node: Node) -> tuple[str, Node | None]:
    """`new URL('x', import.meta.url)`."""
    made, base = node.child_by_field_name("constructor"), _argument(node, 1)
    is_ours = (
        made is not None and short(made) == "URL" and base is not None and short(base) == "import.meta.url"
    )
    return "path", _argument(node, 0) if is_ours else None


def callee(node: Node) -> str:
    """What a call expression calls, where that is a short name; else ''."""
    function = node.child_by_field_name("function")
    return short(function) if function is not None else ""


def short(node: Node) -> str:
    """A node's text, or '' where it is longer than any name that counts."""
    return text(node) if node.end_byte - node.start_byte <= _SHORT else ""


def _argument(node: Node, index: int) -> Node | None:
    given = node.child_by_field_name("arguments")
    values = [one for one in given.named_children if one.type != "comment"] if given is not None else []
    return values[index] if index < len(values) else None


_CALLS = {"import": "import", "require": "require", "require.resolve": "path", "import.meta.resolve": "path"}
_NAMING: Mapping[str, Callable[[Node], tuple[str, Node | None]]] = {
    "import_statement": _statement_source,
    "import_require_clause": _statement_source,
    "export_statement": _statement_source,
    "call_expression": _call_source,
    "new_expression": _url_source,
}


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

    def read(self, root: Node, references: tuple[Reference, ...], unnamed: bool) -> Module:
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
            root,
            tuple(self.imports),
            tuple(self.functions),
            tuple(self.values),
            tuple(self.reexports),
            references,
            unnamed,
            self.constants,
            root.has_error,
            self.has_default,
        )

    def _statement(self, node: Node) -> None:
        if node.type == "import_statement":
            self._import(node)
        elif node.type == "export_statement":
            self._export(node)
        elif node.type == "expression_statement":
            self._common_js(node.named_children[0] if node.named_children else node)
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
                    names[text(child)] = "default"
                elif child.type == "namespace_import":
                    names[text(child.named_children[0])] = "*"
                elif child.type == "named_imports":
                    names.update(_specifiers(child))
        type_only = any(child.type == "type" for child in node.children)
        self.imports.append(Import(string(source), node.start_point.row + 1, names, type_only))

    def _export(self, node: Node) -> None:
        if any(child.type == "type" for child in node.children):
            return
        source = node.child_by_field_name("source")
        if any(child.type == "default" for child in node.children):
            self.has_default = True
            return
        clause = next((child for child in node.named_children if child.type == "export_clause"), None)
        if source is not None:
            specifier = string(source)
            self.imports.append(Import(specifier, node.start_point.row + 1))
            if clause is None:
                namespace = next((c for c in node.named_children if c.type == "namespace_export"), None)
                if namespace is not None:
                    self.values[text(namespace.named_children[0])] = None
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

    def _common_js(self, node: Node) -> None:
        """`exports.x = …`, `module.exports.x = …` and `module.exports = { … }`."""
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if node.type != "assignment_expression" or left is None or right is None:
            return
        target = text(left)
        if target == "module.exports" and right.type == "object":
            for item in right.named_children:
                self._member(item)
        elif target.startswith(("exports.", "module.exports.")):
            self._assigned(target.rsplit(".", 1)[1], right)

    def _member(self, item: Node) -> None:
        """One property of `module.exports = { a, b: c, async d() {} }`."""
        key, value = item.child_by_field_name("key"), item.child_by_field_name("value")
        name = item.child_by_field_name("name")
        if item.type == "shorthand_property_identifier":
            self.local_exports.append((text(item), text(item)))
        elif item.type == "pair" and key is not None and value is not None:
            self._assigned(text(key).strip("'\""), value)
        elif item.type == "method_definition" and name is not None:
            (self.functions if _is_async(item) else self.values)[text(name)] = None

    def _assigned(self, name: str, value: Node) -> None:
        if name in ("default", "__esModule"):
            self.has_default = self.has_default or name == "default"
        elif value.type == "identifier":
            self.local_exports.append((text(value), name))
        else:
            (self.functions if _is_async_function(value) else self.values)[name] = None

    def _declare(self, node: Node, *, exported: bool) -> None:
        if node.type == "function_declaration":
            name = node.child_by_field_name("name")
            if name is not None:
                self._name(text(name), _is_async(node), exported)
        elif node.type in ("lexical_declaration", "variable_declaration"):
            for declarator in node.named_children:
                self._variable(declarator, exported)
        elif node.type in _VALUE_DECLARATIONS and exported:
            name = node.child_by_field_name("name")
            if name is not None:
                self.values[text(name)] = None

    def _variable(self, node: Node, exported: bool) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is not None and value is not None and (specifier := required(value)) is not None:
            self._required(name, specifier, node.start_point.row + 1)
        if name is None or name.type != "identifier":
            return
        if value is not None:
            self.constants[text(name)] = value
        self._name(text(name), value is not None and _is_async_function(value), exported)

    def _required(self, name: Node, specifier: str, line: int) -> None:
        """`const x = require('y')` and `const { a, b: c } = require('y')`."""
        names: dict[str, str] = {}
        if name.type == "identifier":
            names[text(name)] = "*"
        for item in name.named_children if name.type == "object_pattern" else ():
            key, value = item.child_by_field_name("key"), item.child_by_field_name("value")
            if item.type == "shorthand_property_identifier_pattern":
                names[text(item)] = text(item)
            elif key is not None and value is not None and value.type == "identifier":
                names[text(value)] = text(key)
        self.imports.append(Import(specifier, line, names))

    def _name(self, name: str, is_function: bool, exported: bool) -> None:
        if is_function:
            self.local_functions.add(name)
        if exported:
            (self.functions if is_function else self.values)[name] = None


def _is_async(node: Node) -> bool:
    if any(child.type == "async" for child in node.children):
        return True
    returns = node.child_by_field_name("return_type")
    return returns is not None and text(returns).lstrip(": ").startswith("Promise<")


def _is_async_function(value: Node) -> bool:
    return value.type in ("arrow_function", "function_expression") and _is_async(value)


def required(value: Node) -> str | None:
    """The specifier of `require('…')`, None when the expression is something else."""
    if value.type != "call_expression" or callee(value) != "require":
        return None
    given = _argument(value, 0)
    return string(given) if given is not None and given.type == "string" else None


def text(node: Node) -> str:
    """A node's source text."""
    return (node.text or b"").decode("utf-8", "replace")


_ESCAPE = re.compile(r"\\(.)")


def string(node: Node) -> str:
    """A string literal's value; the escapes that names and specifiers need."""
    return _ESCAPE.sub(r"\1", text(node)[1:-1])


def _specifiers(clause: Node) -> dict[str, str]:
    """`{a as b, type C}` → {"b": "a"}: new name → original name; types left out."""
    names: dict[str, str] = {}
    for item in clause.named_children:
        name = item.child_by_field_name("name")
        if name is None or any(child.type == "type" for child in item.children):
            continue
        alias = item.child_by_field_name("alias")
        names[text(alias if alias is not None else name)] = text(name)
    return names


def _descend(node: Node, wanted: set[str]) -> Iterator[Node]:
    return (child for child in node.named_children if child.type in wanted)


def all_nodes(root: Node) -> Iterator[Node]:
    """Every named node, without recursion: hostile nesting can't exhaust the stack."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.named_children))
