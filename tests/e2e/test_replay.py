"""Replays on a real server: what a change of workflow code would break, told before it does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus

from tests.e2e.host import Host, TemporalServer, until_async

ORDER = """
import { patched, proxyActivities, sleep } from '@temporalio/workflow';
import type * as activities from './activities';

const acts = proxyActivities<typeof activities>({ startToCloseTimeout: '20 seconds' });

export async function order(lasting: string): Promise<string> {
  const charged = await acts.charge('1');
  await sleep(lasting);
  return acts.ship(charged);
}
"""
ACTIVITIES = """
export async function charge(id: string): Promise<string> { return id; }
export async function ship(id: string): Promise<string> { return `shipped ${id}`; }
"""
CHARGE = "await acts.charge('1')"
#: What each change of ORDER's first step makes of it.
CHANGES = {
    "breaking": (CHARGE, "await sleep('5 s').then(() => '1')"),
    "patched": (CHARGE, f"patched('later') ? await sleep('5 s').then(() => '1') : {CHARGE}"),
    "options": ("'20 seconds'", "'40 seconds', retry: { maximumAttempts: 3 }"),
    "endless": (CHARGE, f"{CHARGE}; for (; charged.length < 10; );"),
}


def spec(workflow: str) -> dict[str, Any]:
    return {
        "workflowId": "order",
        "name": "order",
        "success": True,
        "workflowCode": workflow,
        "activitiesCode": ACTIVITIES,
        "deploy": {"taskQueue": "orders", "replay": "off"},
    }


async def change(host: Host, kind: str) -> None:
    """Have a changed spec built and served; nothing runs on it."""
    before = host.release("order")
    host.put("order.json", spec(ORDER.replace(*CHANGES[kind])))
    await host.until(f"{kind} is live", lambda: host.release("order") != before)


def replay(host: Host, *arguments: str) -> tuple[int, Any]:
    done = host.cli("replay", "order", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def two_orders(host: Host, client: Client) -> None:
    """`closed` has run to its end, `open` sleeps."""
    await host.serving("order.json", spec(ORDER))
    await client.start_workflow("order", "10 ms", id="closed", task_queue="orders")
    waiting = await client.start_workflow("order", "1 h", id="open", task_queue="orders")
    await client.get_workflow_handle("closed").result()

    async def sleeps() -> bool:
        return any(
            [
                event.HasField("timer_started_event_attributes")
                async for event in waiting.fetch_history_events()
            ]
        )

    async def listed() -> bool:
        """Visibility is a moment behind."""
        found = [one async for one in client.list_workflows("TaskQueue = 'orders'")]
        return {one.id: one.status for one in found} == {
            "open": WorkflowExecutionStatus.RUNNING,
            "closed": WorkflowExecutionStatus.COMPLETED,
        }

    await until_async("the open order sleeps", sleeps)
    await until_async("both orders are listed", listed)


async def test_a_replay_tells_what_a_change_breaks_and_lets_pass_what_is_patched(
    host: Host, client: Client, tmp_path: Path, temporal: TemporalServer
) -> None:
    await two_orders(host, client)
    code, view = replay(host)
    assert (code, [one["workflowId"] for one in view["executions"]]) == (0, ["open", "closed"]), view
    assert [one["open"] for one in view["executions"]] == [True, False]

    await change(host, "breaking")
    code, view = replay(host)
    assert (code, view["broken"], view["blocks"]) == (1, 2, True), view
    first = view["executions"][0]
    assert first["eventId"] == 5
    assert first["old"]["name"] == "charge"
    assert first["new"] == {"kind": "timer", "name": "", "ms": 5000}
    assert first["source"] == "src/workflow.ts:8"
    assert first["because"] == (
        "event 5: history has activity charge, the new code starts a timer of 5 s (src/workflow.ts:8)"
    )
    text = host.cli("replay", "order")
    assert text.returncode == 1
    assert "breaks  open  order, open" in text.stdout
    assert "source        src/workflow.ts:8" in text.stdout
    assert "patched()" in text.stdout

    await change(host, "patched")
    code, view = replay(host)
    assert (code, view["broken"], view["replayed"]) == (0, 0, 2), view

    await change(host, "options")
    assert replay(host)[0] == 0

    kept = tmp_path / "kept.json"
    kept.write_text(shown(temporal, "closed"))
    await change(host, "breaking")
    code, view = replay(host, "--history", str(kept))
    assert (code, view["executions"][0]["workflowId"]) == (1, "closed")
    kept.write_text("{}")
    assert host.cli("replay", "order", "--history", str(kept)).returncode == 2

    await change(host, "endless")
    code, view = replay(host)
    assert code == 1
    assert {one["kind"] for one in view["executions"]} == {"timeout"}, view


def shown(temporal: TemporalServer, workflow_id: str) -> str:
    """A history as people get it: `temporal workflow show -o json`."""
    command = [os.environ["TEMPORAL_CLI"], "workflow", "show", "-w", workflow_id, "-o", "json"]
    done = subprocess.run(
        [*command, "--address", temporal.address], capture_output=True, text=True, check=True
    )
    return done.stdout
