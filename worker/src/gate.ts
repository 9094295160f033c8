/**
 * Counts a worker's slots and can stop giving them out: then the SDK's core begins no new poll, while
 * polls under way end in their own time and the worker goes on with what it got. See `retire.ts`.
 */
import type { CustomSlotSupplier, SlotInfo, SlotPermit, SlotReserveContext } from '@temporalio/worker';

/** Polls of the common queue, and those of the worker's own queue for executions that it has cached. */
export type Kind = 'common' | 'sticky';

interface Permit extends SlotPermit {
  readonly kind: Kind;
  used: boolean;
}

interface Waiting {
  readonly kind: Kind;
  readonly give: (permit: Permit) => void;
}

export class Gate<Info extends SlotInfo> implements CustomSlotSupplier<Info> {
  readonly type = 'custom';
  private readonly open = { common: 0, sticky: 0 };
  private readonly closed = new Set<Kind>();
  private readonly waiting = new Set<Waiting>();
  private given = 0;

  constructor(private readonly limit: number) {}

  /** Slots given out and not in use: polls under way, and at most one that is about to begin. */
  polls(kind: Kind): number {
    return this.open[kind];
  }

  close(kind: Kind): void {
    this.closed.add(kind);
  }

  reserveSlot({ isSticky }: Pick<SlotReserveContext, 'isSticky'>, signal: AbortSignal): Promise<SlotPermit> {
    const kind = isSticky ? 'sticky' : 'common';
    if (this.hasRoom(kind)) return Promise.resolve(this.take(kind));
    return new Promise((give, refuse) => {
      const one: Waiting = { kind, give };
      this.waiting.add(one);
      signal.addEventListener('abort', () => {
        this.waiting.delete(one);
        refuse(signal.reason as Error); // this very error: the SDK logs any other as a fault of ours
      });
    });
  }

  tryReserveSlot({ isSticky }: Pick<SlotReserveContext, 'isSticky'>): SlotPermit | null {
    const kind = isSticky ? 'sticky' : 'common';
    return this.hasRoom(kind) ? this.take(kind) : null;
  }

  markSlotUsed({ permit }: { permit: SlotPermit }): void {
    const one = permit as Permit;
    if (one.used) return;
    one.used = true;
    this.open[one.kind] -= 1;
  }

  releaseSlot({ permit }: { permit: SlotPermit }): void {
    const one = permit as Permit;
    this.given -= 1;
    if (!one.used) this.open[one.kind] -= 1; // its poll brought nothing
    const next = [...this.waiting].find(({ kind }) => this.hasRoom(kind));
    if (next === undefined) return;
    this.waiting.delete(next);
    next.give(this.take(next.kind));
  }

  private hasRoom(kind: Kind): boolean {
    return !this.closed.has(kind) && this.given < this.limit;
  }

  private take(kind: Kind): Permit {
    this.given += 1;
    this.open[kind] += 1;
    return { kind, used: false };
  }
}
