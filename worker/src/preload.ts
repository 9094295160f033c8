/**
 * Required into a release's own worker process, before its code: sees to it that the code reaches the
 * host's Temporal server, tells the host what Workers it makes, and ends them when the host says so.
 * Works with the SDK that the release loads, whichever copy and version that is.
 */
import { message } from './log';
import type { FromChild } from './messages';
import { dieWithHost } from './orphan';
import { openPipe } from './pipe';
import { type Target, targetOf } from './redirect';
import { hookSdk } from './sdkhook';
import { Workers } from './watching';

const LOOK_MS = 20;
/** For the release's own clean-up after its Workers have ended, before the process is ended for it. */
const CLEANUP_MS = 5000;

const host = openPipe();
let leaving = false;

function tell(report: FromChild): void {
  host?.tell(report);
}

function watch(target: Target): Workers {
  const workers = new Workers(target);
  hookSdk(target, {
    note: (text) => tell({ type: 'log', level: 'warn', event: 'worker.redirected', fields: { message: text } }),
    making: () => tell({ type: 'making' }),
    made: (worker, where, retire) => {
      workers.add(worker, where, retire);
      tell({ type: 'loaded', failed: [], refused: false });
      follow(workers);
    },
    notConnected: (error) => tell({ type: 'connecting', error: message(error) }),
  });
  return workers;
}

let timer: NodeJS.Timeout | undefined;

function follow(workers: Workers): void {
  if (timer !== undefined) return;
  let told = '';
  let polling = false;
  timer = setInterval(() => {
    const rows = workers.rows();
    const now = JSON.stringify(rows);
    if (now !== told) tell({ type: 'serves', queues: rows });
    told = now;
    if (!polling && workers.serving(rows)) {
      polling = true;
      tell({ type: 'polling' });
    }
    if (workers.ended()) {
      tell({ type: 'quiet' });
      clearInterval(timer);
      timer = undefined;
      setTimeout(() => finish(workers), CLEANUP_MS).unref();
    }
  }, LOOK_MS);
  timer.unref();
}

/** All Workers have ended and the process goes on: a server of its own, a timer. It serves nobody. */
function finish(workers: Workers): void {
  if (!workers.ended()) return;
  if (!leaving) console.error('timewright: all Workers of this process have ended, but the process has not');
  process.exit(leaving ? 0 : 1);
}

/** SIGTERM is what the SDK and the release's own code expect; not every Worker listens to it. */
async function leave(workers: Workers | undefined): Promise<void> {
  if (leaving) return;
  leaving = true;
  await workers?.retire().catch((error: unknown) => console.error(message(error)));
  if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM');
  else if (workers === undefined || workers.rows().every(({ state }) => state !== 'RUNNING')) process.exit(0);
  setTimeout(() => workers?.shutdown(), 10 * LOOK_MS).unref();
}

function main(): void {
  dieWithHost();
  const target = targetOf(process.env);
  const workers = target === undefined ? undefined : watch(target);
  host?.onEnd(() => void leave(workers));
  host?.onOrder((order) => void (order.type === 'drain' && leave(workers)));
  // A pipe to the host must not keep a worker alive that has ended.
  host?.unref();
}

main();
