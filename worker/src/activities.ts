/** Loads the activities of a pool's releases, in the worker process. One release's failure is its own. */
import { message } from './log';
import type { Failure } from './messages';
import type { Release } from './tree';

export type Activity = (...args: never[]) => unknown;

export interface Loaded {
  readonly activities: Readonly<Record<string, Activity>>;
  readonly failed: readonly Failure[];
}

/** `announce` is called before a release's code runs, so that a hang can be blamed on it. */
export function loadActivities(releases: readonly Release[], announce: (workflowId: string) => void): Loaded {
  const activities: Record<string, Activity> = Object.create(null) as Record<string, Activity>;
  const owners = new Map<string, string>();
  const failed: Failure[] = [];
  for (const { workflowId, activities: file } of releases) {
    if (file === undefined) continue;
    announce(workflowId);
    try {
      const found = functionsOf(require(file));
      for (const name of found.keys()) {
        const owner = owners.get(name);
        if (owner !== undefined) throw new Error(`activity ${name} is also in ${owner}: give one of them its own task queue`);
      }
      for (const [name, activity] of found) {
        owners.set(name, workflowId);
        activities[name] = activity;
      }
    } catch (error) {
      failed.push({ workflowId, error: describe(error) });
    }
  }
  return { activities, failed };
}

/** Functions that a module exports, by name, and those of its default export when that is an object. */
function functionsOf(module: unknown): Map<string, Activity> {
  const found = new Map<string, Activity>();
  const add = (from: object): void => {
    for (const [name, value] of Object.entries(from)) {
      if (typeof value === 'function') found.set(name, value as Activity);
    }
  };
  if (typeof module !== 'object' || module === null) return found;
  const { default: inner, ...rest } = module as { default?: unknown };
  if (typeof inner === 'object' && inner !== null) add(inner);
  add(rest);
  return found;
}

/** What was thrown, with the place in the release's code where there is one. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return message(error);
  const at = error.stack?.split('\n').find((line) => line.includes('/releases/'));
  return at === undefined ? `${error.name}: ${error.message}` : `${error.name}: ${error.message} (${at.trim()})`;
}
