/**
 * Takes a Worker out of service so that no execution waits for it. This is where a swap under load is
 * won or lost; what follows was measured against server 1.29.1 (bench/swap.js).
 *
 * - A poll that is cut at the moment the server hands it a task loses that task until the task times
 *   out: 10 s for a workflow task, an activity's whole start-to-close timeout for an activity. By
 *   default the SDK's core cuts all polls the moment it shuts down. TEMPORAL_POLL_SHUTDOWN_INTERRUPT_WAIT_MS
 *   keeps those under way open for a while and asks for no more. The server hands tasks to the poll that has waited longest,
 *   so on a busy queue the open ones are used up; on an idle one hardly any task comes by.
 * - Core also calls ShutdownWorker: the server forgets the worker's sticky queue, and executions that
 *   the worker had cached go to the common queue at once. A task that was already lying in the sticky
 *   queue, or gets there by a poll still open, waits for `stickyQueueScheduleToStartTimeout`: hence 1 s
 *   in place of the default 10 s.
 * - A server that ends polls itself at ShutdownWorker (1.31 and later) makes the first point moot; core
 *   finds that out, and all this is quick.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import type { Worker } from '@temporalio/worker';

/** Nothing came by for so long: the queue is idle, polls can be cut without waiting for the tail. */
const IDLE_MS = 200;
const LOOK_MS = 20;

/** When the worker last had something to do, as milliseconds of the monotonic clock. */
export class Pulse {
  private last = performance.now();

  constructor(private readonly worker: Worker) {
    worker.numInFlightActivations$.subscribe(() => void (this.last = performance.now()));
    worker.numInFlightActivities$.subscribe(() => void (this.last = performance.now()));
  }

  idleMs(since: number): number {
    const { numInFlightActivities, numInFlightWorkflowActivations } = this.worker.getStatus();
    if (numInFlightActivities + numInFlightWorkflowActivations > 0) return 0;
    return performance.now() - Math.max(this.last, since);
  }
}

/** Resolves when the worker takes no more tasks: 'ended', or 'idle' when its polls may just be dropped. */
export async function retire(worker: Worker, pulse: Pulse): Promise<'ended' | 'idle'> {
  const began = performance.now();
  if (worker.getState() === 'RUNNING') worker.shutdown();
  for (;;) {
    if (['DRAINED', 'STOPPED', 'FAILED'].includes(worker.getState())) return 'ended';
    if (pulse.idleMs(began) >= IDLE_MS) return 'idle';
    await sleep(LOOK_MS);
  }
}
