// The page: reads the API, follows its events, asks for things. All text from outside goes through `el`, which
// makes text nodes of it and never markup.

import { ago, BAD, INFO, lasting, left, moment, notes, printable, problemText, who } from './page.words.js';
import { connect, DownError, keep, LockedError, RefusedError } from './page.api.js';

const $ = (id) => document.getElementById(id);
const EVERY_MS = 10_000; // reads again even if no event came: what lapses (suspensions, trials) makes none
const LOG_LINES = 50;
const TOLD_MS = 12_000;
const TONES = {
  DEPLOYED: 'good', DEPLOYMENT_FAILED: 'bad', DEPLOYING: 'busy', UNDEPLOYED: 'quiet', UNDEPLOYING: 'busy',
  ROLLING_BACK: 'busy', ROLLED_BACK: 'warn', OutOfSync: 'warn', Healthy: 'good', Degraded: 'warn', Missing: 'bad',
  Progressing: 'busy', Suspended: 'warn', live: 'good', failed: 'bad', running: 'busy', 'rolled back': 'warn',
};

const api = connect({ event: onEvent, state: onStream });
const seen = { overview: null, detail: null, at: 0, down: '', error: '', locked: false, streaming: false };
const may = { change: true, all: true }; // until a 403 says otherwise

// Elements ---------------------------------------------------------------------------------------

/** An element; text among the children becomes text. */
function el(name, given, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === '' || child === false) continue;
    made.append(child instanceof Node ? child : printable(child));
  }
  return made;
}

/** Text from outside, that turns nothing around it. */
const outside = (text) => (text ? el('bdi', null, text) : null);
const painted = (word) => (word ? el('span', { class: TONES[word] ?? null }, word) : null);

/** Make `old`'s children like these, leaving alone what is the same: focus, selection and scroll stay. */
function show(old, ...children) {
  const wanted = el('div', null, ...children);
  morph(old, wanted, true);
}

function morph(old, wanted, onlyChildren = false) {
  if (!onlyChildren) {
    for (const { name } of [...old.attributes]) {
      if (!wanted.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
    }
    for (const { name, value } of wanted.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }
  const keyed = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  const kept = new Set([...wanted.children].map((child) => keyed.get(child.dataset.key)).filter(Boolean));
  let at = old.firstChild;
  for (const child of [...wanted.childNodes]) {
    while (at && at.nodeType === 1 && at.dataset.key && !kept.has(at)) at = removed(at);
    const match = child.nodeType === 1 && child.dataset.key ? keyed.get(child.dataset.key) : at;
    const same = match && match.nodeName === child.nodeName && (match.dataset?.key ?? '') === (child.dataset?.key ?? '');
    if (!same) {
      old.insertBefore(child, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    if (child.nodeType === 1) morph(match, child);
    else if (match.data !== child.data) match.data = child.data;
  }
  while (at) at = removed(at);
}

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

// The overview -----------------------------------------------------------------------------------

function rank(view) {
  const found = notes(view);
  return found.length ? [BAD, 'warn', INFO].indexOf(found[0].level) : view.health === 'Degraded' ? 1 : 3;
}

const isShown = (view) => view.held || view.pin || view.lastError || view.status !== 'UNDEPLOYED';

function overviewOf(overview) {
  const shown = overview.workflows.filter(isShown);
  shown.sort((a, b) => rank(a) - rank(b) || (a.workflowId < b.workflowId ? -1 : 1));
  if (!shown.length) return [el('h2', null, 'Workflows'), el('p', null, 'No workflow is deployed. Put a spec into the source folder.')];
  const heads = ['Workflow', 'Status', 'Sync', 'Health', 'Release', 'Pool', 'Since', 'Note'];
  return [
    el('h2', { class: 'unseen' }, 'Workflows'),
    el('table', { id: 'workflows' },
      el('caption', { class: 'unseen' }, 'All workflows, those with problems first'),
      el('thead', null, el('tr', null, heads.map((head) => el('th', { scope: 'col' }, head)))),
      el('tbody', null, shown.map(rowOf))),
  ];
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

function countsOf(views) {
  const counts = new Map();
  const words = new Map();
  const add = (map, word) => word && map.set(word, (map.get(word) ?? 0) + 1);
  for (const view of views.filter(isShown)) {
    add(counts, view.status);
    for (const { word } of notes(view)) if (word !== 'failed') add(words, word);
  }
  return [...counts].sort().concat([...words].sort()).map(([word, count]) => `${count} ${word}`).join(', ');
}

function bannersOf() {
  const found = [];
  const banner = (tone, key, ...content) => found.push(el('p', { class: `banner ${tone}`, 'data-key': key }, ...content));
  const { overview } = seen;
  if (seen.down) {
    const when = seen.at ? ` What you see is of ${new Date(seen.at).toLocaleTimeString()}.` : '';
    banner('bad', 'down', el('strong', null, "The daemon doesn't answer."), outside(seen.down), when,
      ' → ', el('code', null, 'systemctl status timewright'));
  }
  if (seen.error) banner('bad', 'error', outside(seen.error));
  if (overview?.sourceProblem) {
    banner('bad', 'source', el('strong', null, "The source can't be read completely, nothing is undeployed:"), outside(overview.sourceProblem));
  }
  if (overview?.suspended) {
    banner('warn', 'suspended', el('strong', null, 'All workflows are suspended'), 'by ', outside(who(overview.suspended, Date.now() / 1000)),
      '. Nothing is deployed or undeployed. ',
      may.all ? el('button', { type: 'button', 'data-do': 'resume', 'data-all': true }, 'Resume all…') : el('code', null, 'timewright resume --all'));
  }
  for (const [path, error] of Object.entries(overview?.refusedFiles ?? {})) {
    banner('bad', `file:${path}`, el('strong', null, outside(path), ' is refused:'), outside(error.message));
  }
  return found;
}

// One workflow -----------------------------------------------------------------------------------

function detailOf({ view, history, log }) {
  const name = view.name && view.name !== view.workflowId ? [' ', el('span', { class: 'quiet' }, outside(view.name))] : null;
  const found = notes(view);
  return [
    el('p', null, el('a', { href: '#/' }, '← All workflows')),
    el('h2', { id: 'detail', tabindex: '-1' }, outside(view.workflowId), name),
    actionsOf(view),
    found.length ? el('div', { id: 'notes' }, found.map((note) => noteOf({ ...note, hint: note.helps }))) : null,
    el('dl', null, factsOf(view).filter(([, value]) => value).map(([term, value]) => [el('dt', null, term), el('dd', null, value)])),
    errorOf(view.lastError),
    el('h3', null, 'Releases'),
    history.length ? historyOf(view, history) : el('p', { class: 'quiet' }, 'It was never deployed.'),
    el('h3', null, 'Log'),
    el('ul', { class: 'plain log', id: 'log' }, [...log].reverse().map(lineOf)),
  ];
}

function actionsOf(view) {
  if (!may.change) return el('p', { class: 'quiet' }, 'Your token may look and not change anything.');
  const button = (verb, text) => el('button', { type: 'button', 'data-do': verb, 'data-key': verb }, text);
  const own = view.suspended && view.suspended.scope !== 'all';
  return el('p', { class: 'actions' },
    button('rollback', 'Roll back…'),
    button('deploy', 'Deploy…'),
    view.pin && view.pin.kind !== 'undeploy' ? button('unpin', 'Unpin…') : null,
    own ? button('resume', 'Resume…') : button('suspend', 'Suspend…'));
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
    ['source revision', outside(view.revision)],
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

function historyOf(view, history) {
  const heads = ['Release', 'What', 'Outcome', 'When', 'Took', 'By', 'Revision', 'Because'];
  return el('table', { id: 'history' },
    el('caption', null, 'The newest first.'),
    el('thead', null, el('tr', null, heads.map((head) => el('th', { scope: 'col' }, head)))),
    el('tbody', null, history.map((row) => rolloutOf(view, row))));
}

function rolloutOf(view, row) {
  const cell = (label, ...content) => el('td', { 'data-label': label }, ...content);
  const stages = Object.entries(row.stagesMs ?? {});
  const [began, ended] = [moment(row.startedAt), moment(row.finishedAt)];
  const took = stages.length ? `${Math.round(stages.reduce((sum, [, ms]) => sum + ms, 0))} ms` : began && ended ? lasting(ended - began) : '';
  const because = [row.because, row.tries > 1 && `begun ${row.tries} times`, row.error && `${row.error.reason}: ${row.error.message}`,
    row.endedBecause && `until ${row.endedBecause}`].filter(Boolean).join('; ');
  const backTo = may.change && row.kept && !row.live && row.kind === 'deploy' && row.release && row.release !== view.release;
  return el('tr', { 'data-key': `r:${row.id}` },
    cell('Release', el('span', { class: 'mono' }, row.release ?? '-'), ' ',
      backTo && el('button', { type: 'button', 'data-do': 'rollback', 'data-release': row.release, 'aria-label': `Go back to ${row.release}…` }, 'Go back…')),
    cell('What', row.kind),
    cell('Outcome', painted(row.outcome)),
    cell('When', el('time', { datetime: row.startedAt, title: row.startedAt }, ago(moment(row.startedAt)))),
    cell('Took', took, stages.length > 1 && el('details', null, el('summary', null, 'stages'),
      el('ul', { class: 'plain' }, stages.map(([stage, ms]) => el('li', null, `${stage} ${Math.round(ms)} ms`))))),
    cell('By', outside(row.by)),
    cell('Revision', outside((row.revision ?? '').slice(0, 12))),
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

// Reading and drawing ----------------------------------------------------------------------------

const wanted = () => {
  try {
    return location.hash.startsWith('#/w/') ? decodeURIComponent(location.hash.slice(4)) : '';
  } catch {
    return '';
  }
};

let reading = null;
let again = false;
let session = 0; // of one token
let soon = 0;

/** Read what is shown, and draw it; one at a time, and once more if something happens meanwhile. */
function refresh() {
  if (seen.locked) return;
  if (reading) {
    again = true;
    return;
  }
  reading = read().finally(() => {
    reading = null;
    if (again) {
      again = false;
      refresh();
    }
  });
}

async function read() {
  const id = wanted();
  const mine = session;
  const path = `/workflows/${encodeURIComponent(id)}`;
  try {
    const overview = await api.get('/workflows?undeployed=true');
    if (mine !== session) return; // of a token that isn't ours any more
    Object.assign(seen, { overview, at: Date.now(), down: '', error: '' });
    if (id) {
      const [view, history, log] = await Promise.all([
        api.get(path), api.get(`${path}/history?last=30`), api.get(`${path}/logs?last=${LOG_LINES}`)]);
      if (mine !== session) return;
      seen.detail = { view, history, log };
    } else seen.detail = null;
  } catch (error) {
    if (mine !== session) return;
    failed(error, id);
  }
  draw();
}

function failed(error, id) {
  if (error instanceof LockedError) lock(error.message);
  else if (error instanceof DownError) seen.down = error.message;
  else {
    if (error instanceof RefusedError && error.status === 404 && id) seen.detail = null;
    seen.error = error.message;
  }
}

function draw() {
  $('door').hidden = !seen.locked;
  $('view').hidden = seen.locked;
  $('leave').hidden = seen.locked || !api.hasToken();
  $('suspend-all').hidden = seen.locked || !seen.overview || !may.all || Boolean(seen.overview.suspended);
  show($('banners'), seen.locked ? [] : bannersOf());
  if (seen.locked) {
    show($('view'));
    show($('counts'));
    show($('live'));
    return;
  }
  const id = wanted();
  show($('counts'), seen.overview ? countsOf(seen.overview.workflows) : '');
  show($('live'), seen.down ? 'not live' : seen.streaming ? 'live' : 'connecting…');
  document.title = id ? `${printable(id)} – timewright` : 'timewright';
  const focused = document.activeElement?.id;
  if (id && seen.detail?.view.workflowId === id) show($('view'), ...detailOf(seen.detail));
  else if (id) show($('view'), el('p', null, el('a', { href: '#/' }, '← All workflows')), el('p', null, seen.error ? '' : 'Reading…'));
  else if (seen.overview) show($('view'), ...overviewOf(seen.overview));
  if (focused && document.activeElement?.id !== focused) $(focused)?.focus();
}

function onEvent(kind, event) {
  clearTimeout(soon);
  soon = setTimeout(refresh, 150);
  if (kind === 'status' && event?.workflowId) {
    $('said').textContent = printable(`${event.workflowId}: ${event.new}: ${event.because}`);
  }
}

/** The stream is open (read all: what happened before it isn't in it), broken, or closed to us. */
function onStream(state, error) {
  seen.streaming = state === 'open';
  if (state === 'locked') lock(error.message);
  if (state === 'broken' && error instanceof DownError && !seen.locked) seen.down = error.message;
  if (state === 'open') refresh();
  draw();
}

// The token --------------------------------------------------------------------------------------

function lock(why) {
  if (seen.locked) return;
  const given = api.hasToken();
  session += 1;
  keep.forget();
  api.stop();
  Object.assign(seen, { locked: true, overview: null, detail: null, down: '', error: '' });
  show($('door-why'), given ? why : '');
  $('ask').close();
  draw();
  if (document.activeElement !== $('token')) $('token').focus();
}

function unlock() {
  Object.assign(may, { change: !keep.flag('may-not-change'), all: !keep.flag('may-not-all') });
  seen.locked = false;
  api.start();
  refresh();
}

$('door').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = $('token').value.trim();
  $('token').value = '';
  keep.token(token);
  unlock();
});
$('leave').addEventListener('click', () => {
  keep.forget();
  lock('');
});

// Asking for things ------------------------------------------------------------------------------

const VERBS = {
  rollback: { title: 'Roll back', does: 'goes back to this release and stays there until its spec changes. Nothing is compiled.', release: true, force: true },
  deploy: { title: 'Deploy', does: 'is deployed as the source asks for it, now.', force: true },
  suspend: { title: 'Suspend', does: 'is left as it is: nothing is deployed or undeployed. What runs goes on.', seconds: true },
  resume: { title: 'Resume', does: 'follows the source again.' },
  unpin: { title: 'Unpin', does: 'follows the source again.' },
};
let asked = null;

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) ask(button.dataset.do, 'all' in button.dataset ? null : wanted(), button.dataset.release ?? '', button);
});

function ask(verb, id, release, opener) {
  const { title, does, release: takesRelease, seconds } = VERBS[verb];
  asked = { verb, id, opener, sent: '', key: '' };
  show($('ask-title'), `${title} `, id === null ? 'all workflows' : outside(id));
  show($('ask-what'), id === null ? (verb === 'suspend' ? 'Nothing at all is deployed or undeployed. What runs goes on.' : 'All workflows follow the source again, but those that are suspended on their own.') : [outside(id), ` ${does}`]);
  show($('ask-yes'), title);
  $('ask-release-row').hidden = !takesRelease;
  $('ask-seconds-row').hidden = !seconds;
  if (takesRelease) show($('ask-release'), releasesOf(release));
  $('ask-release').value = release;
  $('ask-seconds').value = '';
  $('ask-reason').value = '';
  refuse(null);
  $('ask').showModal();
  $('ask-reason').focus();
}

function releasesOf() {
  const { view, history } = seen.detail;
  const found = new Map();
  for (const row of history) {
    if (row.kept && row.release && row.release !== view.release && !found.has(row.release)) {
      found.set(row.release, `${row.release} – ${row.outcome}, ${ago(moment(row.startedAt))} ago`);
    }
  }
  const before = view.previousRelease ? `the one before: ${view.previousRelease}` : 'the one before';
  return [el('option', { value: '' }, before), [...found].map(([value, text]) => el('option', { value }, text))];
}

function refuse(error) {
  show($('ask-refused'), error ? [el('strong', { class: 'bad' }, 'Refused: '), outside(error.message),
    error.hint ? [el('br'), 'Try: ', outside(error.hint)] : '',
    error.problems?.length ? el('ul', null, error.problems.map((one) => el('li', null, outside(problemText(one))))) : ''] : '');
  const forcible = Boolean(error && asked && VERBS[asked.verb].force && error.code === 'CONFLICT');
  $('ask-force-row').hidden = !forcible;
  if (!forcible) $('ask-force').checked = false;
  $('ask-yes').disabled = false;
}

$('ask-no').addEventListener('click', () => $('ask').close());
$('ask').addEventListener('close', () => {
  const opener = asked?.opener;
  asked = null;
  if (opener?.isConnected) opener.focus();
});
$('ask').querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (asked && !$('ask-yes').disabled) send(asked);
});

async function send(what) {
  const { verb, id } = what;
  const given = { reason: $('ask-reason').value.trim(), force: $('ask-force').checked,
    release: VERBS[verb].release ? $('ask-release').value : '', seconds: VERBS[verb].seconds ? Number($('ask-seconds').value) : 0 };
  const body = JSON.stringify(Object.fromEntries(Object.entries(given).filter(([, value]) => value)));
  if (body !== what.sent) Object.assign(what, { sent: body, key: newKey() }); // the same again: the same key
  $('ask-yes').disabled = true;
  const path = id === null ? `/${verb}` : `/workflows/${encodeURIComponent(id)}/${verb}`;
  try {
    const operation = await api.post(path, body, what.key);
    if (asked === what) $('ask').close();
    follow(operation);
  } catch (error) {
    if (asked !== what) tell('bad', `${verb} ${id ?? 'all workflows'}: ${error.message}`);
    else refuse(error);
    if (error instanceof LockedError) lock(error.message);
    if (error instanceof RefusedError && error.status === 403) forbid(id);
  }
}

/** What we may not do isn't offered again in this tab. */
function forbid(id) {
  may[id === null ? 'all' : 'change'] = false;
  if (id !== null) may.all = false;
  keep.setFlag(id === null ? 'may-not-all' : 'may-not-change');
  if (id !== null) keep.setFlag('may-not-all');
  draw();
}

async function follow(operation) {
  const name = `${operation.kind} ${operation.workflowId ?? 'all workflows'}`;
  const line = tell('busy', `… ${name}: asked for`);
  let now = operation;
  while (now.state === 'running' && !seen.locked) {
    try {
      now = await api.get(`/operations/${encodeURIComponent(now.id)}`, { Prefer: 'wait=20' });
    } catch (error) {
      if (!(error instanceof DownError)) {
        retell(line, 'bad', `${name}: ${error.message}`);
        return;
      }
      retell(line, 'busy', `… ${name}: the daemon doesn't answer; waiting until it is back`);
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
  if (now.state === 'failed') retell(line, 'bad', `✗ ${name} failed: ${now.because}`);
  else retell(line, 'good', `✓ ${name}: ${now.because}`);
  refresh();
}

function tell(tone, text) {
  const line = el('p');
  $('told').append(line);
  retell(line, tone, text);
  return line;
}

/** What failed stays until it is read. */
function retell(line, tone, text) {
  line.replaceChildren(el('span', { class: tone }, outside(text)), el('button', { type: 'button' }, 'Dismiss'));
  line.lastChild.addEventListener('click', () => line.remove());
  if (tone === 'good') setTimeout(() => line.remove(), TOLD_MS);
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https only
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

// Go ---------------------------------------------------------------------------------------------

addEventListener('hashchange', () => {
  seen.error = '';
  draw();
  refresh();
  scrollTo(0, 0);
  $('main').focus();
});
addEventListener('visibilitychange', () => document.hidden || refresh());
setInterval(() => document.hidden || refresh(), EVERY_MS);
try {
  await api.arrive();
  unlock();
} catch (error) {
  lock('');
  show($('door-why'), error.message);
}
