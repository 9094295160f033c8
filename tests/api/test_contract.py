"""The live API against its own description: no 5xx, no answer that isn't documented, whatever is sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from schemathesis.core.result import Ok
from timewright import views
from timewright.api import models
from timewright.core.state import Record
from timewright.edge.desk import Audited, Operation

from tests.api.conftest import Desk
from tests.e2e.specs import greeter
from tests.support import as_bytes

_EXAMPLES = 12  # of each call; enough for what went wrong so far, and seconds in all
#: A stream doesn't end; test_stream.py is about it.
_ENDLESS = "followEvents"
_CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
]


async def test_no_call_answers_with_a_fault_or_what_is_not_documented(desk: Desk) -> None:
    (desk.bench.specs / "one.json").write_bytes(as_bytes(greeter("one", "x", owner="team-a")))
    await desk.bench.settle()
    token = desk.token("admin")
    url = f"http://127.0.0.1:{desk.port}"
    document = (await desk.unix().get("/openapi.json")).json()
    tried = await asyncio.to_thread(_try_all, document, url, token)
    assert tried > 200


def _try_all(document: dict[str, Any], url: str, token: str) -> int:
    """Call everything with what hypothesis makes of the description, right and wrong; how often."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if operation.definition.raw["operationId"] == _ENDLESS:
            continue
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)
            tried += _try(strategy, token)
    return tried


def _try(strategy: Any, token: str) -> int:
    tried = 0

    @settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def one(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
        case.headers.pop("Prefer", None)  # up to five minutes
        if tried % 2 and "workflow_id" in (case.path_parameters or {}):
            case.path_parameters["workflow_id"] = "one"  # what is there has more to say
        response = case.call(timeout=20)
        case.validate_response(response, checks=_CHECKS)

    with suppress(Unsatisfiable):  # a call without parameters can't be made wrong
        one()
    return tried


@pytest.mark.parametrize(
    ("model", "view"),
    [
        (models.Workflow, views.workflow_view(Record("hello"))),
        (models.Operation, views.operation_view(Operation("1", "deploy", "hello", "ann", "", 1.0))),
        (models.Audited, views.audit_view(Audited(1, 1.0, "ann", "admin", "deploy", "hello", "ok", ""))),
    ],
    ids=["workflow", "operation", "audit"],
)
def test_the_description_of_a_view_has_its_very_keys(model: type[models._View], view: views.View) -> None:
    documented = {field.alias or name for name, field in model.model_fields.items()}
    assert documented == view.keys()


async def test_every_call_is_described_for_people(desk: Desk) -> None:
    document = (await desk.unix().get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            assert call["summary"], f"{method} {path}"
            assert call["description"], f"{method} {path}"
            for status, answer in call["responses"].items():
                assert answer["description"] != "Successful Response" or status == "200"
                assert status != "422"
