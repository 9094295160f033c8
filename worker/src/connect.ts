/** The worker process's connection to Temporal: made for as long as it takes, then watched. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { NativeConnection, type NativeConnectionOptions } from '@temporalio/worker';

import { message } from './log';
import type { TemporalSettings } from './settings';

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;
const WATCH_MS = 5000;
const CALL_MS = 3000;

/** Tries for ever. `failed` hears of each failure, so that the host can say so. */
export async function connect(temporal: TemporalSettings, failed: (error: string) => void): Promise<NativeConnection> {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      return await NativeConnection.connect(optionsFor(temporal));
    } catch (error) {
      failed(message(error));
    }
    await sleep(wait);
  }
}

function optionsFor(temporal: TemporalSettings): NativeConnectionOptions {
  const { address, tls, tlsCa, tlsCert, tlsKey, apiKeyFile } = temporal;
  if (!tls) return { address };
  const pair =
    tlsCert === undefined || tlsKey === undefined
      ? {}
      : { clientCertPair: { crt: readFileSync(tlsCert), key: readFileSync(tlsKey) } };
  return {
    address,
    tls: { ...(tlsCa === undefined ? {} : { serverRootCACertificate: readFileSync(tlsCa) }), ...pair },
    ...(apiKeyFile === undefined ? {} : { apiKey: readFileSync(apiKeyFile, 'utf8').trim() }),
  };
}

/** The SDK's core reconnects by itself and says nothing of it: ask something cheap, regularly. */
export async function watch(connection: NativeConnection, report: (error: string | undefined) => void): Promise<never> {
  for (;;) {
    try {
      await connection.withDeadline(Date.now() + CALL_MS, () => connection.workflowService.getSystemInfo({}));
      report(undefined);
    } catch (error) {
      report(message(error));
    }
    await sleep(WATCH_MS);
  }
}
