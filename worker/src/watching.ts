/** The Workers of one process that a release made itself: what they serve, and whether they do. */
import type { ServedQueue } from './messages';

/** What is asked of the SDK's Worker, whatever its version. */
export interface WatchedWorker {
  getState(): string;
  getStatus?(): { hasOutstandingWorkflowPoll?: unknown; hasOutstandingActivityPoll?: unknown };
  shutdown(): void;
}

export interface Queue {
  readonly namespace: string;
  readonly taskQueue: string;
}

const ENDED = ['DRAINED', 'STOPPED', 'FAILED'];

export class Workers {
  private readonly known: { readonly worker: WatchedWorker; readonly where: Queue; polled: boolean }[] = [];

  constructor(private readonly pool: Queue) {}

  add(worker: WatchedWorker, where: Queue): void {
    this.known.push({ worker, where, polled: false });
  }

  rows(): ServedQueue[] {
    return this.known.map((one) => {
      const state = one.worker.getState();
      const polls = state === 'RUNNING' ? (one.polled ||= asks(one.worker) === true) || asks(one.worker) : false;
      return { ...one.where, state, polls };
    });
  }

  /** The pool's queue is polled, and so is each other that a Worker was made for. */
  serving(rows: readonly ServedQueue[]): boolean {
    const ours = rows.some(({ namespace, taskQueue }) => namespace === this.pool.namespace && taskQueue === this.pool.taskQueue);
    return ours && rows.every(({ polls }) => polls !== false);
  }

  ended(): boolean {
    return this.known.length > 0 && this.known.every(({ worker }) => ENDED.includes(worker.getState()));
  }

  shutdown(): void {
    for (const { worker } of this.known) if (worker.getState() === 'RUNNING') worker.shutdown();
  }
}

/** Whether it asks the server for tasks; 'unknown' where this version of the SDK doesn't say. */
function asks(worker: WatchedWorker): ServedQueue['polls'] {
  const status = worker.getStatus?.();
  const { hasOutstandingWorkflowPoll: workflows, hasOutstandingActivityPoll: activities } = status ?? {};
  if (typeof workflows !== 'boolean' && typeof activities !== 'boolean') return 'unknown';
  return workflows === true || activities === true;
}
