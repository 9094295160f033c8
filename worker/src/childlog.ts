/** Sends what the SDK and the user's code log in a worker process to the host, as values. */
import { DefaultLogger, type LogEntry, makeTelemetryFilterString, type RuntimeOptions } from '@temporalio/worker';

import type { Level } from './log';
import type { FromChild } from './messages';

const LEVELS: Readonly<Record<string, Level>> = { TRACE: 'debug', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' };

export function forwardLogs(tell: (report: FromChild) => void): Pick<RuntimeOptions, 'logger' | 'telemetryOptions'> {
  const logger = new DefaultLogger('INFO', (entry) => {
    const component = entry.meta?.['sdkComponent'];
    // The SDK's own news of each state is ours to tell; users' `log.info` and all troubles go on.
    if (entry.level === 'INFO' && component !== 'workflow' && component !== 'activity') return;
    tell({ type: 'log', level: LEVELS[entry.level] ?? 'info', event: 'worker.log', fields: fields(entry) });
  });
  const filter = makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' });
  return { logger, telemetryOptions: { logging: { filter, forward: {} } } };
}

function fields({ message, meta }: LogEntry): Record<string, unknown> {
  const plain: Record<string, unknown> = { message };
  for (const [key, value] of Object.entries(meta ?? {})) {
    if (value instanceof Error) plain[key] = `${value.name}: ${value.message}`;
    else if (typeof value === 'bigint') plain[key] = value.toString();
    else if (typeof value !== 'function') plain[key] = value;
  }
  return plain;
}
