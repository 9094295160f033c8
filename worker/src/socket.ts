/** Where the host listens. A Unix socket is ours alone, or our group's; only a dead one is replaced. */
import { chmodSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { basename, dirname } from 'node:path';

import type { Listen } from './settings';

export class AddressTaken extends Error {}

const MAX_PATH = 107; // bytes: what the kernel's sockaddr_un holds

export async function listen(server: Server, where: Listen): Promise<void> {
  if (where.kind === 'tcp') return bind(server, { host: where.host, port: where.port });
  mkdirSync(dirname(where.path), { recursive: true, mode: 0o750 });
  const path = shortPath(where.path);
  if (await answers(path)) throw new AddressTaken(`another worker host answers on ${where.path}: stop that one, or give --listen`);
  rmSync(path, { force: true });
  const mask = process.umask(0o177);
  const bound = bind(server, { path }); // binds at once: no other code runs under this mask
  process.umask(mask);
  await bound;
  chmodSync(path, where.mode);
}

/** The inode that callers reach: not the one we made, when somebody replaced or removed the socket. */
export function socketId(where: Listen): number | undefined {
  if (where.kind === 'tcp') return undefined;
  try {
    return statSync(where.path).ino;
  } catch {
    return undefined;
  }
}

/** A deep directory is made the current one and the socket named by its last part. */
function shortPath(path: string): string {
  if (Buffer.byteLength(path) <= MAX_PATH) return path;
  process.chdir(dirname(path));
  return basename(path);
}

function bind(server: Server, options: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((done, failed) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      failed(taken ? new AddressTaken(`somebody else listens there: ${error.message}`) : error);
    });
    server.listen(options, () => {
      server.removeAllListeners('error');
      done();
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      done(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => done(error.code === 'EAGAIN')); // its backlog is full: alive
  });
}
