"""The calls, one by one, over a live API."""

from __future__ import annotations

import asyncio
import json

import httpx

from tests.api.conftest import Desk
from tests.test_control import deploy, spec_bytes

ROOT = "/api/v1"


async def test_a_workflow_is_pushed_watched_rolled_back_and_deleted(desk: Desk) -> None:
    call = desk.unix()
    wait = {"prefer": "wait=10"}
    for word in ("x", "y"):
        answer = await call.put(f"{ROOT}/workflows/one", content=spec_bytes("one", word), headers=wait)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.headers["preference-applied"] == "wait=10"
    answer = await call.get(f"{ROOT}/workflows")
    (row,) = answer.json()["workflows"]
    assert (row["workflowId"], row["status"]) == ("one", "DEPLOYED")
    answer = await call.post(f"{ROOT}/workflows/one/rollback", json={"reason": "bad"}, headers=wait)
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    row = (await call.get(f"{ROOT}/workflows/one")).json()
    assert (row["status"], row["pin"]["reason"], row["by"]) == ("ROLLED_BACK", "bad", "root")
    answer = await call.delete(f"{ROOT}/workflows/one", headers=wait)
    assert answer.json()["state"] == "succeeded"
    assert (await call.get(f"{ROOT}/workflows")).json()["workflows"] == []


async def test_a_long_operation_is_accepted_and_can_be_followed(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    call = desk.unix()
    answer = await call.post(f"{ROOT}/workflows/one/redeploy")
    assert answer.status_code == 202
    found = await call.get(answer.headers["location"], headers={"prefer": "wait=10"})
    assert found.json()["state"] == "succeeded"


async def test_errors_are_problems_with_the_four_codes_and_more(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    call = desk.unix()
    cases = [
        (await call.get(f"{ROOT}/workflows/nobody"), 404, "NOT_FOUND"),
        (await call.post(f"{ROOT}/workflows/one/deploy"), 409, "CONFLICT"),
        (await call.put(f"{ROOT}/workflows/two", content=b"{"), 400, "BAD_REQUEST"),
        (await call.post(f"{ROOT}/workflows/one/deploy", json={"forse": True}), 400, "BAD_REQUEST"),
        (await call.get(f"{ROOT}/nothing"), 404, "NOT_FOUND"),
        (await call.patch(f"{ROOT}/workflows/one"), 405, "BAD_REQUEST"),
        (
            await call.put(f"{ROOT}/workflows/two", content=b"x", headers={"content-type": "image/png"}),
            415,
            "BAD_REQUEST",
        ),
        (await call.post(f"{ROOT}/suspend", content=b"x" * 70_000), 413, "BAD_REQUEST"),
        (await desk.tcp().get(f"{ROOT}/workflows"), 401, "UNAUTHORIZED"),
    ]
    for answer, status, code in cases:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert (body["status"], body["code"]) == (status, code)
        assert body["detail"]


async def test_a_failure_of_ours_is_a_500_that_tells_nothing_but_a_number(desk: Desk) -> None:
    desk.control.overview = None  # type: ignore[assignment, method-assign]
    answer = await desk.unix().get(f"{ROOT}/workflows")
    assert answer.json()["code"] == "INTERNAL_SERVER_ERROR"
    assert "NoneType" not in answer.text


async def test_the_same_call_with_the_same_key_is_done_once(desk: Desk) -> None:
    await deploy(desk.bench, "x", "y")
    call = desk.unix()
    key = {"idempotency-key": "k1"}
    first = await call.post(f"{ROOT}/workflows/one/redeploy", headers=key)
    again = await call.post(f"{ROOT}/workflows/one/redeploy", headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.json(), again.headers["location"]) == (
        first.status_code,
        first.json(),
        first.headers["location"],
    )
    other = await call.post(f"{ROOT}/workflows/one/undeploy", headers=key)
    assert other.status_code == 409
    mine = desk.tcp(desk.token("admin"))
    assert (
        "idempotent-replayed" not in (await mine.post(f"{ROOT}/workflows/one/redeploy", headers=key)).headers
    )


async def test_what_happens_is_streamed_and_can_be_resumed(desk: Desk) -> None:
    call = desk.unix()

    async def read(count: int, **headers: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        async with call.stream("GET", f"{ROOT}/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            event: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    event[name] = value
                if not line and "id" in event:
                    found.append(event)
                    event = {}
                    if len(found) == count:
                        return found
        raise AssertionError("the stream ended")

    reading = asyncio.create_task(read(2))
    await asyncio.sleep(0.3)
    await deploy(desk.bench, "x")
    first, second = await asyncio.wait_for(reading, 10)
    assert json.loads(first["data"])["new"] == "DEPLOYING"
    (again,) = await asyncio.wait_for(read(1, **{"last-event-id": first["id"]}), 10)
    assert again == second


async def test_every_mutating_call_is_in_the_audit_and_no_secret_is(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    secret = desk.token("viewer")
    assert (await desk.tcp(secret).post(f"{ROOT}/workflows/one/undeploy")).status_code == 403
    await desk.unix().post(f"{ROOT}/workflows/one/redeploy")
    rows = (await desk.unix().get(f"{ROOT}/audit")).json()
    assert [(row["by"], row["verb"], row["workflowId"], row["outcome"]) for row in rows] == [
        ("token:viewer-0", "undeploy", "one", "FORBIDDEN"),
        ("root", "redeploy", "one", "ok"),
    ]
    assert secret not in json.dumps(rows)
    assert secret not in desk.tokens.path.read_text()


async def test_a_page_of_another_site_changes_nothing(desk: Desk) -> None:
    await deploy(desk.bench, "x")
    token = desk.token("admin")
    answer = await desk.tcp(token, origin="http://evil.example").post(f"{ROOT}/workflows/one/undeploy")
    assert answer.status_code == 403


async def test_health_and_readiness_need_no_token_and_say_nothing_else(desk: Desk) -> None:
    call = desk.tcp()
    assert (await call.get("/healthz")).json() == {"alive": True}
    assert (await call.get("/readyz")).json() == {"ready": True, "because": ""}
    assert (await call.get("/metrics")).status_code == 401
    assert (await call.get("/openapi.json")).status_code == 401


async def test_the_description_names_no_answer_of_the_frameworks(desk: Desk) -> None:
    text = (await desk.unix().get("/openapi.json")).text
    assert "HTTPValidationError" not in text
    found = json.loads(text)
    assert set(found["components"]["schemas"]) >= {"ProblemDetails", "Workflow", "Operation"}


async def test_the_socket_is_this_users_alone_and_a_stale_one_is_taken_over(desk: Desk) -> None:
    path = desk.bench.world.config.api_socket
    assert path.stat().st_mode & 0o777 == 0o600
    await desk.server.stop()
    assert not path.exists()


async def test_streams_end_at_once_when_the_daemon_stops(desk: Desk) -> None:
    call = desk.unix()

    async def read() -> None:
        async with call.stream("GET", f"{ROOT}/events") as answer:
            async for _ in answer.aiter_lines():
                pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.3)
    await asyncio.wait_for(desk.server.stop(), 5)
    with_error = await asyncio.gather(asyncio.wait_for(reading, 5), return_exceptions=True)
    assert not isinstance(with_error[0], TimeoutError)
    assert isinstance(with_error[0], httpx.HTTPError | None)
