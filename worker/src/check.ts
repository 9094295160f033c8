/**
 * The load check: would Temporal's SDK find each workflow type in this bundle? Runs in the worker
 * process, before it polls. It makes an execution's context the way the SDK does, for each type, and
 * stops short of running the workflow: module tops run, with a time limit; no task is touched.
 */
import { readFileSync } from 'node:fs';
import { Script } from 'node:vm';

import { parseWorkflowCode } from '@temporalio/worker/lib/worker';
import { ReusableVMWorkflowCreator } from '@temporalio/worker/lib/workflow/reusable-vm';

import { blame } from './blame';
import type { Failure } from './messages';
import type { Release } from './tree';

type Parsed = ReturnType<typeof parseWorkflowCode>;

const TOP_LEVEL_MS = 1000;

export interface Checked {
  readonly failed: readonly Failure[];
  /** False: the bundle as a whole can't be loaded, no workflow of it could run. */
  readonly usable: boolean;
  /** There is no bundle any more: newer versions have come, and this one was cleared away. */
  readonly gone?: boolean;
}

export async function checkBundle(
  file: string,
  releases: readonly Release[],
  activityNames: ReadonlySet<string>,
  announce: (workflowId: string) => void,
): Promise<Checked> {
  const concerned = releases.filter((release) => release.workflowTypes.length > 0);
  let creator: ReusableVMWorkflowCreator;
  try {
    creator = makeCreator(parseWorkflowCode(readFileSync(file, 'utf8'), file), activityNames);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { usable: false, failed: [], gone: true };
    const why = `the pool's workflow bundle can't be loaded: ${blame(error)}`;
    return { usable: false, failed: concerned.map(({ workflowId }) => ({ workflowId, error: why })) };
  }
  const failed: Failure[] = [];
  const rejected: unknown[] = [];
  const onRejection = (reason: unknown): void => void rejected.push(reason);
  process.on('unhandledRejection', onRejection);
  try {
    for (const release of concerned) {
      announce(release.workflowId);
      const error = (await checkRelease(creator, release)) ?? (await settled(rejected));
      if (error !== undefined) failed.push({ workflowId: release.workflowId, error });
    }
  } finally {
    process.off('unhandledRejection', onRejection);
  }
  return { usable: true, failed };
}

/**
 * Not through `create()`: that patches this whole process (promise hooks, stack traces), which belongs
 * to the SDK's own thread. For the same reason its handler of unhandled rejections must not be set here.
 */
function makeCreator(bundle: Parsed, activityNames: ReadonlySet<string>): ReusableVMWorkflowCreator {
  (ReusableVMWorkflowCreator as unknown as { unhandledRejectionHandlerHasBeenSet: boolean }).unhandledRejectionHandlerHasBeenSet = true;
  const script = new Script(bundle.code, { filename: bundle.filename });
  return new ReusableVMWorkflowCreator(script, bundle, TOP_LEVEL_MS, new Set(activityNames));
}

async function checkRelease(creator: ReusableVMWorkflowCreator, release: Release): Promise<string | undefined> {
  for (const type of release.workflowTypes) {
    try {
      const workflow = await creator.createWorkflow(optionsFor(type));
      await workflow.dispose();
    } catch (error) {
      return explain(type, error);
    }
  }
  return undefined;
}

function explain(type: string, error: unknown): string {
  // Errors of the sandbox are of another realm: `instanceof Error` is false for them.
  const { message = String(error), name = 'Error', code } = error as { message?: string; name?: string; code?: string };
  if (code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
    return `workflow ${type}: its module's top level did not end within ${TOP_LEVEL_MS} ms`;
  }
  return `workflow ${type}: ${name}: ${message}`;
}

/** A promise that a module's top level left rejected fails the release, as it would fail each task. */
async function settled(rejected: unknown[]): Promise<string | undefined> {
  await new Promise((done) => setImmediate(done));
  const [first] = rejected.splice(0);
  return first === undefined ? undefined : explain('module', first);
}

function optionsFor(workflowType: string): Parameters<ReusableVMWorkflowCreator['createWorkflow']>[0] {
  const now = new Date();
  const info = {
    workflowId: 'timewright-load-check',
    runId: `timewright-load-check/${workflowType}`,
    firstExecutionRunId: 'timewright-load-check',
    originalExecutionRunId: 'timewright-load-check',
    workflowType,
    searchAttributes: {},
    typedSearchAttributes: undefined as never,
    memo: {},
    historyLength: 3,
    historySize: 300,
    continueAsNewSuggested: false,
    targetWorkerDeploymentVersionChanged: false,
    taskQueue: 'timewright-load-check',
    namespace: 'default',
    startTime: now,
    runStartTime: now,
    taskTimeoutMs: 10_000,
    attempt: 1,
    unsafe: { now: () => Date.now(), isReplaying: false, isReplayingHistoryEvents: false, random: undefined as never },
  };
  return { info, randomnessSeed: [1, 2, 3, 4, 5, 6, 7, 8], now: now.getTime(), showStackTraceSources: false };
}
