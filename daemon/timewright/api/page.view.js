// What is shown of all workflows, and of one.

import { el, outside, painted } from './page.dom.js';
import { isUnderWay, versionsOf } from './page.versions.js';
import { ago, BAD, INFO, lasting, left, moment, notes, problemText } from './page.words.js';

// The overview -----------------------------------------------------------------------------------

function rank(view) {
  const found = notes(view);
  return found.length ? [BAD, 'warn', INFO].indexOf(found[0].level) : view.health === 'Degraded' ? 1 : 3;
}

const isShown = (view) => view.held || view.pin || view.lastError || view.status !== 'UNDEPLOYED';

export function overviewOf(overview) {
  const shown = overview.workflows.filter(isShown);
  shown.sort((a, b) => rank(a) - rank(b) || (a.workflowId < b.workflowId ? -1 : 1));
  const sources = overview.sources.filter((source) => source.kind === 'git');
  const followed = sources.length ? el('ul', { class: 'plain', id: 'sources' }, sources.map(sourceOf)) : null;
  if (!shown.length) {
    const what = sources.length ? 'Push a spec.' : 'Put a spec into the source folder.';
    return [followed, el('h2', null, 'Workflows'), el('p', null, `No workflow is deployed. ${what}`)];
  }
  const heads = ['Workflow', 'Status', 'Sync', 'Health', 'Release', 'Pool', 'Since', 'Note'];
  return [
    followed,
    el('h2', { class: 'unseen' }, 'Workflows'),
    el('table', { id: 'workflows' },
      el('caption', { class: 'unseen' }, 'All workflows, those with problems first'),
      el('thead', null, el('tr', null, heads.map((head) => el('th', { scope: 'col' }, head)))),
      el('tbody', null, shown.map(rowOf))),
  ];
}

function sourceOf(source) {
  const { rollout } = source;
  const tone = { success: 'good', failure: 'bad', pending: 'busy' }[rollout?.state];
  return el('li', { 'data-key': `s:${source.name}` },
    el('strong', null, 'Source ', outside(source.name)), ' ', outside(source.location), ' ', outside(source.tag ?? source.ref ?? ''),
    source.commit ? [' at ', commitOf(source.commit)] : ' was not fetched yet',
    rollout && [': ', el('span', { class: tone }, rollout.state), ' ', outside(rollout.description)]);
}

/** A commit: which, what it says, whose it is, and when it was made. */
export function commitOf(commit) {
  return el('span', { title: commit.at ?? '' }, el('span', { class: 'mono' }, commit.short), ' ', outside(commit.subject),
    ' (', outside(commit.author), commit.at ? `, ${ago(moment(commit.at))} ago` : '', ')');
}

function rowOf(view) {
  const cell = (label, ...content) => el('td', { 'data-label': label, class: label === 'Note' ? null : 'nowrap' }, ...content);
  return el('tr', { 'data-key': `w:${view.workflowId}` },
    el('th', { scope: 'row' },
      el('a', { href: `#/w/${encodeURIComponent(view.workflowId)}`, id: `to-${view.workflowId}` }, outside(view.workflowId)),
      view.name && view.name !== view.workflowId ? [' ', el('span', { class: 'quiet' }, outside(view.name))] : null),
    cell('Status', painted(view.status)),
    cell('Sync', painted(view.sync)),
    cell('Health', painted(view.health)),
    cell('Release', view.release && el('span', { class: 'mono' }, view.release)),
    cell('Pool', outside(view.pool)),
    cell('Since', view.since && el('time', { datetime: view.since, title: view.since }, ago(moment(view.since)))),
    cell('Note', notes(view).map(noteOf)));
}

function noteOf(note) {
  const tone = note.level === BAD ? 'bad' : note.level === INFO ? 'busy' : 'warn';
  return el('p', null,
    note.word && el('strong', { class: tone }, note.word), note.word && ': ', outside(note.text),
    note.hint && [' → ', el('code', null, note.hint)]);
}

export function countsOf(views) {
  const counts = new Map();
  const words = new Map();
  const add = (map, word) => word && map.set(word, (map.get(word) ?? 0) + 1);
  for (const view of views.filter(isShown)) {
    add(counts, view.status);
    for (const { word } of notes(view)) if (word !== 'failed') add(words, word);
  }
  return [...counts].sort().concat([...words].sort()).map(([word, count]) => `${count} ${word}`).join(', ');
}

// One workflow -----------------------------------------------------------------------------------

export function detailOf({ view, history, log, versions }, may) {
  const name = view.name && view.name !== view.workflowId ? [' ', el('span', { class: 'quiet' }, outside(view.name))] : null;
  const found = notes(view);
  const urgent = isUnderWay(versions?.state?.rollout);
  return [
    el('p', null, el('a', { href: '#/' }, '← All workflows')),
    el('h2', { id: 'detail', tabindex: '-1' }, outside(view.workflowId), name),
    actionsOf(view, history, may),
    found.length ? el('div', { id: 'notes' }, found.map(noteOf)) : null,
    urgent ? versionsOf(versions, may) : null,
    el('dl', null, factsOf(view).filter(([, value]) => value).map(([term, value]) => [el('dt', null, term), el('dd', null, value)])),
    errorOf(view.lastError),
    urgent ? null : versionsOf(versions, may),
    el('h3', null, 'Releases'),
    history.length ? historyOf(view, history, may) : el('p', { class: 'quiet' }, 'It was never deployed.'),
    el('h3', null, 'Log'),
    el('ul', { class: 'plain log', id: 'log' }, [...log].reverse().map(lineOf)),
  ];
}

function actionsOf(view, history, may) {
  if (!may.change) return el('p', { class: 'quiet' }, 'Your token may look and not change anything.');
  const button = (verb, text) => el('button', { type: 'button', 'data-do': verb, 'data-key': verb }, text);
  const own = view.suspended && view.suspended.scope !== 'all';
  return el('p', { class: 'actions' },
    releasesOf(view, history).size ? button('rollback', 'Roll back…') : null,
    button('deploy', 'Deploy…'),
    view.pin && view.pin.kind !== 'undeploy' ? button('unpin', 'Unpin…') : null,
    own ? button('resume', 'Resume…') : button('suspend', 'Suspend…'));
}

/** What it can go back to: release → what became of it, and when it was begun. */
export function releasesOf(view, history) {
  const found = new Map();
  for (const { kept, release, outcome, startedAt } of history) {
    if (kept && release && release !== view.release && !found.has(release)) {
      found.set(release, `${outcome}, ${ago(moment(startedAt))} ago`);
    }
  }
  return found;
}

function factsOf(view) {
  const now = Date.now() / 1000;
  const since = (at) => (at ? ` since ${at} (${ago(moment(at), now)})` : '');
  const decided = (decision) => decision && [
    decision.kind === 'undeploy' ? 'out of service ' : decision.release ? `${decision.release} ` : '',
    'by ', outside(decision.by), since(decision.at), decision.until ? `, until ${decision.until}` : '',
    decision.reason ? [': ', outside(decision.reason)] : ''];
  const trial = moment(view.trialUntil);
  return [
    ['status', [painted(view.status), since(view.since)]],
    ['because', outside(view.because)],
    ['by', outside(view.by)],
    ['sync', painted(view.sync)],
    ['health', [painted(view.health), view.healthReason ? [': ', outside(view.healthReason)] : '']],
    ['live release', view.release ? el('span', { class: 'mono' }, view.release) : 'none'],
    ['previous', view.previousRelease && el('span', { class: 'mono' }, view.previousRelease)],
    ['last attempt', el('span', { class: 'mono' }, (view.attempted ?? '').slice(0, 12) || 'none')],
    ['suspended', decided(view.suspended)],
    ['pinned', decided(view.pin)],
    ['on trial', trial > now ? `for ${left(trial, now)} more` : null],
    ['held back', outside(view.held)],
    ['gone since', view.missingSince],
    ['owner', outside(view.owner)],
    ['pool', outside(view.pool)],
    ['needs', view.dependsOn?.length ? outside(view.dependsOn.join(', ')) : null],
    ['spec', outside(view.source)],
    ['live commit', view.liveCommit && view.liveCommit.sha !== view.commit?.sha && commitOf(view.liveCommit)],
    ['commit', view.commit && commitOf(view.commit)],
    ['source revision', view.commit ? null : outside(view.revision)],
    ['last good read', view.lastGoodRead ?? 'never'],
    ['next retry', view.retryAt],
    ...(view.drift ?? []).map((line) => ['drift', outside(line)]),
    ...(view.warnings ?? []).map((line) => ['warning', outside(line)]),
  ];
}

function errorOf(error) {
  if (!error) return null;
  return el('section', { id: 'last-error' },
    el('h3', null, 'Last error'),
    el('p', null, el('strong', { class: 'bad' }, error.reason), ': ', outside(error.message)),
    el('ul', null, (error.problems ?? []).map((problem) => el('li', null, outside(problemText(problem))))));
}

function historyOf(view, history, may) {
  const heads = ['Release', 'What', 'Outcome', 'When', 'Took', 'By', 'Revision', 'Because'];
  return el('table', { id: 'history' },
    el('caption', null, 'The newest first.'),
    el('thead', null, el('tr', null, heads.map((head) => el('th', { scope: 'col' }, head)))),
    el('tbody', null, history.map((row) => rolloutOf(view, row, may))));
}

function rolloutOf(view, row, may) {
  const cell = (label, ...content) => el('td', { 'data-label': label, class: label === 'Because' ? null : 'nowrap' }, ...content);
  const stages = Object.entries(row.stagesMs ?? {});
  const [began, ended] = [moment(row.startedAt), moment(row.finishedAt)];
  const took = stages.length ? `${Math.round(stages.reduce((sum, [, ms]) => sum + ms, 0))} ms` : began && ended ? lasting(ended - began) : '';
  const because = [row.because, row.tries > 1 && `begun ${row.tries} times`, row.error && `${row.error.reason}: ${row.error.message}`,
    row.endedBecause && `until ${row.endedBecause}`].filter(Boolean).join('; ');
  const backTo = may.change && row.kept && row.release && row.release !== view.release;
  return el('tr', { 'data-key': `r:${row.id}` },
    cell('Release', el('span', { class: 'mono' }, row.release ?? '-'), ' ',
      backTo && el('button', { type: 'button', 'data-do': 'rollback', 'data-release': row.release, 'aria-label': `Go back to ${row.release}…` }, 'Go back…')),
    cell('What', row.kind),
    cell('Outcome', painted(row.outcome)),
    cell('When', el('time', { datetime: row.startedAt, title: row.startedAt }, ago(moment(row.startedAt)))),
    cell('Took', took, stages.length > 1 && el('details', null, el('summary', null, 'stages'),
      el('ul', { class: 'plain' }, stages.map(([stage, ms]) => el('li', null, `${stage} ${Math.round(ms)} ms`))))),
    cell('By', outside(row.by)),
    cell('Revision', el('span', { class: 'mono', title: row.commit?.subject ?? '' }, outside(row.commit?.short ?? (row.revision ?? '').slice(0, 12)))),
    cell('Because', outside(because)));
}

function lineOf(event) {
  const told = !event.by || event.because.includes(event.by) || ['source', 'timewright'].includes(event.by);
  return el('li', { 'data-key': `e:${event.id}` },
    el('time', { datetime: event.at, title: event.at }, new Date(event.at).toLocaleString()),
    whatOf(event), ' ', outside(event.because), told ? null : [' by ', outside(event.by)],
    event.error?.problems?.length ? el('ul', null, event.error.problems.map((one) => el('li', null, outside(problemText(one))))) : null);
}

function whatOf({ kind, old, new: now }) {
  if (kind === 'status' || kind === 'health') {
    return el('span', null, kind === 'health' && 'health ', old ? painted(old) : 'new here', ' → ', painted(now));
  }
  return el('span', null, `${kind} ${now || `${old ?? ''} ended`}`.trim());
}
