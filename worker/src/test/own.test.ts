/**
 * Releases that run their own worker.ts, as people write it, on a real server. Needs TEMPORAL_CLI.
 * OLDER_SDK=/somewhere/node_modules runs all of it with the SDK that is there.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, Connection } from '@temporalio/client';

import { freePort, type Host, Lab, type Member, NEEDS_TEMPORAL, type Reply } from './lab';

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

const OLDER_SDK = process.env['OLDER_SDK'];
const sdk = OLDER_SDK === undefined ? {} : { modules: OLDER_SDK };
const queue = (): string => `own${process.pid}-${(count += 1)}`;
const run = (taskQueue: string, type = 'hello', args: unknown[] = ['you'], by = client): Promise<unknown> =>
  by.workflow.execute(type, { taskQueue, workflowId: `w${(count += 1)}`, args, workflowExecutionTimeout: '60s' });

const HELLO = `
const { proxyActivities } = require('@temporalio/workflow');
const { greet } = proxyActivities({ startToCloseTimeout: '5s' });
exports.hello = async (name) => greet(name);`;

/** As in every sample: an address, a namespace and a queue of its own, in the text. */
const sample = (taskQueue: string, more = 'activities: { greet: async (name) => "hello " + name }', tail = 'await worker.run();'): string => `
const { NativeConnection, Worker } = require('@temporalio/worker');
async function run() {
  const connection = await NativeConnection.connect({ address: 'localhost:7233' });
  try {
    const worker = await Worker.create({ connection, namespace: 'default', taskQueue: ${JSON.stringify(taskQueue)}, workflowsPath: require.resolve('./workflow'), ${more} });
    ${tail}
  } finally { await connection.close(); }
}
run().catch((err) => { console.error(err); process.exit(1); });`;

async function publish(taskQueue: string, member: Partial<Member>, version = 1): Promise<void> {
  await lab.publish({ queue: taskQueue, version: `v${version}`, isolation: 'process', members: [{ workflowId: 'hello', release: `r${version}`, workflow: HELLO, types: ['hello'], ...sdk, ...member }] });
}

async function reload(host: Host): Promise<Reply> {
  for (let tries = 0; ; tries += 1) {
    const answer = await host.reload('hello');
    if (answer.body.reason !== 'Timeout' || tries > 3) return answer; // the SDK bundles for seconds on a busy machine
  }
}

async function serves(host: Host): Promise<void> {
  const answer = await reload(host);
  assert.equal(answer.status, 200, JSON.stringify(answer.body) + host.log.slice(-3000));
}

test('a sample’s worker.ts with localhost:7233 in its text reaches the host’s server, and the log says so', NEEDS_TEMPORAL, async () => {
  const q = queue();
  await publish(q, { worker: sample(q) });
  const host = await lab.host(address, '--no-spare');
  await serves(host);
  assert.equal(await run(q), 'hello you');
  assert.match(host.log, /worker\.redirected.*localhost:7233/);
});

test('a Worker without a connection, and a client beside it, reach the host’s server', NEEDS_TEMPORAL, async () => {
  const q = queue();
  const worker = `
    const { Worker } = require('@temporalio/worker');
    const { Client, Connection } = require('@temporalio/client');
    (async () => {
      const client = new Client({ connection: await Connection.connect() });
      const activities = { greet: async (name) => name + ' ' + (await client.workflowService.describeNamespace({ namespace: 'default' })).namespaceInfo.name };
      await (await Worker.create({ taskQueue: ${JSON.stringify(q)}, workflowsPath: require.resolve('./workflow'), activities })).run();
    })();`;
  await publish(q, { worker });
  const host = await lab.host(address, '--no-spare');
  await serves(host);
  assert.equal(await run(q), 'you default');
});

test('an activity of a shared pool that is a client of Temporal reaches the host’s server, too', NEEDS_TEMPORAL, async () => {
  const q = queue();
  const activities = `const { Connection } = require('@temporalio/client');
    exports.greet = async (name) => { const c = await Connection.connect(); try { return name + ' ' + (await c.workflowService.describeNamespace({ namespace: process.env.TEMPORAL_NAMESPACE })).namespaceInfo.name; } finally { await c.close(); } };`;
  await lab.publish({ queue: q, version: 'v1', members: [{ workflowId: 'hello', release: 'r1', workflow: HELLO, activities }] });
  const host = await lab.host(address);
  await serves(host);
  assert.equal(await run(q), 'you default');
});

test('a worker.ts that says "default" serves the namespace of its pool', NEEDS_TEMPORAL, async () => {
  const q = queue();
  await client.connection.workflowService.registerNamespace({ namespace: 'team', workflowExecutionRetentionPeriod: { seconds: 86400 as never } });
  await lab.publish({ namespace: 'team', queue: q, version: 'v1', isolation: 'process', members: [{ workflowId: 'hello', release: 'r1', workflow: HELLO, worker: sample(q), ...sdk }] });
  const host = await lab.host(address, '--no-spare');
  await host.until(async () => (await host.pools())[0]?.state === 'polling', 60_000); // a new namespace takes seconds to be known
  assert.equal(await run(q, 'hello', ['you'], new Client({ connection: client.connection, namespace: 'team' })), 'hello you');
  assert.match(host.log, /namespace default: it serves the pool's, team/);
});

test('an ES module worker with URLs, top-level await and two task queues is served, and both queues are listed', NEEDS_TEMPORAL, async () => {
  const q = queue();
  const files = {
    'package.json': '{"type":"module"}',
    'dist/workflows.js': HELLO.replace(/const \{ proxyActivities \} = require\('(.*)'\);/, `import { proxyActivities } from '$1';`).replace('exports.hello =', 'export const hello ='),
    'dist/worker.js': `
      import { fileURLToPath } from 'node:url';
      import { NativeConnection, Worker } from '@temporalio/worker';
      const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS ?? 'localhost:7233' });
      const make = (taskQueue, more) => Worker.create({ connection, taskQueue, activities: { greet: async (name) => taskQueue + ' ' + name }, ...more });
      const first = await make(process.env.TEMPORAL_TASK_QUEUE, { workflowsPath: fileURLToPath(new URL('./workflows.js', import.meta.url)) });
      const second = await make(process.env.TEMPORAL_TASK_QUEUE + '-files');
      await Promise.all([first.run(), second.run()]);`,
  };
  await lab.publish({ queue: q, version: 'v1', isolation: 'process', members: [{ workflowId: 'hello', release: 'r1', types: ['hello'], files, workerFile: 'dist/worker.js', ...sdk }] });
  const host = await lab.host(address, '--no-spare');
  await serves(host);
  assert.equal(await run(q), `${q} you`);
  const [row] = await host.pools();
  assert.deepEqual(row.queues, [q, `${q}-files`].map((taskQueue) => ({ namespace: 'default', taskQueue, state: 'RUNNING', polls: true })));
});

test('what only a worker.ts can set up works: interceptors, sinks, a payload converter, activities of a class', NEEDS_TEMPORAL, async () => {
  const q = queue();
  const files = {
    'dist/interceptors.js': `exports.interceptors = () => ({ inbound: [{ execute: async (input, next) => 'workflow-intercepted ' + (await next(input)) }] });`,
    'dist/converter.js': `
      const { CompositePayloadConverter, JsonPayloadConverter, UndefinedPayloadConverter } = require('@temporalio/common');
      class Stamped extends JsonPayloadConverter { toPayload(value) { return super.toPayload(typeof value === 'string' ? value + '!' : value); } }
      exports.payloadConverter = new CompositePayloadConverter(new UndefinedPayloadConverter(), new Stamped());`,
    'dist/workflow.js': `
      const { proxyActivities, proxySinks } = require('@temporalio/workflow');
      const { greet } = proxyActivities({ startToCloseTimeout: '5s' });
      const { notes } = proxySinks();
      exports.hello = async (name) => { notes.add('sunk ' + name); return greet(name); };`,
  };
  const worker = sample(q, `
      interceptors: { workflowModules: [require.resolve('./interceptors')], activity: [() => ({ inbound: { execute: async (input, next) => 'activity-intercepted ' + (await next(input)) } })] },
      sinks: { notes: { add: { fn: (_info, text) => console.log(text), callDuringReplay: false } } },
      dataConverter: { payloadConverterPath: require.resolve('./converter') },
      activities: (() => { class Greeter { constructor(word) { this.word = word; } greet = async (name) => this.word + ' ' + name; } return new Greeter('injected'); })()`);
  await publish(q, { files, worker });
  const host = await lab.host(address, '--no-spare');
  await serves(host);
  assert.equal(await run(q), 'workflow-intercepted activity-intercepted injected you!!!');
  assert.match(host.log, /sunk you/);
});

for (const [what, worker, expected] of [
  ['throws at its start', `throw new RangeError('bad start')`, /bad start/],
  ['ends by itself', `process.exit(0)`, /exit code 0 before it made a Worker/],
  ['makes no Worker', `setInterval(() => 1, 1000)`, /made no Worker within 4 s/],
  ['makes a Worker and does not run it', sample('QUEUE', '', 'await new Promise((r) => setInterval(r, 1e9));'), /does not poll within 4 s: .*INITIALIZED.*worker\.run\(\)/],
  ['serves another task queue', sample('another'), /serves task queue another, and not QUEUE .*deploy\.taskQueue/],
  ['has a workflow that can not be bundled', sample('QUEUE', 'workflowsPath: "/nowhere"'), /nowhere/],
] as const) {
  test(`a worker.ts that ${what} is refused with that reason, and the old release goes on`, NEEDS_TEMPORAL, async () => {
    const q = queue();
    const host = await lab.host(address, '--no-spare', '--load-timeout', '2');
    await publish(q, { worker: sample(q) });
    await serves(host);
    await publish(q, { worker: worker.replaceAll('QUEUE', q) }, 2);
    const answer = await reload(host);
    assert.deepEqual([answer.status, answer.body.reason], [422, 'LoadFailed'], JSON.stringify(answer.body));
    assert.match(answer.body.error, new RegExp(expected.source.replaceAll('QUEUE', q)));
    assert.equal(await run(q), 'hello you');
  });
}

test('a worker.ts that ends at its first start is broken, also where nobody has asked for Temporal yet', NEEDS_TEMPORAL, async () => {
  await publish(queue(), { worker: `throw new RangeError('bad start')` });
  const host = await lab.host(address, '--no-spare');
  const answer = await reload(host);
  assert.deepEqual([answer.status, answer.body.reason], [422, 'LoadFailed'], JSON.stringify(answer.body));
});

test('a worker.ts that can not reach Temporal is not called broken', NEEDS_TEMPORAL, async () => {
  const [q, port] = [queue(), await freePort()];
  const retrying = sample(q).replace('const connection = await NativeConnection', `let connection; while (!connection) connection = await NativeConnection`).replace(`address: 'localhost:7233' })`, `address: 'localhost:7233' }).catch(() => new Promise((r) => setTimeout(r, 300)))`);
  await publish(q, { worker: retrying });
  const host = await lab.host(`127.0.0.1:${port}`, '--no-spare', '--load-timeout', '1');
  assert.equal((await reload(host)).body.reason, 'TemporalUnreachable');
  await sleep(3000); // longer than a release has for making its Worker
  await lab.temporal(port);
  await host.until(async () => (await host.pools())[0]?.state === 'polling', 30_000);
});

test('a worker.ts that wants no signals, and one with a server of its own, are ended in order', NEEDS_TEMPORAL, async () => {
  const q = queue();
  const stubborn = `require('@temporalio/worker').Runtime.install({ shutdownSignals: [] }); require('node:http').createServer().listen(0);` + sample(q, `shutdownGraceTime: '10s', activities: { greet: async (name) => { await new Promise((r) => setTimeout(r, 1500)); return 'patient ' + name; } }`);
  await publish(q, { worker: stubborn });
  const host = await lab.host(address, '--no-spare', '--grace', '20');
  await serves(host);
  const result = run(q);
  await sleep(700);
  await publish(q, { worker: sample(q) }, 2);
  await serves(host);
  assert.equal(await result, 'patient you');
  await host.until(async () => (await host.pools()).length === 1, 15_000);
  assert.doesNotMatch(host.log, /worker\.killed/);
});
