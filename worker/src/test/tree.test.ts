/** Reading the tree. */
import assert from 'node:assert/strict';
import { appendFileSync, copyFileSync, cpSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { readTree } from '../tree';
import { Lab } from './lab';

let lab: Lab;
beforeEach(() => void (lab = new Lab()));
afterEach(() => lab.close());

const member = { workflowId: 'hello', release: 'r1', activities: 'exports.greet = () => 1' };

test('no pools folder means that nothing is served, and is told apart from an unreadable one', () => {
  assert.deepEqual(readTree(lab.data), { pools: new Map(), broken: new Map(), absent: true });
});

test('names of queues are decoded, paths are made absolute and real', async () => {
  await lab.publish({ queue: 'a b%c', version: 'v1', members: [member] });
  const pool = readTree(lab.data).pools.get('default/a b%c');
  assert.equal(pool?.taskQueue, 'a b%c');
  assert.equal(pool.releases[0]?.activities, join(lab.data, 'releases/hello/r1/dist/activities.js'));
});

test('a broken pool.toml is the trouble of its pool alone', async () => {
  await lab.publish({ queue: 'good', version: 'v1', members: [member] });
  await lab.publish({ queue: 'bad', version: 'v1', members: [member] });
  writeFileSync(join(lab.home('bad'), 'v1', 'pool.toml'), 'format = [');
  const tree = readTree(lab.data);
  assert.deepEqual([...tree.pools.keys()], ['default/good']);
  assert.equal(tree.broken.get('default/bad')?.poolVersion, 'v1');
});

test('a current link to a version that is gone is a trouble, not an undeploy', async () => {
  await lab.publish({ queue: 'q', version: 'v1', members: [member] });
  rmSync(join(lab.home('q'), 'v1'), { recursive: true });
  assert.ok(readTree(lab.data).broken.has('default/q'));
});

test('a version that is as it was is not read again', async () => {
  await lab.publish({ queue: 'q', version: 'v1', members: [member] });
  const pool = (): unknown => readTree(lab.data).pools.get('default/q');
  const first = pool();
  assert.ok(first !== undefined);
  assert.equal(pool(), first);
  await lab.publish({ queue: 'other', version: 'v1', members: [member] });
  assert.equal(pool(), first);
  rmSync(join(lab.home('q'), 'current'));
  assert.equal(pool(), undefined);
  symlinkSync('v1', join(lab.home('q'), 'current'));
  assert.deepEqual(pool(), first);
});

const changes: [string, (home: string) => void][] = [
  ['pool.toml is written to', (home) => appendFileSync(join(home, 'v1', 'pool.toml'), '\n')],
  ['another pool.toml takes its name', (home) => {
    copyFileSync(join(home, 'v1', 'pool.toml'), join(home, 'v1', 'new'));
    renameSync(join(home, 'v1', 'new'), join(home, 'v1', 'pool.toml'));
  }],
  ['another version takes its name', (home) => {
    cpSync(join(home, 'v1'), join(home, 'v2'), { recursive: true });
    rmSync(join(home, 'v1'), { recursive: true });
    renameSync(join(home, 'v2'), join(home, 'v1'));
  }],
];
for (const [what, change] of changes) {
  test(`a version is read again when ${what}`, async () => {
    await lab.publish({ queue: 'q', version: 'v1', members: [member] });
    const first = readTree(lab.data).pools.get('default/q');
    change(lab.home('q'));
    const second = readTree(lab.data).pools.get('default/q');
    assert.deepEqual(second, first);
    assert.notEqual(second, first);
  });
}

test('a release that goes later is a trouble, too', async () => {
  await lab.publish({ queue: 'q', version: 'v1', members: [member] });
  assert.ok(readTree(lab.data).pools.has('default/q'));
  rmSync(join(lab.data, 'releases', 'hello'), { recursive: true });
  assert.ok(readTree(lab.data).broken.has('default/q'));
});

test('a pool without a current link is not there', () => {
  mkdirSync(join(lab.home('q'), 'v1'), { recursive: true });
  const { pools, broken } = readTree(lab.data);
  assert.equal(pools.size + broken.size, 0);
});

const edits: [string, (text: string) => string][] = [
  ['a path out of the data directory', (text) => text.replace(/path = .*/, 'path = "/etc"')],
  ['a file out of its release', (text) => text.replace('dist/activities.js', '../../../x.js')],
  ['an unknown format', (text) => text.replace('format = 1', 'format = 2')],
  ['the queue of another pool', (text) => text.replace('task_queue = "q"', 'task_queue = "other"')],
  ['no release', (text) => text.slice(0, text.indexOf('[[releases]]'))],
  ['process isolation without a worker file', (text) => text.replace('"shared"', '"process"')],
];
for (const [what, edit] of edits) {
  test(`pool.toml with ${what} is refused`, async () => {
    await lab.publish({ queue: 'q', version: 'v1', members: [member] });
    const file = join(lab.home('q'), 'v1', 'pool.toml');
    const { readFileSync } = await import('node:fs');
    const before = readFileSync(file, 'utf8');
    assert.notEqual(edit(before), before);
    writeFileSync(file, edit(before));
    assert.ok(readTree(lab.data).broken.has('default/q'));
  });
}
