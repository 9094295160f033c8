/** The replayer on histories of a real Temporal server. Needs TEMPORAL_CLI. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { NativeConnection, Worker } from '@temporalio/worker';

import { freePort, Lab, NEEDS_TEMPORAL, TOOLCHAIN } from './lab';

const HEAD = `
const { proxyActivities, sleep, executeChild, patched, condition } = require('@temporalio/workflow');
const acts = proxyActivities({ startToCloseTimeout: '5s' });
`;
const ORDER = `${HEAD}
exports.order = async () => {
  await acts.charge();
  await sleep(50);
  await acts.ship();
};`;

let lab: Lab;
let client: Client;
let address: string;
let count = 0;
let history = '';

before(async () => {
  if (NEEDS_TEMPORAL.skip !== undefined) return;
  lab = new Lab();
  const port = await freePort();
  await lab.temporal(port);
  address = `127.0.0.1:${port}`;
  client = new Client({ connection: await Connection.connect({ address }) });
  history = await run(ORDER, 'order');
});
after(async () => {
  await client?.connection.close();
  await lab?.close();
});

type Until = (events: readonly temporal.api.history.v1.IHistoryEvent[]) => unknown;

/** Runs an execution of `code` to its end, or `until` its history is as asked; the file of its history. */
async function run(code: string, type: string, until?: Until, also?: (handle: WorkflowHandle) => Promise<unknown>): Promise<string> {
  const [taskQueue, workflowId] = [`q${(count += 1)}`, `w${count}`];
  const connection = await NativeConnection.connect({ address });
  const activities = { charge: async () => 'charged', ship: async () => 'shipped' };
  const worker = await Worker.create({ connection, taskQueue, activities, workflowBundle: { codePath: await bundle(code, type) } });
  const handle = await client.workflow.start(type, { taskQueue, workflowId });
  const events = async () => (await handle.fetchHistory()).events ?? [];
  await worker.runUntil(async () => {
    await also?.(handle);
    if (until === undefined) return void (await handle.result());
    while (!until(await events())) await sleep(50);
  });
  const file = join(lab.root, `${workflowId}.history`);
  writeFileSync(file, encoded(await handle.fetchHistory()));
  await connection.close();
  return file;
}

const encoded = (history: temporal.api.history.v1.IHistory): Uint8Array => temporal.api.history.v1.History.encode(history).finish();

async function bundle(code: string, type: string): Promise<string> {
  const queue = `b${(count += 1)}`;
  await lab.publish({ queue, version: 'v1', members: [{ workflowId: type, release: queue, workflow: code, types: [...code.matchAll(/^exports\.(\w+)/gm)].map(([, name]) => name ?? '') }] });
  return join(lab.home(queue), 'v1', 'workflows.js');
}

interface Said {
  readonly lines: any[]; // eslint-disable-line @typescript-eslint/no-explicit-any
  readonly code: number | null;
  readonly errors: string;
}

async function replay(file: string, histories: string[], limitMs = 20_000): Promise<Said> {
  const child = spawn(process.execPath, [join(TOOLCHAIN, 'dist', 'replay.js')], { stdio: 'pipe' });
  let [out, errors] = ['', ''];
  child.stdout.on('data', (data: Buffer) => (out += String(data)));
  child.stderr.on('data', (data: Buffer) => (errors += String(data)));
  child.stdin.end(JSON.stringify({ bundle: file, limitMs, histories: histories.map((path, at) => ({ workflowId: `w${at}`, runId: `r${at}`, file: path })) }));
  const code = await new Promise<number | null>((done) => child.once('close', done));
  const [ready, ...lines] = out.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(ready, { ready: true }, errors);
  return { lines, code, errors };
}

async function judged(code: string, type = 'order', limitMs = 20_000): Promise<any> { // eslint-disable-line @typescript-eslint/no-explicit-any
  const { lines } = await replay(await bundle(code, type), [history], limitMs);
  return lines[0];
}

test('code that does what it did passes, also with other options of an activity', NEEDS_TEMPORAL, async () => {
  assert.deepEqual(await judged(ORDER), { workflowId: 'w0', runId: 'r0', ok: true });
  assert.equal((await judged(ORDER.replace("'5s'", "'50s', retry: { maximumAttempts: 2 }"))).ok, true);
  assert.equal((await judged(ORDER.replace('sleep(50)', 'sleep(5000)'))).ok, true);
});

test('another command is told with its event, what history has there and what the code does', NEEDS_TEMPORAL, async () => {
  const said = await judged(ORDER.replace('await acts.charge()', 'await sleep(5000)'));
  assert.match(said.source, /workflow.js:6$/);
  assert.equal(said.message, 'Timer machine does not handle this event: HistoryEvent(id: 5, ActivityTaskScheduled)'); // as docs/replay.md shows it
  assert.deepEqual([said.kind, said.eventId], ['determinism', 5]);
  assert.deepEqual([said.old, said.new], [{ kind: 'activity', name: 'charge' }, { kind: 'timer', ms: 5000 }]);
});

test('another activity is told by both names', NEEDS_TEMPORAL, async () => {
  const said = await judged(ORDER.replace('acts.charge()', 'acts.bill()'));
  assert.deepEqual([said.kind, said.old, said.new], ['determinism', { kind: 'activity', name: 'charge' }, { kind: 'activity', name: 'bill' }]);
});

test('a command too many, one too few and an early end are told', NEEDS_TEMPORAL, async () => {
  const more = await judged(ORDER.replace('await sleep(50);', 'await Promise.all([sleep(50), acts.audit()]);'));
  assert.deepEqual([more.kind, more.new], ['determinism', { kind: 'activity', name: 'audit' }]);
  assert.equal(more.message, "Activity type of scheduled event 'ship' does not match activity type of activity command 'audit'");
  const less = await judged(ORDER.replace('await sleep(50);', ''));
  assert.deepEqual([less.kind, less.old, less.new], ['determinism', { kind: 'timer', ms: 50 }, { kind: 'activity', name: 'ship' }]);
  const end = await judged(ORDER.replace('await sleep(50);', 'return;'));
  assert.deepEqual([end.kind, end.old, end.new], ['determinism', { kind: 'timer', ms: 50 }, { kind: 'complete' }]);
  const waits = await judged(ORDER.replace('await sleep(50);', 'await condition(() => false);'));
  assert.deepEqual([waits.kind, waits.old, waits.new], ['determinism', { kind: 'timer', ms: 50 }, undefined]);
});

test('the same change behind patched() passes', NEEDS_TEMPORAL, async () => {
  const said = await judged(ORDER.replace('await acts.charge()', "patched('free') ? await sleep(5000) : await acts.charge()"));
  assert.equal(said.ok, true);
});

test('a patch that was taken out too early is told by its id', NEEDS_TEMPORAL, async () => {
  const old = await run(ORDER.replace('await acts.charge()', "patched('free') ? await sleep(10) : await acts.charge()"), 'order');
  const { lines } = await replay(await bundle(ORDER, 'order'), [old]);
  assert.deepEqual([lines[0].kind, lines[0].old], ['determinism', { kind: 'patch', name: 'free' }]);
});

test('local activities and timers that are cancelled at once are compared as the core does it', NEEDS_TEMPORAL, async () => {
  const code = `
const { proxyLocalActivities, proxyActivities, sleep, CancellationScope } = require('@temporalio/workflow');
const local = proxyLocalActivities({ startToCloseTimeout: '5s' });
const acts = proxyActivities({ startToCloseTimeout: '5s' });
exports.order = async () => {
  await local.charge();
  const scope = new CancellationScope();
  const sleeping = scope.run(() => sleep(1000));
  scope.cancel();
  await sleeping.catch(() => undefined);
  await local.charge();
  await acts.ship();
};`;
  const old = await run(code, 'order');
  const { lines } = await replay(await bundle(code, 'order'), [old]);
  assert.equal(lines[0].ok, true, JSON.stringify(lines));
  const changed = await replay(await bundle(code.replace('acts.ship', 'acts.send'), 'order'), [old]);
  assert.deepEqual([changed.lines[0].old, changed.lines[0].new], [{ kind: 'activity', name: 'ship' }, { kind: 'activity', name: 'send' }]);
});

test('children, signals, updates and cancels keep history and code in step', NEEDS_TEMPORAL, async () => {
  const code = `
const { proxyActivities, sleep, executeChild, CancellationScope, condition, defineSignal, defineUpdate, setHandler, isCancellation } = require('@temporalio/workflow');
const acts = proxyActivities({ startToCloseTimeout: '5s' });
exports.child = async () => sleep('1h');
exports.order = async () => {
  let [told, changed] = [false, false];
  setHandler(defineSignal('tell'), () => { told = true; });
  setHandler(defineUpdate('change'), async () => { await acts.charge(); changed = true; return 'x'; });
  await condition(() => told && changed);
  const scope = new CancellationScope();
  const children = scope.run(() => Promise.allSettled([executeChild('child'), sleep('1h')]));
  await sleep(50);
  scope.cancel();
  await children;
  await acts.ship();
};`;
  const old = await run(code, 'order', undefined, async (handle) => {
    await handle.signal('tell');
    await handle.executeUpdate('change');
  });
  const same = await replay(await bundle(code, 'order'), [old]);
  assert.equal(same.lines[0].ok, true, JSON.stringify(same.lines));
  const { lines } = await replay(await bundle(code.replace('acts.ship', 'acts.send'), 'order'), [old]);
  assert.deepEqual([lines[0].old, lines[0].new], [{ kind: 'activity', name: 'ship' }, { kind: 'activity', name: 'send' }]);
  const child = await replay(await bundle(code.replace("executeChild('child')", "executeChild('other')"), 'order'), [old]);
  assert.deepEqual([child.lines[0].kind, child.lines[0].new], ['determinism', { kind: 'child', name: 'other' }]);
});

test('code that fails on old histories is told as such, with its own error', NEEDS_TEMPORAL, async () => {
  const said = await judged(ORDER.replace('await sleep(50);', 'undefined.oops();'));
  assert.equal(said.kind, 'failure');
  assert.match(said.message, /oops/);
  assert.match(said.source, /workflow.js:7$/);
});

test('an execution that is stuck already is told to be so, and passes on code that mends it', NEEDS_TEMPORAL, async () => {
  const broken = ORDER.replace('await sleep(50);', 'undefined.oops();');
  const old = await run(broken, 'order', (events) => events.some((event) => event.workflowTaskFailedEventAttributes));
  const other = await replay(await bundle(ORDER.replace('await acts.charge()', 'await sleep(9)'), 'order'), [old]);
  assert.deepEqual([other.lines[0].kind, other.lines[0].stuck], ['determinism', "Cannot read properties of undefined (reading 'oops')"]);
  const mended = await replay(await bundle(ORDER, 'order'), [old]);
  assert.equal(mended.lines[0].ok, true);
});

test('an unknown workflow type is no fault of the code', NEEDS_TEMPORAL, async () => {
  const said = await judged(ORDER.replace('exports.order', 'exports.other'), 'other');
  assert.equal(said.kind, 'setup');
  assert.match(said.message, /order/);
});

test('what is no history, or encoded in its own way, is told and the others go on', NEEDS_TEMPORAL, async () => {
  const [torn, empty, secret] = ['torn', 'empty', 'secret'].map((name) => join(lab.root, `${name}.history`)) as [string, string, string];
  writeFileSync(torn, 'no history');
  writeFileSync(empty, encoded({ events: [] }));
  const input = { payloads: [{ metadata: { encoding: Buffer.from('binary/encrypted') } }] };
  writeFileSync(secret, encoded({ events: [{ workflowExecutionStartedEventAttributes: { input } }] }));
  const { lines, code } = await replay(await bundle(ORDER, 'order'), [torn, join(lab.root, 'gone.history'), empty, secret, history]);
  assert.deepEqual(lines.map((line) => line.kind ?? 'ok'), ['setup', 'setup', 'setup', 'setup', 'ok']);
  assert.match(lines[3].message, /binary\/encrypted/);
  assert.equal(code, 0);
});

test('a loop without an end is a timeout, after which the process ends', NEEDS_TEMPORAL, async () => {
  for (const loop of ['for (;;) {}', 'for (;;) await Promise.resolve();']) {
    const { lines, code } = await replay(await bundle(ORDER.replace('await acts.charge();', loop), 'order'), [history, history], 1500);
    assert.deepEqual(lines.map((line) => line.kind), ['timeout']);
    assert.equal(code, 3);
  }
});

test('what workflow code prints is not taken for an answer', NEEDS_TEMPORAL, async () => {
  const { lines, code } = await replay(await bundle(ORDER.replace('await acts.charge', "console.log('{}'); await acts.charge"), 'order'), [history]);
  assert.deepEqual([lines.length, lines[0].ok, code], [1, true, 0]);
});
