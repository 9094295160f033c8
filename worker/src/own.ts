/** Says why a release's own worker process does not serve its pool. Pure. */
import type { ServedQueue } from './messages';
import type { PoolVersion } from './tree';

export function whyNotServing(pool: PoolVersion, queues: readonly ServedQueue[], waitedMs: number): string {
  const waited = `within ${waitedMs / 1000} s`;
  if (queues.length === 0) return `worker.ts started, but made no Worker ${waited}`;
  const ours = queues.find(({ namespace, taskQueue }) => namespace === pool.namespace && taskQueue === pool.taskQueue);
  if (ours === undefined) {
    const elsewhere = queues.map(({ namespace, taskQueue }) => (namespace === pool.namespace ? taskQueue : `${taskQueue} (namespace ${namespace})`));
    return (
      `worker.ts serves task queue ${elsewhere.join(', ')}, and not ${pool.taskQueue} of namespace ${pool.namespace}, where this workflow is deployed: ` +
      `let worker.ts read process.env.TEMPORAL_TASK_QUEUE and TEMPORAL_NAMESPACE, or set deploy.taskQueue and deploy.namespace to what it serves`
    );
  }
  const idle = queues.filter(({ polls }) => polls === false).map(({ taskQueue, state }) => `${taskQueue} (${state})`);
  return `worker.ts made a Worker that does not poll ${waited}: ${idle.join(', ')}; it must await worker.run() of each`;
}
