"""What must hold for any input, whoever made it: Hypothesis, atheris or a found crash."""

from __future__ import annotations

import json
import posixpath
from contextlib import suppress
from typing import Any

from timewright.core.deploy import DeployReader
from timewright.core.document import Document, Limits, parse, show, walk
from timewright.core.errors import DeployError, SpecError
from timewright.core.pack import code_places, packed, unpacked
from timewright.core.policy import defaults_for, merge, read_policy
from timewright.core.prepare import settle
from timewright.core.spec import Spec, peek_workflow_id, read_spec, strip_comments

from tests.support import HOST

#: Smaller than the product's, so that an input reaches them.
LIMITS = Limits(bytes=64 * 1024, depth=32, items=2_000, files=20)

_KEYS = ("workflowId", "name", "files", "packageJson", "tsConfig", "entrypoints", "deploy", "workflowCode",
         "activitiesCode", "workerCode", "success", "errors", "data", "workflow_id", "zzz")  # fmt: skip
_PATHS = ("src/workflow.ts", "src/activities.ts", "src/worker.ts", "src/workflows/index.ts", "src/a.js",
          "package.json", "tsconfig.json", "tsconfig.base.json", "temporal/src/workflows.ts", "run.ts",
          "src/lib/util.mts", "src/types.d.ts", "../x.ts", "src/a.tsx", "workflows/index.cts")  # fmt: skip
_HEADS = (
    "",
    "import { sleep } from '@temporalio/workflow';\nexport async function a() {}\n",
    "export * from './",
    "import { Worker } from '@temporalio/worker';\nWorker.create({ taskQueue: '",
    '{"compilerOptions": {"',
    '{"extends": "',
)


def fuzz_spec(data: bytes, *, is_yaml: bool) -> None:
    """Any bytes are a spec or a SpecError that can be shown."""
    try:
        spec = read_spec(data, is_yaml=is_yaml, limits=LIMITS)
    except SpecError as error:
        check_problems(error)
        peek_workflow_id(data, is_yaml=is_yaml, limits=LIMITS)
    else:
        check_spec(spec)


def check_problems(error: DeployError) -> None:
    """An error says something, in text that a terminal, a log and a state file can take."""
    assert error.problems
    for problem in error.problems:
        assert problem.message
        str(problem).encode()
        json.dumps(problem.__dict__).encode()


def check_spec(spec: Spec) -> None:
    """Whatever was read can be digested, placed and written, and only below its release."""
    with suppress(DeployError):
        assert len(settle(spec, HOST).digest) == 64
    inside = {posixpath.normpath(posixpath.join("/release", path)) for path in spec.files}
    assert len(inside) == len(spec.files)
    for path in inside:
        assert path.startswith("/release/")
        assert not path.startswith(("/release/dist/", "/release/bundle/", "/release/node_modules/"))
    for entry in (spec.workflows, spec.activities, spec.worker):
        assert entry is None or entry in spec.files
    for path, text in spec.files.items():
        (path + text).encode()


def fuzz_structured(data: bytes) -> None:
    """A document that is near to a spec: the bytes choose keys, paths and the beginnings of code."""
    document: dict[str, Any] = {"workflowId": "a"}
    files: dict[str, Any] = {}
    for piece in data.split(b"\xff"):
        if len(piece) < 2:
            continue
        head, text = piece[0], piece[2:].decode("utf-8", "replace")
        if head & 0x80:
            files[_PATHS[head % len(_PATHS)]] = _HEADS[piece[1] % len(_HEADS)] + text
        else:
            document[_KEYS[head % len(_KEYS)]] = _value(piece[1], text)
    if files:
        given = document.get("files")
        document["files"] = {**files, **(given if isinstance(given, dict) else {})}
    fuzz_spec(json.dumps(document).encode(), is_yaml=False)


def _value(kind: int, text: str) -> Any:
    if kind & 1:
        return text
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return {0: None, 1: [text], 2: {text: text}, 3: len(text)}[kind % 8 // 2]


def fuzz_policy(data: bytes) -> None:
    """Any bytes are a policy or a SpecError; what it gives is always a good `deploy` block."""
    head, _, rest = data.partition(b"\n")
    try:
        policy = read_policy(rest, "pay/a.policy.yaml", limits=LIMITS)
    except SpecError as error:
        check_problems(error)
        return
    source = "pay/" + head.decode("utf-8", "replace")
    given, used = defaults_for(source, [policy])
    assert set(used) <= {policy.path}
    reader = DeployReader()
    reader.read(merge(given, {"isolation": "process"}))
    assert reader.problems == []


def check_unpacked(document: Document) -> None:
    """What a document would write to a folder stays below it; pack finds nothing else in it."""
    places = code_places(document.value)
    for where in places.values():
        show(where)
        document.line(where)
    with suppress(SpecError):
        project = unpacked(document.value)
        assert set(project.files) <= set(places)
        for path in project.files:
            assert posixpath.normpath(posixpath.join("/release", path)) == f"/release/{path}"
        again = packed(project)
        assert again["files"] == project.files
        assert unpacked(again).files == project.files


def fuzz_text(data: bytes) -> None:
    """The parts that everything stands on: both parsers, lines of paths, JSON with comments."""
    for is_yaml in (False, True):
        try:
            document = parse(data, is_yaml=is_yaml, limits=LIMITS)
        except SpecError as error:
            check_problems(error)
            continue
        for path, _ in walk(document.value):
            show(path)
            line = document.line(path)  # YAML names the line after the last for a value that isn't there
            assert line is None or 1 <= line <= len(document.text.splitlines()) + 1
        check_unpacked(document)
    text = data.decode("utf-8", "replace")
    assert strip_comments(text).count("\n") == text.count("\n")
