import assert from 'node:assert/strict';
import { test } from 'node:test';

import { gated } from '../gated';

test('a Worker whose limits are left to the SDK gets gates, and the short sticky timeout that goes with them', () => {
  const made = gated({ taskQueue: 'q' }, true);
  assert.deepEqual(Object.keys(made?.options ?? {}).sort(), ['stickyQueueScheduleToStartTimeout', 'taskQueue', 'tuner']);
  assert.equal((gated({ stickyQueueScheduleToStartTimeout: '5s' }, true)?.options as { stickyQueueScheduleToStartTimeout?: unknown }).stickyQueueScheduleToStartTimeout, '5s');
});

for (const said of ['tuner', 'maxConcurrentActivityTaskExecutions', 'maxConcurrentWorkflowTaskExecutions', 'plugins']) {
  test(`a Worker that is given ${said} keeps it, and is ended by its SDK`, () => {
    assert.equal(gated({ [said]: 1 }, true), undefined);
  });
}

test('a Worker of another version of the SDK is ended by its SDK', () => {
  assert.equal(gated({}, false), undefined);
});
