"""No running workflow is broken by a deploy: Versions, ramps, gates and rollbacks on a real Temporal server.

Every test asserts on what executions return.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from temporalio.client import Client, WorkflowHandle

from tests.e2e.host import Host, run_workflow


def waiter(workflow_id: str, word: str, *, queue: str = "", **deploy: Any) -> dict[str, Any]:
    """A workflow that waits for a signal and then says `word` twice: once from itself, once from an
    activity."""
    code = f"""
import {{ condition, defineSignal, proxyActivities, setHandler }} from '@temporalio/workflow';
import type * as activities from './activities';
const {{ say }} = proxyActivities<typeof activities>({{ startToCloseTimeout: '10s' }});
export const go = defineSignal('go');
export async function {workflow_id}(wait: boolean): Promise<string> {{
  let open = !wait;
  setHandler(go, () => {{ open = true; }});
  await condition(() => open);
  return '{word} ' + (await say());
}}
"""
    return {
        "workflowId": workflow_id,
        "workflowCode": code,
        "activitiesCode": f"export async function say(): Promise<string> {{ return '{word}'; }}\n",
        "deploy": {"taskQueue": queue or workflow_id, **deploy},
    }


async def begin(client: Client, name: str, *, wait: bool = True, queue: str = "") -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        name, wait, id=f"{name}-{time.time_ns()}", task_queue=queue or name, result_type=str
    )


async def finish(handle: WorkflowHandle[Any, Any]) -> Any:
    await handle.signal("go")
    return await asyncio.wait_for(handle.result(), 30)


async def deploy(host: Host, spec: dict[str, Any]) -> None:
    """Put a spec and wait until its release is live and healthy."""
    name = str(spec["workflowId"])
    before = host.release(name)
    host.put(f"{name}.json", spec)
    await host.until("another release is live", lambda: host.release(name) != before)
    await host.until_served(name)


async def test_a_pinned_execution_ends_on_the_version_where_it_began(host: Host, client: Client) -> None:
    await host.serving("pinned.json", waiter("pinned", "one"))
    open_one = await begin(client, "pinned")
    assert await run_workflow(client, "pinned", False, queue="pinned") == "one one"
    await asyncio.sleep(1)  # its first workflow task pins it

    await deploy(host, waiter("pinned", "two"))

    assert await run_workflow(client, "pinned", False, queue="pinned") == "two two"
    assert await finish(open_one) == "one one"
