'use strict';
/**
 * Runs workflows of a bundle in the SDK's own sandboxes, without a server.
 *
 *   node sandbox.js TOOLCHAIN < {"bundle": "/abs/workflows.js", "reuse": true, "timeout": 2000,
 *                                "runs": [{"type": "order", "args": [1], "query": "__enhanced_stack_trace"}]}
 *
 * Prints one JSON list: for each run {commands: [...], result?, failure?, error?, stack?, query?}.
 */
const path = require('node:path');
const { createRequire } = require('node:module');

const load = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { parseWorkflowCode } = load('@temporalio/worker/lib/worker');
const { ReusableVMWorkflowCreator } = load('@temporalio/worker/lib/workflow/reusable-vm');
const { VMWorkflowCreator } = load('@temporalio/worker/lib/workflow/vm');
const { coresdk } = load('@temporalio/proto');
const { defaultPayloadConverter } = load('@temporalio/common');

const converter = defaultPayloadConverter;

function info(type, runId) {
  const now = new Date(0);
  return {
    workflowId: `id-${runId}`, runId, workflowType: type, searchAttributes: {}, memo: {}, attempt: 1,
    taskQueue: 'test', namespace: 'test', firstExecutionRunId: runId, workflowTaskTimeoutMs: 1000,
    startTime: now, runStartTime: now, historyLength: 3, historySize: 300, continueAsNewSuggested: false,
    unsafe: { isReplaying: false, isReplayingHistoryEvents: false, now: () => 0 },
  };
}

function outcome(completion) {
  const commands = completion.successful?.commands ?? [];
  const said = { commands: commands.map((command) => Object.keys(command).filter((key) => command[key] != null)[0]) };
  for (const command of commands) {
    const result = command.completeWorkflowExecution?.result;
    if (result != null) said.result = converter.fromPayload(result);
    const failure = command.failWorkflowExecution?.failure;
    if (failure != null) Object.assign(said, { failure: failure.message, stack: failure.stackTrace });
    const answer = command.respondToQuery?.succeeded?.response;
    if (answer != null) said.query = converter.fromPayload(answer);
  }
  if (completion.failed != null) {
    said.error = completion.failed.failure?.message;
    said.stack = completion.failed.failure?.stackTrace;
  }
  return said;
}

async function run(creator, { type, args = [], query }, number) {
  const runId = `run-${number}`;
  const timestamp = { seconds: 1, nanos: 0 };
  let workflow;
  const activate = (jobs) =>
    workflow.activate(coresdk.workflow_activation.WorkflowActivation.fromObject({ runId, timestamp, jobs }));
  const read = async (jobs) => {
    const bytes = await activate(jobs);
    return outcome(
      bytes instanceof Uint8Array
        ? coresdk.workflow_completion.WorkflowActivationCompletion.decodeDelimited(bytes)
        : bytes
    );
  };
  const initializeWorkflow = {
    workflowId: `id-${runId}`, workflowType: type, arguments: args.map((arg) => converter.toPayload(arg)),
  };
  try {
    workflow = await creator.createWorkflow({
      info: info(type, runId), randomnessSeed: [1, 2, 3, number], now: 0, showStackTraceSources: true,
      failureExceptionTypeNames: [],
    });
    const said = await read([{ initializeWorkflow }]);
    if (query !== undefined) {
      said.query = (await read([{ queryWorkflow: { queryId: 'q', queryType: query, arguments: [] } }])).query;
    }
    return said;
  } catch (error) {
    return { commands: [], error: String(error?.message ?? error), stack: error?.stack };
  } finally {
    await workflow?.dispose();
  }
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const job = JSON.parse(Buffer.concat(chunks).toString());
  const code = require('node:fs').readFileSync(job.bundle, 'utf8');
  const bundle = parseWorkflowCode(code, job.bundle);
  const Creator = job.reuse ? ReusableVMWorkflowCreator : VMWorkflowCreator;
  const creator = await Creator.create(bundle, job.timeout ?? 2000, new Set());
  const said = [];
  for (const [number, item] of job.runs.entries()) said.push(await run(creator, item, number));
  await creator.destroy();
  process.stdout.write(JSON.stringify(said), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
