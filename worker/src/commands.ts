/** What an execution did, as plain values: out of its history, and out of the commands that code gives. */
import { type coresdk, temporal } from '@temporalio/proto';

export type Kind =
  | 'activity'
  | 'timer'
  | 'child'
  | 'localActivity'
  | 'signal'
  | 'cancelExternal'
  | 'cancelTimer'
  | 'cancelActivity'
  | 'patch'
  | 'searchAttributes'
  | 'memo'
  | 'nexus'
  | 'cancelNexus'
  | 'complete'
  | 'fail'
  | 'cancel'
  | 'continueAsNew';

/** One command. `name`: the activity's, the child's type, the patch's id, …; `ms`: a timer's time. */
export interface Step {
  readonly kind: Kind;
  readonly name?: string;
  readonly ms?: number;
}

/** A command that history holds, and the event that holds it. */
export interface Recorded extends Step {
  readonly eventId: number;
}

/** A command that the new code gave. `activation` and `seq` find what takes it back before it is sent. */
export interface Given extends Step {
  readonly activation: number;
  readonly seq?: number;
  /** Read only where it is shown: formatting a stack costs far more than keeping it. */
  readonly probe?: { readonly stack?: string };
}

type Event = temporal.api.history.v1.IHistoryEvent;
type Command = coresdk.workflow_commands.IWorkflowCommand;
type Span = { seconds?: unknown; nanos?: number | null } | null | undefined;

/** `seconds` may be a Long, a number or a text. */
const millis = (span: Span): number => Number(String(span?.seconds ?? 0)) * 1000 + Math.round((span?.nanos ?? 0) / 1e6);
const named = (kind: Kind, name: string | null | undefined): Step => (name ? { kind, name } : { kind });

/** The command behind an event; undefined for what is no command, or is left out of the comparison. */
export function stepOf(event: Event): Step | undefined {
  if (event.activityTaskScheduledEventAttributes) return named('activity', event.activityTaskScheduledEventAttributes.activityType?.name);
  if (event.timerStartedEventAttributes) return { kind: 'timer', ms: millis(event.timerStartedEventAttributes.startToFireTimeout) };
  if (event.startChildWorkflowExecutionInitiatedEventAttributes) {
    return named('child', event.startChildWorkflowExecutionInitiatedEventAttributes.workflowType?.name);
  }
  if (event.signalExternalWorkflowExecutionInitiatedEventAttributes) {
    return named('signal', event.signalExternalWorkflowExecutionInitiatedEventAttributes.signalName);
  }
  if (event.nexusOperationScheduledEventAttributes) return named('nexus', event.nexusOperationScheduledEventAttributes.operation);
  if (event.markerRecordedEventAttributes) return marker(event.markerRecordedEventAttributes);
  const plain: [unknown, Kind][] = [
    [event.requestCancelExternalWorkflowExecutionInitiatedEventAttributes, 'cancelExternal'],
    [event.timerCanceledEventAttributes, 'cancelTimer'],
    [event.activityTaskCancelRequestedEventAttributes, 'cancelActivity'],
    [event.upsertWorkflowSearchAttributesEventAttributes, 'searchAttributes'],
    [event.workflowPropertiesModifiedEventAttributes, 'memo'],
    [event.nexusOperationCancelRequestedEventAttributes, 'cancelNexus'],
    [event.workflowExecutionCompletedEventAttributes, 'complete'],
    [event.workflowExecutionFailedEventAttributes, 'fail'],
    [event.workflowExecutionCanceledEventAttributes, 'cancel'],
    [event.workflowExecutionContinuedAsNewEventAttributes, 'continueAsNew'],
  ];
  const kind = plain.find(([attributes]) => attributes)?.[1];
  return kind === undefined ? undefined : { kind };
}

function marker(attributes: temporal.api.history.v1.IMarkerRecordedEventAttributes): Step | undefined {
  if (attributes.markerName === 'core_local_activity') return { kind: 'localActivity' };
  if (attributes.markerName !== 'core_patch') return undefined;
  const data = attributes.details?.['patch-data']?.payloads?.[0]?.data;
  try {
    return named('patch', (JSON.parse(Buffer.from(data ?? []).toString('utf8')) as { id?: string }).id);
  } catch {
    return { kind: 'patch' };
  }
}

/** The command that the SDK's pushCommand was given; undefined for answers to queries and updates. */
export function stepOfCommand(command: Command): (Step & { seq?: number }) | undefined {
  if (command.startTimer) return { kind: 'timer', ms: millis(command.startTimer.startToFireTimeout), seq: command.startTimer.seq ?? 0 };
  if (command.cancelTimer) return { kind: 'cancelTimer', seq: command.cancelTimer.seq ?? 0 };
  if (command.scheduleActivity) return { ...named('activity', command.scheduleActivity.activityType), seq: command.scheduleActivity.seq ?? 0 };
  if (command.requestCancelActivity) return { kind: 'cancelActivity', seq: command.requestCancelActivity.seq ?? 0 };
  if (command.scheduleLocalActivity) return named('localActivity', command.scheduleLocalActivity.activityType);
  if (command.startChildWorkflowExecution) return named('child', command.startChildWorkflowExecution.workflowType);
  if (command.signalExternalWorkflowExecution) return named('signal', command.signalExternalWorkflowExecution.signalName);
  if (command.scheduleNexusOperation) return named('nexus', command.scheduleNexusOperation.operation);
  if (command.setPatchMarker) return named('patch', command.setPatchMarker.patchId);
  const plain: [unknown, Kind][] = [
    [command.requestCancelExternalWorkflowExecution, 'cancelExternal'],
    [command.upsertWorkflowSearchAttributes, 'searchAttributes'],
    [command.modifyWorkflowProperties, 'memo'],
    [command.requestCancelNexusOperation, 'cancelNexus'],
    [command.completeWorkflowExecution, 'complete'],
    [command.failWorkflowExecution, 'fail'],
    [command.cancelWorkflowExecution, 'cancel'],
    [command.continueAsNewWorkflowExecution, 'continueAsNew'],
  ];
  const kind = plain.find(([attributes]) => attributes)?.[1];
  return kind === undefined ? undefined : { kind };
}

export interface Mismatch {
  readonly old?: Recorded;
  readonly given?: Given;
}

/**
 * Where history and code part: the first command that isn't the same. Left out are those that the SDK's
 * core orders or leaves out itself (`CORES`), and what is cancelled in the activation that asked for it.
 *
 * `accused`: the event that the core names; `patch`: the one whose marker it misses.
 */
export function compare(events: readonly Event[], commands: readonly Given[], accused?: number, patch?: string): Mismatch {
  const history = recorded(events);
  const marker = patch === undefined ? undefined : history.find((step) => step.kind === 'patch' && step.name === patch);
  if (marker !== undefined) return { old: marker };
  const old = history.filter((step) => !CORES.has(step.kind));
  const given = commands.filter((step) => !CORES.has(step.kind) && !takenBack(step, commands));
  const ends = [
    old.findIndex((step, index) => !same(step, given[index])),
    old.findIndex((step) => step.eventId === accused),
    old.length,
  ].filter((index) => index >= 0);
  const at = Math.min(...ends);
  const found = { ...(old[at] ? { old: old[at] } : {}), ...(given[at] ? { given: given[at] } : {}) };
  if (found.old !== undefined || found.given !== undefined) return found;
  const culprit = history.find((step) => step.eventId === accused);
  return culprit === undefined ? {} : { old: culprit };
}

/** A cancel may be no event, or that of another kind; patches bring a search attribute with them. */
const CORES: ReadonlySet<Kind> = new Set<Kind>([
  ...(['localActivity', 'patch', 'searchAttributes'] as const),
  ...(['cancelExternal', 'cancelTimer', 'cancelActivity', 'cancelNexus'] as const),
]);

function recorded(events: readonly Event[]): Recorded[] {
  return events.flatMap((event) => {
    const step = stepOf(event);
    return step === undefined ? [] : [{ ...step, eventId: Number(String(event.eventId)) }];
  });
}

function same(old: Step, given: Step | undefined): boolean {
  return given !== undefined && old.kind === given.kind && (old.name === undefined || given.name === undefined || old.name === given.name);
}

function takenBack(step: Given, commands: readonly Given[]): boolean {
  const other = { timer: 'cancelTimer', cancelTimer: 'timer', activity: 'cancelActivity', cancelActivity: 'activity' }[step.kind as string];
  return (
    other !== undefined &&
    commands.some((one) => one.kind === other && one.seq === step.seq && one.activation === step.activation)
  );
}

const Cause = temporal.api.enums.v1.WorkflowTaskFailedCause;
/** Of its code. Others are Temporal's own and pass: a task that was reset, or met a newer event. */
const CAUSES: ReadonlySet<unknown> = new Set([
  Cause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
  Cause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
]);

/** Why the execution is stuck already, where its code failed its last workflow task; undefined where it isn't. */
export function stuck(events: readonly Event[]): string | undefined {
  for (const event of [...events].reverse()) {
    if (event.workflowTaskCompletedEventAttributes) return undefined;
    const failed = event.workflowTaskFailedEventAttributes;
    if (failed && CAUSES.has(failed.cause)) return failed.failure?.message ?? 'its last workflow task failed';
  }
  return undefined;
}
