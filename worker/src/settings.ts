/**
 * What the host was told at its start: the command line and a few variables, read once, here.
 * Everything else takes a frozen `Settings`.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

/** How to reach Temporal. Sent to our own children over their pipe, never through their environment. */
export interface TemporalSettings {
  readonly address: string;
  /** Any of these, or `tls`, turns TLS on. Files, so that secrets are read where they are used. */
  readonly tls: boolean;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly apiKeyFile?: string;
}

export interface Settings {
  /** Of this host: Temporal lists it with each poller. */
  readonly name: string;
  readonly data: string;
  readonly listen: Listen;
  readonly token?: string;
  readonly log: 'json' | 'pretty';
  readonly temporal: TemporalSettings;
  readonly spare: boolean;
  /** `pool`: a worker process reads only what its pool needs; see `confine.ts`. */
  readonly confine: 'off' | 'pool';
  /** The command that confines another one, which is appended to it. */
  readonly confiner: readonly string[];
  /** What all worker processes may read and change besides, absolute. */
  readonly mayRead: readonly string[];
  readonly mayWrite: readonly string[];
  /** Names of variables of the host that worker processes get, besides the harmless ones. */
  readonly passEnv: readonly string[];
  /** Milliseconds, all of them. */
  readonly graceMs: number;
  readonly loadMs: number;
  readonly answerMs: number;
  readonly rescanMs: number;
  /** At most so long an old worker's polls may take to be used up after it began no more; see `retire.ts`. */
  readonly pollTailMs: number;
  /** How long the server waits for the worker that has an execution cached; see `retire.ts`. */
  readonly stickyMs: number;
  readonly maxCached: number;
  /** MiB of old-generation heap for each worker process; 0 leaves it to Node. */
  readonly memory: number;
  readonly workflowPollers: number;
  readonly activityPollers: number;
}

export type Listen =
  | { readonly kind: 'unix'; readonly path: string; readonly mode: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** A wrong command line: exit code 2, the message is for people. */
export class UsageError extends Error {}

export const USAGE = `usage: node host.js --data DIR [options]
  --listen unix:/path.sock | http://127.0.0.1:PORT    default: unix:DIR/worker.sock
  --socket-mode 0600|0660    who may call: this user, or its group, too (0600)
  --name NAME                of this host, as Temporal lists it (its hostname)
  --temporal HOST:PORT       default: TEMPORAL_ADDRESS, else 127.0.0.1:7233
  --temporal-tls  --tls-ca FILE  --tls-cert FILE  --tls-key FILE  --api-key-file FILE
  --token-file FILE          callers must send it as a bearer token; needed off loopback
  --log json|pretty          default: json
  --grace SECONDS            for running activities when a version is retired (30)
  --load-timeout SECONDS     for the modules of a version to load (15)
  --answer-timeout SECONDS   a reload is answered within it (12)
  --rescan SECONDS           look at the tree without being told (30)
  --sticky-timeout SECONDS   a cached execution waits so long for its old worker (1)
  --poll-tail SECONDS        at most so long polls of a retired worker may take to be used up (3)
  --max-cached N             executions cached in one worker process (500)
  --memory MIB               heap limit of a worker process (0: Node's own)
  --workflow-pollers N  --activity-pollers N          a pool (6, 4; fewer when there are many pools)
  --pass-env A,B             variables of the host that activities may see
  --no-spare                 keep no warm process in reserve
  --confine off|pool         pool: a worker process reads only its pool and the toolchain, and keeps no reserve (off)
  --confiner JSON            the command that confines, as a list: ["python3", "-I", "-S", "…/confine.py"]
  --may-read PATH  --may-write PATH                   for confined workers, besides; as often as needed`;

export function readSettings(argv: readonly string[], env: NodeJS.ProcessEnv): Settings {
  const { values } = parse(argv);
  if (values.data === undefined) throw new UsageError('--data DIR is missing');
  const data = resolve(values.data);
  const listen = readListen(values.listen ?? `unix:${join(data, 'worker.sock')}`, values['socket-mode'] ?? '0600');
  const token = values['token-file'] === undefined ? undefined : readToken(values['token-file']);
  if (listen.kind === 'tcp' && token === undefined && !isLoopback(listen.host)) {
    throw new UsageError(`${listen.host} is not a loopback address: give --token-file, too`);
  }
  const log = values.log ?? 'json';
  if (log !== 'json' && log !== 'pretty') throw new UsageError('--log is json or pretty');
  const confine = values.confine ?? 'off';
  if (confine !== 'off' && confine !== 'pool') throw new UsageError('--confine is off or pool');
  const confiner = readCommand(values.confiner);
  if (confine === 'pool' && confiner.length === 0) throw new UsageError('--confine pool needs --confiner');
  const file = (name: 'tls-ca' | 'tls-cert' | 'tls-key' | 'api-key-file'): string | undefined =>
    values[name] === undefined ? undefined : resolve(values[name]);
  const [tlsCa, tlsCert, tlsKey, apiKeyFile] = [file('tls-ca'), file('tls-cert'), file('tls-key'), file('api-key-file')];
  return {
    name: values.name ?? hostname(),
    data,
    listen,
    ...(token === undefined ? {} : { token }),
    log,
    temporal: {
      address: values.temporal ?? env['TEMPORAL_ADDRESS'] ?? '127.0.0.1:7233',
      tls: values['temporal-tls'] === true || Boolean(tlsCa ?? tlsCert ?? tlsKey ?? apiKeyFile),
      ...(tlsCa === undefined ? {} : { tlsCa }),
      ...(tlsCert === undefined ? {} : { tlsCert }),
      ...(tlsKey === undefined ? {} : { tlsKey }),
      ...(apiKeyFile === undefined ? {} : { apiKeyFile }),
    },
    // One that is confined must know its pool when it starts.
    spare: values['no-spare'] !== true && confine === 'off',
    confine,
    confiner,
    mayRead: (values['may-read'] ?? []).map((path) => resolve(path)),
    mayWrite: (values['may-write'] ?? []).map((path) => resolve(path)),
    passEnv: (values['pass-env'] ?? '').split(',').filter((name) => name !== ''),
    graceMs: number('grace', values.grace, 30) * 1000,
    loadMs: number('load-timeout', values['load-timeout'], 15) * 1000,
    answerMs: number('answer-timeout', values['answer-timeout'], 12) * 1000,
    rescanMs: number('rescan', values.rescan, 30) * 1000,
    pollTailMs: number('poll-tail', values['poll-tail'], 3) * 1000,
    stickyMs: number('sticky-timeout', values['sticky-timeout'], 1) * 1000,
    maxCached: number('max-cached', values['max-cached'], 500),
    memory: number('memory', values.memory, 0),
    // Under 3 and 2 a queue's four partitions stall: measured, facts.md.
    workflowPollers: Math.max(3, number('workflow-pollers', values['workflow-pollers'], 6)),
    activityPollers: Math.max(2, number('activity-pollers', values['activity-pollers'], 4)),
  };
}

function parse(argv: readonly string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...argv],
      options: {
        name: text, data: text, listen: text, temporal: text, log: text, grace: text, rescan: text, memory: text,
        'token-file': text, 'load-timeout': text, 'answer-timeout': text, 'sticky-timeout': text,
        'poll-tail': text, 'max-cached': text, 'workflow-pollers': text, 'activity-pollers': text,
        'tls-ca': text, 'tls-cert': text, 'tls-key': text, 'api-key-file': text,
        'pass-env': text, 'socket-mode': text, 'temporal-tls': { type: 'boolean' }, 'no-spare': { type: 'boolean' },
        confine: text, confiner: text, 'may-read': { ...text, multiple: true }, 'may-write': { ...text, multiple: true },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function readCommand(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch {
    // Told below.
  }
  if (Array.isArray(words) && words.length > 0 && words.every((word) => typeof word === 'string')) return words as string[];
  throw new UsageError(`--confiner must be a JSON list of words, like ["python3", "confine.py"], not ${JSON.stringify(text)}`);
}

function number(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) {
    throw new UsageError(`--${name} must be a number, 0 or more, not ${JSON.stringify(text)}`);
  }
  return value;
}

function readListen(text: string, mode: string): Listen {
  if (!/^0?6[06]0$/.test(mode)) throw new UsageError(`--socket-mode is 0600 or 0660 (the group may call, too), not ${JSON.stringify(mode)}`);
  if (text.startsWith('unix:')) return { kind: 'unix', path: resolve(text.slice('unix:'.length)), mode: parseInt(mode, 8) };
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new UsageError(`--listen ${JSON.stringify(text)}: give unix:/path or http://host:port`);
  }
  if (url.protocol !== 'http:' || url.port === '') {
    throw new UsageError(`--listen ${JSON.stringify(text)}: give unix:/path or http://host:port`);
  }
  return { kind: 'tcp', host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function readToken(path: string): string {
  let token: string;
  try {
    token = readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new UsageError(`--token-file can't be read: ${(error as Error).message}`);
  }
  if (token === '') throw new UsageError('--token-file is empty');
  return token;
}
