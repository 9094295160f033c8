"""Asking: once, however often it is sent; waiting, as long as is wished; and nothing goes unrecorded."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
import structlog
from timewright import log
from timewright.api import app as gate
from timewright.core.errors import DeployError, Reason

from tests.api.conftest import Desk
from tests.e2e.specs import greeter
from tests.support import as_bytes, document
from tests.test_control import deploy, spec_bytes

ROOT = "/api/v1"
REDEPLOY = f"{ROOT}/workflows/one/redeploy"
WAIT = {"prefer": "wait=10"}
JSON = {"content-type": "application/json"}


async def _audit(desk: Desk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await desk.unix().get(f"{ROOT}/audit", params={"last": 1000})).json()
    return found


# Once ------------------------------------------------------------------------------------------


async def test_a_replay_that_prefers_to_wait_waits_for_what_was_asked_first(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    key = {"idempotency-key": "k"}
    first = await desk.unix().post(REDEPLOY, headers=key)
    again = await desk.unix().post(REDEPLOY, headers={**key, **WAIT})
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["state"] == "succeeded"
    assert len((await desk.unix().get(f"{ROOT}/operations")).json()) == 1


async def test_a_request_that_is_under_way_is_not_begun_again(desk: Desk) -> None:
    gone_on, begun = asyncio.Event(), asyncio.Event()
    before = desk.control.put_spec

    async def slow(*arguments: Any, **named: Any) -> Any:
        begun.set()
        await gone_on.wait()
        return await before(*arguments, **named)

    desk.control.put_spec = slow  # type: ignore[method-assign]
    call, headers = desk.unix(), {"idempotency-key": "k", **JSON}
    path, content = f"{ROOT}/workflows/one", spec_bytes("one", "x")
    first = asyncio.create_task(call.put(path, content=content, headers=headers))
    await begun.wait()
    second = await call.put(path, content=content, headers=headers)
    assert (second.status_code, second.json()["code"]) == (409, "CONFLICT")
    gone_on.set()
    assert (await first).status_code == 202
    assert (await call.put(path, content=content, headers=headers)).headers["idempotent-replayed"] == "true"


async def test_a_refusal_is_judged_anew_with_the_same_key(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    call, key = desk.unix(), {"idempotency-key": "k"}
    await call.post(f"{ROOT}/suspend")
    assert (await call.post(f"{ROOT}/workflows/one/undeploy", headers=key)).status_code == 409
    await call.post(f"{ROOT}/resume")
    assert (await call.post(f"{ROOT}/workflows/one/undeploy", headers=key)).status_code == 202


async def test_a_key_is_its_owners_alone(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    key = {"idempotency-key": "k"}
    one = await desk.tcp(desk.token("admin")).post(REDEPLOY, headers=key)
    two = await desk.tcp(desk.token("admin")).post(REDEPLOY, headers=key)
    assert one.json()["id"] != two.json()["id"]


@pytest.mark.parametrize("body", [{"reason": "b"}, {"force": True}, None])
async def test_a_key_with_another_request_is_a_conflict(desk: Desk, body: Any) -> None:
    await deploy(desk.bench, "x")
    call, key = desk.unix(), {"idempotency-key": "k"}
    path = f"{ROOT}/workflows/one/undeploy"
    assert (await call.post(path, json={"reason": "a"}, headers=key)).status_code == 202
    answer = await call.post(path, json=body, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


@pytest.mark.parametrize("key", ["", "a b", "é", "k" * 256])
async def test_a_key_that_is_none_is_a_bad_request(desk: Desk, key: str) -> None:
    answer = await desk.unix().post(f"{ROOT}/suspend", headers={b"idempotency-key": key.encode()})
    assert answer.status_code == 400
    assert (await desk.unix().get(f"{ROOT}/workflows")).json()["suspended"] is None


# Waiting ---------------------------------------------------------------------------------------


async def test_an_operation_that_is_not_done_in_time_is_202_and_can_be_followed(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    desk.bench.compiler.gate = asyncio.Event()
    call = desk.unix()
    answer = await call.put(
        f"{ROOT}/workflows/one", content=spec_bytes("one", "y"), headers={"prefer": "wait=0", **JSON}
    )
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.headers["preference-applied"] == "wait=0"
    desk.bench.compiler.gate.set()
    done = await call.get(answer.headers["location"], headers=WAIT)
    assert done.json()["state"] == "succeeded"


async def test_an_operation_that_failed_is_an_answer_and_no_error(desk: Desk) -> None:
    desk.bench.compiler.failures = [DeployError(Reason.TYPE_CHECK_FAILED, "it is no number")]
    answer = await desk.unix().put(
        f"{ROOT}/workflows/one", content=spec_bytes("one", "x"), headers={**WAIT, **JSON}
    )
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")
    assert "it is no number" in answer.json()["because"]


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait", "wait=60"),
        ("WAIT = 5", "wait=5"),
        ("respond-async, wait=10", "wait=10"),
        ('wait="7"; foo', "wait=7"),
        ("wait=99999", "wait=300"),
        ("wait=-1", None),
        ("wait=soon", None),
        ("awaited=3", None),
        ("", None),
    ],
)
async def test_a_preference_is_applied_as_far_as_it_is_one(
    desk: Desk, prefer: str, applied: str | None
) -> None:
    answer = await desk.unix().post(f"{ROOT}/suspend", headers={"prefer": prefer})
    assert answer.status_code == 200, "it is done by asking"
    assert answer.headers.get("preference-applied") == applied


async def test_nobody_is_kept_waiting_when_the_daemon_stops(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    desk.bench.compiler.gate = asyncio.Event()
    call = desk.unix()
    waiting = asyncio.create_task(
        call.put(
            f"{ROOT}/workflows/one", content=spec_bytes("one", "y"), headers={"prefer": "wait=300", **JSON}
        )
    )
    while not (await call.get(f"{ROOT}/operations")).json():
        await asyncio.sleep(0.01)
    await asyncio.wait_for(desk.server.stop(), 4)
    answer = await asyncio.wait_for(waiting, 1)
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    desk.bench.compiler.gate.set()


async def test_what_is_gone_is_pruned_as_one_list_of_operations(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    (desk.bench.specs / "one.json").unlink()
    (desk.bench.specs / "two.json").write_bytes(spec_bytes("two", "x"))
    for _ in range(2):
        await desk.bench.settle()
        desk.bench.now += 100
    body = {"workflowIds": ["one", "one"], "reason": "gone"}
    answer = await desk.unix().post(f"{ROOT}/prune", json=body, headers=WAIT)
    assert answer.status_code == 200, answer.text
    (operation,) = answer.json()
    assert (operation["kind"], operation["workflowId"]) == ("prune", "one")
    row = (await _audit(desk))[-1]
    assert "one; " in row["detail"], "the audit names what was pruned"


# What is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"seconds": 0}', "body.seconds"),
        (b'{"seconds": 1e999}', "body.seconds"),
        (b'{"seconds": NaN}', "body.seconds"),
        (b'{"seconds": "60"}', "body.seconds"),
        (b'{"reason": 7}', "body.reason"),
        (b'{"reason": "\\ud800"}', "body.reason"),
        (b'{"reasno": "typing error"}', "body.reasno"),
        (b"[]", "body"),
        (b"{", "body"),
        (b"[" * 30_000, ""),
        (b"\xff", ""),
    ],
    ids=str,
)
async def test_a_body_that_is_wrong_is_a_bad_request_that_says_where(
    desk: Desk, body: bytes, where: str
) -> None:
    answer = await desk.unix().post(f"{ROOT}/suspend", content=body, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "BAD_REQUEST")
    if where:
        assert problem["problems"][0]["where"].startswith(where)
    assert (await desk.unix().get(f"{ROOT}/workflows")).json()["suspended"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": ""},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=str,
)
async def test_a_body_of_another_type_is_refused(desk: Desk, headers: dict[str, str]) -> None:
    answer = await desk.unix().post(f"{ROOT}/suspend", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "BAD_REQUEST")


async def test_a_spec_that_is_wrong_is_explained_in_full_and_not_written(desk: Desk) -> None:
    answer = await desk.unix().put(
        f"{ROOT}/workflows/one", json=document(workflowId="one", deploy={"x": 1, "y": 2})
    )
    assert answer.status_code == 400
    assert len(answer.json()["problems"]) >= 2
    assert not list(desk.bench.specs.iterdir())


async def test_a_spec_may_be_yaml(desk: Desk) -> None:
    content = as_bytes(greeter("one", "x"))  # JSON is YAML
    answer = await desk.unix().put(
        f"{ROOT}/workflows/one", content=content, headers={"content-type": "application/yaml", **WAIT}
    )
    assert answer.json()["state"] == "succeeded"
    assert (desk.bench.specs / "one.yaml").exists()


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://{host}", "http://{host}.evil.example"]
)
async def test_a_page_of_another_origin_changes_nothing(desk: Desk, origin: str) -> None:
    host = f"127.0.0.1:{desk.port}"
    call = desk.tcp(desk.token("admin"), origin=origin.format(host=host))
    assert (await call.post(f"{ROOT}/suspend")).status_code == 403
    same = desk.tcp(desk.token("admin"), origin=f"http://{host}")
    assert (await same.post(f"{ROOT}/suspend")).status_code == 200
    assert "access-control-allow-origin" not in (await call.get(f"{ROOT}/workflows")).headers


async def test_a_wrong_method_is_told_the_right_ones(desk: Desk) -> None:
    answer = await desk.unix().patch(f"{ROOT}/workflows/one")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PUT")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_answers_are_kept_by_nobody_on_the_way(desk: Desk) -> None:
    answer = await desk.unix().get(f"{ROOT}/workflows")
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == (
        "no-store",
        "nosniff",
    )
    assert "server" not in answer.headers
    assert "date" in answer.headers


# The audit -------------------------------------------------------------------------------------


async def test_every_call_that_would_change_something_is_one_row(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    call, viewer = desk.unix(), desk.tcp(desk.token("viewer"))
    await call.post(REDEPLOY, headers=WAIT)
    await call.post(f"{ROOT}/workflows/one/unpin")
    await call.post(f"{ROOT}/workflows/nobody/pin")
    await viewer.post(REDEPLOY)
    await call.post(f"{ROOT}/suspend", content=b"{", headers=JSON)
    await call.post(f"{ROOT}/suspend", content=b"x" * 70_000)
    await desk.tcp().post(f"{ROOT}/suspend")
    await call.get(f"{ROOT}/workflows")
    rows = [
        (row["by"], row["role"], row["verb"], row["workflowId"], row["outcome"]) for row in await _audit(desk)
    ]
    assert rows == [
        ("root", "admin", "redeploy", "one", "ok"),
        ("root", "admin", "unpin", "one", "CONFLICT"),
        ("root", "admin", "pin", "nobody", "NOT_FOUND"),
        ("token:viewer-0", "viewer", "redeploy", "one", "FORBIDDEN"),
        ("root", "admin", "suspendAll", None, "BAD_REQUEST"),
        ("root", "admin", "suspendAll", None, "BAD_REQUEST"),
        ("", "", "post", None, "UNAUTHORIZED"),
    ]


async def test_a_grant_is_in_the_audit_before_its_end_is_waited_for(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    desk.bench.compiler.gate = asyncio.Event()
    call = desk.unix()
    content = spec_bytes("one", "y")
    waiting = asyncio.create_task(
        call.put(f"{ROOT}/workflows/one", content=content, headers={**WAIT, **JSON})
    )
    while not (await call.get(f"{ROOT}/operations")).json():
        await asyncio.sleep(0.01)
    assert [row["verb"] for row in await _audit(desk)] == ["putSpec"]
    desk.bench.compiler.gate.set()
    await waiting
    assert len(await _audit(desk)) == 1


async def test_a_flood_of_strangers_fills_neither_audit_nor_log(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_TOLD", (3, 3600.0))
    call = desk.tcp("tw_wrong")
    for _ in range(20):
        assert (await call.post(f"{ROOT}/suspend")).status_code == 401
    assert len(await _audit(desk)) == 3


async def test_no_token_and_no_spec_is_in_any_log_error_or_audit(desk: Desk) -> None:
    written = io.StringIO()
    log.configure("debug", "json", written)
    try:
        await deploy(desk.bench, "x")
        right, wrong = desk.token("deployer", "team-a"), "tw_CANARYwrong"
        texts = []
        for token in (right, wrong, "CANARYé"):
            headers, call = {b"authorization": f"Bearer {token}".encode("latin-1")}, desk.tcp()
            files = {"src/workflow.ts": "CANARYcode"}
            spec = {"workflowId": "one", "files": files, "deploy": {"owner": 7}}
            texts.append((await call.put(f"{ROOT}/workflows/two", json=spec, headers=headers)).text)
            texts.append((await call.post(REDEPLOY, headers=headers)).text)
            texts.append((await call.post(f"{ROOT}/nothing", headers=headers)).text)
        texts += [json.dumps(await _audit(desk)), written.getvalue(), desk.tokens.path.read_text()]
    finally:
        structlog.reset_defaults()
    assert "refused" in written.getvalue()
    for text in texts:
        assert "CANARY" not in text
        assert right not in text
