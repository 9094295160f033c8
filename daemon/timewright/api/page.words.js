// What a workflow's view says in words, for the page. The same as cli/words.py: a test holds the two equal.

export const BAD = 'bad';
export const WARN = 'warn';
export const INFO = 'info';
const LEVELS = [BAD, WARN, INFO];
const PIN_WORDS = { rollback: 'rolled back', revert: 'reverted', undeploy: 'taken out' };

/** All that isn't as usual with a workflow, the worst first: {level, word, text, helps, hint}. */
export function notes(view, now = Date.now() / 1000) {
  const found = [...failure(view, now), ...decisions(view, now), ...hold(view), ...health(view), ...drift(view)];
  return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

function note(level, word, text, helps = '') {
  return { level, word, text, helps, hint: text.includes('`timewright ') ? '' : helps };
}

function* failure(view, now) {
  const error = view.lastError;
  if (!error) return;
  let text = `${error.reason}: ${error.message}`;
  const due = moment(view.retryAt);
  if (due) text += due > now ? `; tried again in ${left(due, now)}` : '; tried again now';
  yield note(BAD, 'failed', text, error.problems?.length ? `timewright show ${view.workflowId}` : '');
}

function* decisions(view, now) {
  const { workflowId, heldReason, suspended, pin } = view;
  if (suspended) {
    const everything = suspended.scope === 'all';
    const text = `suspended${everything ? ' with all others' : ''} by ${who(suspended, now)}`;
    const resume = `timewright resume ${everything ? '--all' : workflowId}`;
    yield note(WARN, 'suspended', heldReason === 'Suspended' ? view.held : text, resume);
  }
  if (pin) {
    const ours = ['Pinned', 'UndeployedByHand'].includes(heldReason);
    const out = `timewright ${pin.kind === 'undeploy' ? 'deploy' : 'unpin'} ${workflowId}`;
    yield note(WARN, PIN_WORDS[pin.kind] ?? 'pinned', ours ? view.held : pinned(pin, now), out);
  }
}

function pinned(pin, now) {
  if (pin.kind === 'undeploy') return `taken out of service by ${who(pin, now)}`;
  const did = { rollback: 'rolled back to', revert: 'reverted to' }[pin.kind] ?? 'pinned at';
  const until = pin.liftedByAChangeOfTheSpec ? ' until its spec changes' : '';
  return `${did} release ${pin.release}${until} by ${who(pin, now)}`;
}

/** `alice: a reason (2h left)`. */
export function who(view, now) {
  const until = moment(view.until);
  const text = view.reason ? `${view.by}: ${view.reason}` : String(view.by);
  return until ? `${text} (${left(until, now)} left)` : text;
}

function* hold(view) {
  const told = [...(view.suspended ? ['Suspended'] : []), ...(view.pin ? ['Pinned', 'UndeployedByHand'] : [])];
  if (view.held && !told.includes(view.heldReason)) {
    yield note(WARN, 'held back', view.held, view.missingSince ? `timewright prune ${view.workflowId}` : '');
  } else if (view.missingSince && !view.held) {
    yield note(WARN, 'gone', `${view.source || 'its spec'} is gone from the source`);
  }
}

function* health(view) {
  if (view.health === 'Progressing' && view.healthReason?.startsWith('rollout')) {
    yield note(INFO, '', view.healthReason, `timewright rollout ${view.workflowId} --watch`);
  }
  if (['Degraded', 'Missing'].includes(view.health) && view.healthReason) yield note(WARN, '', view.healthReason);
}

function* drift(view) {
  const found = view.drift ?? [];
  if (!found.length) return;
  const more = found.length > 3 ? ` and ${found.length - 3} more` : '';
  const text = `changed by hand: ${found.slice(0, 3).join(', ')}${more}`;
  yield note(WARN, 'drifted', text, `timewright diff ${view.workflowId} --drift`);
}

/** What a rollout does in a phase. */
export const PHASES = {
  waiting: 'waits for its hosts',
  gate: 'its gate runs',
  ramping: 'its share is being changed',
  pausing: 'serves its share, and is watched',
  manual: 'waits to be promoted',
  paused: 'its gate has failed; waits for a person',
  held: 'somebody else manages the deployment',
  promoted: 'takes all new executions',
  rolledBack: 'was taken back',
  superseded: 'gave way to a newer version',
};

/** A problem as errors show it: `src/workflow.ts:3:9: TS2345: a message (a hint)`. */
export function problemText({ where = '', message = '', hint = '', line = null, column = null, code = '' }) {
  const place = line === null ? where : `${where}:${line}${column === null ? '' : `:${column}`}`;
  const text = `${place ? `${place}: ` : ''}${code ? `${code}: ` : ''}${message}`;
  return hint ? `${text} (${hint})` : text;
}

// Times and text --------------------------------------------------------------------------------

/** Seconds since the epoch of a view's time; 0 for never and for what is no time. */
export function moment(text) {
  const found = text ? Date.parse(text) / 1000 : 0;
  return Number.isFinite(found) ? found : 0;
}

/** `12s`, `3m`, `5h`, `2d` since a moment; '' for never. */
export function ago(at, now = Date.now() / 1000) {
  return at ? lasting(now - at) : '';
}

/** The same until a moment, rounded: what was set for 2h a moment ago has 2h left. */
export function left(at, now = Date.now() / 1000) {
  const seconds = at - now;
  const unit = [86400, 3600, 60].find((size) => seconds > 0.95 * size) ?? 1;
  return at ? lasting(seconds + unit / 2) : '';
}

/** What is left of a span, as a countdown: `1h 05m`, `12m 30s`, `9s`. */
export function remaining(seconds) {
  const whole = Math.max(0, Math.trunc(seconds));
  const two = (number) => String(number).padStart(2, '0');
  for (const [size, unit, smaller, name] of [[86400, 'd', 3600, 'h'], [3600, 'h', 60, 'm'], [60, 'm', 1, 's']]) {
    if (whole >= size) return `${Math.floor(whole / size)}${unit} ${two(Math.floor((whole % size) / smaller))}${name}`;
  }
  return `${whole}s`;
}

/** A span of time in its largest unit. */
export function lasting(seconds) {
  const whole = Math.max(0, Math.trunc(seconds));
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'm']]) {
    if (whole >= size) return `${Math.floor(whole / size)}${unit}`;
  }
  return `${whole}s`;
}

/** Text from outside: no control characters, and none that turn the direction of what follows. */
export function printable(text) {
  return String(text ?? '').replace(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu, '�');
}
