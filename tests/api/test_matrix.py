"""Every call with every kind of caller, made from the app's own routes: a new route without a line here
fails."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from timewright.api.access import LEAST, OPEN, is_open
from timewright.api.app import make_app
from timewright.api.page import PATHS
from timewright.api.problems import routes_of
from timewright.control import Role

from tests.api.conftest import Desk
from tests.e2e.specs import greeter
from tests.support import as_bytes

VIEWER, DEPLOYER, ADMIN = Role.VIEWER, Role.DEPLOYER, Role.ADMIN

#: operationId → method, path, body, and the least role.
CALLS: dict[str, tuple[str, str, Any, Role]] = {
    "listSources": ("GET", "/api/v1/sources", None, VIEWER),
    "getSource": ("GET", "/api/v1/sources/main", None, VIEWER),
    "reconcile": ("POST", "/api/v1/sources/main/reconcile", {}, DEPLOYER),
    "listWorkflows": ("GET", "/api/v1/workflows", None, VIEWER),
    "getWorkflow": ("GET", "/api/v1/workflows/one", None, VIEWER),
    "putSpec": ("PUT", "/api/v1/workflows/one", "spec", DEPLOYER),
    "deleteSpec": ("DELETE", "/api/v1/workflows/one", None, DEPLOYER),
    "deploy": ("POST", "/api/v1/workflows/one/deploy", {"force": True}, DEPLOYER),
    "undeploy": ("POST", "/api/v1/workflows/one/undeploy", {}, DEPLOYER),
    "redeploy": ("POST", "/api/v1/workflows/one/redeploy", {}, DEPLOYER),
    "rollback": ("POST", "/api/v1/workflows/one/rollback", {}, DEPLOYER),
    "getRollout": ("GET", "/api/v1/workflows/one/rollout", None, VIEWER),
    "steerRollout": ("POST", "/api/v1/workflows/one/rollout", {"action": "promote"}, DEPLOYER),
    "pin": ("POST", "/api/v1/workflows/one/pin", {}, DEPLOYER),
    "unpin": ("POST", "/api/v1/workflows/one/unpin", {}, DEPLOYER),
    "suspend": ("POST", "/api/v1/workflows/one/suspend", {}, DEPLOYER),
    "resume": ("POST", "/api/v1/workflows/one/resume", {}, DEPLOYER),
    "suspendAll": ("POST", "/api/v1/suspend", {}, ADMIN),
    "resumeAll": ("POST", "/api/v1/resume", {}, ADMIN),
    "prune": ("POST", "/api/v1/prune", {"workflowIds": ["one"]}, DEPLOYER),
    "getHistory": ("GET", "/api/v1/workflows/one/history", None, VIEWER),
    "getWorkflowLogs": ("GET", "/api/v1/workflows/one/logs", None, VIEWER),
    "getDiff": ("GET", "/api/v1/workflows/one/diff", None, VIEWER),
    "getDrift": ("GET", "/api/v1/workflows/one/drift", None, VIEWER),
    "getLogs": ("GET", "/api/v1/logs", None, VIEWER),
    "getPlan": ("GET", "/api/v1/plan", None, VIEWER),
    "listOperations": ("GET", "/api/v1/operations", None, VIEWER),
    "getOperation": ("GET", "/api/v1/operations/{operation}", None, VIEWER),
    "followEvents": ("GET", "/api/v1/events?workflow=one", None, VIEWER),
    "getAudit": ("GET", "/api/v1/audit", None, ADMIN),
    "getMetrics": ("GET", "/metrics", None, VIEWER),
    "getOpenApi": ("GET", "/openapi.json", None, VIEWER),
}
OF_ONE = {name for name, (_, path, _, _) in CALLS.items() if "/one" in path or "=one" in path}
CALLERS = ("no token", "wrong", "expired", "not ASCII", "other owner's", "viewer", "deployer", "admin")
KNOWN = {VIEWER: "viewer", DEPLOYER: "deployer", ADMIN: "admin"}


def expected(name: str, caller: str) -> set[int]:
    """The statuses that are right: what it takes, and what is there. 409: granted to ask, can't be done."""
    least = CALLS[name][3]
    if caller in ("no token", "wrong", "expired", "not ASCII"):
        return {401}
    if caller == "other owner's":  # a deployer
        if name in OF_ONE or name in ("getOperation", "prune"):
            return {404}
        return {403} if least is ADMIN or name == "getMetrics" else {200, 202}
    role = next(role for role, word in KNOWN.items() if word == caller)
    if role < least:
        return {403}
    return {200, 202, 409}


@pytest.fixture
async def ready(desk: Desk) -> Desk:
    spec = greeter("one", "x", owner="team-a")
    (desk.bench.specs / "one.json").write_bytes(as_bytes(spec))
    await desk.bench.settle()
    return desk


def routes(desk: Desk) -> Iterator[APIRoute]:
    for route in routes_of(make_app(desk.server.context).routes):
        if getattr(route, "path", "") in PATHS:
            continue  # the page's own files: tests/api/test_page.py
        assert isinstance(route, APIRoute)
        yield route


async def test_every_route_is_in_the_matrix_with_its_role(ready: Desk) -> None:
    found = {route.operation_id: route for route in routes(ready) if not is_open(route.path)}
    assert found.keys() == CALLS.keys() == LEAST.keys()
    assert {name: least for name, (_, _, _, least) in CALLS.items()} == dict(LEAST)
    for name, (method, path, _, _) in CALLS.items():
        assert found[name].methods == {method}
        assert found[name].path_regex.match(path.split("?")[0]), name


def tokens(desk: Desk) -> dict[str, str | None]:
    return {
        "no token": None,
        "wrong": "tw_" + "A" * 43,
        "expired": desk.token("admin", expires=time.time() - 1),
        "not ASCII": "tw_é",
        "other owner's": desk.token("deployer", "team-b"),
        "viewer": desk.token("viewer"),
        "deployer": desk.token("deployer"),
        "admin": desk.token("admin"),
    }


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_is_for_those_that_may(ready: Desk, name: str) -> None:
    method, path, body, _ = CALLS[name]
    asked = await ready.unix().post("/api/v1/workflows/one/redeploy", headers={"prefer": "wait=10"})
    path = path.replace("{operation}", asked.json()["id"])
    given = tokens(ready)
    bodies = set()
    for caller in CALLERS:
        status, text = await _ask(ready, method, path, body, given[caller])
        assert status in expected(name, caller), f"{name} by {caller}: {status} {text}"
        if status == 401:
            bodies.add(text)
        if status >= 400:
            assert json.loads(text)["status"] == status
        for secret in given.values():
            assert secret is None or secret not in text
    assert len(bodies) == 1, "what is wrong with a token is told nobody"


async def _ask(desk: Desk, method: str, path: str, body: Any, token: str | None) -> tuple[int, str]:
    """Status and text; of a stream, its beginning."""
    headers = {b"authorization": b"Bearer " + token.encode("latin-1")} if token is not None else {}
    content = as_bytes(greeter("one", "z", owner="team-a")) if body == "spec" else None
    more: dict[str, Any] = {"content": content} if content else {"json": body} if body is not None else {}
    async with desk.tcp().stream(method, path, headers=headers, **more) as answer:
        if answer.headers["content-type"].startswith("text/event-stream"):
            return answer.status_code, ""
        return answer.status_code, (await answer.aread()).decode()


async def test_what_another_owner_has_is_in_no_list(ready: Desk) -> None:
    mine, theirs = ready.tcp(ready.token("deployer", "team-a")), ready.tcp(ready.token("viewer", "team-b"))
    await mine.post("/api/v1/workflows/one/redeploy", headers={"prefer": "wait=10"})
    for path in ("workflows", "logs", "plan", "operations"):
        assert "one" in (await mine.get(f"/api/v1/{path}")).text or path == "plan"
        assert '"one"' not in (await theirs.get(f"/api/v1/{path}")).text


async def test_a_viewer_who_sees_a_workflow_is_told_that_the_role_does_not_reach(ready: Desk) -> None:
    answer = await ready.tcp(ready.token("viewer", "team-a")).post("/api/v1/workflows/one/undeploy")
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert "this takes a deployer" in answer.json()["detail"]


async def test_a_call_that_is_not_allowed_is_not_even_read(ready: Desk) -> None:
    """Wrong words by somebody who may not speak are FORBIDDEN, not BAD_REQUEST."""
    viewer = ready.tcp(ready.token("viewer"))
    answer = await viewer.post("/api/v1/workflows/one/undeploy", content=b"{", headers={"content-type": "x"})
    assert answer.status_code == 403


async def test_the_probes_are_open_to_everybody_and_nothing_else_is(ready: Desk) -> None:
    assert {"/healthz", "/readyz"} == OPEN
    for path in sorted(OPEN):
        assert (await ready.tcp().get(path)).status_code == 200
        head = await ready.tcp().head(path)
        assert (head.status_code, head.content) == (200, b"")
    assert (await ready.tcp().get("/nothing")).status_code == 401
    await asyncio.sleep(0)


async def test_a_webhook_takes_no_token_and_heeds_none(ready: Desk) -> None:
    """What lets a delivery in is its signature: tests/api/test_webhook.py."""
    [route] = [route for route in routes(ready) if is_open(route.path) and route.path not in OPEN]
    assert (route.operation_id, route.methods) == ("webhook", {"POST"})
    for token in tokens(ready).values():
        status, _ = await _ask(ready, "POST", "/api/v1/webhook/main", None, token)
        assert status == 404


async def test_a_revoked_token_is_refused_at_once(ready: Desk) -> None:
    call = ready.tcp(ready.token("viewer"))
    assert (await call.get("/api/v1/workflows")).status_code == 200
    ready.tokens.revoke(ready.tokens.all()[0].name)
    assert (await call.get("/api/v1/workflows")).status_code == 401
