/**
 * No worker process outlives its host. The closing of the pipe tells most of them; one whose main
 * thread is stuck in somebody's endless loop hears nothing, so a thread looks at the parent's id.
 */
import { Worker as Thread } from 'node:worker_threads';

const LOOK_MS = 1000;
const PATIENCE = 3; // looks: time for an orderly end

export function dieWithHost(): void {
  const source = `
    let left = ${PATIENCE};
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent && --left < 0) process.kill(process.pid, 'SIGKILL');
    }, ${LOOK_MS});`;
  const thread = new Thread(source, {
    eval: true,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 },
  });
  thread.on('error', () => undefined);
  thread.unref();
}
