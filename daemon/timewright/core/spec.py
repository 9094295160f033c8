"""Specs: what a document of a builder means. One normaliser for every shape that builders emit.

Shapes (docs/spec.md): a *compile result* (workflowCode, activitiesCode, workerCode, packageJson,
tsConfig, …) and a *bundle of files* (files, entrypoints). Both may carry `deploy`, which is ours.
Every problem of a document is reported at once.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from timewright.core import syntax
from timewright.core.deploy import Deploy, DeployReader, kind_of
from timewright.core.document import Document, Limits, Path, parse, show
from timewright.core.errors import Problem, Reason, SpecError
from timewright.core.names import forbidden_problem, id_problem, name_problem, parents, path_problem

_CODE_SUFFIXES = (".ts", ".tsx", ".mts", ".cts")


@dataclass(frozen=True)
class Spec:
    """One workflow, ready to be compiled.

    `files`: path below the release → text, sorted by path. `package`, `tsconfig`: the documents as
    objects. `workflows`, `activities`, `worker`: entry files, None when the spec has none.
    `workflow_types`, `activity_names`: exported functions, found by syntax.
    """

    workflow_id: str
    name: str
    files: Mapping[str, str]
    package: Mapping[str, Any]
    tsconfig: Mapping[str, Any] | None
    workflows: str | None
    activities: str | None
    worker: str | None
    workflow_types: tuple[str, ...]
    activity_names: tuple[str, ...]
    task_queue: str | None
    deploy: Deploy
    warnings: tuple[str, ...] = ()


def read_spec(data: bytes, *, is_yaml: bool = False, limits: Limits | None = None) -> Spec:
    """The spec that a file's bytes hold. Raises SpecError with every problem found."""
    limits = limits or Limits()
    document = parse(data, is_yaml=is_yaml, limits=limits)
    reader = _Reader(document, limits)
    spec = reader.read()
    if reader.problems or spec is None:
        raise SpecError(reader.problems, reason=reader.reason)
    return spec


def peek_workflow_id(data: bytes, *, is_yaml: bool = False, limits: Limits | None = None) -> str | None:
    """The workflowId of a document that may be invalid otherwise; None when it can't be told."""
    try:
        value = parse(data, is_yaml=is_yaml, limits=limits).value
    except SpecError:
        return None
    found = value.get("workflowId", value.get("workflow_id")) if isinstance(value, dict) else None
    return found if isinstance(found, str) and not id_problem(found) else None


# The reader ------------------------------------------------------------------------------------

_SNAKE = {
    "workflow_id": "workflowId",
    "workflow_code": "workflowCode",
    "activities_code": "activitiesCode",
    "worker_code": "workerCode",
    "package_json": "packageJson",
    "ts_config": "tsConfig",
    "tsconfig": "tsConfig",
}
_CODE_FIELDS = {
    "workflowCode": "src/workflow.ts",
    "activitiesCode": "src/activities.ts",
    "workerCode": "src/worker.ts",
}
_CONVENTIONS = {
    "workflows": ("workflow", "workflows", "workflows/index", "workflow/index"),
    "activities": ("activities", "activity", "activities/index", "activity/index"),
    "worker": ("worker", "worker/index"),
}
_ROOT_FILES = ("package.json", "tsconfig.json")


@dataclass
class _Reader:
    document: Document
    limits: Limits
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reason: Reason = Reason.INVALID_SPEC
    places: dict[str, Path] = field(default_factory=dict)

    def problem(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(show(path), message, hint, self.document.line(path)))

    def code_problem(self, file: str, message: str, hint: str = "", line: int | None = None) -> None:
        self.problems.append(Problem(file, message, hint, line))

    def read(self) -> Spec | None:
        root = self.document.value
        if not isinstance(root, dict):
            self.problem((), f"must be an object, is {kind_of(root)}", "one workflow a file")
            return None
        body = self._unwrap(root)
        workflow_id = self._workflow_id(body)
        if not self._is_compiled(body):
            return None
        files = self._files(body)
        package = self._json_field(body, "packageJson", files, "package.json")
        tsconfig = self._json_field(body, "tsConfig", files, "tsconfig.json")
        block = DeployReader()
        deploy = block.read(body.get("deploy"))
        for path, message, hint in block.problems:
            self.problem(path, message, hint)
        for file in _ROOT_FILES:
            files.pop(file, None)
        entries = self._entries(body, files)
        return self._finish(workflow_id, body, files, package, tsconfig, deploy, entries)

    def _unwrap(self, root: dict[str, Any]) -> dict[str, Any]:
        """`{success, data: {…}}` and snake_case rows become the plain form."""
        body = root
        if "workflowId" not in root and isinstance(root.get("data"), dict):
            body = {**root["data"], **{key: value for key, value in root.items() if key != "data"}}
        for old, new in _SNAKE.items():
            if old in body and new not in body:
                body = {**body, new: body[old]}
        return body

    def _workflow_id(self, body: Mapping[str, Any]) -> str:
        value = body.get("workflowId")
        if value is None:
            self.problem((), "has no workflowId", "add a string that names the workflow on this host")
        elif not isinstance(value, str):
            self.problem(("workflowId",), f"must be a string, is {kind_of(value)}")
        elif message := id_problem(value):
            self.problem(("workflowId",), f"{message}: {value[:140]!r}")
        else:
            return value
        return ""

    def _is_compiled(self, body: Mapping[str, Any]) -> bool:
        """A builder that failed says so; a graph without code was never compiled."""
        errors = body.get("errors")
        if body.get("success") is False or (isinstance(errors, list) and errors):
            self.reason = Reason.NOT_COMPILED
            for index, error in enumerate(errors if isinstance(errors, list) else []):
                text = error.get("message", error) if isinstance(error, dict) else error
                self.problem(("errors", index), f"the builder reported: {str(text)[:300]}")
            if not errors:
                self.problem(("success",), "is false: the builder did not compile this workflow")
            self.problem((), "not compiled", "compile the workflow in the builder and export it again")
            return False
        if not any(key in body for key in (*_CODE_FIELDS, "files")):
            self.reason = Reason.NOT_COMPILED
            self.problem(
                (),
                "not compiled: there is neither workflowCode nor files",
                "export the builder's compile result, not its graph",
            )
            return False
        return True

    # files

    def _files(self, body: Mapping[str, Any]) -> dict[str, str]:
        files: dict[str, str] = {}
        for where, path, text in self._raw_files(body):
            if message := path_problem(path):
                self.problem(where, f"the path {path[:200]!r} {message}")
            elif message := forbidden_problem(path):
                self.problem(where, f"{path}: {message}")
            elif not isinstance(text, str):
                self.problem(where, f"must be text, is {kind_of(text)}")
            elif "\x00" in text:
                self.problem(where, "holds a NUL character; only text files can be deployed")
            elif path in files:
                self.problem(where, f"the file {path} is given twice")
            elif path.startswith("src/") or path in _ROOT_FILES or path.endswith(_CODE_SUFFIXES):
                files[path] = text
                self.places[path] = where
            else:
                self.warnings.append(f"{path} is outside of src/ and was left out")
        if len(files) > self.limits.files:
            self.problem(("files",), f"{len(files)} files are more than the limit of {self.limits.files}")
        self._check_twins(files)
        return files

    def _raw_files(self, body: Mapping[str, Any]) -> Iterator[tuple[Path, str, Any]]:
        for key, path in _CODE_FIELDS.items():
            if body.get(key) is not None:
                yield (key,), path, body[key]
        given = body.get("files")
        if isinstance(given, dict):
            for path, text in given.items():
                content = text.get("content") if isinstance(text, dict) else text
                yield ("files", path), path, content
        elif isinstance(given, list):
            for index, item in enumerate(given):
                named = item.get("path") if isinstance(item, dict) else None
                if isinstance(named, str):
                    yield ("files", index), named, item.get("content")
                else:
                    self.problem(("files", index), "must be an object with path and content")
        elif given is not None:
            self.problem(("files",), f"must be an object of path → text, is {kind_of(given)}")

    def _check_twins(self, files: Iterable[str]) -> None:
        """Names that fall together on a case-blind file system, and files that are also folders."""
        folded: dict[str, str] = {}
        folders = {parent.casefold() for path in files for parent in parents(path)}
        for path in files:
            twin = folded.setdefault(path.casefold(), path)
            if twin != path:
                self.problem(("files", path), f"differs from {twin!r} only in upper and lower case")
            if path.casefold() in folders:
                self.problem(("files", path), "is both a file and a folder")

    def _json_field(
        self, body: Mapping[str, Any], key: str, files: Mapping[str, str], file: str
    ) -> dict[str, Any] | None:
        """`packageJson`/`tsConfig`: an object, JSON text, or the file of that name."""
        value = body.get(key)
        where: Path = (key,)
        if value is None and file in files:
            value, where = files[file], ("files", file)
        if isinstance(value, str):
            try:
                value = parse(strip_comments(value).encode(), limits=self.limits).value
            except SpecError as error:
                self.problem(where, f"{file}: {error.problems[0].message}")
                return None
        if value is not None and not isinstance(value, dict):
            self.problem(where, f"must be an object or JSON text, is {kind_of(value)}")
            return None
        return dict(value) if value is not None else None

    # code

    def _entries(self, body: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str | None]:
        given = body.get("entrypoints")
        if given is not None and not isinstance(given, dict):
            self.problem(("entrypoints",), f"must be an object, is {kind_of(given)}")
            given = {}
        given = given or {}
        for key in given:
            if key not in _CONVENTIONS:
                self.problem(("entrypoints", key), f"is not one of {', '.join(_CONVENTIONS)}")
        return {role: self._entry(role, given.get(role), files) for role in _CONVENTIONS}

    def _entry(self, role: str, named: Any, files: Mapping[str, str]) -> str | None:
        if named is not None:
            path = posixpath.normpath(named) if isinstance(named, str) else ""
            if path not in files:
                self.problem(
                    ("entrypoints", role), f"names {str(named)[:200]!r}, which is not one of the files"
                )
                return None
            return path
        for stem in _CONVENTIONS[role]:
            for suffix in _CODE_SUFFIXES:
                if f"src/{stem}{suffix}" in files:
                    return f"src/{stem}{suffix}"
        return None

    def _finish(
        self,
        workflow_id: str,
        body: Mapping[str, Any],
        files: dict[str, str],
        package: dict[str, Any] | None,
        tsconfig: dict[str, Any] | None,
        deploy: Deploy,
        entries: Mapping[str, str | None],
    ) -> Spec:
        name: Any = body.get("name")
        if name is not None and not isinstance(name, str):
            self.problem(("name",), f"must be a string, is {kind_of(name)}")
            name = None
        self._check_code(files, entries, deploy)
        types = syntax.exports(files, entries["workflows"])[0] if entries["workflows"] else ()
        names = syntax.exports(files, entries["activities"])[0] if entries["activities"] else ()
        queue = syntax.task_queue(files, entries["worker"]) if entries["worker"] else None
        if queue is not None and (message := name_problem(queue)):
            self.code_problem(entries["worker"] or "", f"taskQueue {message}")
        return Spec(
            workflow_id=workflow_id,
            name=name or workflow_id,
            files=dict(sorted(files.items())),
            package=package or {},
            tsconfig=tsconfig,
            workflows=entries["workflows"],
            activities=entries["activities"],
            worker=entries["worker"],
            workflow_types=types,
            activity_names=names,
            task_queue=queue,
            deploy=deploy,
            warnings=tuple(self.warnings),
        )

    def _check_code(
        self, files: Mapping[str, str], entries: Mapping[str, str | None], deploy: Deploy
    ) -> None:
        for path in files:
            if not path.startswith("src/"):
                self.problem(("files", path), "is code outside of src/", "put source files under src/")
        for role, entry in entries.items():
            if entry is not None and not files[entry].strip():
                self.problem(self.places[entry], f"is empty: the {role} code ({entry}) is missing")
        workflows = entries["workflows"]
        if workflows is None:
            if entries["activities"] is None:
                self.problem(
                    (), "has no workflow code", "add src/workflow.ts, or name it in entrypoints.workflows"
                )
        elif files[workflows].strip():
            self._check_workflow(files, workflows)
        if deploy.isolation == "process" and entries["worker"] is None:
            self.problem(
                ("deploy", "isolation"), "is 'process', but there is no worker code", "add src/worker.ts"
            )

    def _check_workflow(self, files: Mapping[str, str], entry: str) -> None:
        modules = [syntax.read_module(path, files[path]) for path in syntax.reachable(files, entry)]
        if any(module.broken for module in modules):
            return  # a syntax error: the compiler says where, in its own words
        if not any(item.specifier == "@temporalio/workflow" for module in modules for item in module.imports):
            self.code_problem(entry, "does not import @temporalio/workflow", "is this the workflow's code?")
        if not syntax.exports(files, entry)[0]:
            default = any(module.has_default for module in modules)
            hint = "give the default export a name" if default else "export async function myWorkflow() { … }"
            self.code_problem(entry, "exports no async function, so there is no workflow in it", hint)


# Each alternative takes what is unclosed as well, so that no character is looked at twice.
_JSONC = re.compile(
    r'(?P<string>"(?:[^"\\]++|\\.)*+"?)|(?P<comment>//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/)?)'
    r"|(?P<space>\s++)|,|[^\s\",/]++|/",
    re.DOTALL,
)


def strip_comments(text: str) -> str:
    """JSON with comments and trailing commas (as tsconfig.json has) → JSON; lines stay where they are."""
    parts: list[str] = []
    comma = -1  # where the last comma is, while only space and comments followed it
    for match in _JSONC.finditer(text):
        token = match[0]
        if match.lastgroup == "comment":
            parts.append(" " + "\n" * token.count("\n"))
            continue
        if comma >= 0 and token[0] in "]}":
            parts[comma] = ""
        if match.lastgroup != "space":
            comma = len(parts) if token == "," else -1
        parts.append(token)
    return "".join(parts)


def package_text(spec: Spec) -> str:
    """The release's package.json: the spec's own, with what `npm start` needs where it has nothing."""
    scripts = {"start": "node dist/worker.js"} if spec.worker else {}
    base = {"name": spec.workflow_id.lower(), "version": "0.0.0", "private": True, "scripts": scripts}
    return json.dumps({**base, **spec.package}, indent=2, ensure_ascii=False) + "\n"
