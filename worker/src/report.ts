/**
 * What a worker process reports. Code of specs runs there, and has the same pipe: a report that isn't one
 * must end neither the host nor anybody else's work, and fill no memory.
 */
import type { Failure, FromChild, ServedQueue } from './messages';

const MAX_TEXT = 8192; // characters
const MAX_ROWS = 10_000;
const LEVELS: readonly unknown[] = ['debug', 'info', 'warn', 'error'];

type Table = Readonly<Record<string, unknown>>;

/** A report as it is meant; undefined for all that is none. */
export function readReport(value: unknown): FromChild | undefined {
  if (!isTable(value)) return undefined;
  const { type } = value;
  switch (type) {
    case 'ready':
    case 'gone':
    case 'making':
    case 'polling':
    case 'draining':
    case 'quiet':
    case 'stopped':
      return { type };
    case 'loading':
      return isText(value['workflowId']) ? { type, workflowId: value['workflowId'] } : undefined;
    case 'loaded': {
      const failed = rows(value['failed'], readFailure);
      return failed && { type, failed, refused: value['refused'] === true };
    }
    case 'serves': {
      const queues = rows(value['queues'], readQueue);
      return queues && { type, queues };
    }
    case 'connecting':
      return { type, ...readError(value) };
    case 'temporal':
      return typeof value['reachable'] === 'boolean' ? { type, reachable: value['reachable'], ...readError(value) } : undefined;
    case 'log':
      return readLog(value);
    default:
      return undefined;
  }
}

function readLog({ level, event, fields }: Table): FromChild | undefined {
  if (!LEVELS.includes(level) || !isText(event) || !isTable(fields)) return undefined;
  return { type: 'log', level: level as 'info', event: event.slice(0, 64), fields };
}

function readFailure({ workflowId, error }: Table): Failure | undefined {
  return isText(workflowId) && isText(error) ? { workflowId, error: error.slice(0, MAX_TEXT) } : undefined;
}

function readQueue({ namespace, taskQueue, state, polls }: Table): ServedQueue | undefined {
  if (!isText(namespace) || !isText(taskQueue) || !isText(state)) return undefined;
  if (typeof polls !== 'boolean' && polls !== 'unknown') return undefined;
  return { namespace: namespace.slice(0, MAX_TEXT), taskQueue: taskQueue.slice(0, MAX_TEXT), state: state.slice(0, 64), polls };
}

function readError({ error }: Table): { error?: string } {
  return isText(error) ? { error: error.slice(0, MAX_TEXT) } : {};
}

/** A list whose rows are all as they should be; undefined when it is none. */
function rows<Row>(value: unknown, read: (row: Table) => Row | undefined): Row[] | undefined {
  if (!Array.isArray(value) || value.length > MAX_ROWS) return undefined;
  const found = value.map((row: unknown) => (isTable(row) ? read(row) : undefined));
  return found.some((row) => row === undefined) ? undefined : (found as Row[]);
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
