/**
 * The pipe between the host and a worker process: JSON, one value a line. Not Node's own ('ipc'): that takes lines
 * of any length, and what it throws at a line it doesn't know can't be caught. Code of specs has the other end.
 */
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { isMainThread } from 'node:worker_threads';

import { message } from './log';
import type { FromChild, ToChild } from './messages';

/** The variable that tells a worker process which of its descriptors is the pipe. */
export const PIPE = 'TIMEWRIGHT_PIPE';
const MAX_LINE = 1 << 20; // characters

/**
 * `take` gets each value. A line that is no JSON or has more than `most` characters, and a value at which `take`
 * throws, are `broken`: called once, with the reason; nothing of what follows is read.
 */
export function readValues(stream: Readable, take: (value: unknown) => void, broken: (why: string) => void, most = MAX_LINE): void {
  let rest = '';
  const read = (text: string): void => {
    const lines = text.split('\n'); // of what is new only, since it may come in a million pieces
    lines[0] = rest + (lines[0] ?? '');
    rest = lines.pop() ?? '';
    try {
      for (const line of lines) take(parse(line, most));
      if (rest.length > most) parse(rest, most);
    } catch (error) {
      stream.off('data', read);
      rest = '';
      broken(message(error));
    }
  };
  stream.setEncoding('utf8').on('data', read);
}

function parse(line: string, most: number): unknown {
  if (line.length > most) throw new Error('a line of over 1 MiB');
  try {
    return JSON.parse(line);
  } catch {
    throw new Error('a line that is no JSON');
  }
}

/** A worker process's end of it. */
export interface Host {
  tell(report: FromChild): void;
  onOrder(listener: (order: ToChild) => void): void;
  /** The host is gone. */
  onEnd(listener: () => void): void;
  /** It shall not keep the process alive. */
  unref(): void;
}

/** Undefined in what isn't a worker process itself: its threads, and what it forks. */
export function openPipe(): Host | undefined {
  const fd = process.env[PIPE];
  if (fd === undefined || !isMainThread) return undefined;
  delete process.env[PIPE];
  const socket = new Socket({ fd: Number(fd), readable: true, writable: true });
  socket.on('error', () => undefined); // it closes then
  return {
    tell: (report) => void (socket.writable && socket.write(`${asLine(report)}\n`)),
    onOrder: (listener) => readValues(socket, (order) => listener(order as ToChild), fail, Infinity),
    onEnd: (listener) => void socket.on('close', listener),
    unref: () => void socket.unref(),
  };
}

function fail(why: string): never {
  throw new Error(why);
}

/** A report that the host takes: where it is too long its texts are cut, and a log that is no JSON is only told of. */
export function asLine(report: FromChild): string {
  for (const most of [Infinity, 4096, 256, 16]) {
    try {
      const line = JSON.stringify(report, (key, value: unknown) =>
        typeof value === 'string' && key !== 'workflowId' ? value.slice(0, most) : value);
      if (line.length <= MAX_LINE) return line;
    } catch {
      break; // a circle, a BigInt: code of specs logs what it likes
    }
  }
  const fields = { message: `a report (${report.type}) is too long, or no JSON, and was left out` };
  return JSON.stringify({ type: 'log', level: 'warn', event: 'worker.log', fields } satisfies FromChild);
}
