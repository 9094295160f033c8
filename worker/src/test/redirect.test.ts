import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Connecting, redirectConnection, redirectNamespace, type Target, targetOf } from '../redirect';

const target: Target = { address: 'temporal.example:7233', namespace: 'team', taskQueue: 'q', tls: false };
const read = (file: string): Buffer => Buffer.from(`<${file}>\n`);
const connect = (given: Connecting | undefined, to = target): ReturnType<typeof redirectConnection> => redirectConnection(given, to, read);

for (const address of [undefined, '', 'localhost', 'localhost:7233', '127.0.0.1:7233', '[::1]:7233', '0.0.0.0:7233', 'http://localhost:7233', 'LOCALHOST:7233/']) {
  test(`the address ${address ?? 'that is left out'} means the host's server, and that is said`, () => {
    const { options, note } = connect(address === undefined ? undefined : { address });
    assert.equal(options.address, target.address);
    assert.match(note ?? '', /temporal\.example:7233/);
  });
}

for (const address of ['localhost:7234', 'temporal.internal:7233', 'localhost.example:7233', '127.0.0.1:17233']) {
  test(`the address ${address} is meant, and kept`, () => {
    assert.deepEqual(connect({ address }, { ...target, tls: true, apiKeyFile: '/key' }), { options: { address } });
  });
}

test('what is the host’s server already is not spoken of', () => {
  assert.equal(connect({ address: target.address }).note, undefined);
  assert.equal(connect({ address: 'localhost:7233' }, { ...target, address: '127.0.0.1:7233' }).note, undefined);
});

test('the host’s credentials are for the host’s server, where the code brings none', () => {
  const secured = { ...target, tls: true, tlsCa: '/ca', tlsCert: '/crt', tlsKey: '/key', apiKeyFile: '/api' };
  const { options } = connect({ address: 'localhost:7233' }, secured);
  assert.deepEqual(options, {
    address: target.address,
    tls: { serverRootCACertificate: read('/ca'), clientCertPair: { crt: read('/crt'), key: read('/key') } },
    apiKey: '</api>',
  });
  const own = connect({ address: target.address, tls: { serverNameOverride: 'x' }, apiKey: 'mine' }, secured);
  assert.deepEqual(own.options, { address: target.address, tls: { serverNameOverride: 'x' }, apiKey: 'mine' });
});

test('what the code was given is not changed in place', () => {
  const given = { address: 'localhost:7233' };
  connect(given);
  assert.deepEqual(given, { address: 'localhost:7233' });
});

test('the default namespace, said or left out, is the pool’s; another one is kept', () => {
  assert.deepEqual(redirectNamespace({}, target).options, { namespace: 'team' });
  assert.deepEqual(redirectNamespace({ namespace: 'default' }, target).options, { namespace: 'team' });
  assert.deepEqual(redirectNamespace({ namespace: 'other' }, target), { options: { namespace: 'other' } });
  assert.deepEqual(redirectNamespace({}, { ...target, namespace: 'default' }), { options: {} });
});

test('without an address nothing is known of the host', () => {
  assert.equal(targetOf({}), undefined);
  assert.deepEqual(targetOf({ TEMPORAL_ADDRESS: 'a:1', TEMPORAL_TLS: 'true', TEMPORAL_TASK_QUEUE: 'q' }), { address: 'a:1', namespace: 'default', taskQueue: 'q', tls: true });
});
