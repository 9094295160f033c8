/**
 * The worker host: serves what DATA/pools says, and says what it serves.
 *
 *   node dist/host.js --data DATA [options]          node dist/host.js --help
 *
 * It keeps no state: started before or after the daemon, killed, upgraded, it does what the tree says.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { removed, sweepCages, whyNotConfined } from './confine';
import { type Log, makeLog, message, survivePipes } from './log';
import { Pools } from './pools';
import { makeLauncher } from './processes';
import { makeServer } from './server';
import { makeService } from './service';
import { readSettings, type Settings, USAGE, UsageError } from './settings';
import { AddressTaken, listen, socketId } from './socket';

/** For the directories of the last worker processes to be removed; the next start does it otherwise. */
const LAST_MS = 2000;

async function run(asked: Settings): Promise<void> {
  const log = makeLog(asked.log);
  const settings = confined(asked, log);
  const pools = new Pools(settings, makeLauncher(settings), log);
  const facts = { pid: process.pid, startedAt: new Date().toISOString(), node: process.version, sdk: sdkVersion() };
  const { token } = settings;
  const access = { ...(token === undefined ? {} : { token }), tcp: settings.listen.kind === 'tcp' };
  const server = makeServer(makeService(pools, settings, facts, log), access, log);
  await listen(server, settings.listen);
  log('info', 'host.started', { ...facts, listen: settings.listen, data: settings.data, temporal: settings.temporal.address });
  pools.start();
  const rescan = setInterval(() => void pools.look(false), settings.rescanMs || 30_000);
  const guard = guardSocket(settings, log);
  onSignals(log, async () => {
    clearInterval(rescan);
    clearInterval(guard); // closing removes the socket, and that is no loss
    server.close();
    await pools.close();
    await Promise.race([removed(), sleep(LAST_MS)]);
    log('info', 'host.stopped');
    process.exit(process.exitCode ?? 0);
  }, () => {
    pools.killAll();
    process.exit(1);
  });
}

/** Without Landlock workers run as they did before there was any: told once, and no reason to serve nobody. */
function confined(settings: Settings, log: Log): Settings {
  if (settings.confine === 'off') return settings;
  sweepCages(settings);
  const why = whyNotConfined(settings);
  if (why === undefined) return settings;
  log('warn', 'confine.unavailable', { error: why, because: 'worker processes can read all that this user can read' });
  return { ...settings, confine: 'off' };
}

/** The first signal ends in order, the second now. */
function onSignals(log: Log, end: () => Promise<void>, now: () => void): void {
  let ending = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log('info', 'host.stopping', { signal, now: ending });
      if (ending) return now();
      ending = true;
      void end();
    });
  }
  process.on('SIGHUP', () => undefined); // a terminal that closes; the tree is looked at anyway
}

/** Two hosts that started at one moment may both have found the socket dead: the one that lost it goes. */
function guardSocket(settings: Settings, log: Log): NodeJS.Timeout | undefined {
  const ours = socketId(settings.listen);
  if (ours === undefined) return undefined;
  const look = (): void => {
    const there = socketId(settings.listen);
    if (there === ours) return;
    log('error', 'socket.lost', { error: there === undefined ? 'our socket was removed' : 'our socket was replaced by another host' });
    process.exitCode = 1;
    process.kill(process.pid, 'SIGTERM'); // the supervisor of this process starts it anew
  };
  return setInterval(look, 2000).unref();
}

/** Read and not required: the host itself does without the SDK, and its 90 MiB. */
function sdkVersion(): string {
  const file = join(dirname(require.resolve('@temporalio/worker')), '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function main(): void {
  survivePipes();
  const argv = process.argv.slice(2);
  if (argv.includes('--help') || argv.includes('-h')) return void console.log(USAGE);
  let settings: Settings;
  try {
    settings = readSettings(argv, process.env);
  } catch (error) {
    console.error(error instanceof UsageError ? `Error: ${error.message}\n${USAGE}` : error);
    process.exit(2);
  }
  run(settings).catch((error: unknown) => {
    console.error(`Error: ${error instanceof AddressTaken ? error.message : message(error)}`);
    process.exit(1);
  });
}

if (require.main === module) main();
