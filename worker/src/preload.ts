/**
 * Required into a release's own worker process, before its code: watches what Worker it makes, and
 * turns the host's "drain" into the SIGTERM that the SDK understands. It changes nothing else.
 */
import Module from 'node:module';

import type { Worker } from '@temporalio/worker';

import type { FromChild, ToChild } from './messages';
import { dieWithHost } from './orphan';

type Load = (this: unknown, request: string, parent: unknown, isMain: boolean) => unknown;
type Create = typeof Worker.create;

const LOOK_MS = 20;
const seen = new WeakSet<object>();

function tell(report: FromChild): void {
  if (process.connected) process.send?.(report);
}

/** The release may bring its own copy of the SDK: whichever it loads is watched, once. */
function watchLoads(): void {
  const loader = Module as unknown as { _load: Load };
  const original = loader._load;
  loader._load = function load(request, parent, isMain) {
    const found = original.call(this, request, parent, isMain);
    if (request === '@temporalio/worker') watchWorkers(found as { Worker?: { create: Create } });
    return found;
  };
}

function watchWorkers(sdk: { Worker?: { create: Create } }): void {
  const { Worker } = sdk;
  if (Worker === undefined || seen.has(Worker)) return;
  seen.add(Worker);
  const create = Worker.create;
  Worker.create = async function (this: unknown, ...args: Parameters<Create>) {
    const worker = await create.apply(this as typeof Worker & (new () => never), args);
    tell({ type: 'loaded', failed: [], refused: false });
    follow(worker);
    return worker;
  } as Create;
}

function follow(worker: Worker): void {
  let polling = false;
  const timer = setInterval(() => {
    const status = worker.getStatus();
    if (!polling && status.runState === 'RUNNING' && (status.hasOutstandingWorkflowPoll || status.hasOutstandingActivityPoll)) {
      polling = true;
      tell({ type: 'polling' });
    }
    if (['DRAINED', 'STOPPED', 'FAILED'].includes(status.runState)) {
      tell({ type: 'quiet' });
      clearInterval(timer);
    }
  }, LOOK_MS);
  timer.unref();
}

function main(): void {
  dieWithHost();
  watchLoads();
  const stop = (): void => void process.kill(process.pid, 'SIGTERM');
  process.on('disconnect', stop);
  process.on('message', (order: ToChild) => void (order.type === 'drain' && stop()));
  // A pipe to the host must not keep a worker alive that has ended.
  process.channel?.unref();
}

main();
