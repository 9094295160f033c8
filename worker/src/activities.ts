/** Loads the activities of a pool's releases, in the worker process. One release's failure is its own. */
import { setImmediate as tick } from 'node:timers/promises';

import { blame } from './blame';
import type { Failure } from './messages';
import { loadModule } from './modules';
import type { Release } from './tree';

export type Activity = (...args: never[]) => unknown;

export interface Loaded {
  readonly activities: Readonly<Record<string, Activity>>;
  readonly failed: readonly Failure[];
}

/**
 * `announce` is called before a release's code runs, so that a hang can be blamed on it. One after the
 * other for the same reason: a top-level `await` would let the next release's code run in between.
 */
export async function loadActivities(
  releases: readonly Release[],
  announce: (workflowId: string) => void,
): Promise<Loaded> {
  const activities: Record<string, Activity> = Object.create(null) as Record<string, Activity>;
  const owners = new Map<string, string>();
  const failed: Failure[] = [];
  for (const { workflowId, activities: file } of releases) {
    if (file === undefined) continue;
    announce(workflowId);
    try {
      const found = functionsOf(await loadModule(file));
      await tick(); // a rejection that its top level left alone ends the process now, in its name
      for (const name of found.keys()) {
        const owner = owners.get(name);
        if (owner !== undefined) throw new Error(`activity ${name} is also in ${owner}: give one of them its own task queue`);
      }
      for (const [name, activity] of found) {
        owners.set(name, workflowId);
        activities[name] = activity;
      }
    } catch (error) {
      failed.push({ workflowId, error: blame(error) });
    }
  }
  return { activities, failed };
}

/** Functions that a module exports, by name, and those of its default export when that is an object. */
export function functionsOf(module: unknown): Map<string, Activity> {
  const found = new Map<string, Activity>();
  const add = (from: object): void => {
    for (const [name, value] of Object.entries(from)) {
      if (typeof value === 'function' && !isClass(value)) found.set(name, value as Activity);
    }
  };
  if (typeof module !== 'object' || module === null) return found;
  const { default: inner, ...rest } = module as { default?: unknown };
  if (typeof inner === 'object' && inner !== null) add(inner);
  add(rest);
  return found;
}

/**
 * A class can't be called, so it is no activity; and two releases of one pool may well export classes
 * of one name. Compiled down to ES5 it is a function, one whose prototype has methods.
 */
function isClass(value: object): boolean {
  if (/^class\b/.test(Function.prototype.toString.call(value))) return true;
  const { prototype } = value as { prototype?: object };
  return prototype !== undefined && prototype !== null && Object.getOwnPropertyNames(prototype).some((name) => name !== 'constructor');
}
