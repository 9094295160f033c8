from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from timewright.core import deploy, policy
from timewright.core.document import parse
from timewright.core.errors import SpecError
from timewright.core.policy import read_policy
from timewright.core.schema import DEPLOY, POLICY, Field, policy_schema, render, spec_schema
from timewright.core.spec import read_spec

from tests.core import test_policy, test_spec
from tests.core.test_document import values
from tests.support import ROOT, WORKFLOW, as_bytes, compile_result, document

SPEC = jsonschema.Draft202012Validator(spec_schema())
POLICY_FILE = jsonschema.Draft202012Validator(policy_schema())
FILES = document()["files"]


@pytest.mark.parametrize("made", [spec_schema(), policy_schema()], ids=["spec", "policy"])
def test_the_schemas_are_good_draft_2020_12(made: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(made)
    assert json.loads(render(made)) == made


def test_the_deploy_keys_of_the_schema_are_those_that_are_read() -> None:
    assert sorted(field.name for field in DEPLOY) == sorted(deploy.KEYS)


def test_the_policy_keys_of_the_schema_are_those_that_are_read() -> None:
    assert [field.name for field in POLICY] == list(policy.KEYS)


@pytest.mark.parametrize("field", [*DEPLOY, *POLICY], ids=lambda field: field.name)
def test_every_example_is_one_of_its_own_kind(field: Field) -> None:
    SPEC.evolve(schema={**field.schema(), "$defs": spec_schema()["$defs"]}).validate(field.example)


@pytest.mark.parametrize("path", sorted((ROOT / "specs").iterdir()), ids=lambda path: path.name)
def test_the_examples_fit_the_schema(path: Any) -> None:
    SPEC.validate(parse(path.read_bytes(), is_yaml=path.suffix != ".json").value)


@pytest.mark.parametrize(
    "value",
    [
        document(),
        compile_result(),
        compile_result(packageJson={}, tsConfig=None, workerCode=None),
        {"success": True, "data": compile_result(success=None)},
        {"workflow_id": "hello", "workflow_code": WORKFLOW, "package_json": "{}"},
        document(files=[{"path": path, "content": text} for path, text in FILES.items()]),
        document(files={path: {"content": text} for path, text in FILES.items()}),
        document(deploy={"isolation": "process", "env": {"A": "b"}, "keepReleases": 3, "owner": None}),
        document(metadata={"a": [1]}, definition={"nodes": []}, warnings=["x"], zzz=1),
    ],
)
def test_what_the_reader_takes_the_schema_takes(value: Any) -> None:
    read_spec(as_bytes(value))
    SPEC.validate(value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        document(workflowId=None),
        document(workflowId="../x"),
        document(workflowId=7),
        document(name=7),
        document(files=None),
        document(files="x"),
        document(files={"../x.ts": "", **FILES}),
        document(files={"/x.ts": "", **FILES}),
        document(files={"src//x.ts": "", **FILES}),
        document(files={"src/node_modules/x.ts": "", **FILES}),
        document(files={"src/x.ts": 7, **FILES}),
        document(files=[{"path": 7}]),
        document(packageJson=[]),
        document(tsConfig=7),
        document(entrypoints={"main": "x"}),
        document(entrypoints=[]),
        document(deploy=[]),
        document(deploy={"taskqueue": "x"}),
        document(deploy={"taskQueue": " "}),
        document(deploy={"isolation": "vm"}),
        document(deploy={"keepReleases": 0}),
        document(deploy={"env": {"NODE_OPTIONS": "x"}}),
        compile_result(success=False),
        compile_result(errors=["no"]),
        compile_result(workflowCode=7),
        {"success": True, "data": {"workflowId": "x"}},
        {"success": True, "data": compile_result(workflowCode=7)},
        {"workflowId": "x", "nodes": []},
    ],
)
def test_what_the_schema_refuses_the_reader_refuses(value: Any) -> None:
    assert not SPEC.is_valid(value)
    with pytest.raises(SpecError):
        read_spec(as_bytes(value))


@given(test_spec.specs, st.booleans())
def test_any_document_that_is_a_spec_fits_the_schema(value: dict[str, Any], flat: bool) -> None:
    value = {**(compile_result() if flat else document()), **value}
    with suppress(SpecError):
        read_spec(as_bytes(value))
        if "workflow_id" not in value:  # beside workflowId it is ignored; the schema reads both
            SPEC.validate(value)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("deploy: {taskQueue: x}", True),
        ("match: '*.json'\ndeploy: {env: {A: b}}", True),
        ("match: [a, '!b']\ndeploy: {}", True),
        ("match: []\ndeploy: {}", False),
        ("match: x", False),
        ("deploy: {taskqueue: x}", False),
        ("deploy: null", False),
        ("zzz: 1\ndeploy: {}", False),
        ("[]", False),
    ],
)
def test_a_policy_fits_its_schema_when_it_can_be_read(text: str, good: bool) -> None:
    assert POLICY_FILE.is_valid(yaml.safe_load(text)) is good
    if good:
        read_policy(text.encode(), "a.policy.yaml")
    else:
        with pytest.raises(SpecError):
            read_policy(text.encode(), "a.policy.yaml")


@given(
    st.dictionaries(st.sampled_from(policy.KEYS), values | test_policy.blocks | st.lists(test_policy.globs))
)
def test_any_document_that_is_a_policy_fits_the_schema(value: Any) -> None:
    with suppress(SpecError):
        read_policy(json.dumps(value).encode(), "a.policy.json")
        POLICY_FILE.validate(value)
