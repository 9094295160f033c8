import { TestWorkflowEnvironment } from '@temporalio/testing';
import { after, before, it } from 'mocha';
import { example } from '../workflows';

let env: TestWorkflowEnvironment;

before(async () => {
  env = await TestWorkflowEnvironment.createLocal();
});

after(async () => {
  await env?.teardown();
});

it('runs the example', async () => {
  await env.client.workflow.start(example, { taskQueue: 'test', workflowId: 'test', args: ['Temporal'] });
});
