import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';

async function run() {
  const connection = await NativeConnection.connect({ address: 'localhost:7233' });
  try {
    const main = await Worker.create({
      connection,
      taskQueue: 'split-main',
      workflowsPath: require.resolve('./workflows'),
    });
    const gpu = await Worker.create({
      connection,
      taskQueue: 'split-gpu',
      activities,
      maxConcurrentActivityTaskExecutions: 1,
    });
    await Promise.all([main.run(), gpu.run()]);
  } finally {
    await connection.close();
  }
}

run().catch((err) => {
  console.error(err);
  process.exit(1);
});
