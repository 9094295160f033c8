/** Writes facts, one a line, to stdout: JSON for machines, or `--log pretty` for people. Never throws. */

export type Level = 'debug' | 'info' | 'warn' | 'error';
export type Fields = Readonly<Record<string, unknown>>;
export type Log = (level: Level, event: string, fields?: Fields) => void;

const MAX_VALUE = 8192; // a child may print without end

export function makeLog(format: 'json' | 'pretty', write: (line: string) => void = toStdout): Log {
  return (level, event, fields = {}) => {
    const head = { time: new Date().toISOString(), level, event };
    // In front, and not to be set by fields of these names: code of specs has a say in some.
    write(format === 'json' ? json({ ...head, ...fields, ...head }) : pretty(head.time, level, event, fields));
  };
}

function toStdout(line: string): void {
  process.stdout.write(`${line}\n`);
}

function json(record: Fields): string {
  try {
    return JSON.stringify(record, short);
  } catch (error) {
    // A hundred thousand lists in each other, a circle: what isn't text or a number is left out.
    const plain = Object.entries(record).map(([key, value]) => [key, typeof value === 'object' && value !== null ? `(${message(error)})` : value]);
    return JSON.stringify(Object.fromEntries(plain), short);
  }
}

function short(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string' && value.length > MAX_VALUE) return `${value.slice(0, MAX_VALUE)}…`;
  return value;
}

function pretty(time: string, level: Level, event: string, fields: Fields): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${quoted(key)}=${quoted(value)}`);
  return [time.slice(11, 23), level.toUpperCase().padEnd(5), quoted(event), ...rest].join(' ');
}

/** By JSON, so that what a child prints can't move the cursor of somebody's terminal. */
function quoted(value: unknown): string {
  return typeof value === 'string' && /^[\w./:@-]+$/.test(value) ? value : json({ v: value }).slice(5, -1);
}

/** A full disk or a closed pipe at the other end of stdout must not stop the host. */
export function survivePipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}

export function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
