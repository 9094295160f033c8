/** One pool: which of its versions should run, which do. Start the new, let it poll, retire the old. */
import { Slot, type Surroundings } from './slot';
import type { PoolVersion } from './tree';

/** A version that could not be loaded is tried again now and then: what it lacked may have come. */
const RETRY_FAILED_MS = 60_000;

export class Pool {
  slots: Slot[] = [];
  /** Slots of the current version that a fresh one of the same version takes over from. */
  private readonly renewed = new WeakSet<Slot>();
  desired: PoolVersion | undefined;
  /** Why the tree's current version can't be read; what runs goes on. */
  trouble: { poolVersion: string; error: string } | undefined;

  /** `queue`: the `poolKey`, which a pool's lanes share and people know. */
  constructor(
    readonly queue: string,
    private readonly around: Surroundings,
  ) {}

  /** What new work goes to, and not a lane that is only kept for what began there. */
  get newest(): boolean {
    return this.desired !== undefined && !this.desired.kept;
  }

  /** The live slot of the version that the tree names. */
  get current(): Slot | undefined {
    return this.slots.find((slot) => slot.version.poolVersion === this.desired?.poolVersion && !isLeaving(slot) && !this.renewed.has(slot));
  }

  /** `retry`: somebody asked, so a version that failed to load is tried again at once. */
  want(desired: PoolVersion | undefined, retry: boolean): void {
    this.desired = desired;
    this.trouble = undefined;
    if (desired === undefined) return this.retireOthers(undefined);
    const current = this.current;
    if (current === undefined) this.begin(desired);
    else if (current.state === 'failed' && (retry || performance.now() - current.since > RETRY_FAILED_MS)) {
      current.skipped = [];
      current.tolerated = this.tolerated();
      current.start();
    }
    // Newest wins: what never polled and isn't wanted any more holds nothing and can go at once.
    for (const slot of this.slots) if (slot !== this.current && !slot.served) slot.drain();
    this.settle();
  }

  /** Serves the current version from a fresh process. One that is on its way already is fresh enough. */
  renew(): void {
    const { current } = this;
    if (current?.state !== 'polling' || this.desired === undefined) return;
    this.renewed.add(current);
    this.begin(this.desired);
  }

  /** To be called after every change of a slot. */
  settle(): void {
    if (this.current?.state === 'polling') this.retireOthers(this.current);
    this.slots = this.slots.filter((slot) => slot.state !== 'stopped');
  }

  private begin(desired: PoolVersion): void {
    const slot = new Slot(desired, this.around);
    slot.tolerated = this.tolerated();
    this.slots.push(slot);
    slot.start();
  }

  /**
   * With nothing running, half a pool is better than none. With something running, a new version must
   * not be worse: only what fails there already may fail here.
   */
  private tolerated(): string[] {
    const serving = [...this.slots, ...this.around.siblings(this.queue)].filter((slot) => slot.served && ['polling', 'connecting'].includes(slot.state));
    const live = serving.sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime())[0];
    if (live === undefined) return ['*'];
    return live.failed.map(({ workflowId }) => {
      const release = live.version.releases.find((one) => one.workflowId === workflowId)?.release;
      return `${workflowId}/${release}`;
    });
  }

  private retireOthers(keep: Slot | undefined): void {
    for (const slot of this.slots) if (slot !== keep) slot.drain();
    this.slots = this.slots.filter((slot) => slot.state !== 'stopped');
  }
}

export function isLeaving(slot: Slot): boolean {
  return slot.state === 'draining' || slot.state === 'stopped';
}
