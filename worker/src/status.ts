/** Shows what runs: the list for the daemon, readiness, metrics. Only reads; never an environment's value. */
import { isLeaving, type Pool } from './pool';
import type { Pools, TemporalStatus } from './pools';
import type { Slot } from './slot';

export interface HostFacts {
  readonly pid: number;
  readonly startedAt: string;
  readonly node: string;
  readonly sdk: string;
}

export function listing(pools: Pools, host: HostFacts, address: string): object {
  return { host, temporal: temporal(pools.temporal, address), pools: [...pools.pools.values()].flatMap(rowsOf) };
}

function temporal({ reachable, error }: TemporalStatus, address: string): object {
  return { address, reachable, ...(reachable || error === undefined ? {} : { error }) };
}

function rowsOf(pool: Pool): object[] {
  const rows = pool.slots.map((slot) => row(pool, slot));
  if (pool.trouble === undefined) return rows;
  const { poolVersion, error } = pool.trouble;
  const slash = pool.queue.indexOf('/');
  const [namespace, taskQueue] = [pool.queue.slice(0, slash), pool.queue.slice(slash + 1)];
  return [...rows, { namespace, taskQueue, poolVersion, state: 'failed', current: true, restarts: 0, lastError: error, releases: [] }];
}

function row(pool: Pool, slot: Slot): object {
  const { version } = slot;
  return {
    namespace: version.namespace,
    taskQueue: version.taskQueue,
    poolVersion: version.poolVersion,
    buildId: version.buildId,
    isolation: version.isolation,
    state: slot.state,
    current: pool.trouble === undefined && pool.newest && slot === pool.current,
    kept: !pool.newest && slot === pool.current,
    ...(version.deployment === undefined ? {} : { deployment: version.deployment }),
    pid: slot.pid,
    startedAt: slot.startedAt.toISOString(),
    restarts: slot.restarts,
    ...(slot.lastError === undefined ? {} : { lastError: slot.lastError }),
    ...(slot.connectFails === undefined ? {} : { unreachable: true }),
    ...(slot.queues === undefined ? {} : { queues: slot.queues }),
    releases: version.releases.map(({ workflowId, release, workflowTypes }) => {
      const error = slot.failed.find((failure) => failure.workflowId === workflowId)?.error;
      return { workflowId, release, workflowTypes, ...(error === undefined ? {} : { error }) };
    }),
  };
}

/** Why the host isn't ready; empty when each current pool polls. */
export function unready(pools: Pools): string[] {
  return [...pools.pools.values()].flatMap((pool) => {
    if (pool.trouble !== undefined) return [`${pool.queue}: ${pool.trouble.error}`];
    if (!pool.newest || pool.current?.state === 'polling') return [];
    return [`${pool.queue}: ${pool.current?.state ?? 'not started'}${pool.current?.lastError === undefined ? '' : `: ${pool.current.lastError}`}`];
  });
}

/** Reloads answered, by reason. */
export class Counts {
  readonly reloads = new Map<string, number>();
  seconds = 0;

  reload(result: string, ms: number): void {
    this.reloads.set(result, (this.reloads.get(result) ?? 0) + 1);
    this.seconds += ms / 1000;
  }
}

export function metrics(pools: Pools, counts: Counts): string {
  const states = new Map<string, number>();
  let restarts = 0;
  for (const pool of pools.pools.values()) {
    for (const slot of pool.slots) {
      const state = isLeaving(slot) ? 'draining' : slot.state;
      states.set(state, (states.get(state) ?? 0) + 1);
      restarts += slot.restarts;
    }
  }
  const total = [...counts.reloads.values()].reduce((sum, count) => sum + count, 0);
  return [
    '# HELP timewright_worker_pool_versions Pool versions that have a worker process, or should, by state.',
    '# TYPE timewright_worker_pool_versions gauge',
    ...[...states].map(([state, count]) => `timewright_worker_pool_versions{state="${state}"} ${count}`),
    '# HELP timewright_worker_pools_unready Pools whose current version does not poll.',
    '# TYPE timewright_worker_pools_unready gauge',
    `timewright_worker_pools_unready ${unready(pools).length}`,
    '# HELP timewright_worker_restarts Restarts after crashes, of the versions running now.',
    '# TYPE timewright_worker_restarts gauge',
    `timewright_worker_restarts ${restarts}`,
    '# HELP timewright_worker_temporal_reachable Whether Temporal answered last.',
    '# TYPE timewright_worker_temporal_reachable gauge',
    `timewright_worker_temporal_reachable ${pools.temporal.reachable ? 1 : 0}`,
    '# HELP timewright_worker_reloads_total Reload calls answered, by result.',
    '# TYPE timewright_worker_reloads_total counter',
    ...[...counts.reloads].map(([result, count]) => `timewright_worker_reloads_total{result="${result}"} ${count}`),
    '# HELP timewright_worker_reload_seconds Time that reload calls took.',
    '# TYPE timewright_worker_reload_seconds summary',
    `timewright_worker_reload_seconds_sum ${counts.seconds.toFixed(3)}`,
    `timewright_worker_reload_seconds_count ${total}`,
    '# HELP process_resident_memory_bytes Memory of the host itself.',
    '# TYPE process_resident_memory_bytes gauge',
    `process_resident_memory_bytes ${process.memoryUsage.rss()}`,
    '',
  ].join('\n');
}
