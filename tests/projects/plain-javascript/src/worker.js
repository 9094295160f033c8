'use strict';

const { NativeConnection, Worker } = require('@temporalio/worker');
const activities = require('./activities');

async function run() {
  const connection = await NativeConnection.connect({ address: 'localhost:7233' });
  const worker = await Worker.create({
    connection,
    workflowsPath: require.resolve('./workflows'),
    activities,
    taskQueue: 'plain-javascript',
  });
  await worker.run();
}

run().catch((err) => {
  console.error(err);
  process.exit(1);
});
