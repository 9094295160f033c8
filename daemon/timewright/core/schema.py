"""The fields of a spec and of a policy, once: the JSON Schemas and the tables of docs/spec.md come from here.

A schema says less than `read_spec` checks (it can't see code, nor twins among paths), and never more:
what the reader takes, the schema takes. Editors complete and explain keys with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from timewright.core.names import WORKFLOW_ID

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """One key. `kind`: its JSON Schema; `what`: for people, one line of Markdown; `default`: in words.
    `also`: another spelling that is taken."""

    name: str
    kind: Mapping[str, Any]
    what: str
    example: Any
    default: str = "none"
    also: str = ""
    required: bool = False

    def schema(self) -> Schema:
        """A null says nothing, so that it is taken wherever a key may be missing."""
        kind = dict(self.kind) if self.required else _or_null(self.kind)
        return {"description": self.what, **kind, "examples": [self.example]}


def _or_null(kind: Mapping[str, Any]) -> Schema:
    if "anyOf" in kind:
        return {**kind, "anyOf": [*kind["anyOf"], {"type": "null"}]}
    if "enum" in kind:
        return {**kind, "enum": [*kind["enum"], None]}
    if "type" in kind:
        types = kind["type"] if isinstance(kind["type"], list) else [kind["type"]]
        return {**kind, "type": [*types, "null"]}
    return dict(kind)


_TEXT: Schema = {"type": "string"}
_JSON: Schema = {"type": ["object", "string"]}
_PATH: Schema = {
    "type": "string",
    "maxLength": 1000,
    "pattern": r"^(?![A-Za-z]:)(?!(.*/)?(\.{0,2}|node_modules)(/|$))[^\\]+$",
}
_NAME: Schema = {"type": "string", "pattern": r"\S", "maxLength": 200}
_SPAN: Schema = {"type": ["number", "string", "null"]}
_GATE_OBJECT: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["workflow"],
    "properties": {
        "workflow": {"type": "string", "description": "a workflow type of the task queue"},
        "input": {"description": "its argument: any JSON"},
        "timeout": {**_SPAN, "description": "how long it may take: seconds, or 90s, 15m, 2h (5m)"},
        "onFailure": {"enum": ["rollback", "pause", None], "description": "`pause` waits for a person"},
    },
}
_GATE: Schema = {"anyOf": [_GATE_OBJECT, {"type": "string"}, {"type": "null"}]}
_STRATEGIES = ["AllAtOnce", "Progressive", "Manual", "off"]
_ROLLOUT: Schema = {
    "anyOf": [
        {"enum": _STRATEGIES},
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "strategy": {"enum": [*_STRATEGIES, None]},
                "steps": {
                    "type": ["array", "null"],
                    "maxItems": 50,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["rampPercentage"],
                        "properties": {
                            "rampPercentage": {"type": "number", "minimum": 0.01, "maximum": 100},
                            "pause": {**_SPAN, "description": "how long: seconds, or 90s, 15m, 2h, 3d"},
                            "gate": {
                                "anyOf": [_GATE_OBJECT, {"type": ["boolean", "string", "null"]}],
                                "description": "run after the pause; false: none here",
                            },
                        },
                    },
                },
                "gate": {**_GATE, "description": "a workflow that has to complete on the new Version"},
                "watch": {
                    "type": ["object", "null"],
                    "additionalProperties": False,
                    "properties": {
                        "failureRate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                        "minExecutions": {"type": ["number", "null"], "minimum": 1},
                        "taskFailures": {"type": ["number", "null"], "minimum": 1},
                        "query": {"type": ["string", "null"], "description": "PromQL"},
                        "above": {"type": ["number", "null"], "description": "bad above this"},
                        "check": {"type": ["string", "null"], "description": "a name of [rollout.checks]"},
                    },
                },
            },
        },
    ]
}
_CODE = "TypeScript; becomes `{}`"

_WORKFLOW = (
    "import { sleep } from '@temporalio/workflow';\nexport async function hello() { await sleep(1); }\n"
)

COMMON = (
    Field(
        "workflowId",
        {"type": "string", "pattern": f"^{WORKFLOW_ID.pattern}$"},
        "names the workflow on this host: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`",
        "order-saga",
        also="workflow_id",
        required=True,
    ),
    Field("name", _TEXT, "for people", "Order saga", "the `workflowId`"),
    Field(
        "packageJson",
        _JSON,
        "package.json as an object, or as JSON text (comments and trailing commas are fine)",
        {"dependencies": {"@temporalio/workflow": "^1.10.0"}},
        '`files["package.json"]`',
        also="package_json",
    ),
    Field(
        "tsConfig",
        _JSON,
        "tsconfig.json in the same way",
        {"compilerOptions": {"strict": True}},
        '`files["tsconfig.json"]`',
        also="ts_config",
    ),
)

COMPILE_RESULT = (
    Field("workflowCode", _TEXT, _CODE.format("src/workflow.ts"), _WORKFLOW, also="workflow_code"),
    Field(
        "activitiesCode",
        _TEXT,
        _CODE.format("src/activities.ts"),
        "export async function greet(name: string) { return `Hello, ${name}`; }\n",
        also="activities_code",
    ),
    Field(
        "workerCode",
        _TEXT,
        _CODE.format("src/worker.ts"),
        "import { Worker } from '@temporalio/worker';\n",
        also="worker_code",
    ),
    Field("success", {"not": {"const": False}}, 'false means "not compiled": refused', True, "true"),
    Field("errors", {"maxItems": 0}, 'any error in this list means "not compiled": refused', [], "no errors"),
)

BUNDLE = (
    Field(
        "files",
        {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": _PATH,
                    "additionalProperties": {
                        "anyOf": [
                            _TEXT,
                            {"type": "object", "required": ["content"], "properties": {"content": _TEXT}},
                        ]
                    },
                },
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["path", "content"],
                        "properties": {"path": _PATH, "content": _TEXT},
                    },
                },
            ]
        },
        "the files: `{path: text}`, or a list of `{path, content}`",
        {"src/workflow.ts": _WORKFLOW},
    ),
    Field(
        "entrypoints",
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                role: {"type": ["string", "null"], "description": f"the file that holds the {what}"}
                for role, what in (
                    ("workflows", "workflows"),
                    ("activities", "activities"),
                    ("worker", "worker's own program"),
                )
            },
        },
        "which files to start from, where the convention doesn't find them",
        {"workflows": "src/flows/main.ts"},
        "by convention",
    ),
)

DEPLOY = (
    Field(
        "taskQueue",
        _NAME,
        "where it is served",
        "orders",
        "the string in `worker.ts`, else `temporal.task_queue`",
    ),
    Field("namespace", _NAME, "Temporal namespace", "shop", "`temporal.namespace`"),
    Field(
        "isolation",
        {"enum": ["shared", "process"]},
        "`shared`: one Worker for all of the queue. `process`: your own `worker.ts`, alone on its queue",
        "process",
        "`shared`; `process` where a shared Worker can't stand for `worker.ts`",
    ),
    Field(
        "env",
        {
            "type": "object",
            "propertyNames": {"pattern": "^(?!TEMPORAL_|TIMEWRIGHT_|NODE_|LD_)[A-Za-z_][A-Za-z0-9_]*$"},
            "additionalProperties": _TEXT,
        },
        "environment of that process, `{NAME: text}` (`process` only)",
        {"BANK_URL": "https://bank.example"},
    ),
    Field("prune", {"type": "boolean"}, "undeploy when the file goes away", False, "`source.prune`"),
    Field(
        "keepReleases",
        {"type": "integer", "minimum": 1, "maximum": 1000},
        "old releases kept, 1 to 1000",
        3,
        "`releases.keep`",
    ),
    Field("owner", _NAME, "who may see and touch it through the API (`docs/api.md`)", "team-payments"),
    Field(
        "dependsOn",
        {"type": "array", "items": {"type": "string"}, "maxItems": 100},
        "workflow ids that must be deployed and healthy first",
        ["ledger"],
    ),
    Field("suspend", {"type": "boolean"}, "leave the workflow as it is: deploy and undeploy nothing", True),
    Field(
        "autoRevert",
        {"type": "boolean"},
        "go back to the release before when a new one is not healthy within its trial",
        False,
        "`health.revert`",
    ),
    Field(
        "rollout",
        _ROLLOUT,
        "how new executions come to new code: a strategy, or an object (`docs/rollouts.md`)",
        {"strategy": "Progressive", "steps": [{"rampPercentage": 10, "pause": "5m"}]},
        "`rollout.strategy`",
    ),
    Field(
        "versioning",
        {"enum": ["PINNED", "AUTO_UPGRADE"]},
        "open executions end on the code they began with, or go on with the newest",
        "AUTO_UPGRADE",
        "`rollout.versioning`",
    ),
    Field(
        "replay",
        {"enum": ["off", "warn", "enforce"]},
        "replay recent executions on new code before it goes live (`docs/replay.md`)",
        "enforce",
        "`enforce` where open executions go on with new code, else `off`",
    ),
    Field(
        "onUndeploy",
        {"enum": ["wait", "block", "force"]},
        "with open executions: wait for their end, refuse, or undeploy all the same",
        "block",
        "`wait` where there are Versions, else `force`",
    ),
)

_GLOB: Schema = {"type": "string", "minLength": 1, "maxLength": 1001}
POLICY = (
    Field(
        "match",
        {"anyOf": [_GLOB, {"type": "array", "minItems": 1, "maxItems": 100, "items": _GLOB}]},
        "which specs: a glob or a list of globs, on the path below the policy's own folder; `!` takes out",
        ["billing-*.json", "!billing-old.json"],
        "all specs in the folder and below",
    ),
    Field(
        "deploy",
        {"$ref": "#/$defs/deploy"},
        "the defaults: the same keys as `deploy` of a spec",
        {"taskQueue": "billing"},
        required=True,
    ),
)

_DEPLOY = Field(
    "deploy",
    {"anyOf": [{"$ref": "#/$defs/deploy"}]},
    "how to serve it and roll it out",
    {"taskQueue": "orders"},
)
#: The tables of docs/spec.md, by the name in their marker.
TABLES: Mapping[str, tuple[Field, ...]] = {
    "common": COMMON,
    "compile-result": COMPILE_RESULT,
    "bundle": BUNDLE,
    "deploy": DEPLOY,
    "policy": POLICY,
}


def spec_schema() -> Schema:
    """The JSON Schema of a spec: draft 2020-12."""
    fields = (*COMMON, *COMPILE_RESULT, *BUNDLE, _DEPLOY)
    code = [name for field in fields if field in (*COMPILE_RESULT[:2], BUNDLE[0]) for name in _names(field)]
    ids = _names(COMMON[0])
    return {
        "$schema": DIALECT,
        "$id": "urn:timewright:spec",
        "title": "timewright spec",
        "description": "One Temporal TypeScript workflow as one document: docs/spec.md.",
        "type": "object",
        "$ref": "#/$defs/fields",
        "if": {
            "required": ["data"],
            "properties": {"data": {"type": "object"}},
            "not": {"required": ids[:1]},
        },
        "then": {
            "description": "wrapped: {success, data: {…}}",
            "properties": {"data": {"$ref": "#/$defs/fields"}},
            "allOf": [_here_or_in_data(ids), _here_or_in_data(code)],
        },
        "else": {"allOf": [_one_of(ids), _one_of(code)]},
        "$defs": {
            "fields": {"properties": _properties(fields)},
            "deploy": _deploy_schema(),
        },
    }


def policy_schema() -> Schema:
    """The JSON Schema of a policy file: draft 2020-12."""
    return {
        "$schema": DIALECT,
        "$id": "urn:timewright:policy",
        "title": "timewright policy",
        "description": "Defaults of `deploy` for the specs of a folder: docs/spec.md.",
        "type": "object",
        "additionalProperties": False,
        "required": ["deploy"],
        "properties": {"$schema": {"type": "string"}, **_properties(POLICY)},
        "$defs": {"deploy": _deploy_schema()},
    }


def _deploy_schema() -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": _properties(DEPLOY)}


def _properties(fields: Iterable[Field]) -> Schema:
    return {name: field.schema() for field in fields for name in _names(field)}


def _names(field: Field) -> list[str]:
    return [field.name, field.also] if field.also else [field.name]


def _one_of(names: Iterable[str]) -> Schema:
    return {"anyOf": [{"required": [name]} for name in names]}


def _here_or_in_data(names: list[str]) -> Schema:
    return {"anyOf": [_one_of(names), {"properties": {"data": _one_of(names)}}]}


def render(schema: Schema) -> str:
    """A schema as text: what the command prints and the repository holds."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def table(name: str) -> str:
    """One table of docs/spec.md, in Markdown."""
    lines = ["| key | what | default | example |", "|---|---|---|---|"]
    for field in TABLES[name]:
        key = f"`{field.name}`" + (" (needed)" if field.required else "")
        default = "" if field.required else field.default
        lines.append(f"| {key} | {field.what} | {default} | {_short(field.example)} |")
    return "\n".join(lines) + "\n"


def _short(example: Any) -> str:
    """An example that fits in a cell; long code is shown by its beginning."""
    text = json.dumps(example, ensure_ascii=False).replace("|", "\\|")
    return f"`{text}`" if len(text) <= 60 else f"`{text[:40].rstrip()}…`"
