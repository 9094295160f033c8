import { type InjectedSinks, NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';
import type { ProgressSinks } from './sinks';
import { steps } from './steps';

async function main() {
  const connection = await NativeConnection.connect();
  const sinks: InjectedSinks<ProgressSinks> = {
    progress: {
      step: { fn: (_info, number) => void steps.push(number), callDuringReplay: false },
    },
  };
  const worker = await Worker.create({
    connection,
    workflowsPath: require.resolve('./workflows'),
    activities,
    taskQueue: 'sinks',
    sinks,
  });
  await worker.run();
  await connection.close();
}

main().then(
  () => process.exit(0),
  (err) => {
    console.error(err);
    process.exit(1);
  },
);
