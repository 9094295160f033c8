/** Worker processes as they are started, without a host around them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { removed } from '../confine';
import type { ToChild } from '../messages';
import { HOST } from '../orphan';
import { type Child, makeLauncher } from '../processes';
import { readSettings } from '../settings';
import type { PoolVersion } from '../tree';
import { isAlive, Lab, TOOLCHAIN } from './lab';

let lab: Lab;
let children: Child[] = [];
beforeEach(() => void (lab = new Lab()));
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children = [];
  await lab.close();
});

/** Starts a release's own worker. */
function start(worker: string, env: Record<string, string> = {}, ...more: string[]): Child {
  const path = lab.release({ workflowId: 'one', release: 'r1', worker });
  const release = { workflowId: 'one', release: 'r1', path, worker: `${path}/dist/worker.js`, workflowTypes: [], activityNames: [], env };
  const pool: PoolVersion = {
    namespace: 'default', taskQueue: 'q', poolVersion: 'v1', buildId: 'b', isolation: 'process', sdk: '1', versioning: 'PINNED', kept: false, releases: [release],
  };
  const child = makeLauncher(readSettings(['--data', lab.data, ...more], {})).own(pool, release);
  children.push(child);
  return child;
}

function said(child: Child, expected: RegExp): Promise<string> {
  return new Promise((done, failed) => {
    child.onOutput((_, line) => void (expected.test(line) && done(line)));
    child.onExit(() => failed(new Error(child.lastWords())));
  });
}

const ended = (child: Child): Promise<unknown> => new Promise((done) => child.onExit((code, signal) => done(signal ?? code)));

test('orders that a worker process does not read fill no memory, and end it', async () => {
  const child = start('for (;;);');
  const order = { type: 'drain', more: 'x'.repeat(1 << 22) } as ToChild;
  const end = ended(child);
  for (let times = 0; times < 20; times += 1) child.send(order);
  assert.equal(await end, 'SIGKILL');
  assert.equal(child.lastWords(), 'it misused its pipe to the host: it does not read it');
});

test('orders to a worker process that has closed its pipe go nowhere', async () => {
  const child = start('require("node:fs").closeSync(3); console.log("closed"); for (;;);');
  await said(child, /closed/);
  for (let times = 0; times < 3; times += 1) {
    child.send({ type: 'drain' });
    await new Promise((done) => setTimeout(done, 50));
  }
  const end = ended(child);
  child.kill('SIGKILL');
  assert.equal(await end, 'SIGKILL');
});

test('only the worker process itself has the pipe: not its threads, and not what it forks', async () => {
  const child = start(`
    const { fork } = require('node:child_process');
    const { isMainThread, Worker } = require('node:worker_threads');
    const env = process.env.TIMEWRIGHT_PIPE;
    if (!isMainThread) console.log('thread', env);
    else if (process.argv[2] === 'forked') process.send('forked ' + env);
    else {
      console.log('worker', env);
      fork(__filename, ['forked']).on('message', (text) => { console.log(text); new Worker(__filename); });
      setInterval(() => undefined, 1000);
    }`);
  const lines: string[] = [];
  child.onOutput((_, line) => void lines.push(line));
  await said(child, /^thread/);
  assert.deepEqual(lines, ['worker undefined', 'forked undefined', 'thread undefined']);
});

test('a process that can’t be started is one that ended, with the reason', async () => {
  const child = start('', { LARGE: 'x'.repeat(200_000) });
  assert.equal(await ended(child), 1);
  assert.match(child.lastWords(), /E2BIG/);
});

const CONFINE = join(TOOLCHAIN, '..', 'daemon', 'timewright', 'edge', 'confine.py');

test('the environment of a spec reaches its process, and not the program that confines it', async () => {
  const tell = `import os, runpy, sys; print('outside', dict(os.environ), flush=True); runpy.run_path(${JSON.stringify(CONFINE)}, run_name='__main__')`;
  const confiner = JSON.stringify(['python3', '-I', '-S', '-c', tell]);
  const env = { GCONV_PATH: '/r/gconv', LOCPATH: '/r/loc', LC_ALL: 'xx_XX.EVIL', LD_AUDIT: '', PATH: '/r/bin', TEXT: 'two\nlines=ü', HOME: '/r' };
  const child = start(`console.log('inside', JSON.stringify(process.env)); setInterval(() => undefined, 1000);`, env, '--confine', 'pool', '--confiner', confiner);
  const outside = said(child, /^outside/);
  const inside = JSON.parse((await said(child, /^inside/)).slice('inside'.length)) as Record<string, string>;
  assert.doesNotMatch(await outside, /\/r\/|EVIL|LD_AUDIT|TEXT|TEMPORAL|TIMEWRIGHT/);
  const { HOME, TMPDIR, TEMPORAL_TASK_QUEUE } = inside;
  assert.deepEqual({ ...inside, ...env }, { ...inside, HOME: env.HOME });
  assert.ok(HOME === TMPDIR && HOME?.includes('timewright-worker-') && TEMPORAL_TASK_QUEUE === 'q');
  const end = ended(child);
  child.kill('SIGKILL');
  await end;
  await removed();
  assert.equal(existsSync(HOME ?? ''), false);
});

test('what a worker process has started ends with it', async () => {
  const child = start(`
    const left = require('node:child_process').spawn('sleep', ['1000'], { stdio: 'inherit' });
    console.log('left', left.pid);
    setTimeout(() => process.exit(0), 50);`);
  const pid = Number((await said(child, /^left/)).slice('left'.length));
  assert.equal(await ended(child), 0);
  for (let times = 0; times < 100 && isAlive(pid); times += 1) await new Promise((done) => setTimeout(done, 50));
  assert.equal(isAlive(pid), false);
});

test('a process whose host was gone before it could look ends, with what it has started, also in an endless loop', async () => {
  const code = `require(${JSON.stringify(join(__dirname, '..', 'orphan.js'))}).dieWithHost();
    const { pid } = require('node:child_process').spawn('sleep', ['60'], { stdio: 'ignore' });
    require('node:fs').writeSync(1, String(pid)); for (;;);`;
  const child = spawn(process.execPath, ['-e', code], { env: { ...process.env, [HOST]: '1' }, detached: true });
  let started = '';
  child.stdout.on('data', (text: Buffer) => (started += text.toString()));
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL');
  assert.ok(Number(started) > 0);
  const state = () => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${started}/status`, 'utf8'))?.[1];
  for (let looks = 0; isAlive(Number(started)) && state() !== 'Z'; looks += 1) {
    assert.ok(looks < 100);
    await new Promise((done) => setTimeout(done, 50));
  }
});
