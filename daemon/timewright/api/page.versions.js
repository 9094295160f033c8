// The versions of a workflow's pool, and how far the rollout of the newest is. The same facts as cli/drawing.py.

import { el, outside, painted } from './page.dom.js';
import { ago, lasting, moment, PHASES, remaining } from './page.words.js';

const MOST = 10; // versions that are shown; the newest
const OVER = ['promoted', 'rolledBack', 'superseded'];
const TONES = { promoted: 'good', rolledBack: 'bad', paused: 'warn', held: 'warn', manual: 'warn', superseded: 'quiet' };
const PROMOTABLE = ['waiting', 'pausing', 'manual', 'paused'];
const SKIPPABLE = ['pausing', 'manual'];

export const isUnderWay = (rollout) => Boolean(rollout) && !OVER.includes(rollout.phase);

/** What the next `promote` gives the new version, in words. */
export function nextShare({ step, steps }) {
  const next = steps[step + 1];
  return next ? `${next.rampPercentage} % of new executions` : 'all new executions';
}

/** `versions`: {state, error}, null while they are read. Nothing where the pool has none. */
export function versionsOf(versions, may) {
  const { state, error } = versions ?? {};
  if (!error && !state?.versioned) return null;
  return el('section', { id: 'versions', 'data-key': 'versions' },
    el('h3', null, 'Versions'),
    error && el('p', { class: 'warn' }, "They can't be shown: ", outside(error)),
    state?.problem && el('p', { class: 'warn' }, "Temporal can't be asked now: ", outside(state.problem)),
    state?.rollout && rolloutOf(state, may),
    state?.versions.length ? tableOf(state) : null);
}

function rolloutOf({ rollout, manager }, may) {
  const { phase, hosts, guilty } = rollout;
  const absent = hosts.expected.filter((name) => !hosts.arrived.includes(name));
  const ended = moment(rollout.endedAt);
  return [
    el('p', { id: 'rollout' }, 'Version ', mono(rollout.buildId), rollout.from && [' (before: ', mono(rollout.from), ')'], ': ',
      el('strong', { class: TONES[phase] ?? 'busy' }, PHASES[phase] ?? phase), ended ? `, ${ago(ended)} ago` : ''),
    rollout.because && el('p', null, outside(rollout.because)),
    phase === 'held' && manager && el('p', { class: 'warn' }, 'The deployment is managed by ', outside(manager), '.'),
    guilty.length ? el('p', { class: 'bad' }, 'It failed for ', outside(guilty.join(', ')), '.') : null,
    absent.length ? el('p', { class: 'warn' }, 'Not yet served by ', outside(absent.join(', ')), '.') : null,
    rollout.steps.length ? el('ol', { class: 'plain', id: 'steps' }, rollout.steps.map((step, number) => stepOf(rollout, step, number))) : null,
    isUnderWay(rollout) && may.change && may.steer ? steeringOf(rollout) : null,
  ];
}

function stepOf(rollout, step, number) {
  const now = number === rollout.step;
  const over = !isUnderWay(rollout);
  let [mark, tone, word] = ['·', 'quiet', 'to come'];
  if (number < rollout.step || rollout.phase === 'promoted') [mark, tone, word] = ['✓', 'good', 'done'];
  else if (now) [mark, tone, word] = over ? ['✗', 'bad', 'ended here'] : ['▶', 'busy', 'now'];
  const left = now && rollout.phase === 'pausing' ? moment(rollout.nextAt) - Date.now() / 1000 : 0;
  return el('li', { class: tone, 'aria-current': now && !over ? 'step' : null },
    el('span', { 'aria-hidden': 'true' }, mark), el('span', { class: 'unseen' }, `${word}: `),
    ` ${step.rampPercentage} %`, step.pauseS ? ` for ${lasting(step.pauseS)}` : '', step.gate ? ', then its gate' : '',
    left > 0 ? el('strong', null, ` ${remaining(left)} left`) : null);
}

function steeringOf({ phase }) {
  const button = (verb, text) => el('button', { type: 'button', 'data-do': verb, 'data-key': verb, id: `do-${verb}` }, text);
  return el('p', { class: 'actions' },
    phase === 'paused' && button('retry-gate', 'Run the gate again…'),
    PROMOTABLE.includes(phase) && button('promote', 'Promote…'),
    SKIPPABLE.includes(phase) && button('promote-all', 'Promote to all…'),
    button('abort', 'Abort…'));
}

function tableOf({ versions }) {
  const shown = [...versions].sort((a, b) => b.percent - a.percent || (moment(b.since) - moment(a.since))).slice(0, MOST);
  const more = versions.length - shown.length;
  const heads = ['Version', 'Status', 'Share of new executions', 'Open', 'Served by', 'Since', 'Releases'];
  return el('table', null,
    el('caption', null, more ? `The newest; and ${more} older.` : 'Those with the largest share first.'),
    el('thead', null, el('tr', null, heads.map((head) => el('th', { scope: 'col' }, head)))),
    el('tbody', null, shown.map(rowOf)));
}

function rowOf(one) {
  const cell = (label, ...content) => el('td', { 'data-label': label }, ...content);
  const served = Object.keys(one.pollers).sort().join(', ') || (one.served ? 'this host' : '');
  return el('tr', { 'data-key': `v:${one.buildId}` },
    el('th', { scope: 'row' }, mono(one.buildId)),
    cell('Status', painted(one.status)),
    cell('Share', el('meter', { min: 0, max: 100, value: one.percent, 'aria-label': 'share' }), ` ${Number(one.percent.toFixed(2))} %`),
    cell('Open', one.open === null ? '' : String(one.open)),
    cell('Served by', outside(served)),
    cell('Since', one.since && el('time', { datetime: one.since, title: one.since }, ago(moment(one.since)))),
    cell('Releases', outside(Object.entries(one.releases).sort().map(([name, release]) => `${name} ${release}`).join(', '))));
}

const mono = (text) => el('span', { class: 'mono' }, outside(text));
