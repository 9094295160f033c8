/** Whoever reaches the host's socket, its pipes or its tree: an answer that says no, and a host that goes on. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';

import { readReport } from '../report';
import { makeServer, type Service } from '../server';
import { readTree } from '../tree';
import { Lab } from './lab';

let server: Server | undefined;
let faults = 0;
let asked = 0;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
  [faults, asked] = [0, 0];
});

async function start(): Promise<number> {
  const ok = { status: 200, body: { ok: true } };
  const service: Service = { reload: () => Promise.resolve((asked++, ok)), sync: () => Promise.resolve((asked++, ok)), list: () => ok, ready: () => ok, metrics: () => '' };
  const made = (server = makeServer(service, { tcp: true }, (level) => void (faults += level === 'error' ? 1 : 0)));
  await new Promise<void>((done) => made.listen(0, '127.0.0.1', done));
  return (made.address() as AddressInfo).port;
}

function said(port: number, sent: string | Buffer): Promise<string> {
  return new Promise((done) => {
    let text = '';
    const socket: Socket = connect(port, '127.0.0.1', () => void socket.write(sent));
    const end = (): void => (socket.destroy(), done(text));
    socket.setTimeout(1500, end);
    socket.on('data', (part) => void ((text += part.toString('latin1')), socket.setTimeout(200)));
    socket.on('close', end).on('error', () => undefined);
  });
}

const HEAD = 'POST /workflows/sync HTTP/1.1\r\nHost: localhost\r\n';
const BEHIND = 'POST /workflows/sync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n';
const attacks: [string, string | Buffer][] = [
  ['a length and chunks', `${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${BEHIND}`],
  ['two lengths', `${HEAD}Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}${BEHIND}`],
  ['a length with a sign', `${HEAD}Content-Length: +2\r\n\r\n{}${BEHIND}`],
  ['a space before the colon', `${HEAD}Content-Length : 2\r\n\r\n{}${BEHIND}`],
  ['a chunk without end', `${HEAD}Transfer-Encoding: chunked\r\n\r\n${'F'.repeat(40)}\r\n{}`],
  ['large headers', `${HEAD}X: ${'a'.repeat(20_000)}\r\n\r\n`],
  ['many headers', `${HEAD}${'X: y\r\n'.repeat(5000)}\r\n`],
  ['TLS', Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a tunnel', 'CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['a path that every object has', 'GET /../constructor HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['a star', 'OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['deep JSON', `POST /workflows/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n${'['.repeat(60_000)}`],
  ['a body that never ends', `POST /workflows/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${`10000\r\n${' '.repeat(65_536)}\r\n`.repeat(300)}`],
  ['bytes of no text', Buffer.concat([Buffer.from('POST /workflows/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n'), Buffer.from([0xff, 0xfe, 0, 0x80])])],
];
for (const [what, sent] of attacks) {
  test(`the host's socket takes ${what} for what it is`, async () => {
    const port = await start();
    const text = await said(port, sent);
    for (const status of text.matchAll(/HTTP\/1\.1 (\d)/g)) assert.equal(status[1], '4', text.slice(0, 300));
    assert.deepEqual([asked, faults], [0, 0]);
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
  });
}

test('who opens connections and says nothing is put out within seconds', async () => {
  const port = await start();
  const made = server as Server;
  made.headersTimeout = 300;
  made.requestTimeout = 300;
  const plugs = Array.from({ length: 300 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  for (const plug of plugs) plug.write('POST /workflows/sync HTTP/1.1\r\nX: ');
  await Promise.all(plugs.map((plug) => new Promise((done) => plug.on('close', done).resume())));
  assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
});

// The pipe of a worker process ----------------------------------------------------------------

const noReports: unknown[] = [
  'ready', 5, null, [], {}, { type: 5 }, { type: 'constructor' }, { type: 'loaded' }, { type: 'loaded', failed: 5 },
  { type: 'loaded', failed: [5] }, { type: 'loaded', failed: [{ workflowId: 5, error: 'x' }] }, { type: 'loading' },
  { type: 'serves' }, { type: 'serves', queues: [{}] }, { type: 'serves', queues: Array.from({ length: 10_001 }, () => ({})) },
  { type: 'temporal' }, { type: 'temporal', reachable: 'no' }, { type: 'log' }, { type: 'log', level: {}, event: 'x', fields: {} },
  { type: 'log', level: 'info', event: 5, fields: {} }, { type: 'log', level: 'info', event: 'x', fields: null },
];
for (const value of noReports) {
  test(`what code of a spec sends over its pipe is no report: ${JSON.stringify(value)?.slice(0, 60)}`, () => {
    assert.equal(readReport(value), undefined);
  });
}

test('a report is taken with what it has to say and nothing else', () => {
  const long = 'x'.repeat(100_000);
  assert.deepEqual(readReport({ type: 'loaded', failed: [], refused: 1 }), { type: 'loaded', failed: [], refused: false });
  assert.deepEqual(readReport({ type: 'polling', more: 5 }), { type: 'polling' });
  assert.deepEqual(readReport({ type: 'connecting', error: {} }), { type: 'connecting' });
  const found = readReport({ type: 'loaded', failed: [{ workflowId: 'a', error: long }], refused: true });
  assert.ok(found?.type === 'loaded' && found.failed[0]?.error.length === 8192);
});

/** Of a release's own worker: writes to the host's pipe what it likes, and tells when it has. */
const SAY = `
  const fs = require('node:fs');
  function say(text) {
    for (let left = Buffer.from(text); left.length > 0; ) {
      try { left = left.subarray(fs.writeSync(3, left)); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
    }
  }
  const log = (event, fields) => say(JSON.stringify({ type: 'log', level: 'info', event, fields }) + '\\n');
  setInterval(() => undefined, 1000);`;
const AFTER = `log('said.all', {});`;
const misuses: [string, string, RegExp][] = [
  ['a line that is no JSON', String.raw`say('garbage\n');`, /"lastError":"[^"]*pipe[^"]*no JSON/],
  ['200 MB without a line’s end', `for (let times = 0; times < 200; times += 1) say('x'.repeat(1e6));`, /"lastError":"[^"]*pipe[^"]*over 1 MiB/],
  ['a word of Node’s own', String.raw`say('{"cmd":"NODE_HANDLE_ACK"}\n'); ${AFTER}`, /"event":"said\.all"/],
  ['a report nested 200,000 deep', String.raw`say('{"type":"log","level":"info","event":"deep","fields":{"a":' + '['.repeat(2e5) + ']'.repeat(2e5) + '}}\n'); ${AFTER}`, /"event":"said\.all"/],
  ['a report under another name', `log('x', { time: 'never', event: 'host.stopped', pool: 'calm', pid: 1 });`, /^\{"time":"\d[^"]*","level":"info","event":"x","pool":"default\/bad","pid":(?!1,)\d/m],
];
for (const [what, code, expected] of misuses) {
  test(`a worker process that writes ${what} to its pipe ends nobody but itself`, async () => {
    const lab = new Lab();
    try {
      const own = (workflowId: string, worker: string): Promise<void> =>
        lab.publish({ queue: workflowId, version: 'v1', isolation: 'process', members: [{ workflowId, release: 'r1', worker }] });
      await own('calm', 'setInterval(() => undefined, 1000);');
      const host = await lab.host('127.0.0.1:1', '--no-spare');
      await host.until(async () => (await host.pools()).length === 1, 5000);
      const calm = async () => (await host.pools()).find(({ taskQueue }) => taskQueue === 'calm');
      const before = await calm();
      await own('bad', SAY + code);
      void host.reload('bad').catch(() => undefined);
      await host.until(() => Promise.resolve(expected.test(host.log)), 20_000);
      assert.deepEqual([(await calm()).pid, (await calm()).restarts], [before.pid, 0]);
    } finally {
      await lab.close();
    }
  });
}

// The tree ------------------------------------------------------------------------------------

const places: [string, (text: string) => string][] = [
  ['a bundle out of the pool', (text) => text.replace('bundle = "workflows.js"', 'bundle = "../../../../x.js"')],
  ['a bundle that is an absolute path', (text) => text.replace('bundle = "workflows.js"', 'bundle = "/etc/passwd"')],
  ['a NUL in an environment', (text) => `${text}\nenv = { A = "x\\u0000y" }\n`],
  ['a name in an environment that is none', (text) => `${text}\nenv = { "A=B" = "x" }\n`],
  ['lists in lists', (text) => `${text}\nx = ${'['.repeat(50_000)}`],
];
for (const [what, edit] of places) {
  test(`a pool.toml with ${what} is its pool's trouble`, async () => {
    const lab = new Lab();
    try {
      await lab.publish({ queue: 'q', version: 'v1', bundle: '', members: [{ workflowId: 'hello', release: 'r1', activities: 'exports.greet = () => 1' }] });
      const file = join(lab.home('q'), 'v1', 'pool.toml');
      const text = readFileSync(file, 'utf8');
      assert.equal(readTree(lab.data).broken.size, 0);
      assert.notEqual(edit(text), text);
      writeFileSync(file, edit(text));
      assert.ok(readTree(lab.data).broken.has('default/q'));
    } finally {
      lab.close();
    }
  });
}

test('whatever bytes lie in the tree, reading it tells and does not throw', async () => {
  const lab = new Lab();
  try {
    await lab.publish({ queue: 'q', version: 'v1', members: [{ workflowId: 'hello', release: 'r1', activities: 'exports.greet = () => 1' }] });
    const [pool, kept] = [join(lab.home('q'), 'v1', 'pool.toml'), join(lab.home('q'), 'kept.toml')];
    const good = readFileSync(pool);
    let seed = 1;
    const next = (most: number): number => ((seed = (seed * 48271) % 2147483647), seed % most);
    for (let round = 0; round < 3000; round += 1) {
      const bad = Buffer.from(good);
      for (let hit = 0; hit <= next(4); hit += 1) bad[next(bad.length)] = next(256);
      const cut = bad.subarray(0, next(3) === 0 ? next(bad.length) : bad.length);
      writeFileSync(next(4) === 0 ? kept : pool, cut);
      const { pools, broken } = readTree(lab.data);
      assert.ok(pools.size + broken.size <= 2);
    }
  } finally {
    lab.close();
  }
});

test('an empty data directory is no trouble', () => {
  const home = mkdtempSync(join(tmpdir(), 'hostile-'));
  assert.equal(readTree(home).absent, true);
  rmSync(home, { recursive: true });
});
