/** What host and child say to each other over the child's pipe. Values only. */
import type { Level } from './log';
import type { TemporalSettings } from './settings';
import type { PoolVersion } from './tree';

export interface Failure {
  readonly workflowId: string;
  readonly error: string;
}

/** A task queue that a release's own Worker serves. */
export interface ServedQueue {
  readonly namespace: string;
  readonly taskQueue: string;
  /** The SDK's word: INITIALIZED, RUNNING, STOPPING, … */
  readonly state: string;
  /** 'unknown': this version of the SDK doesn't say. */
  readonly polls: boolean | 'unknown';
}

export interface ServeOptions {
  /** This host's name among those that serve the same deployments. */
  readonly name: string;
  readonly stickyMs: number;
  readonly tailMs: number;
  readonly graceMs: number;
  readonly maxCached: number;
  readonly workflowPollers: number;
  readonly activityPollers: number;
  /** "workflowId/release" of releases that may fail to load without stopping the others; "*" is all. */
  readonly tolerated: readonly string[];
  /** Releases whose code hung or ended the process before: they are not loaded again. */
  readonly skipped: readonly Failure[];
}

export type ToChild =
  | { readonly type: 'warm'; readonly temporal: TemporalSettings }
  | { readonly type: 'serve'; readonly pool: PoolVersion; readonly temporal: TemporalSettings; readonly options: ServeOptions }
  | { readonly type: 'drain' };

export type FromChild =
  /** The SDK is loaded; the process can take a pool. */
  | { readonly type: 'ready' }
  /** About to run the top level of this release's code: whoever hangs now is named by it. */
  | { readonly type: 'loading'; readonly workflowId: string }
  /** Its bundle was cleared away before it could be read: that says nothing about anybody's code. */
  | { readonly type: 'gone' }
  /** `refused`: it will not serve, because of a failure that isn't tolerated. */
  | { readonly type: 'loaded'; readonly failed: readonly Failure[]; readonly refused: boolean }
  | { readonly type: 'connecting'; readonly error?: string }
  /** Of a release's own worker: it has called Worker.create; which queues its Workers serve by now. */
  | { readonly type: 'making' }
  | { readonly type: 'serves'; readonly queues: readonly ServedQueue[] }
  | { readonly type: 'polling' }
  | { readonly type: 'temporal'; readonly reachable: boolean; readonly error?: string }
  | { readonly type: 'draining' }
  /** Nothing more will be taken from the queue; what was taken may still run. */
  | { readonly type: 'quiet' }
  | { readonly type: 'stopped' }
  | { readonly type: 'log'; readonly level: Level; readonly event: string; readonly fields: Record<string, unknown> };
