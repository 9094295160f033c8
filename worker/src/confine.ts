/**
 * The cage of a worker process: it reads its pool and the toolchain, writes to a directory of its own, and sees
 * nothing else of this host. A program that the host was told of (`confine.py`) puts it there, since Node can't.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readdirSync, realpathSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import type { Settings } from './settings';
import type { PoolVersion } from './tree';

export interface Cage {
  /**
   * What comes before the command; nothing where processes aren't confined. It starts with `OUTSIDE` and no more, since
   * it isn't confined yet, and reads the command's environment from `ENV_FD` (`environment`).
   */
  readonly prefix: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Has its directory taken away, soon. */
  end(): void;
}

/** The environment of what runs here without a cage: nothing of it is a spec's. */
export const OUTSIDE: Readonly<Record<string, string>> = { PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin' };
export const ENV_FD = 4;
const NAME = 'timewright-worker-';
const NO_LANDLOCK = 3;
const REMOVAL_MS = 60_000;
const removals = new Set<Promise<unknown>>();
const NONE: Cage = { prefix: [], env: {}, end: () => undefined };

/** `pool`: whose code will run there; undefined where nobody knows yet. */
export function cageFor(settings: Settings, pool: PoolVersion | undefined): Cage {
  if (settings.confine === 'off' || pool === undefined) return NONE;
  const own = makeOwn();
  const read = [...readable(settings, pool), ...settings.mayRead].flatMap((path) => ['--read', path]);
  const write = [...own, ...settings.mayWrite].flatMap((path) => ['--write', path]);
  return {
    prefix: [...settings.confiner, ...read, ...write, '--env-fd', String(ENV_FD), '--'],
    env: own[0] === undefined ? {} : { TMPDIR: own[0], HOME: own[0] },
    end: () => remove(settings, own),
  };
}

/** As the confiner reads it. */
export function environment(env: Readonly<Record<string, string>>): string {
  return Object.entries(env).map(([name, value]) => `${name}=${value}\0`).join('');
}

/** A full disk must not keep a pool from being served: then there is none, and what needs it says so. */
function makeOwn(): string[] {
  try {
    return [mkdtempSync(join(tmpdir(), `${NAME}${process.pid}-`))]; // 0700
  } catch {
    return [];
  }
}

/**
 * Who has left the process's group may still write there, and put a link to elsewhere where a folder was. So what is
 * in the directories is removed by a program that can't leave them. What can't be removed is swept at the next start.
 */
function remove({ confiner }: Settings, directories: readonly string[]): void {
  if (directories.length === 0) return;
  const write = directories.flatMap((path) => ['--write', path]);
  const [program = '', ...words] = [...confiner, ...write, '--no-network', '--', 'rm', '-rf', '--', ...directories];
  try {
    const child = spawn(program, words, { cwd: '/', env: OUTSIDE, stdio: 'ignore', timeout: REMOVAL_MS });
    const done: Promise<unknown> = new Promise((resolve) => {
      child.on('error', resolve);
      child.on('exit', () => resolve(Promise.allSettled(directories.map((path) => rmdir(path)))));
    });
    removals.add(done);
    void done.then(() => removals.delete(done));
    child.unref();
  } catch {
    // No memory, no processes.
  }
}

/** The toolchain, Node, the pool's releases with their packages and bundle, and the files that Temporal asks for. */
function readable(settings: Settings, pool: PoolVersion): string[] {
  const toolchain = join(__dirname, '..');
  const { tlsCa, tlsCert, tlsKey, apiKeyFile } = settings.temporal;
  const links = [toolchain, ...pool.releases.map(({ path }) => path)].map((path) => join(path, 'node_modules'));
  return [
    toolchain,
    ...links.filter((path) => existsSync(path)).map((path) => realpathSync(path)),
    realpathSync(process.execPath),
    ...(pool.bundle === undefined ? [] : [dirname(pool.bundle)]),
    ...pool.releases.map(({ path }) => path),
    ...[tlsCa, tlsCert, tlsKey, apiKeyFile].filter((path) => path !== undefined),
  ];
}

/** Why processes can't be confined on this host; undefined where they can. Throws where the confiner doesn't run. */
export function whyNotConfined({ confiner }: Settings): string | undefined {
  const [program = '', ...words] = confiner;
  const done = spawnSync(program, [...words, '--check'], { encoding: 'utf8', timeout: 20_000 });
  if (done.status === 0) return undefined;
  if (done.status === NO_LANDLOCK) return done.stdout.trim();
  const said = done.error?.message ?? done.stderr.trim().split('\n').at(-1) ?? `exit code ${done.status}`;
  throw new Error(`--confiner ${JSON.stringify(confiner)} doesn't run: ${said}`);
}

/** Resolves when the removals under way have ended. */
export async function removed(): Promise<void> {
  await Promise.all(removals);
}

/** Directories of hosts that were killed, and what the removal left. */
export function sweepCages(settings: Settings, root = tmpdir()): void {
  const left = readdirSync(root).filter((name) => {
    const pid = /^timewright-worker-(\d+)-/.exec(name)?.[1];
    return pid !== undefined && !runs(Number(pid));
  });
  remove(settings, left.map((name) => join(root, name)).filter(isOurs));
}

/** Anybody may put things into /tmp, and a link there would name a place that we may change. */
function isOurs(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.isDirectory() && found.uid === process.getuid?.();
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
