/**
 * Takes a Worker out of service so that no execution waits for it. This is where a swap under load is
 * won or lost; what follows was found in the SDK's core 1.24 and measured with server 1.29.1
 * (bench/swap.js).
 *
 * - A task that the server hands to a poll at the moment the poll is cut is lost until it times out:
 *   10 s for a workflow task, an activity's whole start-to-close timeout for an activity. `shutdown()`
 *   cuts all polls at once. So the gates are closed first: core begins no more polls, and those under way
 *   are used up, for the server gives a task to the poll that has waited longest. Only then `shutdown()`.
 * - Core can keep polls open after a shutdown (TEMPORAL_POLL_SHUTDOWN_INTERRUPT_WAIT_MS). Not so: its
 *   workflow stream ends as soon as no run has work pending, and what such polls bring is dropped.
 * - At shutdown core calls ShutdownWorker: the server forgets the worker's sticky queue, and executions
 *   that the worker had cached go to the common queue at once. Tasks that came to the sticky queue after
 *   its last poll was used up wait for `stickyQueueScheduleToStartTimeout`: hence 1 s and not 10 s.
 * - On an idle queue polls are not used up, and needn't be: hardly a task comes by while they are cut.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import type { ActivitySlotInfo, Worker, WorkflowSlotInfo } from '@temporalio/worker';

import { Gate } from './gate';

/** The SDK's own limits. */
const WORKFLOW_TASKS = 40;
const ACTIVITIES = 100;
/**
 * Nothing came by for so long: the queue is idle, its polls can be cut. The risk is the time a task is on
 * its way (10 ms) over the mean time between tasks (over a second).
 */
const IDLE_MS = 1000;
const LOOK_MS = 5;

export class Gates {
  readonly workflows = new Gate<WorkflowSlotInfo>(WORKFLOW_TASKS);
  readonly activities = new Gate<ActivitySlotInfo>(ACTIVITIES);

  /** Polls under way for what anybody could do. */
  get common(): number {
    return this.workflows.polls('common') + this.activities.polls('common');
  }

  get sticky(): number {
    return this.workflows.polls('sticky');
  }
}

/** When a task last came or ended. A long activity that just goes on is no sign of a busy queue. */
export class Pulse {
  private last = 0;

  constructor(worker: Worker) {
    worker.numInFlightActivations$.subscribe(() => void (this.last = performance.now()));
    worker.numInFlightActivities$.subscribe(() => void (this.last = performance.now()));
  }

  idleMs(): number {
    return performance.now() - this.last;
  }
}

/** Resolves when the worker takes no more tasks; those it has may still run. */
export async function retire(worker: Worker, gates: Gates, pulse: Pulse, tailMs: number): Promise<void> {
  const end = performance.now() + tailMs;
  const usedUp = async (polls: () => number): Promise<void> => {
    while (polls() > 0 && pulse.idleMs() < IDLE_MS && performance.now() < end) await sleep(LOOK_MS);
  };
  gates.workflows.close('common');
  gates.activities.close('common');
  await usedUp(() => gates.common);
  // The sticky queue last, and shutdown right after it: only then nothing is left lying in that queue.
  gates.workflows.close('sticky');
  await usedUp(() => gates.sticky);
  if (worker.getState() === 'RUNNING') worker.shutdown();
  while (!['DRAINED', 'STOPPED', 'FAILED'].includes(worker.getState())) await sleep(LOOK_MS);
}
