/** The host as a process, without Temporal: sockets, files, first start. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { isAlive, Lab, TOOLCHAIN } from './lab';

let lab: Lab;
beforeEach(() => void (lab = new Lab()));
afterEach(() => lab.close());

const NOWHERE = '127.0.0.1:1';
const script = join(TOOLCHAIN, 'dist', 'host.js');

test('a host with nothing to serve stays up, is ready, and answers 404 to a reload', async () => {
  const host = await lab.host(NOWHERE, '--no-spare');
  assert.equal((await host.call('GET', '/readyz')).status, 200);
  assert.deepEqual(await host.pools(), []);
  assert.equal((await host.reload('x')).body.reason, 'NotFound');
  assert.equal(await host.exit('SIGTERM'), 0);
});

test('its socket is for its owner alone, and a second host on it exits 1 and says why', async () => {
  const host = await lab.host(NOWHERE, '--no-spare');
  assert.equal(statSync(host.socket).mode & 0o777, 0o600);
  const second = spawnSync(process.execPath, [script, '--data', lab.data], { encoding: 'utf8', timeout: 10_000 });
  assert.equal(second.status, 1);
  assert.match(second.stderr, /another worker host answers/);
  assert.equal((await host.call('GET', '/healthz')).status, 200);
});

test('the socket of a killed host is replaced', async () => {
  await (await lab.host(NOWHERE, '--no-spare')).exit('SIGKILL');
  const host = await lab.host(NOWHERE, '--no-spare');
  assert.equal((await host.call('GET', '/healthz')).status, 200);
});

test('a socket path of over 107 bytes works', async () => {
  const path = join(lab.root, 'd'.repeat(120), 'worker.sock');
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, [script, '--data', lab.data, '--listen', `unix:${path}`, '--no-spare'], { stdio: 'ignore' });
  try {
    for (let tries = 0; tries < 50 && !isSocket(path); tries += 1) await new Promise((done) => setTimeout(done, 100));
    assert.ok(isSocket(path));
  } finally {
    child.kill('SIGKILL');
  }
});

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch {
    return false;
  }
}

test('off loopback it does not start without a token', () => {
  const result = spawnSync(process.execPath, [script, '--data', lab.data, '--listen', 'http://0.0.0.0:7999'], { encoding: 'utf8' });
  assert.equal(result.status, 2);
  assert.match(result.stderr, /--token-file/);
});

const release = { workflowId: 'hello', release: 'r1', activities: 'exports.greet = () => 1' };

test('with Temporal out of reach a reload is answered 503 within five seconds or so, and the host goes on trying', async () => {
  const host = await lab.host(NOWHERE);
  await lab.publish({ queue: 'q', version: 'v1', members: [release] });
  const answer = await host.reload('hello');
  assert.deepEqual([answer.status, answer.body.reason], [503, 'TemporalUnreachable']);
  assert.ok(answer.body.tookMs < 7000, `${answer.body.tookMs} ms`);
  const { temporal, pools } = (await host.call('GET', '/workflows')).body;
  assert.equal(temporal.reachable, false);
  assert.equal(pools[0].state, 'connecting');
  assert.equal(pools[0].unreachable, true, 'and no crash');
  assert.equal((await host.call('GET', '/readyz')).status, 503);
});

test('no worker process outlives a host that is killed, not even one stuck in an endless loop', { timeout: 30_000 }, async () => {
  const host = await lab.host(NOWHERE, '--load-timeout', '60');
  await lab.publish({ queue: 'stuck', version: 'v1', members: [{ ...release, activities: 'for (;;);' }] });
  await lab.publish({ queue: 'fine', version: 'v1', members: [{ ...release, workflowId: 'fine' }] });
  void host.reload('hello').catch(() => undefined);
  await host.until(async () => (await host.pools()).length === 2 && (await host.pools()).every((pool) => pool.pid > 0), 5000);
  await new Promise((done) => setTimeout(done, 1500));
  const pids = (await host.pools()).map((pool) => pool.pid as number);
  await host.exit('SIGKILL');
  await host.until(() => Promise.resolve(!pids.some(isAlive)), 10_000);
});

const failures: [string, string, RegExp][] = [
  ['throws', 'throw new Error("no database")', /no database/],
  ['ends the process', 'process.stderr.write("bye now"); process.exit(3)', /exit code 3.*bye now/],
  ['writes nonsense to the host’s pipe', 'require("fs").writeSync(3, "garbage\\n"); for (;;);', /signal SIGKILL.*no JSON/],
  ['never ends', 'for (;;);', /did not end within 1 s/],
];
for (const [what, code, expected] of failures) {
  test(`an activities module whose top level ${what} is LoadFailed, with the reason`, async () => {
    const host = await lab.host(NOWHERE, '--load-timeout', '1', '--no-spare');
    await lab.publish({ queue: 'q', version: 'v1', members: [{ ...release, activities: code }] });
    const answer = await host.reload('hello');
    assert.equal(answer.status, 422, JSON.stringify(answer.body));
    assert.match(answer.body.failed[0].error, expected);
    await lab.publish({ queue: 'q', version: 'v2', members: [{ ...release, release: 'r2' }] });
    assert.equal((await host.reload('hello')).status, 503); // loads, and would serve if there were a Temporal
  });
}
