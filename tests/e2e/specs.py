"""Specs that the end-to-end tests deploy, as a builder's compile result has them."""

from __future__ import annotations

from typing import Any


def greeter(workflow_id: str, word: str, *, queue: str | None = None, **deploy: Any) -> dict[str, Any]:
    """A workflow that calls an activity twice with a short sleep between, and says `word`."""
    name = function_name(workflow_id)
    workflow = f"""
import {{ proxyActivities, sleep }} from '@temporalio/workflow';
import type * as activities from './activities';

const {{ {name}Say }} = proxyActivities<typeof activities>({{ startToCloseTimeout: '20 seconds' }});

export async function {name}(name: string, pauseMs: number = 0): Promise<string> {{
  const first = await {name}Say(name);
  if (pauseMs > 0) {{
    await sleep(pauseMs);
  }}
  return `{word} ${{await {name}Say(first)}}`;
}}
"""
    activities = f"""
export async function {name}Say(name: string): Promise<string> {{
  return name;
}}
"""
    return {
        "workflowId": workflow_id,
        "name": workflow_id,
        "success": True,
        "workflowCode": workflow,
        "activitiesCode": activities,
        "deploy": {"taskQueue": queue or workflow_id, **deploy},
    }


def function_name(workflow_id: str) -> str:
    head, *rest = workflow_id.replace(".", "-").split("-")
    return head + "".join(part.capitalize() for part in rest)


WORKER = """
import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';

async function run(): Promise<void> {
  const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS });
  const worker = await Worker.create({
    connection,
    namespace: process.env.TEMPORAL_NAMESPACE,
    taskQueue: process.env.TEMPORAL_TASK_QUEUE || 'default',
    workflowsPath: require.resolve('./workflow'),
    activities,
  });
  await worker.run();
}

run().catch((error) => {
  console.error(error);
  process.exit(1);
});
"""
