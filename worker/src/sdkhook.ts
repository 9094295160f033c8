/**
 * Finds the copies of the SDK that a release's code loads, whichever version they are, by `require` or
 * by `import` (the SDK is CommonJS: both end in Node's CommonJS loader), and changes what they do.
 */
import { readFileSync } from 'node:fs';
import Module from 'node:module';
import { dirname, join } from 'node:path';

import { gated, type Retire } from './gated';
import { asVersion, redirectConnection, redirectNamespace, type Target } from './redirect';
import type { WatchedWorker } from './watching';

type Load = (this: unknown, request: string, parent: unknown, isMain: boolean) => unknown;
type Connect = (this: unknown, options?: object) => unknown;
interface Exports {
  Worker?: { create: (this: unknown, options: { namespace?: string; taskQueue?: string }) => Promise<WatchedWorker> };
  NativeConnection?: { connect: Connect };
  Connection?: { lazy: Connect };
}

export interface Hooks {
  /** Something was changed that its author should know. */
  note(text: string): void;
  /** A Worker is about to be made. */
  making?(): void;
  /** `retire`: how to end it in order; undefined where only its SDK knows. */
  made?(worker: WatchedWorker, where: { namespace: string; taskQueue: string }, retire: Retire | undefined): void;
  /** The SDK could not connect to the host's server. */
  notConnected?(error: unknown): void;
}

const SDK = /@temporalio[\\/](?:worker|client)(?:$|[\\/])/;

export function hookSdk(target: Target, hooks: Hooks): void {
  const loader = Module as unknown as { _load: Load };
  const original = loader._load;
  const seen = new WeakSet<object>();
  const isNew = (found: object): boolean => !seen.has(found) && seen.add(found) !== undefined;
  const noted = new Set<string>();
  const note = (text: string | undefined): void => {
    if (text === undefined || noted.has(text)) return;
    noted.add(text);
    hooks.note(text);
  };
  const redirect = (options: object | undefined): object => {
    const redirected = redirectConnection(options, target, (file) => readFileSync(file));
    note(redirected.note);
    return redirected.options;
  };
  loader._load = function load(request, parent, isMain) {
    const found = original.call(this, request, parent, isMain);
    if (!SDK.test(request) || typeof found !== 'object' || found === null) return found;
    const { Worker, NativeConnection, Connection } = found as Exports;
    if (Worker !== undefined && isNew(Worker)) hookWorker(Worker, target, note, hooks, isOurVersion(found));
    if (NativeConnection !== undefined && isNew(NativeConnection)) hookNative(NativeConnection, redirect, target, hooks);
    if (Connection !== undefined && isNew(Connection)) hookClient(Connection, redirect);
    return found;
  };
}

function hookWorker(Worker: NonNullable<Exports['Worker']>, target: Target, note: (text: string | undefined) => void, hooks: Hooks, sameSdk: () => boolean): void {
  if (typeof Worker.create !== 'function') return;
  const { create } = Worker;
  Worker.create = async function (given, ...rest) {
    hooks.making?.();
    const redirected = redirectNamespace(given, target);
    note(redirected.note);
    const gates = hooks.made === undefined ? undefined : gated(redirected.options, sameSdk());
    const options = asVersion(gates?.options ?? redirected.options, target);
    const worker = await create.call(this, options, ...(rest as []));
    hooks.made?.(worker, { namespace: options.namespace ?? 'default', taskQueue: options.taskQueue ?? '' }, gates?.retire(worker));
    return worker;
  };
}

/** Whether a loaded copy of the SDK has the version of the host's. */
function isOurVersion(loaded: object): () => boolean {
  return () => {
    const file = Object.values(require.cache).find((module) => module?.exports === loaded)?.filename;
    return file !== undefined && versionOf(file) === versionOf(require.resolve('@temporalio/worker'));
  };
}

/** Of …/@temporalio/worker/lib/index.js. */
function versionOf(index: string): unknown {
  const { version } = JSON.parse(readFileSync(join(dirname(index), '..', 'package.json'), 'utf8')) as { version?: unknown };
  return version;
}

/** Inherited by the connection that the SDK makes for a Worker that is given none. */
function hookNative(NativeConnection: NonNullable<Exports['NativeConnection']>, redirect: (options?: object) => object, target: Target, hooks: Hooks): void {
  if (typeof NativeConnection.connect !== 'function') return;
  const { connect } = NativeConnection;
  NativeConnection.connect = async function (given) {
    const options = redirect(given);
    try {
      return await connect.call(this, options);
    } catch (error) {
      if ((options as { address?: string }).address === target.address) hooks.notConnected?.(error);
      throw error;
    }
  };
}

/** `connect` goes through `lazy`. */
function hookClient(Connection: NonNullable<Exports['Connection']>, redirect: (options?: object) => object): void {
  if (typeof Connection.lazy !== 'function') return;
  const { lazy } = Connection;
  Connection.lazy = function (given) {
    return lazy.call(this, redirect(given));
  };
}
