/**
 * Replays histories on a workflow bundle, and says of each whether the code still does what it did.
 *
 *   node dist/replay.js      one Request as JSON on stdin; on stdout a line {"ready":true}, then an Outcome
 *                            as a line of JSON for each history, in their order
 *
 * After a timeout it ends (exit code 3): the sandbox can't be trusted any more, and the rest of the
 * histories is for a new process. Who started it kills it where it says nothing for longer than `limitMs`.
 */
import { readFileSync, writeSync } from 'node:fs';

import { type coresdk, temporal } from '@temporalio/proto';
import { DefaultLogger, type ReplayResult, type ReplayWorkerOptions, Runtime, Worker } from '@temporalio/worker';
import { parseWorkflowCode } from '@temporalio/worker/lib/worker';
import { ReusableVMWorkflowCreator } from '@temporalio/worker/lib/workflow/reusable-vm';
import { globalHandlers } from '@temporalio/worker/lib/workflow/vm-shared';
import { DeterminismViolationError } from '@temporalio/workflow';

import { compare, type Given, type Step, stepOfCommand, stuck } from './commands';

interface Request {
  /** The joined workflows.js. */
  readonly bundle: string;
  /** `file`: a temporal.api.history.v1.History as it goes over the wire. Not JSON: the SDK's reader of that needs one
   * protobufjs for all of its packages, and npm installs several. */
  readonly histories: readonly { readonly workflowId: string; readonly runId: string; readonly file: string }[];
  /** For one history, and for each step of it; a long one gets more (MS_AN_EVENT). */
  readonly limitMs: number;
}

/**
 * `kind` where not ok: `determinism`: the code does something else than history holds; `failure`: the code
 * fails a workflow task; `timeout`: it doesn't end; `setup`: it could not be replayed, which is not the code's fault.
 * `source`: `src/workflow.ts:12`, where the new code gave `new`. `stuck`: why the execution fails already.
 */
interface Outcome {
  readonly workflowId: string;
  readonly runId: string;
  readonly ok: boolean;
  readonly kind?: 'determinism' | 'failure' | 'timeout' | 'setup';
  readonly message?: string;
  readonly eventId?: number;
  readonly old?: Step;
  readonly new?: Step;
  readonly source?: string;
  readonly stack?: string;
  readonly stuck?: string;
}
type Verdict = Omit<Outcome, 'workflowId' | 'runId'>;
type History = temporal.api.history.v1.IHistory;
type Failure = temporal.api.failure.v1.IFailure;

/** Told apart in stack traces by the SDK's own hook: what isn't a plain Error gets mapped lines. */
class Probe extends Error {}

class Everything extends Set<string> {
  override has(): boolean {
    return true;
  }
}
const ALL = new Everything();
const TIMED_OUT = 3;
/** 20 000 events may take 40 s more: they take 6 s of a machine that has nothing else to do. */
const MS_AN_EVENT = 2;
const MOST_STACK = 20;
/** What the SDK's default converter reads. Workers of shared pools have no other. */
const ENCODINGS = new Set(['json/plain', 'binary/null', 'binary/plain', 'json/protobuf', 'binary/protobuf', '']);

/** What the code did in the history that is being replayed. */
class Recorder {
  commands: Given[] = [];
  activation = 0;
  failure: Failure | undefined;

  reset(): void {
    this.commands = [];
    this.activation = 0;
    this.failure = undefined;
  }

  /** Has each new sandbox report here. Everything runs in this thread: the SDK's debug mode, as its replayer always does. */
  install(): void {
    const recorder = this;
    const create = ReusableVMWorkflowCreator.prototype.createWorkflow;
    ReusableVMWorkflowCreator.prototype.createWorkflow = async function (this: ReusableVMWorkflowCreator, options) {
      recorder.reset();
      // Which activities there are is the worker's to know: here none is ever called.
      (this as unknown as { registeredActivityNames: ReadonlySet<string> }).registeredActivityNames = ALL;
      // Its hook takes a stack for each promise, for a query that nobody asks here.
      (globalHandlers as unknown as { stopPromiseHook(): void }).stopPromiseHook();
      try {
        const workflow = (await create.call(this, options)) as unknown as Sandbox;
        recorder.watch(workflow);
        return workflow as unknown as Awaited<ReturnType<typeof create>>;
      } catch (error) {
        recorder.failure = { message: (error as Error).message };
        throw error;
      }
    };
  }

  private watch(workflow: Sandbox): void {
    const { activator } = workflow;
    const push = activator.pushCommand;
    activator.pushCommand = (command, ...rest) => {
      const step = stepOfCommand(command);
      if (step !== undefined) this.commands.push({ ...step, activation: this.activation, probe: probe() });
      return push.call(activator, command, ...rest);
    };
    const activate = workflow.activate.bind(workflow);
    workflow.activate = async (activation) => {
      this.activation += 1;
      const done = await activate(activation);
      if (done.failed?.failure) this.failure = done.failed.failure;
      return done;
    };
  }
}

interface Sandbox {
  activator: { pushCommand(command: coresdk.workflow_commands.IWorkflowCommand, ...rest: unknown[]): unknown };
  activate(activation: unknown): Promise<{ failed?: { failure?: Failure | null } | null }>;
}

function probe(): Probe {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 60;
  try {
    return new Probe();
  } finally {
    Error.stackTraceLimit = before;
  }
}

/** Finds the lines of the spec's own files in stacks that the SDK has mapped already. */
class Sources {
  private readonly own: ReadonlySet<string>;

  constructor(map: { sources: string[]; sourcesContent?: (string | null)[] }) {
    // Of packages and of the SDK the bundle keeps no text (edge/bundle.py).
    const texts = map.sourcesContent ?? [];
    this.own = new Set(map.sources.filter((name, index) => texts[index] != null && !/^timewright\/|(^|\/)node_modules\//.test(name)));
  }

  /** The frames in the spec's own files, without the workflow's id before each name; the innermost first. */
  frames(stack: string | undefined): string[] {
    return (stack ?? '').split('\n').flatMap((line) => {
      const [, name = '', file = '', row = '', column = ''] = /^\s+at (?:(.*) \()?(.+?):(\d+):(\d+)\)?$/.exec(line) ?? [];
      if (!this.own.has(file)) return [];
      const place = `${file.slice(file.indexOf('/') + 1)}:${row}`;
      return [name === '' ? `${place}:${column}` : `${place}:${column} in ${name.replace(/^async /, '')}`];
    });
  }
}

class Replayer {
  private current: { history: History; workflowId: string } | undefined;
  private results: AsyncIterableIterator<ReplayResult> | undefined;

  constructor(
    private readonly options: ReplayWorkerOptions,
    private readonly recorder: Recorder,
    private readonly sources: Sources,
    private readonly limitMs: number,
  ) {}

  async one({ workflowId, file }: Request['histories'][number]): Promise<Verdict> {
    let history: History;
    try {
      history = read(file);
    } catch (error) {
      return setup(`its history can't be read: ${(error as Error).message}`);
    }
    this.recorder.reset();
    const before = stuck(history.events ?? []);
    const verdict = await this.replayed(history, workflowId);
    return verdict.ok || before === undefined ? verdict : { ...verdict, stuck: before };
  }

  private async replayed(history: History, workflowId: string): Promise<Verdict> {
    this.current = { history, workflowId };
    this.results ??= Worker.runReplayHistories(this.options, this.feed());
    // This limit is for what awaits; a loop that never yields meets the sandbox's own limit.
    const ms = this.limitMs + MS_AN_EVENT * (history.events ?? []).length;
    const limit = new Promise<'late'>((done) => void setTimeout(done, ms, 'late').unref());
    try {
      const found = await Promise.race([this.results.next(), limit]);
      if (found === 'late') return late(this.limitMs);
      if (!found.done) return found.value.error === undefined ? { ok: true } : this.explain(found.value.error, history);
      return setup('the replayer ended');
    } catch (error) {
      this.results = undefined; // a worker that fails can't be used again
      return setup((error as Error).message);
    }
  }

  /** One worker for all: what it asks for next is always the current history. */
  private async *feed(): AsyncIterable<{ history: History; workflowId: string }> {
    while (this.current !== undefined) yield this.current;
  }

  private explain(error: Error, history: History): Verdict {
    const details = error.message.replace(/^.*? Details: /s, '');
    if (error instanceof DeterminismViolationError) return this.determinism(details, history);
    const { failure } = this.recorder;
    const said = failure?.message ?? details;
    if (/Script execution timed out|ERR_SCRIPT_EXECUTION_TIMEOUT/.test(`${said} ${details}`)) return late(this.limitMs);
    // Before its first activation nothing of the workflow has run: it isn't there, or can't be loaded.
    if (failure === undefined || this.recorder.activation === 0) return setup(said);
    if (failure.applicationFailureInfo?.type === 'DeterminismViolationError') return this.determinism(said, history);
    return { ok: false, kind: 'failure', message: said, ...placed(this.sources.frames(failure.stackTrace ?? undefined)) };
  }

  private determinism(details: string, history: History): Verdict {
    const message = coresWords(details);
    const event = /HistoryEvent\(id: (\d+)/.exec(message)?.[1];
    const accused = event === undefined ? undefined : Number(event);
    const patch = /patch marker encountered for change (.+?),? but/.exec(message)?.[1];
    const { old, given } = compare(history.events ?? [], this.recorder.commands, accused, patch);
    const eventId = old?.eventId ?? accused;
    return {
      ok: false,
      kind: 'determinism',
      message,
      ...(eventId === undefined ? {} : { eventId }),
      ...(old === undefined ? {} : { old: plain(old) }),
      ...(given === undefined ? {} : { new: plain(given) }),
      ...placed(this.sources.frames(given?.probe?.stack)),
    };
  }
}

/** Raises an Error for what is no history, or can't be replayed here. */
function read(file: string): History {
  const history = temporal.api.history.v1.History.decode(readFileSync(file));
  const unknown = [...encodings(history)].find((name) => !ENCODINGS.has(name));
  if (unknown !== undefined) throw new Error(`its payloads are encoded as ${unknown}`);
  if ((history.events ?? []).length === 0) throw new Error('it has no events');
  return history;
}

/** What the core says, out of its own rendering of it: `… message: "[TMPRL1100] Nondeterminism error: No command …", …`. */
function coresWords(text: string): string {
  const quoted = /message: "((?:[^"\\]|\\.)*)"/.exec(text)?.[1];
  return (quoted?.replace(/\\(.)/g, '$1') ?? text).replace(/^\[TMPRL\d+\] (Nondeterminism error: )?/, '');
}

const setup = (message: string): Verdict => ({ ok: false, kind: 'setup', message });
const late = (limitMs: number): Verdict => ({ ok: false, kind: 'timeout', message: `it did not end within ${limitMs / 1000} s` });
const plain = ({ kind, name, ms }: Step): Step => ({ kind, ...(name === undefined ? {} : { name }), ...(ms === undefined ? {} : { ms }) });

function placed(frames: readonly string[]): Pick<Verdict, 'source' | 'stack'> {
  const [first] = frames;
  if (first === undefined) return {};
  return { source: first.replace(/:\d+( in .*)?$/, ''), stack: frames.slice(0, MOST_STACK).join('\n') };
}

/** The encodings of all payloads in a history. */
function* encodings(history: History): Generator<string> {
  const waiting: unknown[] = [history];
  while (waiting.length > 0) {
    const one = waiting.pop();
    if (typeof one !== 'object' || one === null || ArrayBuffer.isView(one)) continue;
    const encoding = (one as { metadata?: { encoding?: unknown } }).metadata?.encoding;
    if (encoding instanceof Uint8Array) yield Buffer.from(encoding).toString('utf8');
    waiting.push(...Object.values(one));
  }
}

function say(value: object): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

async function main(): Promise<void> {
  const request = JSON.parse(readFileSync(0, 'utf8')) as Request;
  // Standard output is for answers; what workflow code prints goes the other way.
  for (const level of ['log', 'info', 'debug', 'warn'] as const) console[level] = console.error;
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('ERROR', () => undefined),
    telemetryOptions: { logging: { filter: 'OFF', forward: {} } },
  });
  const recorder = new Recorder();
  recorder.install();
  const { sourceMap } = parseWorkflowCode(readFileSync(request.bundle, 'utf8'), request.bundle);
  const options = {
    workflowBundle: { codePath: request.bundle },
    // The SDK's own limit for what never yields; debug mode has none. Not in its public type.
    isolateExecutionTimeout: request.limitMs,
    replayName: 'timewright-replay',
  };
  say({ ready: true });
  const replayer = new Replayer(options, recorder, new Sources(sourceMap as never), request.limitMs);
  for (const history of request.histories) {
    const verdict = await replayer.one(history);
    say({ workflowId: history.workflowId, runId: history.runId, ...verdict } satisfies Outcome);
    if (verdict.kind === 'timeout') process.exit(TIMED_OUT);
  }
  process.exit(0);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
