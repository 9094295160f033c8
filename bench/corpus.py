"""The specs that are measured: what a builder emits for a middling workflow, about 130 lines in two files.

The first thousand have names of their own in their code, so that nothing is compiled once for two of them;
after that the codes come again under other ids and on another task queue, which makes 10,000 deployed ones
in minutes. `word` comes back in the result, which tells which code an execution ran.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from tests.e2e.specs import WORKER, function_name

#: Specs on one task queue: a worker process each would be 10,000 processes.
POOL_SIZE: Final = 1000

_ACTIVITIES = """
import {{ createHash }} from 'node:crypto';

export interface {n}Order {{ id: string; amount: number; lines: Array<{{ sku: string; count: number }}>; }}
export interface {n}Receipt {{ order: string; total: number; at: number; digest: string; }}

export async function {n}Say(name: string): Promise<string> {{
  return name;
}}

export async function {n}Price(order: {n}Order): Promise<number> {{
  if (order.lines.length === 0) {{
    throw new Error(`order ${{order.id}} is empty`);
  }}
  return order.lines.reduce((sum, line) => sum + line.count * price(line.sku), order.amount);
}}

export async function {n}Charge(order: {n}Order, total: number): Promise<{n}Receipt> {{
  const digest = createHash('sha256').update(`${{order.id}}:${{total}}`).digest('hex');
  return {{ order: order.id, total, at: Date.now(), digest }};
}}

export async function {n}Refund(receipt: {n}Receipt): Promise<void> {{
  if (receipt.total < 0) {{
    throw new Error(`nothing to give back for ${{receipt.order}}`);
  }}
}}

function price(sku: string): number {{
  return [...sku].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 100;
}}
"""

_WORKFLOW = """
import {{
  CancellationScope,
  condition,
  defineQuery,
  defineSignal,
  isCancellation,
  proxyActivities,
  setHandler,
  sleep,
}} from '@temporalio/workflow';
import type * as activities from './activities';

const {{ {n}Say, {n}Price, {n}Charge, {n}Refund }} = proxyActivities<typeof activities>({{
  startToCloseTimeout: '20 seconds',
  retry: {{ initialInterval: '1 second', maximumAttempts: 5, backoffCoefficient: 2 }},
}});

type State = 'new' | 'priced' | 'approved' | 'charged' | 'undone';

export const {n}Approve = defineSignal<[boolean]>('{n}Approve');
export const {n}State = defineQuery<State>('{n}State');

export async function {n}(name: string, pauseMs: number = 0): Promise<string> {{
  const first = await {n}Say(name);
  if (pauseMs > 0) {{
    await sleep(pauseMs);
  }}
  return `{word} ${{await {n}Say(first)}}`;
}}

export async function {n}Saga(order: activities.{n}Order): Promise<activities.{n}Receipt | undefined> {{
  let state: State = 'new';
  let approved: boolean | undefined;
  setHandler({n}State, () => state);
  setHandler({n}Approve, (yes) => {{
    approved = yes;
  }});

  const total = await {n}Price(order);
  state = 'priced';
  if (total > 1_000 && !(await condition(() => approved !== undefined, '1 day'))) {{
    state = 'undone';
    return undefined;
  }}
  if (approved === false) {{
    state = 'undone';
    return undefined;
  }}
  state = 'approved';

  let receipt: activities.{n}Receipt | undefined;
  try {{
    receipt = await {n}Charge(order, total);
    state = 'charged';
    await sleep('1 minute');
    return receipt;
  }} catch (error) {{
    if (receipt !== undefined) {{
      const paid = receipt;
      await CancellationScope.nonCancellable(() => {n}Refund(paid));
    }}
    state = 'undone';
    if (isCancellation(error)) {{
      return undefined;
    }}
    throw error;
  }}
}}
"""


def name_of(number: int) -> str:
    """The workflow's id, which is its function's name too."""
    return f"flow{number:05}"


def queue_of(number: int) -> str:
    return f"bulk{number // POOL_SIZE}"


def spec(name: str, word: str, queue: str, *, code: str = "", **deploy: Any) -> dict[str, Any]:
    """One spec, as a builder emits it. `code`: whose names its code has, where not its own."""
    function = function_name(code or name)
    return {
        "workflowId": name,
        "name": name,
        "success": True,
        "workflowCode": _WORKFLOW.format(n=function, word=word),
        "activitiesCode": _ACTIVITIES.format(n=function),
        "workerCode": WORKER,
        "deploy": {"taskQueue": queue, **deploy},
    }


def bulk(number: int) -> dict[str, Any]:
    """One of the many that lie beside the one that is changed. They share a few task queues, and their code
    is replaced in place: a Version is a process that goes on for minutes."""
    code = name_of(number % POOL_SIZE)
    return spec(name_of(number), "bulk", queue_of(number), code=code, rollout="off")


def corpus_digest() -> str:
    """Tells one corpus from another, in results and for what is kept between parts."""
    return hashlib.sha256(json.dumps(bulk(0)).encode()).hexdigest()[:12]
