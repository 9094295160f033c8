/** What a worker process may touch, and a host that is told how. The kernel's part is tested by tests/edge/test_confine.py. */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { cageFor, removed, sweepCages, whyNotConfined } from '../confine';
import { readSettings, type Settings, UsageError } from '../settings';
import type { PoolVersion } from '../tree';
import { TOOLCHAIN } from './lab';

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

const CONFINE = join(TOOLCHAIN, '..', 'daemon', 'timewright', 'edge', 'confine.py');
const REAL = ['--confiner', JSON.stringify(['python3', '-I', '-S', CONFINE])];

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
  rmSync(own, { recursive: true });
  rmSync(home, { recursive: true });
});

test('the directory of a process that has ended is removed, and nothing that is linked from there', async () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'cage-')));
  const cage = cageFor(settings(...REAL), pool(home));
  const own = cage.env['TMPDIR'] ?? '';
  mkdirSync(join(own, 'folder', 'more'), { recursive: true });
  writeFileSync(join(own, 'folder', 'more', 'left'), 'x');
  symlinkSync(home, join(own, 'folder', 'elsewhere'));
  cage.end();
  ok(existsSync(own), 'the host does not wait for it');
  await removed();
  ok(!existsSync(own));
  ok(existsSync(join(home, 'releases')));
  rmSync(home, { recursive: true });
});

test('it is removed by what can change nothing else, and not by the host', async () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'cage-')));
  const told = join(home, 'told');
  const note = `require('node:fs').writeFileSync(${JSON.stringify(told)}, JSON.stringify(process.argv.slice(1)))`;
  const cage = cageFor(settings('--confiner', JSON.stringify([process.execPath, '-e', note, '--'])), pool(home));
  const own = cage.env['TMPDIR'] ?? '';
  writeFileSync(join(own, 'left'), 'x');
  cage.end();
  await removed();
  deepEqual(JSON.parse(readFileSync(told, 'utf8')), ['--write', own, '--no-network', '--', 'rm', '-rf', '--', own]);
  ok(existsSync(join(own, 'left')));
  for (const path of [own, home]) rmSync(path, { recursive: true });
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

test('directories of a host that is gone are swept, and others are left', async () => {
  const root = mkdtempSync(join(tmpdir(), 'sweep-'));
  const names = ['timewright-worker-999999999-a', 'timewright-worker-999999999-b', `timewright-worker-${process.pid}-a`, 'something-else'];
  const [dead = '', dead2 = '', ...others] = names.map((name) => join(root, name));
  for (const path of [dead, dead2, ...others]) {
    mkdirSync(path);
    writeFileSync(join(path, 'left'), 'x');
  }
  const link = join(root, 'timewright-worker-999999999-link');
  symlinkSync(others[1] ?? '', link);
  sweepCages(settings(...REAL), root);
  await removed();
  ok(!existsSync(dead) && !existsSync(dead2));
  ok([...others, link].every((path) => existsSync(join(path, 'left'))));
  rmSync(root, { recursive: true });
});
