/** Makes trees, hosts and Temporal servers for tests and benchmarks, and takes all of it away again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { stringify } from './toml';

export const TOOLCHAIN = join(__dirname, '..', '..');
export const TEMPORAL_CLI = process.env['TEMPORAL_CLI'];
export const NEEDS_TEMPORAL = TEMPORAL_CLI === undefined ? { skip: 'TEMPORAL_CLI names no binary' } : {};

export interface Member {
  workflowId: string;
  release: string;
  /** JavaScript of dist/workflow.js, dist/activities.js, dist/worker.js. */
  workflow?: string;
  activities?: string;
  worker?: string;
  types?: string[];
  /** Further files of the release: {path: text}. */
  files?: Record<string, string>;
  /** Where the entry points are, when not at dist/activities.js and dist/worker.js. */
  activitiesFile?: string;
  workerFile?: string;
  /** Another node_modules than the toolchain's. */
  modules?: string;
  env?: Record<string, string>;
}

export interface PoolSpec {
  namespace?: string;
  queue: string;
  version: string;
  members: Member[];
  isolation?: 'shared' | 'process';
  /** Text for workflows.js in place of a real bundle. */
  bundle?: string;
}

export interface Reply {
  status: number;
  // Answers are looked into freely by tests.
  body: any; // eslint-disable-line @typescript-eslint/no-explicit-any
}

function entry(kind: string, file: string | undefined, text: string | undefined): Record<string, string> {
  return file === undefined && text === undefined ? {} : { [kind]: file ?? `dist/${kind}.js` };
}

export class Lab {
  readonly root = mkdtempSync(join(tmpdir(), 'twh-'));
  readonly data = join(this.root, 'data');
  private readonly processes: ChildProcess[] = [];

  constructor() {
    mkdirSync(this.data);
  }

  async close(): Promise<void> {
    const open = this.processes.filter((child) => child.exitCode === null && child.signalCode === null);
    const gone = open.map((child) => new Promise((done) => child.once('exit', done)));
    for (const child of open) child.kill('SIGKILL');
    await Promise.all(gone);
    await sleep(300); // worker processes follow their host
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  release(member: Member): string {
    const path = join(this.data, 'releases', member.workflowId, member.release);
    mkdirSync(join(path, 'dist'), { recursive: true });
    const write = (name: string, text: string | undefined): void => {
      if (text !== undefined) writeFileSync(join(path, 'dist', name), text);
    };
    write('workflow.js', member.workflow);
    write('activities.js', member.activities);
    write('worker.js', member.worker);
    for (const [name, text] of Object.entries(member.files ?? {})) {
      mkdirSync(dirname(join(path, name)), { recursive: true });
      writeFileSync(join(path, name), text);
    }
    const modules = member.modules ?? join(TOOLCHAIN, 'node_modules');
    if (!existsSync(join(path, 'node_modules'))) symlinkSync(modules, join(path, 'node_modules'));
    return path;
  }

  /** Publishes a pool version and makes it current. */
  async publish(spec: PoolSpec): Promise<void> {
    const home = join(this.data, 'pools', encodeURIComponent(spec.namespace ?? 'default'), encodeURIComponent(spec.queue));
    const directory = join(home, spec.version);
    mkdirSync(directory, { recursive: true });
    const paths = spec.members.map((member) => this.release(member));
    const withWorkflows = spec.members.filter((member) => member.workflow !== undefined);
    const bundled = spec.isolation !== 'process' && (spec.bundle !== undefined || withWorkflows.length > 0);
    if (bundled) writeFileSync(join(directory, 'workflows.js'), spec.bundle ?? (await this.bundle(withWorkflows)));
    const releases = spec.members.map((member, index) => ({
      workflow_id: member.workflowId,
      release: member.release,
      path: relative(directory, paths[index] ?? ''),
      workflow_types: member.types ?? (member.workflow === undefined ? [] : [member.workflowId]),
      activity_names: [],
      ...entry('activities', member.activitiesFile, member.activities),
      ...entry('worker', member.workerFile, member.worker),
      ...(spec.isolation === 'process' ? { env: member.env ?? {} } : {}),
    }));
    const pool = {
      format: 1, pool_version: spec.version, build_id: `build-${spec.version}`, namespace: spec.namespace ?? 'default',
      task_queue: spec.queue, isolation: spec.isolation ?? 'shared', sdk: '1.24.0', ...(bundled ? { bundle: 'workflows.js' } : {}),
    };
    writeFileSync(join(directory, 'pool.toml'), stringify({ ...pool, releases }));
    this.point(home, spec.version);
  }

  point(home: string, version: string): void {
    const temporary = join(home, `.current-${process.hrtime.bigint()}`);
    symlinkSync(version, temporary);
    renameSync(temporary, join(home, 'current'));
  }

  home(queue: string): string {
    return join(this.data, 'pools', 'default', encodeURIComponent(queue));
  }

  private async bundle(members: readonly Member[]): Promise<string> {
    const { bundleWorkflowCode } = await import('@temporalio/worker');
    const entry = join(this.root, `entry-${process.hrtime.bigint()}.js`);
    // Getters, as in the product's own join: a module that throws harms its own types only.
    const lines = members.flatMap((member) =>
      (member.types ?? [member.workflowId]).map(
        (type) => `Object.defineProperty(exports, ${JSON.stringify(type)}, { enumerable: true, get: () => require(${JSON.stringify(join(this.data, 'releases', member.workflowId, member.release, 'dist', 'workflow.js'))})[${JSON.stringify(type)}] });`,
      ),
    );
    writeFileSync(entry, lines.join('\n'));
    if (!existsSync(join(this.root, 'node_modules'))) symlinkSync(join(TOOLCHAIN, 'node_modules'), join(this.root, 'node_modules'));
    const silent = { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error: console.error };
    return (await bundleWorkflowCode({ workflowsPath: entry, logger: silent })).code;
  }

  /** Without a file the database is in memory: faster, and gone with the server. */
  async temporal(port: number, database?: string): Promise<ChildProcess> {
    const child = spawn(TEMPORAL_CLI ?? '', ['server', 'start-dev', '--headless', '--port', String(port), '--log-level', 'never', ...(database === undefined ? [] : ['--db-filename', database])], { stdio: 'ignore' });
    this.processes.push(child);
    const { Connection } = await import('@temporalio/client');
    for (let tries = 0; ; tries += 1) {
      try {
        const connection = await Connection.connect({ address: `127.0.0.1:${port}`, connectTimeout: 500 });
        await connection.workflowService.describeNamespace({ namespace: 'default' });
        await connection.close();
        return child;
      } catch (error) {
        if (tries > 100) throw error;
        await sleep(100);
      }
    }
  }

  async host(address: string, ...args: string[]): Promise<Host> {
    const script = join(TOOLCHAIN, 'dist', 'host.js');
    const child = spawn(process.execPath, [script, '--data', this.data, '--temporal', address, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TIMEWRIGHT_TOKEN: 'canary-secret' },
    });
    this.processes.push(child);
    const host = new Host(child, join(this.data, 'worker.sock'));
    await host.until(async () => (await host.call('GET', '/healthz')).status === 200, 5000);
    return host;
  }
}

export class Host {
  log = '';

  constructor(readonly process: ChildProcess, readonly socket: string) {
    process.stdout?.on('data', (text: Buffer) => (this.log += text.toString()));
    process.stderr?.on('data', (text: Buffer) => (this.log += text.toString()));
    if (globalThis.process.env['LAB_LOG']) process.stdout?.pipe(globalThis.process.stderr);
  }

  call(method: string, path: string, body?: unknown): Promise<Reply> {
    return new Promise((done, failed) => {
      const request = httpRequest({ socketPath: this.socket, method, path }, (response) => {
        let text = '';
        response.on('data', (part: Buffer) => (text += part.toString()));
        response.on('end', () => done({ status: response.statusCode ?? 0, body: text.startsWith('{') ? JSON.parse(text) : text }));
      });
      request.on('error', failed);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  reload(workflowId: string, more: object = {}): Promise<Reply> {
    return this.call('POST', '/workflows/reload', { workflowId, ...more });
  }

  async pools(): Promise<any[]> {
    return (await this.call('GET', '/workflows')).body.pools;
  }

  async until(check: () => Promise<boolean>, limitMs: number): Promise<void> {
    const end = performance.now() + limitMs;
    for (;;) {
      if (await check().catch(() => false)) return;
      if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${check.toString()}\n${this.log.slice(-3000)}`);
      await sleep(50);
    }
  }

  async exit(signal: NodeJS.Signals): Promise<number | null> {
    const gone = new Promise<number | null>((done) => this.process.once('exit', done));
    this.process.kill(signal);
    return gone;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}
