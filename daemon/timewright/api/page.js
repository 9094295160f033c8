// The page: reads the API, follows its events, asks for things.

import { connect, DownError, keep, LockedError, RefusedError } from './page.api.js';
import { el, outside, show } from './page.dom.js';
import { isUnderWay, nextShare } from './page.versions.js';
import { countsOf, detailOf, overviewOf, releasesOf } from './page.view.js';
import { printable, problemText, who } from './page.words.js';

const $ = (id) => document.getElementById(id);
const EVERY_MS = 10_000; // reads again even if no event came: what lapses (suspensions, trials) makes none
const LOG_LINES = 50;
const TOLD_MS = 12_000;
const ROLLOUT_MS = 2_000; // a rollout that is under way is looked at so often

const api = connect({ event: onEvent, state: onStream });
const seen = { overview: null, detail: null, versions: null, at: 0, down: '', error: '', locked: false, streaming: false };
const may = { change: true, all: true, steer: true }; // until a 403 says otherwise

// Banners ----------------------------------------------------------------------------------------

function bannersOf() {
  const found = [];
  const banner = (tone, key, ...content) => found.push(el('p', { class: `banner ${tone}`, 'data-key': key }, ...content));
  const { overview } = seen;
  if (seen.down) {
    const when = seen.at ? ` What you see is of ${new Date(seen.at).toLocaleTimeString()}.` : '';
    banner('bad', 'down', el('strong', null, "The daemon doesn't answer."), ' ', outside(seen.down), when,
      ' → ', el('code', null, 'systemctl status timewright'));
  }
  if (seen.error) banner('bad', 'error', outside(seen.error));
  if (overview?.passProblem) {
    banner('bad', 'pass', el('strong', null, 'Nothing can be changed now, what runs goes on:'), ' ', outside(overview.passProblem));
  }
  if (overview?.sourceProblem) {
    banner('bad', 'source', el('strong', null, "The source can't be read completely, nothing is undeployed:"), ' ', outside(overview.sourceProblem));
  }
  if (overview?.settingsProblem) {
    banner('bad', 'settings', el('strong', null, "The settings can't be read, those from before go on:"), ' ', outside(overview.settingsProblem));
  }
  if (overview?.suspended) {
    banner('warn', 'suspended', el('strong', null, 'All workflows are suspended'), ' by ', outside(who(overview.suspended, Date.now() / 1000)),
      '. Nothing is deployed or undeployed. ',
      may.all ? el('button', { type: 'button', 'data-do': 'resume', 'data-all': true }, 'Resume all…') : el('code', null, 'timewright resume --all'));
  }
  for (const source of (overview?.sources ?? []).filter((one) => one.problem && one.kind === 'git')) {
    const behind = source.behind ? `, ${source.behind} commit${source.behind === 1 ? '' : 's'} behind` : '';
    banner(source.state === 'Unreachable' ? 'warn' : 'bad', `source:${source.name}`,
      el('strong', null, 'Source ', outside(source.name), ` ${source.state}${behind}:`), ' ', outside(source.problem),
      source.hint && [' → ', outside(source.hint)]);
  }
  for (const [path, error] of Object.entries(overview?.refusedFiles ?? {})) {
    banner('bad', `file:${path}`, el('strong', null, outside(path), ' is refused:'), ' ', outside(error.message));
  }
  return found;
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
    api.start(); // when we are known to be let in: a stranger's two calls are one too many in the log
    if (id) {
      const [view, history, log] = await Promise.all([
        api.get(path), api.get(`${path}/history?last=30`), api.get(`${path}/logs?last=${LOG_LINES}`)]);
      if (mine !== session) return;
      seen.detail = { view, history, log };
      readVersions(id); // asks Temporal, which may take its time: what is known is drawn before
    } else seen.detail = null;
  } catch (error) {
    if (mine !== session) return;
    failed(error, id);
  }
  draw();
}

let asking = '';
let later = 0;

/** Read the versions of one workflow's pool, and again soon while a rollout is under way. */
async function readVersions(id) {
  if (asking === id) return;
  asking = id;
  clearTimeout(later);
  const mine = session;
  const found = { id, state: seen.versions?.id === id ? seen.versions.state : null, error: '' };
  try {
    found.state = await api.get(`/workflows/${encodeURIComponent(id)}/rollout`);
  } catch (error) {
    if (error instanceof LockedError && mine === session) lock(error.message);
    if (error instanceof RefusedError) Object.assign(found, { state: null, error: error.status === 404 ? '' : error.message });
  } finally {
    if (asking === id) asking = '';
  }
  if (mine !== session || wanted() !== id) return;
  seen.versions = found;
  draw();
  if (isUnderWay(found.state?.rollout)) later = setTimeout(() => document.hidden || wanted() !== id || readVersions(id), ROLLOUT_MS);
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
  if (id && seen.detail?.view.workflowId === id) {
    const versions = seen.versions?.id === id ? seen.versions : null;
    show($('view'), ...detailOf({ ...seen.detail, versions }, may));
  }
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
  Object.assign(seen, { locked: true, overview: null, detail: null, versions: null, down: '', error: '' });
  show($('door-why'), given ? why : '');
  $('ask').close();
  draw();
  if (document.activeElement !== $('token')) $('token').focus();
}

function unlock() {
  Object.assign(may, { change: !keep.flag('may-not-change'), all: !keep.flag('may-not-all'), steer: true });
  seen.locked = false;
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
  promote: { title: 'Promote', does: promoted, path: 'rollout', body: { action: 'promote' } },
  'promote-all': { title: 'Promote to all', does: 'gives its new version all new executions now, past all steps that are left.',
    path: 'rollout', body: { action: 'promote', full: true } },
  abort: { title: 'Abort', path: 'rollout', body: { action: 'abort' },
    does: 'gives all new executions to the version before, at once. The release is held as bad until its spec changes.' },
  'retry-gate': { title: 'Run the gate again', does: 'runs the gate that has failed once more. Its share stays as it is meanwhile.',
    path: 'rollout', body: { action: 'retry-gate' } },
};
let asked = null;

function promoted() {
  const rollout = seen.versions?.state?.rollout;
  if (rollout?.phase === 'waiting') return 'goes on without the hosts that do not serve its new version yet.';
  if (rollout?.phase === 'paused') return 'takes the gate that has failed for passed, and goes on.';
  const share = `gives its new version ${rollout ? nextShare(rollout) : 'its next share'}`;
  const gate = rollout?.phase === 'pausing' && rollout.steps[rollout.step]?.gate;
  return gate ? `does not wait for the end of this step: runs its gate, and if that passes ${share}.` : `${share}.`;
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) ask(button.dataset.do, 'all' in button.dataset ? null : wanted(), button.dataset.release ?? '', button);
});

function ask(verb, id, release, opener) {
  const { title, does, release: takesRelease, seconds } = VERBS[verb];
  asked = { verb, id, opener, sent: '', key: '' };
  show($('ask-title'), `${title} `, id === null ? 'all workflows' : outside(id));
  show($('ask-what'), id === null ? (verb === 'suspend' ? 'Nothing at all is deployed or undeployed. What runs goes on.' : 'All workflows follow the source again, but those that are suspended on their own.') : [outside(id), ` ${typeof does === 'function' ? does() : does}`]);
  show($('ask-yes'), title);
  $('ask-release-row').hidden = !takesRelease;
  $('ask-seconds-row').hidden = !seconds;
  if (takesRelease) show($('ask-release'), choices(seen.detail));
  $('ask-release').value = release;
  $('ask-seconds').value = '';
  $('ask-reason').value = '';
  refuse(null);
  $('ask').showModal();
  $('ask-reason').focus();
}

function choices({ view, history }) {
  const before = view.previousRelease ? `the one before: ${view.previousRelease}` : 'the one before';
  const found = [...releasesOf(view, history)];
  return [el('option', { value: '' }, before), found.map(([value, text]) => el('option', { value }, `${value} – ${text}`))];
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
  const { path: own = verb, body: more } = VERBS[verb];
  const body = JSON.stringify(Object.fromEntries(Object.entries({ ...more, ...given }).filter(([, value]) => value)));
  if (body !== what.sent) Object.assign(what, { sent: body, key: newKey() }); // the same again: the same key
  $('ask-yes').disabled = true;
  const path = id === null ? `/${verb}` : `/workflows/${encodeURIComponent(id)}/${own}`;
  try {
    const operation = await api.post(path, body, what.key);
    if (asked === what) $('ask').close();
    follow(operation);
  } catch (error) {
    if (asked !== what) tell('bad', `${verb} ${id ?? 'all workflows'}: ${error.message}`);
    else refuse(error);
    if (error instanceof LockedError) lock(error.message);
    if (error instanceof RefusedError && error.status === 403) more ? noSteering() : forbid(id);
  }
}

/** It may change workflows of others, too: that says nothing of what else we may do. */
function noSteering() {
  may.steer = false;
  draw();
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
