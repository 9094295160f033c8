// The API for the page: calls, the stream of events, and the token, which lives in this tab alone.

const API = '/api/v1';
const KEPT = 'timewright.';
const SILENT_MS = 45_000; // the daemon says something every 15 s; a stream that doesn't is broken
const AGAIN_MS = [500, 8_000];

/** Nobody answers, or somebody between us and the daemon does. */
export class DownError extends Error {}
/** The token is missing, wrong, expired or revoked. */
export class LockedError extends Error {}
/** The daemon says no: `status`, `code`, `hint`, `problems`. */
export class RefusedError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `HTTP ${status}`);
    Object.assign(this, { status, code: problem.code, hint: problem.hint, problems: problem.problems });
  }
}

/** What this tab remembers, until it is closed. */
export const keep = {
  token: (text) => {
    keep.forget();
    sessionStorage.setItem(`${KEPT}token`, text);
  },
  flag: (name) => sessionStorage.getItem(KEPT + name) === 'yes',
  setFlag: (name) => sessionStorage.setItem(KEPT + name, 'yes'),
  forget: () => {
    for (const name of Object.keys(sessionStorage)) if (name.startsWith(KEPT)) sessionStorage.removeItem(name);
  },
};
const token = () => sessionStorage.getItem(`${KEPT}token`) ?? '';

/** `event(kind, data)` for each event; `state('open' | 'broken' | 'locked', error)` of the stream. */
export function connect({ event, state }) {
  let stopped = null; // an AbortController while it streams
  let lastId = '';

  async function call(path, given = {}) {
    const headers = { Accept: 'application/json', ...given.headers };
    if (token()) headers.Authorization = `Bearer ${token()}`;
    let answer;
    try {
      answer = await fetch(path, { ...given, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      if (/[^\x20-\x7e]/.test(token())) throw new LockedError('the token has characters that no token has');
      throw new DownError('There is no connection.');
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 401) throw new LockedError(problem.detail ?? 'this takes a valid token');
    if ([502, 503, 504].includes(answer.status)) throw new DownError(problem.detail ?? `HTTP ${answer.status}`);
    throw new RefusedError(answer.status, problem);
  }

  async function json(path, given) {
    const answer = await call(path, given);
    try {
      return await answer.json();
    } catch {
      throw new DownError('The answer broke off.');
    }
  }

  async function listen(stop) {
    let pause = AGAIN_MS[0];
    while (!stop.signal.aborted) {
      try {
        await stream(stop, () => {
          pause = AGAIN_MS[0];
        });
        state('broken', null);
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error instanceof LockedError) return void state('locked', error);
        state('broken', error);
      }
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(pause * 2, AGAIN_MS[1]);
    }
  }

  /** One connection, taken up after the last event we have. */
  async function stream(stop, opened) {
    const own = new AbortController();
    const end = () => own.abort();
    stop.signal.addEventListener('abort', end);
    let timer = setTimeout(end, SILENT_MS);
    try {
      const headers = { Accept: 'text/event-stream', ...(lastId && { 'Last-Event-ID': lastId }) };
      const answer = await call(`${API}/events`, { headers, signal: own.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      let begun = false;
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(end, SILENT_MS);
        if (!begun) {
          begun = true;
          opened();
          state('open', null);
        }
        const blocks = (text + value).split('\n\n');
        text = blocks.pop();
        blocks.forEach(take);
      }
    } finally {
      clearTimeout(timer);
      stop.signal.removeEventListener('abort', end);
    }
  }

  function take(block) {
    const fields = {};
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':');
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, '');
    }
    if (!fields.data) return;
    lastId = fields.event === 'reset' ? '' : (fields.id ?? lastId);
    try {
      event(fields.event ?? 'message', JSON.parse(fields.data));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }

  return {
    get: (path, headers) => json(API + path, { headers }),
    post: (path, body, key) =>
      json(API + path, { method: 'POST', body, headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key } }),
    hasToken: () => token() !== '',
    /** Follow the events, if we don't. */
    start() {
      if (stopped) return;
      lastId = '';
      stopped = new AbortController();
      listen(stopped);
    },
    stop() {
      stopped?.abort();
      stopped = null;
    },
    /** Opened by `timewright dashboard`: its secret, which works once, becomes this tab's token. */
    async arrive() {
      const once = /^#once=([\w-]+)$/.exec(location.hash)?.[1];
      if (!once) return;
      history.replaceState(null, '', location.pathname);
      const answer = await fetch('/session', { method: 'POST', body: once, cache: 'no-store', credentials: 'omit' }).catch(() => null);
      if (!answer?.ok) throw new Error('This link was used already, or its `timewright dashboard` has ended. Start it again.');
      keep.token((await answer.json()).token);
    },
  };
}
