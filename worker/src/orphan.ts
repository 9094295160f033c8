/**
 * No worker process outlives its host. The closing of the pipe tells most of them; one whose main
 * thread is stuck in somebody's endless loop hears nothing, so a thread looks at the parent's id. Which id that
 * is the host says: one that was killed in the meantime is nobody's parent any more.
 */
import { Worker as Thread } from 'node:worker_threads';

const LOOK_MS = 1000;
/** The variable that has the host's process id. */
export const HOST = 'TIMEWRIGHT_HOST';
const PATIENCE = 3; // looks: time for an orderly end

export function dieWithHost(): void {
  const source = `
    let left = ${PATIENCE};
    const parent = ${Number(process.env[HOST] ?? process.ppid)};
    const end = (id) => { try { process.kill(id, 'SIGKILL'); } catch { /* it leads no group */ } };
    setInterval(() => {
      if (process.ppid === parent || --left >= 0) return;
      end(-process.pid); // with all that it has started
      end(process.pid);
    }, ${LOOK_MS});`;
  delete process.env[HOST];
  const thread = new Thread(source, {
    eval: true,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 },
  });
  thread.on('error', () => undefined);
  thread.unref();
}
