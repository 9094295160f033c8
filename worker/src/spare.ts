/** A warm worker process in reserve, its SDK loaded and connected: a swap need not wait for that. */
import type { Log } from './log';
import type { Child } from './processes';
import type { TemporalSettings } from './settings';
import type { PoolVersion } from './tree';

/** Not at once: loading the SDK takes half a second of CPU that the swap under way needs more. */
const REFILL_MS = 3000;

export class Spare {
  private child: Child | undefined;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    private readonly enabled: boolean,
    private readonly launch: (pool?: PoolVersion) => Child,
    private readonly temporal: TemporalSettings,
    private readonly report: (reachable: boolean, error?: string) => void,
    private readonly log: Log,
  ) {}

  fill(): void {
    if (!this.enabled || this.closed || this.child !== undefined) return;
    const child = (this.child = this.launch());
    child.onMessage((message) => {
      if (this.child !== child) return;
      if (message.type === 'temporal') this.report(message.reachable, message.error);
    });
    child.onExit((code, signal) => {
      if (this.child !== child) return;
      this.child = undefined;
      this.log('warn', 'spare.ended', { code, signal, lastError: child.lastWords() });
      this.refill(10 * REFILL_MS);
    });
    child.send({ type: 'warm', temporal: this.temporal });
  }

  /** The spare, or a new process where there is none. */
  take(pool: PoolVersion): Child {
    const child = this.child ?? this.launch(pool);
    this.child = undefined;
    this.refill(REFILL_MS);
    return child;
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    const child = this.child;
    this.child = undefined;
    child?.kill('SIGKILL');
  }

  private refill(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fill(), ms);
  }
}
