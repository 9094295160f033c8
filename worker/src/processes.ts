/** Starts worker processes: the only module that does. What a child gets to see is decided here. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';

import { type Cage, cageFor, ENV_FD, environment, OUTSIDE } from './confine';
import { message } from './log';
import type { FromChild, ToChild } from './messages';
import { HOST } from './orphan';
import { PIPE, readValues } from './pipe';
import { readReport } from './report';
import type { Settings, TemporalSettings } from './settings';
import type { PoolVersion, Release } from './tree';

/** A running worker process, as the supervisor sees it. Tests put others in its place. */
export interface Child {
  readonly pid: number;
  send(order: ToChild): void;
  /** The whole process group: somebody's worker may have children of its own. */
  kill(signal: NodeJS.Signals): void;
  /** The end of what it wrote to stderr. */
  lastWords(): string;
  /** It was killed for what it wrote to its pipe. */
  misused(): boolean;
  onMessage(listener: (report: FromChild) => void): void;
  onOutput(listener: (stream: 'stdout' | 'stderr', line: string) => void): void;
  onExit(listener: (code: number | null, signal: NodeJS.Signals | null) => void): void;
}

export interface Launcher {
  /** `pool`: whom it will serve; undefined for one in reserve. */
  shared(pool?: PoolVersion): Child;
  own(pool: PoolVersion, release: Release): Child;
}

const LAST_WORDS = 2048;
const MAX_LINE = 8192;
const MAX_UNREAD = 64 << 20; // bytes of orders: a pool of thousands of releases is an order of a few MiB
/** Needed to run at all, or harmless. Everything else of the host's environment stays with the host. */
const HARMLESS = ['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR', 'SSL_CERT_FILE', 'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'];

export function makeLauncher(settings: Settings, host: NodeJS.ProcessEnv = process.env): Launcher {
  const heap = settings.memory > 0 ? [`--max-old-space-size=${Math.round(settings.memory)}`] : [];
  const common = { ...cleanEnv(host, settings.passEnv), NODE_ENV: 'production' };
  return {
    shared: (pool) => start(cageFor(settings, pool), [...heap, join(__dirname, 'child.js')], settings.data, common),
    own: (pool, release) =>
      // --require, also before an ES module: it is done when the release's first line runs.
      start(cageFor(settings, pool), [...heap, '--require', join(__dirname, 'preload.js'), release.worker ?? ''], release.path, {
        ...common,
        ...temporalEnv(settings.temporal, pool),
        TIMEWRIGHT_BUILD_ID: pool.buildId,
        ...(pool.deployment === undefined ? {} : { TIMEWRIGHT_DEPLOYMENT: pool.deployment, TIMEWRIGHT_VERSIONING: pool.versioning }),
        ...release.env,
      }),
  };
}

/** Where Temporal is, under the names that its own tools use. Files are named, secrets are not in it. */
export function temporalEnv(temporal: TemporalSettings, pool: { namespace: string; taskQueue: string }): Record<string, string> {
  const { address, tls, tlsCa, tlsCert, tlsKey, apiKeyFile } = temporal;
  return {
    TEMPORAL_ADDRESS: address,
    TEMPORAL_NAMESPACE: pool.namespace,
    TEMPORAL_TASK_QUEUE: pool.taskQueue,
    ...(tls ? { TEMPORAL_TLS: 'true' } : {}),
    ...(tlsCa === undefined ? {} : { TEMPORAL_TLS_SERVER_CA_CERT_PATH: tlsCa }),
    ...(tlsCert === undefined ? {} : { TEMPORAL_TLS_CLIENT_CERT_PATH: tlsCert }),
    ...(tlsKey === undefined ? {} : { TEMPORAL_TLS_CLIENT_KEY_PATH: tlsKey }),
    ...(apiKeyFile === undefined ? {} : { TIMEWRIGHT_API_KEY_FILE: apiKeyFile }),
  };
}

export function cleanEnv(host: NodeJS.ProcessEnv, passed: readonly string[]): Record<string, string> {
  const names = Object.keys(host).filter((name) => HARMLESS.includes(name) || name.startsWith('LC_') || passed.includes(name));
  return Object.fromEntries(names.map((name) => [name, host[name] ?? '']));
}

function start(cage: Cage, args: readonly string[], cwd: string, env: Record<string, string>): Child {
  const [program = '', ...rest] = [...cage.prefix, process.execPath, ...args];
  const all = { ...env, ...cage.env, [PIPE]: '3', [HOST]: String(process.pid) };
  const caged = cage.prefix.length > 0;
  let child: ChildProcess;
  try {
    child = spawn(program, rest, {
      cwd,
      env: caged ? OUTSIDE : all,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', ...(caged ? ['pipe' as const] : [])],
      detached: true, // its own group: Ctrl-C in a terminal is for the host, which retires its children in order
    });
  } catch (error) {
    cage.end();
    return stillborn(message(error)); // a spec's environment of over 128 KiB, for one
  }
  if (caged) (child.stdio?.[ENV_FD] as Duplex | undefined)?.on('error', () => undefined).resume().end(environment(all));
  let words = '';
  let misuse: string | undefined;
  let exited = false;
  const kill = (signal: NodeJS.Signals): void => void (!exited && child.pid !== undefined && killGroup(child.pid, signal));
  const pipe = child.stdio?.[3] as Duplex | null | undefined; // nothing where the process could not be started
  // Code of specs has this pipe, too: what it says there ends its own process at worst, and is blamed like any crash.
  const misused = (why: string): void => {
    misuse ??= `it misused its pipe to the host: ${why}`;
    pipe?.destroy();
    kill('SIGKILL');
  };
  const reports: ((report: FromChild) => void)[] = [];
  const hear = (said: unknown): void => {
    const report = readReport(said);
    if (report !== undefined) for (const listener of reports) listener(report);
  };
  pipe?.on('error', () => undefined); // it is going away; its exit says all that is to be said
  if (pipe) readValues(pipe, hear, misused);
  const output: ((stream: 'stdout' | 'stderr', line: string) => void)[] = [];
  const lines = (stream: Readable | null, name: 'stdout' | 'stderr'): void => {
    let rest = '';
    stream?.setEncoding('utf8').on('data', (text: string) => {
      if (name === 'stderr') words = (words + text).slice(-LAST_WORDS);
      const parts = (rest + text).split('\n');
      rest = (parts.pop() ?? '').slice(-MAX_LINE); // a line without end must not fill our memory
      for (const line of parts) for (const listener of output) listener(name, line);
    });
  };
  lines(child.stdout, 'stdout');
  lines(child.stderr, 'stderr');
  child.on('error', () => void (child.pid === undefined && cage.end()));
  child.on('error', (error) => (words = (words + error.message).slice(-LAST_WORDS)));
  child.on('exit', () => {
    exited = true;
    if (child.pid !== undefined) killGroup(child.pid, 'SIGKILL'); // what it has started ends with it
    cage.end();
  });
  return {
    pid: child.pid ?? 0,
    send: (order) => {
      if (pipe?.writable !== true) return;
      if (pipe.writableLength > MAX_UNREAD) return misused('it does not read it');
      pipe.write(`${JSON.stringify(order)}\n`);
    },
    kill,
    lastWords: () => misuse ?? words.trim(),
    misused: () => misuse !== undefined,
    onMessage: (listener) => void reports.push(listener),
    onOutput: (listener) => void output.push(listener),
    onExit: (listener) => {
      // 'close' and not 'exit': by then all it wrote has been read. A grandchild may hold the pipes, though.
      let told = false;
      const once = (code: number | null, signal: NodeJS.Signals | null): void => {
        if (told) return;
        told = true;
        pipe?.destroy(); // so may one that has left the group
        listener(code, signal);
      };
      child.on('close', once);
      child.on('exit', (code, signal) => void setTimeout(() => once(code, signal), 200));
      child.on('error', () => void (child.pid === undefined && once(1, null)));
    },
  };
}

/** One that could not be started. */
function stillborn(why: string): Child {
  const none = (): void => undefined;
  return {
    pid: 0, send: none, kill: none, onMessage: none, onOutput: none,
    lastWords: () => why,
    misused: () => false,
    onExit: (listener) => void setImmediate(() => listener(1, null)),
  };
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}
