/**
 * Swaps under load: what does an execution wait because its worker was replaced?
 *
 *   npm run build && TEMPORAL_CLI=/path/temporal node bench/swap.js [--seconds 60] [--every 5] [--rate 20] [-- host options]
 *
 * Starts `rate` executions a second (three activities, two timers, one signal each), first without a
 * swap, then with a new version each `every` seconds. Prints the durations of both, what failed, and
 * for the slowest what their histories say they waited for.
 */
'use strict';
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { parseArgs } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const { Client, Connection } = require('@temporalio/client');
const { Lab, freePort } = require('../dist/test/lab.js');

const cut = process.argv.indexOf('--');
const [own, hostArgs] = cut < 0 ? [process.argv.slice(2), []] : [process.argv.slice(2, cut), process.argv.slice(cut + 1)];
const text = (fallback) => ({ type: 'string', default: fallback });
const { values } = parseArgs({ args: own, options: { seconds: text('60'), every: text('5'), rate: text('20'), address: text('') } });

const WORKFLOW = `
const { proxyActivities, sleep, defineSignal, setHandler, condition } = require('@temporalio/workflow');
const { work } = proxyActivities({ startToCloseTimeout: '30s' });
exports.order = async function (n) {
  let go = false;
  setHandler(defineSignal('go'), () => { go = true; });
  const versions = [await work(n)];
  await sleep(200);
  versions.push(await work(n));
  await condition(() => go);
  await sleep(300);
  versions.push(await work(n));
  return versions;
};`;
const member = (version) => ({
  workflowId: 'order',
  release: `r${version}`,
  workflow: WORKFLOW,
  activities: `exports.work = async () => { await new Promise((r) => setTimeout(r, 30)); return ${version}; };`,
});

async function load(client, seconds, name) {
  const runs = [];
  const end = performance.now() + seconds * 1000;
  for (let n = 0; performance.now() < end; n += 1) {
    runs.push(one(client, `${name}-${n}`));
    await sleep(1000 / Number(values.rate));
  }
  return Promise.all(runs);
}

async function one(client, workflowId) {
  const began = performance.now();
  try {
    const handle = await client.workflow.start('order', { taskQueue: 'orders', workflowId, args: [1] });
    void sleep(400).then(() => handle.signal('go')).catch((error) => console.error('signal', error.message));
    const result = await handle.result();
    return { workflowId, began, ms: performance.now() - began, result };
  } catch (error) {
    return { workflowId, began, ms: performance.now() - began, error: error.message };
  }
}

function figures(runs) {
  const sorted = runs.map((run) => run.ms).sort((a, b) => a - b);
  const at = (share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
  return { runs: runs.length, failed: runs.filter((run) => run.error).length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** Where the time went, by the history's own clock. */
async function explain(client, run) {
  const { events } = await client.workflow.getHandle(run.workflowId).fetchHistory();
  const time = (event) => Number(event.eventTime.seconds) * 1000 + event.eventTime.nanos / 1e6;
  const scheduled = new Map();
  const waits = [];
  for (const event of events) {
    if (event.workflowTaskScheduledEventAttributes || event.activityTaskScheduledEventAttributes) scheduled.set(Number(event.eventId), event);
    const started = event.workflowTaskStartedEventAttributes ?? event.activityTaskStartedEventAttributes ?? event.workflowTaskTimedOutEventAttributes;
    if (!started) continue;
    const from = scheduled.get(Number(started.scheduledEventId));
    const wait = time(event) - time(from);
    const queue = from.workflowTaskScheduledEventAttributes?.taskQueue;
    const kind = event.workflowTaskTimedOutEventAttributes ? `timed out (${started.timeoutType})` : event.activityTaskStartedEventAttributes ? 'activity' : 'task';
    if (started.timeoutType === 1 && process.env.DETAIL) { const b = events.find((e) => Number(e.eventId) === Number(started.startedEventId)); waits.push(`started ${new Date(time(b)).toISOString().slice(17, 23)} by ${b.workflowTaskStartedEventAttributes.identity.split('/').at(-1)}`); }
    if (wait > 300) waits.push(`${kind}${queue?.kind === 2 ? ' sticky' : ''} ${Math.round(wait)} ms`);
  }
  return `${run.workflowId} ${Math.round(run.ms)} ms: ${waits.join(', ')}`;
}

async function main() {
  const lab = new Lab();
  try {
    let address = values.address;
    if (address === '') {
      const port = await freePort();
      await lab.temporal(port);
      address = `127.0.0.1:${port}`;
    }
    const host = await lab.host(address, ...hostArgs);
    await lab.publish({ queue: 'orders', version: 'v1', members: [member(1)] });
    // The workflow is the same in all versions: making its bundle anew would take the CPU from what is measured.
    const bundle = readFileSync(join(lab.home('orders'), 'v1', 'workflows.js'), 'utf8');
    console.log('first', (await host.reload('order')).body.tookMs, 'ms');
    const client = new Client({ connection: await Connection.connect({ address }) });
    await load(client, 5, 'warm');
    const calm = await load(client, Number(values.seconds) / 2, 'calm');
    console.log('no swap', figures(calm));
    for (const run of [...calm].sort((a, b) => b.ms - a.ms).slice(0, 0)) console.log("  ", await explain(client, run));
    const loading = load(client, Number(values.seconds), 'swap');
    const took = [];
    let late = 0;
    const answers = [];
    for (let version = 2; version <= Number(values.seconds) / Number(values.every); version += 1) {
      await sleep(Number(values.every) * 1000);
      await lab.publish({ queue: 'orders', version: `v${version}`, members: [member(version)], bundle });
      const { status, body } = await host.reload('order');
      if (status !== 200) console.log('reload', status, body);
      took.push(body.tookMs);
      answers.push({ at: performance.now(), version });
    }
    const runs = await loading;
    for (const run of runs) {
      const newest = answers.filter(({ at }) => at < run.began).at(-1);
      if (newest && run.result && run.result[0] < newest.version) late += 1;
    }
    console.log('swaps', took.length, figures(runs), 'reload ms', took.join(' '), 'old code after the answer', late);
    const limit = figures(calm).max + 300;
    const slow = runs.filter((run) => run.ms > limit).sort((a, b) => b.ms - a.ms);
    console.log(`over ${limit} ms:`, slow.length);
    for (const run of slow.slice(0, 8)) console.log('  ', await explain(client, run));
    for (const run of runs.filter((one) => one.error).slice(0, 5)) console.log('   FAILED', run.workflowId, run.error);
    await host.exit('SIGTERM');
  } finally {
    await lab.close();
  }
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
