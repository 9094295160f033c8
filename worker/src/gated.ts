/**
 * Lets a Worker that a release makes itself be retired as ours are (see `retire.ts`): by giving it gates
 * in place of the SDK's default limits, which they equal. Only where the release leaves those to the
 * SDK, and only for the version of the SDK that this was measured with; any other Worker is shut down as
 * its SDK does it.
 */
import type { Worker } from '@temporalio/worker';

import { Gates, Pulse, retire } from './retire';

const OTHERS = { type: 'fixed-size', numSlots: 100 } as const;
/** Any of these is the release's own word on how much its Worker takes. */
const SAID = ['tuner', 'maxConcurrentWorkflowTaskExecutions', 'maxConcurrentActivityTaskExecutions', 'maxConcurrentLocalActivityExecutions',
  'maxConcurrentNexusTaskExecutions'];
const STICKY_MS = 1000;
const TAIL_MS = 3000;

export type Retire = () => Promise<void>;

/** Options with gates in them, and how to retire the Worker made with them; undefined where it isn't for us. */
export function gated<T extends object>(options: T, sameSdk: boolean): { options: T; retire(worker: unknown): Retire } | undefined {
  const given = options as Record<string, unknown>;
  // A plugin may set any of them later.
  if (!sameSdk || SAID.some((name) => given[name] !== undefined) || given['plugins'] !== undefined) return undefined;
  const gates = new Gates();
  const tuner = {
    workflowTaskSlotSupplier: gates.workflows,
    activityTaskSlotSupplier: gates.activities,
    localActivityTaskSlotSupplier: OTHERS,
    nexusTaskSlotSupplier: OTHERS,
  };
  return {
    options: { ...options, tuner, stickyQueueScheduleToStartTimeout: given['stickyQueueScheduleToStartTimeout'] ?? STICKY_MS },
    retire(worker) {
      const pulse = new Pulse(worker as Worker);
      return () => retire(worker as Worker, gates, pulse, TAIL_MS);
    },
  };
}
