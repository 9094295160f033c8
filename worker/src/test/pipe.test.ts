/** The pipe between the host and a worker process, without either. What hostile code does to it: hostile.test.ts. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';

import type { FromChild } from '../messages';
import { asLine, readValues } from '../pipe';
import { readReport } from '../report';

/** What is taken of these pieces, and why it ended. */
async function read(pieces: Iterable<string | Buffer>, take: (value: unknown) => void = () => undefined): Promise<{ values: unknown[]; ends: string[] }> {
  const stream = new PassThrough({ highWaterMark: 1 << 24 });
  const [values, ends]: [unknown[], string[]] = [[], []];
  readValues(stream, (value) => (take(value), values.push(value)), (why) => void ends.push(why));
  for (const piece of pieces) stream.write(piece);
  stream.end();
  await new Promise((done) => stream.on('end', done).resume());
  return { values, ends };
}

test('values come as they were written, whatever the pieces', async () => {
  const bytes = Buffer.from('{"a":"ü\\n"}\n5\n');
  assert.deepEqual(await read([bytes]), { values: [{ a: 'ü\n' }, 5], ends: [] });
  assert.deepEqual(await read([...bytes].map((byte) => Buffer.from([byte]))), { values: [{ a: 'ü\n' }, 5], ends: [] });
});

const long = `"${'x'.repeat(1 << 20)}"`;
const endings: [string, string[], string][] = [
  ['no JSON', ['1\nx\n2\n'], 'a line that is no JSON'],
  ['an empty line', ['1\n\n2\n'], 'a line that is no JSON'],
  ['a long line', ['1\n', `${long}\n2\n`], 'a line of over 1 MiB'],
  ['a long line without end', ['1\n', ...Array.from({ length: 40 }, () => 'x'.repeat(65_536)), '\n2\n'], 'a line of over 1 MiB'],
];
for (const [what, pieces, why] of endings) {
  test(`nothing is read behind ${what}, and that is told once`, async () => {
    assert.deepEqual(await read(pieces), { values: [1], ends: [why] });
  });
}

test('a value that nobody can deal with ends it as well', async () => {
  const take = (value: unknown): void => assert.notEqual(value, 2, 'not two');
  assert.deepEqual(await read(['1\n2\n3\n'], take), { values: [1], ends: ['not two'] });
});

test('a report is always a line that the host takes', () => {
  const said = (report: FromChild): FromChild | undefined => readReport(JSON.parse(asLine(report)));
  const failed = Array.from({ length: 5000 }, (_, at) => ({ workflowId: `workflow-${at}`, error: 'why '.repeat(2000) }));
  const found = said({ type: 'loaded', failed, refused: true });
  assert.ok(found?.type === 'loaded' && found.refused && asLine(found).length <= 1 << 20);
  assert.deepEqual(found.failed.map(({ workflowId }) => workflowId), failed.map(({ workflowId }) => workflowId));
  assert.deepEqual(said({ type: 'loading', workflowId: 'x' }), { type: 'loading', workflowId: 'x' });
  const circle: Record<string, unknown> = {};
  circle['circle'] = circle;
  for (const fields of [circle, { n: 5n }, Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`a long name ${at}`, at]))]) {
    assert.equal(said({ type: 'log', level: 'info', event: 'x', fields })?.type, 'log');
  }
});
