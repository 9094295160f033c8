"""A spec as the files of a project, and a project's files as a spec. Pure.

Every file is kept byte for byte, package.json and tsconfig.json too: their comments and their
formatting are somebody's work. What a document holds besides files stands in `timewright.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from timewright.core.deploy import kind_of
from timewright.core.document import Path, parse, show
from timewright.core.errors import Problem, SpecError
from timewright.core.names import forbidden_problem, id_problem, parents, path_problem
from timewright.core.spec import CODE_FIELDS, SNAKE

#: Holds what isn't a file: deploy, entrypoints, metadata, …; and, as `files`, what pack would leave out.
SIDE_FILE = "timewright.json"

_JSON = {"packageJson": "package.json", "tsConfig": "tsconfig.json"}


@dataclass(frozen=True)
class Project:
    """The files of a project: path → text; and `side`, what else its spec holds."""

    files: Mapping[str, str]
    side: Mapping[str, Any]


# A document as files ---------------------------------------------------------------------------


def unpacked(value: Any) -> Project:
    """The files that a document of any shape holds. Raises SpecError when one can't be written."""
    if not isinstance(value, dict):
        raise SpecError([Problem("(document)", f"must be an object, is {kind_of(value)}")])
    files: dict[str, str] = {}
    problems: list[Problem] = []
    for place, path, text in _given(value):
        if message := _why_unwritable(path, text, files):
            problems.append(Problem(show(place), message))
        else:
            files[path] = text
    problems += _clashes(files)
    if problems:
        raise SpecError(problems)
    body = plain(value)
    side = {key: item for key, item in body.items() if key not in (*CODE_FIELDS, *_JSON, "files")}
    return Project(dict(sorted(files.items())), side)


def code_places(value: Any) -> dict[str, Path]:
    """Where in a document each file of its release stands: `src/workflow.ts` → ("workflowCode",)."""
    if not isinstance(value, dict):
        return {}
    return {path: place for place, path, _ in _given(value) if isinstance(path, str)}


def plain(root: Mapping[str, Any]) -> dict[str, Any]:
    """The document without its wrapper, keys in camelCase: as `read_spec` understands it."""
    body = dict(root)
    if _is_wrapped(root):
        body = {**root["data"], **{key: item for key, item in root.items() if key != "data"}}
    for old, new in SNAKE.items():
        if old in body:
            item = body.pop(old)
            body.setdefault(new, item)
    return body


def _is_wrapped(root: Mapping[str, Any]) -> bool:
    return "workflowId" not in root and isinstance(root.get("data"), dict)


def _place(root: Mapping[str, Any], key: str) -> Path:
    """Where a key of the plain form really stands."""
    spellings = (key, *(old for old, new in SNAKE.items() if new == key))
    for spelling in spellings:
        if spelling in root:
            return (spelling,)
    if _is_wrapped(root):
        for spelling in spellings:
            if spelling in root["data"]:
                return ("data", spelling)
    return (key,)


def _given(root: Mapping[str, Any]) -> Iterator[tuple[Path, Any, Any]]:
    """(place in the document, path, text) of every file; `packageJson` stands for package.json."""
    body = plain(root)
    for key, path in CODE_FIELDS.items():
        if body.get(key) is not None:
            yield _place(root, key), path, body[key]
    for key, path in _JSON.items():
        if body.get(key) is not None:
            yield _place(root, key), path, _json_text(body[key])
    skipped = {path for key, path in _JSON.items() if body.get(key) is not None}
    files, place = body.get("files"), _place(root, "files")
    if isinstance(files, dict):
        for path, item in files.items():
            if path not in skipped:
                yield (*place, path), path, item.get("content") if isinstance(item, dict) else item
    elif isinstance(files, list):
        for index, item in enumerate(files):
            named = item if isinstance(item, dict) else {}
            if named.get("path") not in skipped:
                yield (*place, index), named.get("path"), named.get("content")


def _json_text(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return value


def _why_unwritable(path: Any, text: Any, files: Mapping[str, str]) -> str:
    """Why a file of a document can't be written to a folder; '' when it can."""
    if not isinstance(path, str):
        return "must be an object with path and content"
    if message := path_problem(path):
        return f"the path {path[:200]!r} {message}"
    if message := forbidden_problem(path):
        return f"{path}: {message}"
    if not isinstance(text, str):
        return f"must be text, is {kind_of(text)}"
    if path == SIDE_FILE:
        return f"{SIDE_FILE} is the name of what unpack itself writes"
    return f"the file {path} is given twice" if path in files else ""


def _clashes(files: Iterable[str]) -> Iterator[Problem]:
    folded: dict[str, str] = {}
    folders = {parent.casefold() for path in files for parent in parents(path)}
    for path in files:
        twin = folded.setdefault(path.casefold(), path)
        if twin != path:
            yield Problem(path, f"differs from {twin!r} only in upper and lower case")
        if path.casefold() in folders:
            yield Problem(path, "is both a file and a folder")


# Files as a document ---------------------------------------------------------------------------


def packed(
    project: Project, *, workflow_id: str = "", name: str = "", task_queue: str = ""
) -> dict[str, Any]:
    """The bundle-of-files document of a project. What is given here wins over `timewright.json`,
    which wins over package.json. Without any of them there is no workflowId in it."""
    side = {key: value for key, value in project.side.items() if key != "files"}
    guessed = {} if "workflowId" in side else named_by_package(project.files.get("package.json", ""))
    document: dict[str, Any] = {**guessed, **side}
    if workflow_id:
        document["workflowId"] = workflow_id
    if name:
        document["name"] = name
    if task_queue:
        block = document.get("deploy")
        document["deploy"] = {**(block if isinstance(block, dict) else {}), "taskQueue": task_queue}
    first: dict[str, Any] = {key: document[key] for key in ("workflowId", "name") if key in document}
    return {**first, **document, "files": dict(sorted(project.files.items()))}


def named_by_package(text: str) -> dict[str, str]:
    """`workflowId` and `name` from package.json's text; {} when it names nothing that can be used."""
    try:
        package = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    name = package.get("name") if isinstance(package, dict) else None
    if not isinstance(name, str) or not (workflow_id := id_from(name)):
        return {}
    return {"workflowId": workflow_id, "name": name}


def id_from(name: str) -> str:
    """A workflow id made of a package's or folder's name: `@acme/Order Flow` → `acme-order-flow`.
    '' when nothing good is left."""
    made = re.sub(r"[^a-z0-9._-]+", "-", name.lower().removeprefix("@"))
    made = made.lstrip("._-")[:128].rstrip("._-")
    return "" if id_problem(made) else made


def side_text(side: Mapping[str, Any]) -> str:
    return json.dumps(side, indent=2, ensure_ascii=False) + "\n"


def read_side(data: bytes) -> dict[str, Any]:
    """What `timewright.json` holds. Raises SpecError."""
    try:
        value = parse(data).value
    except SpecError as error:
        raise SpecError(
            [Problem(SIDE_FILE, p.message, p.hint, p.line, p.column) for p in error.problems]
        ) from None
    if not isinstance(value, dict):
        raise SpecError([Problem(SIDE_FILE, f"must be an object, is {kind_of(value)}")])
    return value


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # documents with anchors are refused


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def render(document: Mapping[str, Any], *, as_yaml: bool = False) -> bytes:
    """A document as a file's bytes: the same for the same document, and read back as it was."""
    if as_yaml:
        for readable in (True, False):  # the second way escapes what YAML takes for a line's end
            made = yaml.dump(
                dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=readable, width=110
            )
            data = made.encode()
            try:
                if parse(data, is_yaml=True).value == document:
                    return data
            except SpecError:
                continue
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
