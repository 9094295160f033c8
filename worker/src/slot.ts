/**
 * One pool version being served: a worker process, watched, restarted with backoff, retired once.
 * It decides nothing about other versions; `pool.ts` does.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';

import type { Log } from './log';
import type { Failure, FromChild, ServedQueue } from './messages';
import { whyNotServing } from './own';
import type { Child } from './processes';
import type { PoolVersion } from './tree';
import { poolKey } from './tree';

export type State = 'starting' | 'connecting' | 'polling' | 'draining' | 'backoff' | 'failed' | 'stopped';

/** What a slot needs of its surroundings. */
export interface Surroundings {
  /** A process for this version, told to serve. */
  launch(slot: Slot): Child;
  /** The slots of all lanes of a pool. */
  siblings(queue: string): readonly Slot[];
  changed(): void;
  temporal(reachable: boolean, error?: string): void;
  readonly log: Log;
  readonly loadMs: number;
  readonly graceMs: number;
}

const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 30_000;
const HEALTHY_MS = 60_000;
/** For Node and the SDK to load before any release's code runs: nobody's fault on a busy machine. */
const BOOT_MS = 60_000;
/** So often it may be killed before it polls, until that counts as its own doing. */
const KILLS = 3;
const KILL_AFTER_GRACE_MS = 10_000;
/**
 * A release's own worker, in load times: until it calls Worker.create, while that bundles the workflows,
 * and from there until it polls.
 */
const OWN_STEP = 2;
const OWN_BUNDLING = 8;

export class Slot {
  state: State = 'starting';
  pid: number | undefined;
  startedAt = new Date();
  restarts = 0;
  lastError: string | undefined;
  failed: readonly Failure[] = [];
  /** What the Workers of a release's own process serve; undefined in a shared pool. */
  queues: readonly ServedQueue[] | undefined;
  /** Releases that hung or ended the process at load, while others may be served without them. */
  skipped: readonly Failure[] = [];
  /** It has polled at some time: executions may be waiting for it. */
  served = false;
  /** It takes nothing from the queue any more. */
  quiet = false;
  since = performance.now();
  /** Since when connecting fails; undefined when it doesn't. */
  connectFails: number | undefined;
  tolerated: readonly string[] = [];

  private child: Child | undefined;
  private loading: string | undefined;
  private loaded = false;
  /** How often in a row it was killed before it polled: by a person, or the system for its memory. */
  private kills = 0;
  private attempt = 0;
  private timers = new Map<'load' | 'backoff' | 'healthy' | 'kill', NodeJS.Timeout>();

  constructor(
    readonly version: PoolVersion,
    private readonly around: Surroundings,
  ) {}

  get label(): Record<string, unknown> {
    return { pool: poolKey(this.version), poolVersion: this.version.poolVersion, pid: this.pid };
  }

  start(): void {
    this.loaded = false;
    this.loading = undefined;
    this.failed = [];
    this.connectFails = undefined;
    this.queues = undefined;
    this.startedAt = new Date();
    const child = (this.child = this.around.launch(this));
    this.pid = child.pid;
    this.become('starting');
    child.onMessage((report) => void (this.child === child && this.hear(report)));
    child.onOutput((stream, line) => this.around.log(stream === 'stderr' ? 'warn' : 'info', 'worker.output', { ...this.label, line }));
    child.onExit((code, signal) => void (this.child === child && this.ended(code, signal)));
    if (this.own) this.ownStep(OWN_STEP);
    else this.after('load', BOOT_MS, () => this.hangs(BOOT_MS));
  }

  /** A release's own worker.ts runs here, and not ours. */
  private get own(): boolean {
    return this.version.isolation === 'process';
  }

  /** Takes it out of service, in order where it serves, at once where it doesn't yet. Once is enough. */
  drain(): void {
    if (this.state === 'draining' || this.state === 'stopped') return;
    const mayHoldTasks = this.state === 'polling' || (this.state === 'connecting' && this.served);
    this.clear();
    if (this.child === undefined) return this.stop();
    if (!mayHoldTasks) return this.kill();
    this.become('draining');
    this.child.send({ type: 'drain' });
    this.after('kill', this.around.graceMs + KILL_AFTER_GRACE_MS, () => {
      this.around.log('warn', 'worker.killed', { ...this.label, because: 'it did not end within its grace time' });
      this.kill();
    });
  }

  kill(): void {
    this.clear();
    const child = this.child;
    this.child = undefined;
    child?.kill('SIGKILL');
    this.stop();
  }

  private stop(): void {
    this.quiet = true;
    this.pid = undefined;
    this.become('stopped');
  }

  private hear(report: FromChild): void {
    if (report.type === 'log') return this.around.log(report.level, report.event, { ...report.fields, ...this.label });
    if (report.type === 'temporal') {
      this.around.temporal(report.reachable, report.error);
      // Only a worker that has polled falls back: one that never did says 'connecting' itself.
      if (this.served && this.state === 'polling' && !report.reachable) this.unreachable(report.error);
      else if (this.served && this.state === 'connecting' && report.reachable) this.polls();
      return;
    }
    if (report.type === 'quiet' || report.type === 'stopped') this.quiet = true;
    if (this.state === 'draining' || this.state === 'stopped') return this.around.changed();
    if (report.type === 'loading') this.begins(report.workflowId);
    else if (report.type === 'gone') this.overtaken();
    else if (report.type === 'loaded') this.hasLoaded(report.failed, report.refused);
    else if (report.type === 'making') this.ownStep(OWN_BUNDLING);
    else if (report.type === 'serves') this.serves(report.queues);
    else if (report.type === 'connecting') this.unreachable(report.error);
    else if (report.type === 'polling') this.polls();
  }

  /** A release's code begins to run: its time counts from here. */
  private begins(workflowId: string): void {
    this.loading = workflowId;
    this.after('load', this.around.loadMs, () => this.hangs(this.around.loadMs));
  }

  private hasLoaded(failed: readonly Failure[], refused: boolean): void {
    this.cancel('load');
    this.loaded = true;
    this.failed = failed;
    if (refused) return this.fail(failed);
    if (failed.length > 0) this.around.log('error', 'worker.partial', { ...this.label, failed });
    if (this.served) return; // another Worker of its own process
    if (this.own) this.ownStep(OWN_STEP);
    this.connectFails = undefined;
    this.become('connecting');
  }

  private serves(queues: readonly ServedQueue[]): void {
    this.queues = queues;
    this.around.changed();
  }

  private ownStep(times: number): void {
    if (this.served) return;
    const limit = times * this.around.loadMs;
    this.after('load', limit, () => {
      // It may go on trying to connect; that is said already, and no fault of the release.
      if (this.connectFails !== undefined) return this.ownStep(times);
      this.fail(this.all(whyNotServing(this.version, this.queues ?? [], limit)));
    });
  }

  private unreachable(error: string | undefined): void {
    if (error !== undefined) {
      this.lastError = error;
      this.connectFails ??= performance.now();
    }
    this.become('connecting');
  }

  private polls(): void {
    this.connectFails = undefined;
    this.cancel('load');
    this.served = true;
    this.kills = 0;
    this.around.temporal(true);
    this.after('healthy', HEALTHY_MS, () => {
      this.attempt = 0;
      this.lastError = undefined;
      this.around.changed();
    });
    this.become('polling');
  }

  private hangs(limit: number): void {
    this.blame(`its top level did not end within ${limit / 1000} s`);
  }

  private ended(code: number | null, signal: NodeJS.Signals | null): void {
    const words = this.child?.lastWords() ?? '';
    const fromOutside = (signal === 'SIGKILL' || signal === 'SIGTERM') && this.child?.misused() !== true;
    this.kills = fromOutside ? this.kills + 1 : 0;
    this.child = undefined;
    this.pid = undefined;
    const before = this.state;
    this.clear();
    if (before === 'draining') return this.stop();
    if (before === 'failed' || before === 'stopped') return;
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
    const why = words === '' ? this.silentEnd(how) : words;
    if (!this.loaded && !this.served && this.version.isolation === 'shared' && !this.innocent) return this.blame(`its code ended the process (${how}) ${words}`.trim());
    this.restart(why);
  }

  /** Killed from outside, and not so often yet that it must be its own doing: that says nothing about its code. */
  get innocent(): boolean {
    return this.kills > 0 && this.kills < KILLS;
  }

  private silentEnd(how: string): string {
    const ended = `the worker process ended with ${how}`;
    return this.own && !this.loaded ? `${ended} before it made a Worker; worker.ts must call Worker.create and await its run()` : ended;
  }

  private restart(why: string): void {
    this.restarts += 1;
    this.lastError = why;
    const wait = Math.min(FIRST_BACKOFF_MS * 2 ** this.attempt, LONGEST_BACKOFF_MS);
    this.attempt += 1;
    this.around.log('error', 'worker.crashed', { ...this.label, restarts: this.restarts, againInMs: wait, lastError: why });
    this.after('backoff', wait, () => this.start());
    this.become('backoff');
  }

  /** A hang or an exit while somebody's code was loading: that release's failure. */
  private blame(why: string): void {
    const guilty = this.loading;
    if (guilty === undefined) return this.fail(this.all(why));
    const failure = { workflowId: guilty, error: why };
    const release = this.version.releases.find(({ workflowId }) => workflowId === guilty)?.release;
    const tolerable = this.tolerated.includes('*') || this.tolerated.includes(`${guilty}/${release}`);
    if (!tolerable || this.skipped.some(({ workflowId }) => workflowId === guilty)) return this.fail([failure]);
    this.skipped = [...this.skipped, failure];
    this.discard();
    this.start();
  }

  private fail(failed: readonly Failure[]): void {
    const { bundle } = this.version;
    if (bundle !== undefined && !existsSync(dirname(bundle))) return this.overtaken();
    this.failed = failed;
    this.lastError = failed.map(({ workflowId, error }) => `${workflowId}: ${error}`).join('\n').slice(0, 2048);
    this.discard();
    this.around.log('error', 'worker.failed', { ...this.label, failed });
    this.become('failed');
  }

  /** Newer versions came while it was loading, and it was cleared away: that says nothing about anybody's code. */
  private overtaken(): void {
    this.around.log('info', 'worker.overtaken', this.label);
    this.discard();
    this.stop();
  }

  private discard(): void {
    const child = this.child;
    this.child = undefined;
    this.pid = undefined;
    this.clear();
    child?.kill('SIGKILL');
  }

  private all(error: string): Failure[] {
    return this.version.releases.map(({ workflowId }) => ({ workflowId, error }));
  }

  private become(state: State): void {
    if (this.state !== state) this.since = performance.now();
    if (this.state !== state && state !== 'failed') this.around.log('info', `worker.${state}`, this.label);
    this.state = state;
    this.around.changed();
  }

  private after(name: 'load' | 'backoff' | 'healthy' | 'kill', ms: number, then: () => void): void {
    this.cancel(name);
    this.timers.set(name, setTimeout(then, ms));
  }

  private cancel(name: 'load' | 'backoff' | 'healthy' | 'kill'): void {
    clearTimeout(this.timers.get(name));
    this.timers.delete(name);
  }

  private clear(): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
  }
}
