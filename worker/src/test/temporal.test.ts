/** The host with a real Temporal server. Needs TEMPORAL_CLI. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, Connection } from '@temporalio/client';

import { freePort, type Host, isAlive, Lab, type Member, NEEDS_TEMPORAL } from './lab';

let server: Lab;
let address: string;
let client: Client;
let lab: Lab;
let count = 0;

before(async () => {
  if (NEEDS_TEMPORAL.skip !== undefined) return;
  server = new Lab();
  const port = await freePort();
  await server.temporal(port);
  address = `127.0.0.1:${port}`;
  client = new Client({ connection: await Connection.connect({ address }) });
});
after(async () => {
  await client?.connection.close();
  await server?.close();
});
beforeEach(() => void (lab = new Lab()));
afterEach(() => lab.close());

const HELLO = `
const { proxyActivities, sleep } = require('@temporalio/workflow');
const { greet } = proxyActivities({ startToCloseTimeout: '5s', retry: { initialInterval: '200ms' } });
exports.hello = async (name) => { await sleep(20); return greet(name); };`;
const hello = (version: number, more: Partial<Member> = {}): Member => ({
  workflowId: 'hello',
  release: `r${version}`,
  workflow: HELLO,
  activities: `exports.greet = async (name) => 'v${version} ' + name;`,
  ...more,
});
const queue = (): string => `q${process.pid}-${(count += 1)}`;
const run = (taskQueue: string, type = 'hello'): Promise<unknown> =>
  client.workflow.execute(type, { taskQueue, workflowId: `w${(count += 1)}`, args: ['you'], workflowExecutionTimeout: '60s' });

async function deploy(host: Host, taskQueue: string, version: number, members = [hello(version)]): Promise<void> {
  await lab.publish({ queue: taskQueue, version: `v${version}`, members });
  const answer = await host.reload('hello');
  assert.equal(answer.status, 200, JSON.stringify(answer.body) + host.log.slice(-2000));
}

test('a deploy runs, and after the answer to an update no new execution runs the old code', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  await deploy(host, q, 1);
  assert.equal(await run(q), 'v1 you');
  for (const version of [2, 3]) {
    await deploy(host, q, version);
    assert.equal(await run(q), `v${version} you`);
  }
  assert.equal(await host.exit('SIGTERM'), 0);
});

test('under load no execution is lost over three swaps, and none waits for a lost task', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  await deploy(host, q, 1);
  const runs: Promise<{ result: unknown; ms: number }>[] = [];
  const timer = setInterval(() => {
    const began = performance.now();
    runs.push(run(q).then((result) => ({ result, ms: performance.now() - began })));
  }, 200);
  for (const version of [2, 3, 4]) {
    await sleep(1500);
    await deploy(host, q, version);
  }
  await sleep(1000);
  clearInterval(timer);
  const done = await Promise.all(runs);
  assert.ok(done.length > 20);
  // A lost workflow task waits 10 s. On a machine that stalls for seconds one poll may be cut too early
  // (retire.ts says how); that each swap loses some would be a fault.
  const slow = done.filter(({ ms }) => ms >= 9000);
  assert.ok(slow.length <= 1, `${slow.length} of ${done.length} waited for a lost workflow task`);
});

test('what can not load is refused with its reason, and the old version goes on', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address, '--load-timeout', '3'), queue()];
  await deploy(host, q, 1);
  const bad: [Partial<Member>, RegExp][] = [
    [{ activities: 'throw new Error("no database")' }, /no database/],
    [{ workflow: 'for (;;);' }, /did not end within 1000 ms/],
    [{ workflow: 'throw new Error("at the top")' }, /at the top/],
    [{ workflow: 'exports.other = async () => 1' }, /hello/],
    [{ workflow: 'void Promise.reject(new Error("left alone")); exports.hello = async () => 1' }, /left alone/],
  ];
  for (const [index, [more, expected]] of bad.entries()) {
    await lab.publish({ queue: q, version: `bad${index}`, members: [hello(20 + index, more)] });
    const answer = await host.reload('hello');
    assert.deepEqual([answer.status, answer.body.reason], [422, 'LoadFailed'], JSON.stringify(answer.body));
    assert.match(answer.body.failed[0].error, expected);
    assert.equal(await run(q), 'v1 you');
  }
  const rows = await host.pools();
  assert.deepEqual(rows.map((row) => [row.state, row.current]).sort(), [['failed', true], ['polling', false]]);
});

test('code that needs an execution at its top level loads', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  const top = `const { uuid4, workflowInfo } = require('@temporalio/workflow'); const id = uuid4() + Math.random() + workflowInfo().workflowType;`;
  await deploy(host, q, 1, [hello(1, { workflow: top + HELLO.replaceAll('const {', 'var {') })]);
  assert.equal(await run(q), 'v1 you');
});

test('at the first start a broken release does not keep the others of its pool from being served', NEEDS_TEMPORAL, async () => {
  const q = queue();
  const broken: Member = { workflowId: 'broken', release: 'r1', workflow: 'throw new Error("oh")', activities: 'process.exit(1)' };
  await lab.publish({ queue: q, version: 'v1', members: [hello(1), broken] });
  const host = await lab.host(address);
  assert.equal((await host.reload('hello')).status, 200);
  assert.equal(await run(q), 'v1 you');
  assert.equal((await host.reload('broken')).status, 422);
  await deploy(host, q, 2, [hello(2), broken]); // no worse than before
  assert.equal(await run(q), 'v2 you');
});

test('pools with activities only, or workflows only, poll', NEEDS_TEMPORAL, async () => {
  const [host, a, b] = [await lab.host(address), queue(), queue()];
  await lab.publish({ queue: a, version: 'v1', members: [{ workflowId: 'acts', release: 'r1', activities: 'module.exports = { default: { one: () => 1 } }' }] });
  await lab.publish({ queue: b, version: 'v1', members: [{ workflowId: 'flows', release: 'r1', workflow: 'exports.flows = async () => 7' }] });
  assert.equal((await host.reload('acts')).status, 200);
  assert.equal((await host.reload('flows')).status, 200);
  assert.equal(await run(b, 'flows'), 7);
});

test('an activity that ends its process is followed by a restart, and the execution is completed', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  const activities = `exports.greet = async () => { if (require('@temporalio/activity').Context.current().info.attempt === 1) { console.error('I die'); process.exit(7); } return 'alive'; };`;
  await deploy(host, q, 1, [hello(1, { activities })]);
  assert.equal(await run(q), 'alive');
  const [row] = await host.pools();
  assert.equal(row.restarts, 1);
  assert.match(row.lastError, /I die/);
});

test('activities see none of the host’s secrets', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  await deploy(host, q, 1, [hello(1, { activities: 'exports.greet = async () => JSON.stringify(process.env)' })]);
  const seen = String(await run(q));
  assert.match(seen, /PATH/);
  assert.doesNotMatch(seen, /canary-secret|TIMEWRIGHT/);
});

const OWN = `
const { NativeConnection, Worker } = require('@temporalio/worker');
(async () => {
  const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS });
  const worker = await Worker.create({ connection, namespace: process.env.TEMPORAL_NAMESPACE, taskQueue: process.env.TEMPORAL_TASK_QUEUE,
    workflowsPath: require.resolve('./workflow'), activities: { greet: async () => process.env.SPEC_VALUE + ' ' + (process.env.TIMEWRIGHT_TOKEN ?? 'clean') } });
  await worker.run();
})().catch((error) => { console.error(error); process.exit(1); });`;

test('with process isolation a release runs its own worker, is swapped, and its crash is reported', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  const own = (version: number, worker: string): Member => ({ workflowId: 'hello', release: `r${version}`, workflow: HELLO, worker, env: { SPEC_VALUE: `s3cret${version}` } });
  const publish = (version: number, worker: string): Promise<void> => lab.publish({ queue: q, version: `v${version}`, isolation: 'process', members: [own(version, worker)] });
  for (const version of [1, 2]) {
    await publish(version, OWN);
    const answer = await host.reload('hello');
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(await run(q), `s3cret${version} clean`);
  }
  assert.doesNotMatch(JSON.stringify(await host.pools()), /s3cret/);
  await publish(3, 'console.error("cannot run"); process.exit(1)');
  const answer = await host.reload('hello');
  assert.equal(answer.status, 422);
  assert.match(answer.body.error, /cannot run/);
  assert.equal(await run(q), 's3cret2 clean');
});

test('ten updates and reloads in a second end with the newest, and no process is left over', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address, '--no-spare'), queue()];
  await deploy(host, q, 1);
  const answers: Promise<{ status: number }>[] = [];
  for (let version = 2; version <= 11; version += 1) {
    await lab.publish({ queue: q, version: `v${version}`, members: [hello(version, { workflow: HELLO })], bundle: (await import('node:fs')).readFileSync(`${lab.home(q)}/v1/workflows.js`, 'utf8') });
    answers.push(host.reload('hello'));
    await sleep(60);
  }
  assert.deepEqual([...new Set((await Promise.all(answers)).map(({ status }) => status))], [200]);
  assert.equal(await run(q), 'v11 you');
  const { execFileSync } = await import('node:child_process');
  await host.until(() => Promise.resolve(execFileSync('pgrep', ['-c', '-P', String(host.process.pid)], { encoding: 'utf8' }).trim() === '1'), 15_000);
});

test('Temporal that comes late, goes and comes back is noticed and served again', { ...NEEDS_TEMPORAL, timeout: 90_000 }, async () => {
  const port = await freePort();
  const database = `${lab.root}/temporal.db`;
  const host = await lab.host(`127.0.0.1:${port}`);
  await lab.publish({ queue: 'late', version: 'v1', members: [hello(1)] });
  assert.equal((await host.reload('hello')).body.reason, 'TemporalUnreachable');
  const first = await lab.temporal(port, database);
  const serves = (): Promise<void> => host.until(async () => (await host.pools())[0].state === 'polling', 20_000);
  await serves();
  const { pid } = (await host.pools())[0];
  first.kill('SIGKILL');
  await host.until(async () => (await host.call('GET', '/workflows')).body.temporal.reachable === false, 20_000);
  await lab.temporal(port, database);
  await serves();
  assert.equal((await host.pools())[0].pid, pid, 'the worker process itself goes on');
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  assert.equal(await new Client({ connection }).workflow.execute('hello', { taskQueue: 'late', workflowId: 'late', args: ['you'] }), 'v1 you');
  await connection.close();
});

test('a killed host leaves no worker process, and its successor serves the same tree', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address), queue()];
  await deploy(host, q, 1);
  const { pid } = (await host.pools())[0];
  await host.exit('SIGKILL');
  await host.until(() => Promise.resolve(!isAlive(pid)), 10_000);
  const next = await lab.host(address);
  await next.until(async () => (await next.pools())[0]?.state === 'polling', 10_000);
  assert.equal(await run(q), 'v1 you');
});

test('on SIGTERM an activity under way is given its time', NEEDS_TEMPORAL, async () => {
  const [host, q] = [await lab.host(address, '--grace', '10'), queue()];
  await deploy(host, q, 1, [hello(1, { activities: `exports.greet = async () => { await new Promise((r) => setTimeout(r, 2500)); return 'patient'; };` })]);
  const result = run(q);
  await sleep(1200);
  assert.equal(await host.exit('SIGTERM'), 0);
  const next = await lab.host(address); // the last workflow task needs somebody
  await next.until(async () => (await next.pools())[0]?.state === 'polling', 10_000);
  const handle = client.workflow.getHandle(`w${count}`);
  assert.equal(await result, 'patient');
  const started = (await handle.fetchHistory()).events?.find((event) => event.activityTaskStartedEventAttributes);
  assert.equal(started?.activityTaskStartedEventAttributes?.attempt, 1);
});
