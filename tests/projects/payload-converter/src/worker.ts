import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';

async function run() {
  // Step 1: Establish a connection with Temporal server.
  const connection = await NativeConnection.connect({
    address: 'localhost:7233',
  });
  // Step 2: Register Workflows and Activities with the Worker.
  const worker = await Worker.create({
    connection,
    namespace: 'default',
    taskQueue: 'payload-converter',
    workflowsPath: require.resolve('./workflows'),
    activities,
    dataConverter: { payloadConverterPath: require.resolve('./payload-converter') },
  });
  // Step 3: Start accepting tasks
  await worker.run();
}

run().catch((err) => {
  console.error(err);
  process.exit(1);
});
