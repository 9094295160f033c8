/**
 * The worker process of a shared pool: loads, checks, connects, polls, retires. It knows one pool
 * version and nothing of others; it does what the host says and ends with it.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import { type NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';

import { type Activity, loadActivities } from './activities';
import { checkBundle } from './check';
import { forwardLogs } from './childlog';
import { connect, watch } from './connect';
import { message } from './log';
import type { Failure, FromChild, ServeOptions } from './messages';
import { dieWithHost } from './orphan';
import { openPipe } from './pipe';
import { Gates, Pulse, retire } from './retire';
import { hookSdk } from './sdkhook';
import type { TemporalSettings } from './settings';
import type { PoolVersion, Release } from './tree';

const host = openPipe();
let connection: Promise<NativeConnection> | undefined;
let serving: { worker: Worker; gates: Gates; pulse: Pulse; tailMs: number; ended: Promise<void> } | undefined;
let loaded = false;
let leaving = false;

function tell(report: FromChild): void {
  host?.tell(report);
}

function warm(temporal: TemporalSettings): Promise<NativeConnection> {
  connection ??= connect(temporal, (error) => {
    tell({ type: 'temporal', reachable: false, error });
    if (loaded) tell({ type: 'connecting', error });
  }).then((made) => {
    void watch(made, (error) => tell({ type: 'temporal', reachable: error === undefined, ...(error === undefined ? {} : { error }) }));
    return made;
  });
  return connection;
}

async function serve(pool: PoolVersion, temporal: TemporalSettings, options: ServeOptions): Promise<void> {
  const connected = warm(temporal);
  // For activities that are clients of Temporal, too: they reach it as the samples say, by its default address.
  const { namespace, taskQueue } = pool;
  Object.assign(process.env, { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_NAMESPACE: namespace, TEMPORAL_TASK_QUEUE: taskQueue });
  hookSdk({ ...temporal, namespace, taskQueue }, {
    note: (text) => tell({ type: 'log', level: 'warn', event: 'worker.redirected', fields: { message: text } }),
  });
  const { activities, usable } = await load(pool, options);
  loaded = true;
  tell({ type: 'connecting' });
  for (let wait = 250; ; wait = Math.min(wait * 2, 5000)) {
    try {
      return await run(pool, options, activities, usable, await connected);
    } catch (error) {
      // A namespace that isn't there yet, a refused login: the host says so, and it may be mended.
      if (serving !== undefined) throw error;
      tell({ type: 'connecting', error: message(error) });
    }
    await sleep(wait);
  }
}

interface Load {
  readonly activities: Readonly<Record<string, Activity>>;
  readonly usable: boolean;
}

/** Loads and checks. Ends the process where a release fails whose failure isn't tolerated. */
async function load(pool: PoolVersion, options: ServeOptions): Promise<Load> {
  const announce = (workflowId: string): void => tell({ type: 'loading', workflowId });
  const releases = pool.releases.filter(({ workflowId }) => !options.skipped.some((one) => one.workflowId === workflowId));
  const found = await loadActivities(releases, announce);
  const names = new Set(Object.keys(found.activities));
  const checked =
    pool.bundle === undefined
      ? { usable: false, failed: [], gone: false }
      : await checkBundle(pool.bundle, releases, names, announce);
  if (checked.gone === true) {
    tell({ type: 'gone' });
    await new Promise(() => undefined); // the host ends this process
  }
  const failed: Failure[] = [...options.skipped, ...found.failed, ...checked.failed];
  const empty = !checked.usable && names.size === 0;
  if (empty && failed.length === 0) {
    failed.push(...pool.releases.map(({ workflowId }) => ({ workflowId, error: 'it has neither workflows nor activities' })));
  }
  const refused = empty || failed.some((failure) => !tolerates(options, pool.releases, failure));
  tell({ type: 'loaded', failed, refused });
  if (refused) await new Promise(() => undefined); // the host ends this process
  return { activities: found.activities, usable: checked.usable };
}

function tolerates(options: ServeOptions, releases: readonly Release[], failure: Failure): boolean {
  if (options.tolerated.includes('*')) return true;
  const release = releases.find(({ workflowId }) => workflowId === failure.workflowId)?.release;
  return options.tolerated.includes(`${failure.workflowId}/${release}`);
}

async function run(
  pool: PoolVersion,
  options: ServeOptions,
  activities: Readonly<Record<string, Activity>>,
  usable: boolean,
  connection: NativeConnection,
): Promise<void> {
  const hasActivities = Object.keys(activities).length > 0;
  const gates = new Gates();
  const other = { type: 'fixed-size', numSlots: 100 } as const;
  const settings: WorkerOptions = {
    tuner: {
      workflowTaskSlotSupplier: gates.workflows,
      activityTaskSlotSupplier: gates.activities,
      localActivityTaskSlotSupplier: other,
      nexusTaskSlotSupplier: other,
    },
    connection,
    namespace: pool.namespace,
    taskQueue: pool.taskQueue,
    ...(pool.deployment === undefined ? { buildId: pool.buildId } : { workerDeploymentOptions: versioned(pool, pool.deployment) }),
    // Temporal lists pollers by identity: with it anybody can see which pool version really polls.
    identity: `${process.pid}@${options.name}/timewright/${pool.poolVersion}`,
    ...(usable && pool.bundle !== undefined ? { workflowBundle: { codePath: pool.bundle } } : {}),
    ...(hasActivities ? { activities } : {}),
    shutdownGraceTime: options.graceMs,
    stickyQueueScheduleToStartTimeout: options.stickyMs,
    maxCachedWorkflows: options.maxCached,
    // By default one poll in five is for the common queue: too few when a swap sends everything there.
    nonStickyToStickyPollRatio: 0.5,
    workflowTaskPollerBehavior: { type: 'simple-maximum', maximum: options.workflowPollers },
    activityTaskPollerBehavior: { type: 'simple-maximum', maximum: options.activityPollers },
  };
  const worker = await Worker.create(settings);
  const ended = worker.run();
  ended.catch(() => undefined); // looked at below
  for (;;) {
    const status = worker.getStatus();
    const asks =
      (!usable || status.hasOutstandingWorkflowPoll) && (!hasActivities || status.hasOutstandingActivityPoll);
    if (status.runState === 'RUNNING' && asks) break;
    // Rejects where the worker could not start.
    await Promise.race([ended, sleep(10)]);
    if (['STOPPED', 'FAILED'].includes(worker.getState())) return await ended;
  }
  serving = { worker, gates, pulse: new Pulse(worker), tailMs: options.tailMs, ended };
  tell({ type: 'polling' });
  if (leaving) void leave();
  await ended;
  if (!leaving) throw new Error('the worker stopped by itself');
}

function versioned(pool: PoolVersion, deploymentName: string): NonNullable<WorkerOptions['workerDeploymentOptions']> {
  const version = { deploymentName, buildId: pool.buildId };
  return { useWorkerVersioning: true, version, defaultVersioningBehavior: pool.versioning };
}

/** Retires the worker, then ends. Called again it changes nothing. */
async function leave(): Promise<void> {
  leaving = true;
  if (serving === undefined) return end(0);
  tell({ type: 'draining' });
  await retire(serving.worker, serving.gates, serving.pulse, serving.tailMs);
  tell({ type: 'quiet' });
  await serving.ended.catch((error: unknown) => console.error(message(error)));
  tell({ type: 'stopped' });
  end(0);
}

function end(code: number): void {
  // The last words must reach the pipe before the process is gone.
  setTimeout(() => process.exit(code), 10);
}

function main(): void {
  dieWithHost();
  process.on('SIGINT', () => undefined); // a terminal's Ctrl-C reaches the host, and the host decides
  process.on('SIGTERM', () => void leave());
  host?.onEnd(() => void leave());
  Runtime.install({ shutdownSignals: [], ...forwardLogs(tell) });
  host?.onOrder((order) => {
    if (order.type === 'warm') void warm(order.temporal);
    else if (order.type === 'drain') void leave();
    else {
      serve(order.pool, order.temporal, order.options).catch((error: unknown) => {
        console.error(error);
        end(1);
      });
    }
  });
  tell({ type: 'ready' });
}

main();
