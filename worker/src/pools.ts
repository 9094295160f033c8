/**
 * All pools: makes what runs agree with the tree. Level-based: each look compares the whole tree with
 * what runs; calls, timers and failures only make it look again. Keeps nothing that a restart would miss.
 */
import type { Log } from './log';
import { Pool } from './pool';
import type { Launcher } from './processes';
import type { Settings } from './settings';
import type { Slot, Surroundings } from './slot';
import { Spare } from './spare';
import { poolKey, readTree, type Tree } from './tree';

export interface TemporalStatus {
  readonly reachable: boolean;
  readonly error?: string;
  /** False until a worker process has tried. */
  readonly asked: boolean;
}

export class Pools {
  /** By lane. */
  readonly pools = new Map<string, Pool>();
  temporal: TemporalStatus = { reachable: false, error: 'not asked yet', asked: false };
  private readonly around: Surroundings;
  private readonly spare: Spare;
  private readonly watchers = new Set<() => void>();
  private pending: Promise<void> | undefined;
  private retry = false;
  private closed = false;

  constructor(
    private readonly settings: Settings,
    private readonly launcher: Launcher,
    private readonly log: Log,
    private readonly read: (data: string) => Tree = readTree,
  ) {
    const temporal = (reachable: boolean, error?: string): void => this.hearTemporal(reachable, error);
    this.spare = new Spare(settings.spare, (pool) => launcher.shared(pool), settings.temporal, temporal, log);
    this.around = {
      launch: (slot) => this.launch(slot),
      siblings: (queue) => [...this.pools.values()].filter((pool) => pool.queue === queue).flatMap((pool) => pool.slots),
      changed: () => this.changed(),
      temporal,
      log,
      loadMs: settings.loadMs,
      graceMs: settings.graceMs,
    };
  }

  start(): void {
    this.lookNow(false);
    this.spare.fill();
  }

  /** Looks at the tree again. A thousand calls at once make one look, which began after all of them. */
  look(retry: boolean): Promise<void> {
    this.retry ||= retry;
    this.pending ??= new Promise((done) => {
      setImmediate(() => {
        this.pending = undefined;
        const asked = this.retry;
        this.retry = false;
        this.lookNow(asked);
        done();
      });
    });
    return this.pending;
  }

  /** The pool of this workflow is loaded anew; what runs goes on until the new process polls. */
  renew(workflowId: string): void {
    for (const pool of this.pools.values()) {
      if (pool.newest && pool.desired?.releases.some((release) => release.workflowId === workflowId) === true) pool.renew();
    }
  }

  /** Resolves with the first answer that `ask` gives; it is asked after each change and now and then. */
  async until<T>(ask: () => T | undefined, limitMs: number): Promise<T | undefined> {
    const end = performance.now() + limitMs;
    for (;;) {
      const answer = ask();
      if (answer !== undefined) return answer;
      const left = end - performance.now();
      if (left <= 0) return undefined;
      await new Promise<void>((done) => {
        const wake = (): void => {
          clearTimeout(timer);
          this.watchers.delete(wake);
          done();
        };
        const timer = setTimeout(wake, Math.min(left, 100));
        this.watchers.add(wake);
      });
    }
  }

  /** Retires everything; resolves when no worker process is left. */
  async close(): Promise<void> {
    this.closed = true;
    this.spare.close();
    for (const pool of this.pools.values()) pool.want(undefined, false);
    await this.until(() => ([...this.pools.values()].every((pool) => pool.slots.length === 0) ? true : undefined), Infinity);
  }

  killAll(): void {
    this.closed = true;
    this.spare.close();
    for (const pool of this.pools.values()) for (const slot of [...pool.slots]) slot.kill();
  }

  private lookNow(retry: boolean): void {
    if (this.closed) return;
    const tree = this.read(this.settings.data);
    const lost = tree.unreadable ?? (tree.absent === true && this.pools.size > 0 ? 'the pools folder is gone' : undefined);
    // Not "there is nothing": a lost mount must not retire everything.
    if (lost !== undefined) return this.log('error', 'tree.unreadable', { error: lost });
    for (const [key, trouble] of tree.broken) {
      const pool = this.pool(key, key);
      if (pool.trouble?.error !== trouble.error) this.log('error', 'pool.unreadable', { pool: key, ...trouble });
      pool.trouble = trouble;
    }
    for (const [key, version] of tree.pools) {
      const pool = this.pool(key, poolKey(version));
      if (pool.desired?.poolVersion !== version.poolVersion) this.log('info', 'pool.wanted', { pool: key, poolVersion: version.poolVersion });
      pool.want(version, retry);
    }
    for (const [key, pool] of this.pools) {
      if (tree.pools.has(key) || tree.broken.has(key) || tree.broken.has(pool.queue)) continue;
      pool.want(undefined, retry);
      if (pool.slots.length === 0) this.pools.delete(key);
    }
    this.wake();
  }

  private pool(key: string, queue: string): Pool {
    const pool = this.pools.get(key) ?? new Pool(queue, this.around);
    this.pools.set(key, pool);
    return pool;
  }

  private launch(slot: Slot): ReturnType<Launcher['shared']> {
    const [first] = slot.version.releases;
    if (slot.version.isolation === 'process' && first !== undefined) return this.launcher.own(slot.version, first);
    const child = this.spare.take(slot.version);
    const { stickyMs, pollTailMs: tailMs, graceMs, maxCached, temporal } = this.settings;
    const options = { name: this.settings.name, stickyMs, tailMs, graceMs, maxCached, tolerated: slot.tolerated, skipped: slot.skipped, ...this.pollers() };
    child.send({ type: 'serve', pool: slot.version, temporal, options });
    return child;
  }

  /**
   * The server allows 1,200 polls for a namespace, and in a swap a pool polls twice. Never below 3 and 2,
   * where the four partitions of a queue would stall.
   */
  private pollers(): { workflowPollers: number; activityPollers: number } {
    const share = Math.floor(1000 / 2 / Math.max(this.pools.size, 1) / 2);
    const { workflowPollers, activityPollers } = this.settings;
    return { workflowPollers: Math.max(3, Math.min(workflowPollers, share)), activityPollers: Math.max(2, Math.min(activityPollers, share)) };
  }

  private changed(): void {
    // Not inside of the slot's own step: settling may end other slots.
    queueMicrotask(() => {
      for (const [key, pool] of this.pools) {
        pool.settle();
        if (pool.desired === undefined && pool.trouble === undefined && pool.slots.length === 0) this.pools.delete(key);
      }
      this.wake();
    });
  }

  private hearTemporal(reachable: boolean, error?: string): void {
    if (reachable !== this.temporal.reachable) {
      this.log(reachable ? 'info' : 'warn', reachable ? 'temporal.reachable' : 'temporal.unreachable', { error });
    }
    this.temporal = { reachable, asked: true, ...(error === undefined ? {} : { error }) };
    this.wake();
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}
