/** The HTTP protocol, with a service that only notes what it was asked. */
import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { afterEach, test } from 'node:test';

import { makeServer, type Access, type Service } from '../server';
import type { Request } from '../verdict';

let server: Server | undefined;
let asked: Request[] = [];
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  asked = [];
});

async function start(access: Access): Promise<string> {
  const ok = { status: 200, body: { ok: true } };
  const service: Service = {
    reload: (request) => (asked.push(request), Promise.resolve(ok)),
    sync: () => Promise.resolve(ok),
    list: () => ok,
    ready: () => ok,
    metrics: () => 'x 1\n',
  };
  const made = (server = makeServer(service, access, () => undefined));
  await new Promise<void>((done) => made.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(made.address() as AddressInfo).port}`;
}

const post = (url: string, body: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${url}/workflows/reload`, { method: 'POST', body, headers });

test('the plain call with nothing but a workflowId is a deploy', async () => {
  const url = await start({ tcp: true });
  assert.equal((await post(url, '{"workflowId":"x","somethingElse":1}')).status, 200);
  assert.deepEqual(asked, [{ workflowId: 'x', action: 'deploy' }]);
});

for (const body of ['', '{', '[]', '{}', '{"workflowId":""}', '{"workflowId":7}', '{"workflowId":"x","action":"eat"}', '{"workflowId":"x","release":1}']) {
  test(`a reload with the body ${body || 'of nothing'} is answered 400 and does nothing`, async () => {
    const answer = await post(await start({ tcp: true }), body);
    assert.equal(answer.status, 400);
    assert.equal(((await answer.json()) as { success: boolean }).success, false);
    assert.equal(asked.length, 0);
  });
}

test('a body over 64 KiB is refused', async () => {
  assert.equal((await post(await start({ tcp: true }), JSON.stringify({ workflowId: 'x'.repeat(70_000) }))).status, 413);
});

test('without the token, with a part of it or with another, the answer is 401', async () => {
  const url = await start({ tcp: true, token: 'right-token' });
  for (const authorization of ['', 'Bearer right', 'Bearer wrong-token', 'Basic right-token', 'Bearer right-token2']) {
    assert.equal((await post(url, '{"workflowId":"x"}', { authorization })).status, 401, authorization);
  }
  assert.equal((await post(url, '{"workflowId":"x"}', { authorization: 'Bearer right-token' })).status, 200);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
});

test('a browser is turned away, by its origin or by the name it called', async () => {
  const url = await start({ tcp: true });
  assert.equal((await post(url, '{"workflowId":"x"}', { origin: 'http://evil.example' })).status, 403);
  const raw = await new Promise<string>((done) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write('GET /workflows HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n'));
    socket.once('data', (text) => done(text.toString()));
  });
  assert.match(raw, /^HTTP\/1.1 403/);
});

test('an unknown path is 404, a wrong method is 405 and names the right one', async () => {
  const url = await start({ tcp: true });
  assert.equal((await fetch(`${url}/nothing`)).status, 404);
  const answer = await fetch(`${url}/workflows/reload`);
  assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'POST']);
});
