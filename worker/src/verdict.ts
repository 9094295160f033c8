/** What a reload is answered, from what is there now: pure. `undefined` means: wait on. */
import { isLeaving, type Pool } from './pool';
import type { TemporalStatus } from './pools';
import type { Slot } from './slot';

export interface Request {
  readonly workflowId: string;
  /** 'redeploy': even what polls already is loaded anew, in a fresh process. */
  readonly action: 'deploy' | 'redeploy' | 'undeploy';
  readonly release?: string;
  readonly poolVersion?: string;
}

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface World {
  readonly pools: Iterable<Pool>;
  readonly temporal: TemporalStatus;
  /** Monotonic milliseconds. */
  readonly now: number;
  /** How long polls of a retired worker may stay open. */
  readonly tailMs: number;
}

/** Temporal may be restarting: not every first failure is worth an alarm. */
const UNREACHABLE_AFTER_MS = 3000;

export function refuse(status: number, reason: string, error: string, more: object = {}): Answer {
  return { status, body: { success: false, reason, error, ...more } };
}

export function verdict(request: Request, world: World): Answer | undefined {
  const pools = [...world.pools];
  const pool = pools.find((one) => one.newest && one.desired?.releases.some(({ workflowId }) => workflowId === request.workflowId));
  if (request.action === 'undeploy') return undeployed(request, pools, pool, world);
  if (pool?.desired === undefined) return missing(request, pools);
  if (pool.trouble !== undefined) return broken(request, pool, pool.trouble);
  const release = pool.desired.releases.find(({ workflowId }) => workflowId === request.workflowId);
  const other =
    (request.release !== undefined && request.release !== release?.release) ||
    (request.poolVersion !== undefined && request.poolVersion !== pool.desired.poolVersion);
  if (other) {
    return refuse(409, 'Superseded', `the tree names release ${release?.release} in version ${pool.desired.poolVersion} of pool ${pool.queue}`);
  }
  const slot = pool.current;
  return slot === undefined ? undefined : deployed(request, pool, slot, world);
}

function deployed(request: Request, pool: Pool, slot: Slot, world: World): Answer | undefined {
  const { temporal, now } = world;
  if (slot.state === 'failed') return loadFailed(slot.lastError ?? 'it can not be loaded', slot.failed);
  if (slot.state === 'backoff') {
    const unreachable = slot.connectFails !== undefined || (temporal.asked && !temporal.reachable);
    if (unreachable) return refuse(503, 'TemporalUnreachable', slot.lastError ?? temporal.error ?? '');
    if (slot.innocent) return undefined; // it is started again
    return loadFailed(`its worker process ends again and again: ${slot.lastError}`, []);
  }
  if (slot.state === 'connecting' && slot.connectFails !== undefined && now - slot.connectFails >= UNREACHABLE_AFTER_MS) {
    return refuse(503, 'TemporalUnreachable', slot.lastError ?? temporal.error ?? '');
  }
  if (slot.state !== 'polling' || !othersAreQuiet(pool, slot, world)) return undefined;
  const own = slot.failed.filter(({ workflowId }) => workflowId === request.workflowId);
  if (own.length > 0) return loadFailed(own[0]?.error ?? '', own);
  const release = slot.version.releases.find(({ workflowId }) => workflowId === request.workflowId);
  return {
    status: 200,
    body: {
      success: true,
      workflowId: request.workflowId,
      release: release?.release,
      buildId: slot.version.buildId,
      poolVersion: slot.version.poolVersion,
      pool: pool.queue,
      workflowTypes: release?.workflowTypes ?? [],
      state: slot.state,
    },
  };
}

/**
 * After the answer no start may run old code: so the old worker must take nothing any more. One that
 * doesn't say so is not waited for longer than its polls can live.
 */
function othersAreQuiet(pool: Pool, current: Slot | undefined, { now, tailMs }: World): boolean {
  return pool.slots.every((slot) => slot === current || slot.quiet || (isLeaving(slot) && now - slot.since > tailMs + 1000));
}

function undeployed(request: Request, pools: readonly Pool[], pool: Pool | undefined, world: World): Answer | undefined {
  if (pool !== undefined) return refuse(409, 'Superseded', `the tree still has ${request.workflowId}, in pool ${pool.queue}`);
  for (const one of pools) {
    if (one.desired?.kept === true) continue; // for the executions that are pinned to it
    const serving = one.slots.filter((slot) => slot.version.releases.some(({ workflowId }) => workflowId === request.workflowId));
    if (serving.length === 0) continue;
    const { current } = one;
    // What replaces it failed: it goes on being served, and the caller should know.
    if (current?.state === 'failed') return loadFailed(current.lastError ?? '', current.failed);
    if (serving.some((slot) => !slot.quiet && !(isLeaving(slot) && world.now - slot.since > world.tailMs + 1000))) return undefined;
  }
  return { status: 200, body: { success: true, workflowId: request.workflowId, state: 'gone' } };
}

function missing(request: Request, pools: readonly Pool[]): Answer {
  const had = pools.find((pool) => pool.trouble !== undefined && pool.slots.some((slot) => slot.version.releases.some(({ workflowId }) => workflowId === request.workflowId)));
  if (had?.trouble !== undefined) return broken(request, had, had.trouble);
  const unreadable = pools.filter((pool) => pool.trouble !== undefined).map((pool) => pool.queue);
  const hint = unreadable.length === 0 ? '' : ` (not readable: ${unreadable.join(', ')})`;
  return refuse(404, 'NotFound', `workflow ${request.workflowId} is in no current pool${hint}`);
}

function broken(request: Request, pool: Pool, trouble: { error: string }): Answer {
  const error = `pool ${pool.queue}: ${trouble.error}`;
  return loadFailed(error, [{ workflowId: request.workflowId, error }]);
}

function loadFailed(error: string, failed: readonly object[]): Answer {
  return refuse(422, 'LoadFailed', error, { failed });
}

/** Whether a pool has got where it can get by itself for now. */
export function isSettled(pool: Pool, world: World): boolean {
  if (pool.trouble !== undefined) return true;
  const { current } = pool;
  if (pool.desired === undefined) return othersAreQuiet(pool, undefined, world);
  if (current === undefined || current.state === 'starting') return false;
  if (current.state === 'polling') return othersAreQuiet(pool, current, world);
  if (current.state === 'connecting') return current.connectFails !== undefined && world.now - current.connectFails >= UNREACHABLE_AFTER_MS;
  return true;
}
