/** What a release's modules may look like, and what is found in them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { functionsOf, loadActivities } from '../activities';
import { isEsModule } from '../modules';
import type { Release } from '../tree';
import { Lab, TOOLCHAIN } from './lab';

let lab: Lab;
beforeEach(() => void (lab = new Lab()));
afterEach(() => lab.close());

const ESM = { 'package.json': '{"type":"module"}' };

function release(workflowId: string, file: string, files: Record<string, string>): Release {
  const path = lab.release({ workflowId, release: 'r1', files });
  return { workflowId, release: 'r1', path, workflowTypes: [], activityNames: [], env: {}, activities: join(path, file) };
}

async function names(file: string, files: Record<string, string>): Promise<string[]> {
  const { activities, failed } = await loadActivities([release('one', file, files)], () => undefined);
  assert.deepEqual(failed, []);
  return Object.keys(activities).sort();
}

async function failure(file: string, files: Record<string, string>): Promise<string> {
  const { failed } = await loadActivities([release('one', file, files)], () => undefined);
  return failed[0]?.error ?? 'it loaded';
}

test('an ES module by its package type is loaded, with its imports and top-level await', async () => {
  const files = {
    ...ESM,
    'dist/activities.js': `import { word } from './lib/word.js'; const late = await Promise.resolve(word); export const greet = async () => late; export { word };`,
    'dist/lib/word.js': `export const word = 'hello';`,
  };
  assert.deepEqual(await names('dist/activities.js', files), ['greet']);
});

test('a .mjs is an ES module and a .cjs is none, whatever the package says', async () => {
  assert.deepEqual(await names('dist/activities.mjs', { 'dist/activities.mjs': 'export async function a() {} export default { b() {} };' }), ['a', 'b']);
  await lab.close();
  lab = new Lab();
  assert.deepEqual(await names('dist/activities.cjs', { ...ESM, 'dist/activities.cjs': 'exports.c = async () => 1;' }), ['c']);
});

test('the nearest package.json decides what a .js file is', () => {
  const path = lab.release({ workflowId: 'w', release: 'r1', files: { ...ESM, 'dist/cjs/package.json': '{}', 'dist/cjs/a.js': '', 'dist/a.js': '' } });
  assert.equal(isEsModule(join(path, 'dist', 'a.js')), true);
  assert.equal(isEsModule(join(path, 'dist', 'cjs', 'a.js')), false);
});

test('a folder of activities that re-exports its files is found', async () => {
  const files = {
    'dist/activities/index.js': `
      const star = (from) => Object.keys(from).forEach((k) => Object.defineProperty(exports, k, { enumerable: true, get: () => from[k] }));
      star(require('./mail')); star(require('./money'));`,
    'dist/activities/mail.js': 'exports.send = async () => 1;',
    'dist/activities/money.js': 'exports.charge = async () => 1; exports.CURRENCY = "EUR";',
  };
  assert.deepEqual(await names('dist/activities/index.js', files), ['charge', 'send']);
});

test('classes, constants and what is no function are no activities', () => {
  class Mailer {
    send(): void {}
  }
  function Es5(): void {}
  Es5.prototype.send = (): void => undefined;
  const found = functionsOf({ Mailer, Es5, LIMIT: 5, options: { a: () => 1 }, none: null, greet: async () => 1, legacy: function () {}, default: { inner: () => 1 } });
  assert.deepEqual([...found.keys()].sort(), ['greet', 'inner', 'legacy']);
});

test('an error names the place in the code of the release, and no path of the machine', async () => {
  const error = await failure('dist/activities.js', { ...ESM, 'dist/activities.js': `import { b } from './b.js';\nexport { b };`, 'dist/b.js': `export const b = 1;\n\nthrow new TypeError('no database');` });
  assert.equal(error, 'TypeError: no database (dist/b.js:3:7)');
});

test('an import that is not there is named, with the file that wants it', async () => {
  const error = await failure('dist/activities.js', { ...ESM, 'dist/activities.js': `import { nope } from './b.js';\nexport { nope };`, 'dist/b.js': 'export const b = 1;' });
  assert.match(error, /SyntaxError: .*does not provide an export named 'nope'.*\(dist\/activities\.js:1\)/);
});

test('the code of the next release does not run while this one waits at its top level', async () => {
  const slow = { ...ESM, 'dist/activities.js': `globalThis.order = ['slow begins']; await new Promise((r) => setTimeout(r, 50)); globalThis.order.push('slow ends'); export const a = () => 1;` };
  const next = { 'dist/activities.js': `globalThis.order.push('next'); exports.b = () => 1;` };
  await loadActivities([release('slow', 'dist/activities.js', slow), release('next', 'dist/activities.js', next)], () => undefined);
  assert.deepEqual((globalThis as unknown as { order: string[] }).order, ['slow begins', 'slow ends', 'next']);
});

test('a rejection that a top level leaves alone ends the process in the name of its release', () => {
  const bad = release('bad', 'dist/activities.js', { 'dist/activities.js': `void Promise.reject(new Error('left alone')); exports.a = () => 1;` });
  const good = release('good', 'dist/activities.js', { 'dist/activities.js': 'exports.b = () => 1;' });
  const code = `require(${JSON.stringify(join(TOOLCHAIN, 'dist', 'activities.js'))}).loadActivities(${JSON.stringify([bad, good])}, (id) => console.log(id))`;
  const done = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  assert.equal(done.stdout.trim(), 'bad');
  assert.match(done.stderr, /left alone/);
});
