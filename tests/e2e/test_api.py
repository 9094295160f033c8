"""The API over the network, against a real daemon, worker host and Temporal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.e2e.host import Host, free_port, run_workflow
from tests.e2e.specs import greeter

ROOT = "/api/v1"
WAIT = {"prefer": "wait=60"}


@pytest.fixture
async def api(host: Host) -> AsyncIterator[Any]:
    """Makes clients with tokens: api("deployer", "team-a")."""
    port = free_port()
    host.start_worker()
    host.start_daemon(TIMEWRIGHT_API_LISTEN=f"127.0.0.1:{port}")
    clients: list[httpx.AsyncClient] = []

    def client(role: str, *owners: str) -> httpx.AsyncClient:
        more = [word for owner in owners for word in ("--owner", owner)]
        done = host.cli("token", "create", "-".join((role, *owners)), "--role", role, *more)
        assert done.returncode == 0, done.stderr
        token = done.stdout.strip()
        made = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {token}"}, timeout=90
        )
        clients.append(made)
        return made

    await host.until("the API is ready", lambda: ready(port))
    yield client
    for made in clients:
        await made.aclose()


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


async def test_a_team_pushes_rolls_back_and_removes_its_own_and_no_one_elses(
    host: Host, client: Client, api: Any
) -> None:
    mine, theirs, boss = api("deployer", "team-a"), api("deployer", "team-b"), api("admin")
    events = asyncio.create_task(read_until(mine, "ROLLED_BACK"))
    address = f"{ROOT}/workflows/one"
    for word in ("first", "second"):
        answer = await mine.put(address, json=greeter("one", word, owner="team-a"), headers=WAIT)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded"), answer.text + host.tail()
        assert await run_workflow(client, "one", "x", queue="one") == f"{word} x"

    assert (await theirs.get(address)).status_code == 404
    for verb in ("deploy", "undeploy", "redeploy", "rollback", "pin", "unpin", "suspend", "resume"):
        answer = await theirs.post(f"{address}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    answer = await theirs.put(address, json=greeter("one", "third", owner="team-b"))
    assert answer.status_code == 404

    answer = await mine.post(f"{address}/rollback", json={"reason": "wrong words"}, headers=WAIT)
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded"), answer.text
    assert await run_workflow(client, "one", "x", queue="one") == "first x"
    assert "one" in await asyncio.wait_for(events, 30)
    answer = await mine.delete(address, headers=WAIT)
    assert answer.json()["state"] == "succeeded"
    assert host.release("one") is None

    calls = (await boss.get(f"{ROOT}/audit")).json()
    assert {call["by"] for call in calls} == {"token:deployer-team-a", "token:deployer-team-b"}
    assert (await boss.get("/metrics")).status_code == 200
    assert (await mine.get("/metrics")).status_code == 403


async def read_until(client: httpx.AsyncClient, word: str) -> set[str]:
    """The workflows of the events, until one says `word`."""
    seen = set()
    async with client.stream("GET", f"{ROOT}/events?after=0") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                seen.add(event["workflowId"])
                if event["new"] == word:
                    break
    return seen


async def test_the_five_operations_and_their_codes_behave_as_people_know_them(
    host: Host, client: Client, api: Any
) -> None:
    boss = api("admin")
    address = f"{ROOT}/workflows/one"
    answer = await boss.post(f"{address}/deploy")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")

    host.put("one.json", {**greeter("one", "x"), "success": False, "errors": ["the graph has no start"]})
    await host.until_status("one", "DEPLOYMENT_FAILED")
    answer = await boss.post(f"{address}/deploy")
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert answer.json()["problems"]

    host.put("one.json", greeter("one", "first"))
    await host.until_served("one")
    answer = await boss.post(f"{address}/deploy")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    answer = await boss.post(f"{address}/deploy", json={"force": True}, headers=WAIT)
    assert answer.json()["state"] == "succeeded"
    answer = await boss.post(f"{address}/redeploy", headers=WAIT)
    assert answer.json()["state"] == "succeeded"
    assert await run_workflow(client, "one", "x", queue="one") == "first x"

    answer = await boss.post(f"{address}/undeploy", headers=WAIT)
    assert answer.json()["state"] == "succeeded"
    assert (await boss.get(address)).json()["status"] == "UNDEPLOYED"
    listed = (await boss.get(f"{ROOT}/workflows?undeployed=true")).json()["workflows"]
    assert [row["workflowId"] for row in listed] == ["one"]
    logs = (await boss.get(f"{address}/logs")).json()
    assert [event["new"] for event in logs if event["kind"] == "status"][-2:] == ["UNDEPLOYING", "UNDEPLOYED"]
