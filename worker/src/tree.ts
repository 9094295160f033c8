/**
 * Reads what the tree says should be served: `pools/{namespace}/{queue}/current`, and beside it the versions
 * that `kept.toml` there lists: those that executions are pinned to. Only reads.
 * One pool that can't be read is reported as that pool's trouble; the others go on.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, isAbsolute, join, resolve, sep } from 'node:path';

import { message } from './log';

// Its types are of an ES module only, its code is both: TypeScript can't know.
const { parse } = require('smol-toml') as { parse(text: string): unknown };

export interface Release {
  readonly workflowId: string;
  readonly release: string;
  /** The release's real directory. */
  readonly path: string;
  readonly workflowTypes: readonly string[];
  /** Files, absolute. */
  readonly activities?: string;
  readonly worker?: string;
  readonly activityNames: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface PoolVersion {
  readonly namespace: string;
  readonly taskQueue: string;
  readonly poolVersion: string;
  readonly buildId: string;
  readonly isolation: 'shared' | 'process';
  readonly sdk: string;
  /** Temporal's Worker Deployment that it is a Version of; undefined: served in place of the one before. */
  readonly deployment?: string;
  /** Of workflow types that don't say it themselves. */
  readonly versioning: 'PINNED' | 'AUTO_UPGRADE';
  /** Not the tree's current version: served beside it until the daemon takes it off its list. */
  readonly kept: boolean;
  /** The combined workflow bundle, absolute. */
  readonly bundle?: string;
  readonly releases: readonly Release[];
}

export interface PoolTrouble {
  readonly namespace: string;
  readonly taskQueue: string;
  readonly poolVersion: string;
  readonly error: string;
}

export interface Tree {
  /** By lane: see `laneKey`. */
  readonly pools: ReadonlyMap<string, PoolVersion>;
  /** Pools that can't be read, by `poolKey`: what they ran before goes on. */
  readonly broken: ReadonlyMap<string, PoolTrouble>;
  /** The whole tree can't be read (I/O error, not "there is none"): everything goes on. */
  readonly unreadable?: string;
  /** There is no `pools` folder at all: nobody deployed yet, or the data directory is gone. */
  readonly absent?: boolean;
}

export function poolKey(pool: { namespace: string; taskQueue: string }): string {
  return `${pool.namespace}/${pool.taskQueue}`;
}

/**
 * Versions of one lane take over from each other; lanes run side by side. A Build ID is a lane: an activity-only
 * change is another pool version with the same Build ID.
 */
export function laneKey(pool: { namespace: string; taskQueue: string; buildId: string; deployment?: string }): string {
  return pool.deployment === undefined ? poolKey(pool) : `${poolKey(pool)}@${pool.buildId}`;
}

/** Versions as they were read at the last look, by directory. What is read never changes in place: a host with
 * thousands of releases would spend a second on each look. */
let known = new Map<string, { readonly stamp: string; readonly pool: PoolVersion }>();

export function readTree(data: string): Tree {
  const before = known;
  known = new Map();
  const read = (directory: string, where: { namespace: string; taskQueue: string }): PoolVersion => {
    const stamp = stampOf(join(directory, 'pool.toml'));
    const last = before.get(directory);
    const pool = last?.stamp === stamp && isWhole(last.pool) ? last.pool : readPool(data, directory, where);
    known.set(directory, { stamp, pool });
    return pool;
  };
  const pools = new Map<string, PoolVersion>();
  const broken = new Map<string, PoolTrouble>();
  const root = join(data, 'pools');
  if (!existsSync(root)) return { pools, broken, absent: true };
  try {
    for (const namespace of folders(root)) {
      for (const queue of folders(join(root, namespace))) {
        const where = { namespace: decode(namespace), taskQueue: decode(queue) };
        const home = join(root, namespace, queue);
        const version = link(join(home, 'current'));
        let reading = version ?? 'kept.toml';
        try {
          for (const kept of readKept(home)) {
            if (kept === version) continue;
            reading = kept;
            const pool = { ...read(realpathSync(join(home, kept)), where), kept: true };
            pools.set(laneKey(pool), pool);
          }
          if (version === undefined) continue;
          reading = version;
          const pool = read(realpathSync(join(home, 'current')), where);
          pools.set(laneKey(pool), pool); // in its lane it is the newest
        } catch (error) {
          broken.set(poolKey(where), { ...where, poolVersion: reading, error: message(error) });
        }
      }
    }
  } catch (error) {
    return { pools, broken, unreadable: message(error) };
  }
  return { pools, broken };
}

/** Another file has another one, and so has one that was written to. Throws where there is none. */
function stampOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

/** Whether what it is made of is still there. */
function isWhole(pool: PoolVersion): boolean {
  return (pool.bundle === undefined || existsSync(pool.bundle)) && pool.releases.every(({ path }) => existsSync(path));
}

function folders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Versions that are served besides `current`, oldest first. */
function readKept(home: string): string[] {
  let content: string;
  try {
    content = readFileSync(join(home, 'kept.toml'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const names = texts(parse(content) as Table, 'versions', 'kept.toml');
  for (const name of names) if (!isPlain(name)) throw new Error(`kept.toml: ${JSON.stringify(name)} is no version`);
  return names;
}

/** The name that `current` points at; undefined when nothing is current. */
function link(path: string): string | undefined {
  try {
    return basename(readlinkSync(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

type Table = Readonly<Record<string, unknown>>;

/** Reads one pool version. Throws with what is wrong, and where. */
export function readPool(data: string, directory: string, where?: { namespace: string; taskQueue: string }): PoolVersion {
  const table = parse(readFileSync(join(directory, 'pool.toml'), 'utf8')) as Table;
  if (table['format'] !== 1) throw new Error(`pool.toml: format ${String(table['format'])} is not known to this host`);
  const isolation = text(table, 'isolation', 'pool.toml');
  if (isolation !== 'shared' && isolation !== 'process') throw new Error(`pool.toml: isolation ${JSON.stringify(isolation)}`);
  const pool = {
    namespace: text(table, 'namespace', 'pool.toml'),
    taskQueue: text(table, 'task_queue', 'pool.toml'),
    poolVersion: text(table, 'pool_version', 'pool.toml'),
    buildId: text(table, 'build_id', 'pool.toml'),
    sdk: text(table, 'sdk', 'pool.toml'),
    ...(table['deployment'] === undefined ? {} : { deployment: text(table, 'deployment', 'pool.toml') }),
    versioning: table['versioning'] === 'AUTO_UPGRADE' ? ('AUTO_UPGRADE' as const) : ('PINNED' as const),
    kept: false,
  };
  // Two folders that claim one queue would put two sets of workflow types on it.
  if (where !== undefined && poolKey(where) !== poolKey(pool)) {
    throw new Error(`pool.toml is of ${poolKey(pool)} and lies in the folder of ${poolKey(where)}`);
  }
  if (pool.poolVersion !== basename(directory)) throw new Error(`pool.toml is of version ${pool.poolVersion}`);
  const rows = table['releases'];
  if (!Array.isArray(rows) || rows.length === 0) throw new Error('pool.toml: no [[releases]]');
  const inside = realpathSync(data) + sep;
  const releases = rows.map((row: Table, index) => readRelease(row, directory, inside, `pool.toml: releases[${index}]`));
  if (isolation === 'process' && (releases.length !== 1 || releases[0]?.worker === undefined)) {
    throw new Error('pool.toml: isolation "process" needs exactly one release, with its worker file');
  }
  const name = table['bundle'] === undefined ? undefined : text(table, 'bundle', 'pool.toml');
  if (name !== undefined && !isPlain(name)) throw new Error(`pool.toml: bundle leads out of the pool`);
  const bundle = name === undefined ? undefined : join(directory, name);
  if (bundle !== undefined && !existsSync(bundle)) throw new Error(`${basename(bundle)} is missing`);
  return { ...pool, isolation, releases, ...(bundle === undefined ? {} : { bundle }) };
}

function readRelease(row: Table, directory: string, inside: string, where: string): Release {
  const path = realpathSync(resolve(directory, text(row, 'path', where)));
  if (!path.startsWith(inside)) throw new Error(`${where}: path leads out of the data directory`);
  const file = (key: string): string | undefined => {
    if (row[key] === undefined) return undefined;
    const name = text(row, key, where);
    const full = resolve(path, name);
    if (isAbsolute(name) || !full.startsWith(path + sep)) throw new Error(`${where}: ${key} leads out of the release`);
    return full;
  };
  const env = (row['env'] ?? {}) as Table;
  for (const [key, value] of Object.entries(env)) {
    if (typeof value !== 'string' || value.includes('\0')) throw new Error(`${where}: env.${key} must be text`);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) throw new Error(`${where}: env has no such name as ${JSON.stringify(key)}`);
  }
  const [activities, worker] = [file('activities'), file('worker')];
  return {
    workflowId: text(row, 'workflow_id', where),
    release: text(row, 'release', where),
    path,
    workflowTypes: texts(row, 'workflow_types', where),
    activityNames: texts(row, 'activity_names', where),
    ...(activities === undefined ? {} : { activities }),
    ...(worker === undefined ? {} : { worker }),
    env: env as Record<string, string>,
  };
}

/** One name in a folder, and nothing that leads elsewhere. */
function isPlain(name: string): boolean {
  return name === basename(name) && !name.startsWith('.') && !name.includes('\0');
}

function text(table: Table, key: string, where: string): string {
  const value = table[key];
  if (typeof value !== 'string' || value === '') throw new Error(`${where}: ${key} must be text`);
  return value;
}

function texts(table: Table, key: string, where: string): string[] {
  const value = table[key] ?? [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) {
    throw new Error(`${where}: ${key} must be a list of text`);
  }
  return value as string[];
}
