"""Specs: what a document of a builder means. One normaliser for every shape that builders emit.

Shapes (docs/spec.md): a *compile result* (workflowCode, activitiesCode, workerCode, packageJson,
tsConfig, …) and a *bundle of files* (files, entrypoints). Both may carry `deploy`, which is ours.
Every problem of a document is reported at once.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from timewright.core.aliases import Aliases
from timewright.core.company import mixes
from timewright.core.deploy import Deploy, DeployReader, kind_of
from timewright.core.document import Document, Limits, Path, parse, show
from timewright.core.entries import ROLES, Entries, find_entries, resolve_named
from timewright.core.errors import Problem, Reason, SpecError
from timewright.core.names import (
    forbidden_problem,
    id_problem,
    left_out_reason,
    name_problem,
    parents,
    path_problem,
)
from timewright.core.policy import merge
from timewright.core.sources import JAVASCRIPT, Sources, is_code
from timewright.core.tsconfig import compiler_options


@dataclass(frozen=True)
class Spec:
    """One workflow, ready to be compiled.

    `files`: path below the release → text, sorted by path. `package`, `tsconfig`: the documents as
    objects; `configs`: other tsconfig files, for `extends`; `lock`: package-lock.json, None without.
    `workflows`, `activities`, `worker`: entry files, None when the spec has none. `root`: the folder
    that dist/ mirrors, 'src' or '.'. `reached`: the files that the entry points lead to; `packages`:
    the packages that those import. `workflow_types`, `activity_names`: exported functions, by syntax.
    `isolation`: 'shared' or 'process'; `own` says why the latter. `mixes`: as `company.mixes` found.
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
    configs: Mapping[str, str] = field(default_factory=dict)
    lock: str | None = None
    root: str = "src"
    reached: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    isolation: str = "shared"
    own: str = ""
    mixes: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def unreached(self) -> tuple[str, ...]:
        """Code that no entry point leads to: scripts and tests that lie beside."""
        reached = set(self.reached)
        return tuple(path for path in self.files if is_code(path) and path not in reached)

    @property
    def javascript(self) -> bool:
        """Whether some of the code that counts is JavaScript."""
        return any(is_code(path) and path.endswith(JAVASCRIPT) for path in self.reached)


Pin = Callable[[Mapping[str, Any], str | None], str]


def read_spec(
    data: bytes,
    *,
    is_yaml: bool = False,
    limits: Limits | None = None,
    defaults: Mapping[str, Any] | None = None,
    pin: Pin = lambda package, lock: "",
) -> Spec:
    """The spec that a file's bytes hold. Raises SpecError with every problem found.

    `defaults`: keys of `deploy` for what the spec doesn't say (policy files). `pin`: given
    package.json and lock file, says why our SDK can't serve the spec, or ''.
    """
    limits = limits or Limits()
    document = parse(data, is_yaml=is_yaml, limits=limits)
    reader = _Reader(document, limits, defaults or {}, pin)
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

#: Keys as database rows have them.
SNAKE = {
    "workflow_id": "workflowId",
    "workflow_code": "workflowCode",
    "activities_code": "activitiesCode",
    "worker_code": "workerCode",
    "package_json": "packageJson",
    "ts_config": "tsConfig",
    "tsconfig": "tsConfig",
}
#: Fields of a compile result, and the files that they become.
CODE_FIELDS = {
    "workflowCode": "src/workflow.ts",
    "activitiesCode": "src/activities.ts",
    "workerCode": "src/worker.ts",
}
_LOCK = "package-lock.json"
_ROOT_FILES = ("package.json", "tsconfig.json", _LOCK)
_TSCONFIG = re.compile(r"(.*/)?tsconfig[^/]*\.json")


@dataclass
class _Reader:
    document: Document
    limits: Limits
    defaults: Mapping[str, Any]
    pin: Pin
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
        deploy = self._deploy(body)
        lock = files.get(_LOCK)
        for file in _ROOT_FILES:
            files.pop(file, None)
        configs = {path: files.pop(path) for path in list(files) if _TSCONFIG.fullmatch(path)}
        return self._finish(workflow_id, body, files, package, tsconfig, deploy, configs, lock)

    def _deploy(self, body: Mapping[str, Any]) -> Deploy:
        block, given = DeployReader(), body.get("deploy")
        if self.defaults and (given is None or isinstance(given, dict)):
            given = merge(self.defaults, given or {})
        deploy = block.read(given)
        for path, message, hint in block.problems:
            self.problem(path, message, hint)
        return deploy

    def _unwrap(self, root: dict[str, Any]) -> dict[str, Any]:
        """`{success, data: {…}}` and snake_case rows become the plain form."""
        body = root
        if "workflowId" not in root and isinstance(root.get("data"), dict):
            body = {**root["data"], **{key: value for key, value in root.items() if key != "data"}}
        for old, new in SNAKE.items():
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
        if not any(key in body for key in (*CODE_FIELDS, "files")):
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
        left_out: list[str] = []
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
            elif reason := left_out_reason(path):
                left_out.append(f"{path} was left out: {reason}")
            else:
                files[path] = text
                self.places[path] = where
        self.warnings += _some(left_out)
        if len(files) > self.limits.files:
            self.problem(("files",), f"{len(files)} files are more than the limit of {self.limits.files}")
        self._check_twins(files)
        return files

    def _raw_files(self, body: Mapping[str, Any]) -> Iterator[tuple[Path, str, Any]]:
        for key, path in CODE_FIELDS.items():
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

    def _named_entries(self, body: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
        """`entrypoints`: role → file."""
        given = body.get("entrypoints")
        if given is not None and not isinstance(given, dict):
            self.problem(("entrypoints",), f"must be an object, is {kind_of(given)}")
            given = {}
        found: dict[str, str] = {}
        for role, name in (given or {}).items():
            if role not in ROLES:
                self.problem(("entrypoints", role), f"is not one of {', '.join(ROLES)}")
            elif not isinstance(name, str):
                self.problem(("entrypoints", role), f"must be a file's path, is {kind_of(name)}")
            elif (path := resolve_named(files, name)) is None:
                self.problem(("entrypoints", role), f"names {name[:200]!r}, which is not one of the files")
            else:
                found[role] = path
        return found

    def _finish(
        self,
        workflow_id: str,
        body: Mapping[str, Any],
        files: dict[str, str],
        package: dict[str, Any] | None,
        tsconfig: dict[str, Any] | None,
        deploy: Deploy,
        configs: Mapping[str, str],
        lock: str | None,
    ) -> Spec:
        name: Any = body.get("name")
        if name is not None and not isinstance(name, str):
            self.problem(("name",), f"must be a string, is {kind_of(name)}")
            name = None
        aliases = Aliases.of(compiler_options(tsconfig or {}, own=configs).options)
        sources = Sources({**files, "package.json": ""}, aliases.targets)
        named = self._named_entries(body, files)
        entries = find_entries(sources, named, isolation=deploy.isolation, pin=self.pin(package or {}, lock))
        self._take(entries)
        self._check_code(sources, entries, deploy)
        reached = sources.reachable(*entries.all)
        own_files = [path for path in reached if path in files]
        queue = entries.queue
        if queue is not None and (message := name_problem(queue)):
            self.code_problem(entries.worker or "", f"taskQueue {message}")
        return Spec(
            workflow_id=workflow_id,
            name=name or workflow_id,
            files=dict(sorted(files.items())),
            package=package or {},
            tsconfig=tsconfig,
            workflows=entries.workflows,
            activities=entries.activities,
            worker=entries.worker,
            workflow_types=sources.exports(entries.workflows)[0] if entries.workflows else (),
            activity_names=sources.exports(entries.activities)[0] if entries.activities else (),
            task_queue=queue,
            deploy=deploy,
            configs=dict(sorted(configs.items())),
            lock=lock,
            root=_root(reached),
            reached=tuple(sorted(own_files)),
            packages=sources.packages(reached),
            isolation="process" if entries.own else "shared",
            own=entries.own,
            mixes=mixes(sources, own_files),
            warnings=tuple(self.warnings),
        )

    def _take(self, entries: Entries) -> None:
        """What was found on the way to the entry points."""
        for where, message, hint in entries.problems:
            if where in self.places:
                self.code_problem(where, message, hint)
            else:
                self.problem(tuple(where.split(".")) if where else (), message, hint)
        self.warnings += entries.warnings
        if entries.own and not entries.own.startswith("deploy."):
            self.warnings.append(f"it has a worker process of its own, since {entries.own}")

    def _check_code(self, sources: Sources, entries: Entries, deploy: Deploy) -> None:
        for role in ROLES:
            entry = getattr(entries, role)
            if entry is not None and not sources.files[entry].strip():
                self.problem(self.places[entry], f"is empty: the {role} code ({entry}) is missing")
        workflows = entries.workflows
        if workflows is not None and sources.files[workflows].strip():
            self._check_workflow(sources, workflows, alone=bool(entries.own))
        elif workflows is None and entries.activities is None and not entries.own and not entries.problems:
            self.problem(
                (), "has no workflow code", "add src/workflow.ts, or name it in entrypoints.workflows"
            )
        if deploy.env and not entries.own:
            self.problem(
                ("deploy", "env"),
                "needs isolation: a shared worker process has one environment for all",
                'set deploy.isolation to "process", or remove env',
            )
        self._check_generated(sources, entries)

    def _check_workflow(self, sources: Sources, entry: str, *, alone: bool) -> None:
        modules = [sources.module(path) for path in sources.reachable(entry)]
        if any(module.broken for module in modules):
            return  # a syntax error: the compiler says where, in its own words
        if not any(
            item.specifier == "@temporalio/workflow" for module in modules for item in module.references
        ):
            self.code_problem(entry, "does not import @temporalio/workflow", "is this the workflow's code?")
        has_default = sources.module(entry).has_default
        if not sources.exports(entry)[0] and not (alone and has_default):
            hint = (
                "give the default export a name"
                if has_default
                else "export async function myWorkflow() { … }"
            )
            self.code_problem(entry, "exports no async function, so there is no workflow in it", hint)

    def _check_generated(self, sources: Sources, entries: Entries) -> None:
        """Paths that running code asks for by name; what it imports is the compiler's to report."""
        for path, item in sources.missing(sources.reachable(*entries.all)):
            if item.kind == "path" and not any(item.specifier in warning for warning in self.warnings):
                self.code_problem(
                    path,
                    f"names {item.specifier!r}, which is not one of the files",
                    "a file that a script generates must be in the spec: npm scripts never run here",
                    item.line,
                )


def _root(reached: Iterable[str]) -> str:
    """What dist/ mirrors: src/ when all that is compiled lies there, else the whole spec."""
    compiled = [path for path in reached if is_code(path) or path.endswith(".json")]
    return "src" if all(path.startswith("src/") for path in compiled) else "."


def _some(lines: list[str], most: int = 5) -> list[str]:
    """The first lines, and how many more there are."""
    return (
        lines
        if len(lines) <= most
        else [*lines[:most], f"… and {len(lines) - most} more files were left out"]
    )


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
    """The release's package.json: the spec's own, with a name, and with a start that fits our dist/."""
    base = {"name": spec.workflow_id.lower(), "version": "0.0.0", "private": True}
    package = {**base, **spec.package}
    if spec.worker:
        scripts = package.get("scripts")
        start = {"start": f"node {emitted(spec.worker, spec.root)}"}
        package["scripts"] = {**(scripts if isinstance(scripts, dict) else {}), **start}
    return json.dumps(package, indent=2, ensure_ascii=False) + "\n"


_EMITTED = {".ts": ".js", ".tsx": ".js", ".mts": ".mjs", ".cts": ".cjs", ".jsx": ".js"}


def emitted(source: str, root: str = "src") -> str:
    """Where the compiler puts a source: src/a/b.ts → dist/a/b.js; with the root '.': dist/src/a/b.js."""
    stem, suffix = posixpath.splitext(source if root == "." else posixpath.relpath(source, root))
    return f"dist/{stem}{_EMITTED.get(suffix, suffix)}"
