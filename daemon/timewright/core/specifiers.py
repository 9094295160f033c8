"""Module specifiers in emitted JavaScript: where they are, and what to write instead. Pure, by syntax tree.

tsc leaves path aliases as they were, and in ES modules file names without their extension, which
Node doesn't take. Only those strings are touched, so lines stay where the source map has them; what
stands behind a specifier on its own line may move by some columns.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Final

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from timewright.core.aliases import Aliases

_PARSER: Final = Parser(Language(tree_sitter_typescript.language_tsx()))
_ENDINGS: Final = (".js", ".mjs", ".cjs", ".json", "/index.js", "/index.mjs", "/index.cjs", "/index.json")
_COMPILED: Final = {".ts": ".js", ".tsx": ".js", ".jsx": ".js", ".mts": ".mjs", ".cts": ".cjs"}

#: Modules of Node, which no alias hides: TypeScript knows them by name before it looks for files.
_BUILTINS: Final = """
assert async_hooks buffer child_process cluster console constants crypto dgram diagnostics_channel dns domain
events fs http http2 https inspector module net os path perf_hooks process punycode querystring readline repl
stream string_decoder sys timers tls trace_events tty url util v8 vm wasi worker_threads zlib
"""
BUILTINS: Final = frozenset(_BUILTINS.split())


@dataclass(frozen=True)
class Output:
    """A release's dist/, as its modules see each other.

    `files`: paths in the release of all that is there (`dist/a/b.js`). `root`: `src` or `.`.
    `complete`: whether relative specifiers must name their file in full, as ES modules do in Node.
    """

    files: Container[str]
    aliases: Aliases
    root: str = "src"
    complete: bool = False

    def specifier(self, importer: str, said: str) -> str | None:
        """What `importer` (`dist/x.js`) must say for `said`; None to leave it as it is."""
        if said.startswith("."):
            if not self.complete and posixpath.splitext(said)[1] not in _COMPILED:
                return None
            path = posixpath.normpath(posixpath.join(posixpath.dirname(importer), said))
            found = None if path in self.files else self._file(path)
        elif said.split("/", 1)[0] in BUILTINS:
            return None
        else:
            places = (self._place(target) for target in self.aliases.targets(said))
            found = next((file for place in places if place and (file := self._file(place))), None)
        if found is None:
            return None
        relative = posixpath.relpath(found, posixpath.dirname(importer))
        return relative if relative.startswith(".") else f"./{relative}"

    def _place(self, target: str) -> str | None:
        """Where a source path is in dist/; None for one outside of the root."""
        if self.root == ".":
            return f"dist/{target}"
        return f"dist/{target.removeprefix(f'{self.root}/')}" if target.startswith(f"{self.root}/") else None

    def _file(self, path: str) -> str | None:
        """The file that a path without (or with a source's) extension means."""
        stem, extension = posixpath.splitext(path)
        named = [stem + _COMPILED[extension]] if extension in _COMPILED else []
        endings = (path + ending for ending in _ENDINGS)
        return next((file for file in (*named, path, *endings) if file in self.files), None)


def rewrite(text: str, importer: str, output: Output) -> str:
    """The module's text with every specifier as it must be; the same text when nothing is to be done."""
    data = text.encode("utf-8", "surrogatepass")
    return _replace(data, lambda said: output.specifier(importer, said)).decode("utf-8", "surrogatepass")


def _replace(data: bytes, choose: Callable[[str], str | None]) -> bytes:
    parts, done = [], 0
    for node in _strings(_PARSER.parse(data).root_node):
        raw = data[node.start_byte : node.end_byte]
        new = choose(raw[1:-1].decode("utf-8", "replace"))
        if new is not None:
            quote = raw[:1].decode()
            parts += [data[done : node.start_byte], f"{quote}{_escaped(new, quote)}{quote}".encode()]
            done = node.end_byte
    return b"".join((*parts, data[done:]))


def _escaped(text: str, quote: str) -> str:
    inner = json.dumps(text, ensure_ascii=False)[1:-1]
    return inner if quote == '"' else inner.replace('\\"', '"').replace("'", "\\'")


def _strings(root: Node) -> Iterator[Node]:
    """The string nodes that name modules, in the order of the text. No recursion: nesting is not ours."""
    stack = [root]
    while stack:
        node = stack.pop()
        found = _named_by(node)
        if found is not None and found.type == "string":
            yield found
        stack.extend(reversed(node.named_children))


def _named_by(node: Node) -> Node | None:
    if node.type in ("import_statement", "export_statement"):
        return node.child_by_field_name("source")
    if node.type == "call_expression":
        callee, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        loads = callee is not None and (callee.text or b"") in (b"require", b"import", b"require.resolve")
        if loads and arguments is not None and arguments.named_children:
            return arguments.named_children[0]
    return None
