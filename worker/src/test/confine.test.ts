/** What a worker process may touch, and a host that is told how. The kernel's part is tested by tests/edge/test_confine.py. */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { cageFor, sweepCages, whyNotConfined } from '../confine';
import { readSettings, type Settings, UsageError } from '../settings';
import type { PoolVersion } from '../tree';

function settings(...more: string[]): Settings {
  return readSettings(['--data', '/data', '--confine', 'pool', '--confiner', '["confiner", "-I"]', ...more], {});
}

function pool(home: string): PoolVersion {
  const path = join(home, 'releases', 'one', 'abc');
  mkdirSync(path, { recursive: true });
  mkdirSync(join(home, 'dependencies', 'set', 'node_modules'), { recursive: true });
  symlinkSync(join(home, 'dependencies', 'set', 'node_modules'), join(path, 'node_modules'));
  const release = { workflowId: 'one', release: 'abc', path, workflowTypes: [], activityNames: [], env: {} };
  return {
    namespace: 'default', taskQueue: 'q', poolVersion: 'v1', buildId: 'b', isolation: 'shared', sdk: '1', versioning: 'PINNED', kept: false,
    bundle: join(home, 'pools', 'default', 'q', 'v1', 'workflows.js'), releases: [release],
  };
}

/** The paths behind `--read` or `--write`. */
function given(words: readonly string[], option: string): string[] {
  return words.filter((_, at) => words[at - 1] === option);
}

test('a confined process reads its pool and the toolchain, and writes to a directory of its own', () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'cage-')));
  const cage = cageFor(settings('--may-read', '/srv/a', '--may-read', '/srv/b', '--may-write', '/srv/c', '--api-key-file', '/keys/k'), pool(home));
  const toolchain = join(__dirname, '..', '..');
  deepEqual(cage.prefix.slice(0, 2), ['confiner', '-I']);
  equal(cage.prefix.at(-1), '--');
  deepEqual(new Set(given(cage.prefix, '--read')), new Set([
    toolchain, realpathSync(join(toolchain, 'node_modules')), realpathSync(process.execPath),
    join(home, 'dependencies', 'set', 'node_modules'), join(home, 'releases', 'one', 'abc'), join(home, 'pools', 'default', 'q', 'v1'),
    '/keys/k', '/srv/a', '/srv/b',
  ]));
  const own = cage.env['TMPDIR'] ?? '';
  deepEqual(given(cage.prefix, '--write'), [own, '/srv/c']);
  equal(cage.env['HOME'], own);
  equal(statSync(own).mode & 0o777, 0o700);
  writeFileSync(join(own, 'left'), 'x');
  cage.end();
  ok(!existsSync(own));
  rmSync(home, { recursive: true });
});

test('without confinement nothing stands before a process', () => {
  const cage = cageFor(readSettings(['--data', '/data'], {}), undefined);
  deepEqual([cage.prefix, cage.env], [[], {}]);
});

test('a host that confines keeps no process in reserve', () => {
  equal(settings().spare, false);
  equal(readSettings(['--data', '/data'], {}).spare, true);
});

test('what makes no sense is refused, and says what would', () => {
  const wrong = (...words: string[]): void => throws(() => readSettings(['--data', '/data', ...words], {}), UsageError);
  wrong('--confine', 'yes');
  wrong('--confine', 'pool');
  for (const text of ['python3', '[]', '[1]', '{}']) wrong('--confine', 'pool', '--confiner', text);
});

test('a confiner that does not run stops the host; one without Landlock does not', () => {
  const confiner = (script: string): Settings => ({ ...settings(), confiner: [process.execPath, '-e', script, '--'] });
  equal(whyNotConfined(confiner('')), undefined);
  equal(whyNotConfined(confiner('console.log("no Landlock"); process.exitCode = 3')), 'no Landlock');
  throws(() => whyNotConfined(confiner('console.error("broken"); process.exitCode = 1')), /doesn't run: broken/);
  throws(() => whyNotConfined({ ...settings(), confiner: ['/no/such/program'] }), /ENOENT/);
});

test('directories of a host that is gone are swept, and others are left', () => {
  const root = mkdtempSync(join(tmpdir(), 'sweep-'));
  const [dead, ours, other] = ['timewright-worker-999999999-a', `timewright-worker-${process.pid}-a`, 'something-else'].map((name) => join(root, name));
  for (const path of [dead, ours, other]) mkdirSync(path ?? '');
  sweepCages(root);
  deepEqual([dead, ours, other].map((path) => existsSync(path ?? '')), [false, true, true]);
  rmSync(root, { recursive: true });
});
