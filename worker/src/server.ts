/** The host's HTTP face: who may ask, what is asked, how much of it is read. Decides nothing else. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

import type { Log } from './log';
import { message } from './log';
import { isLoopback } from './settings';
import { refuse, type Answer, type Request } from './verdict';

/** What the routes do. */
export interface Service {
  reload(request: Request): Promise<Answer>;
  sync(): Promise<Answer>;
  list(): Answer;
  ready(): Answer;
  metrics(): string;
}

export interface Access {
  readonly token?: string;
  /** Over TCP a browser may be the caller: see `fromBrowser`. */
  readonly tcp: boolean;
}

const MAX_BODY = 64 * 1024;

export function makeServer(service: Service, access: Access, log: Log): Server {
  const server = createServer({ maxHeaderSize: 8192, connectionsCheckingInterval: 1000 }, (request, response) => {
    handle(service, access, request, response).catch((error: unknown) => {
      // A request that broke off is its sender's doing: anybody could fill the log with errors.
      log(request.complete ? 'error' : 'debug', 'request.failed', { error: message(error) });
      if (!response.headersSent) send(response, refuse(500, 'Internal', 'the host failed to answer; its log says why'));
      else response.destroy();
    });
  });
  server.headersTimeout = 5000;
  server.requestTimeout = 10_000; // for the request to arrive; answers may take longer
  server.keepAliveTimeout = 60_000;
  server.maxConnections = 256;
  return server;
}

async function handle(service: Service, access: Access, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '').split('?')[0] ?? '';
  const route = `${request.method} ${path}`;
  if (route === 'GET /healthz') return send(response, { status: 200, body: { ok: true } });
  if (access.tcp && fromBrowser(request, access.token !== undefined)) {
    return send(response, refuse(403, 'Forbidden', 'this is not for browsers'));
  }
  if (access.token !== undefined && !allowed(request, access.token)) {
    response.setHeader('www-authenticate', 'Bearer');
    return send(response, refuse(401, 'Unauthorized', 'a valid bearer token is needed'));
  }
  if (route === 'GET /workflows') return send(response, service.list());
  if (route === 'GET /readyz') return send(response, service.ready());
  if (route === 'GET /metrics') {
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    return void response.end(service.metrics());
  }
  if (route !== 'POST /workflows/reload' && route !== 'POST /workflows/sync') {
    const other = Object.hasOwn(METHODS, path) ? METHODS[path] : undefined;
    if (other === undefined) return send(response, refuse(404, 'NoSuchRoute', `there is no ${path}`));
    response.setHeader('allow', other);
    return send(response, refuse(405, 'NoSuchRoute', `${path} takes ${other}`));
  }
  const body = await readBody(request);
  if (body === undefined) {
    response.setHeader('connection', 'close');
    return send(response, refuse(413, 'BadRequest', `the body is over ${MAX_BODY} bytes`));
  }
  if (path === '/workflows/sync') return send(response, await service.sync());
  const asked = readRequest(body);
  send(response, typeof asked === 'string' ? refuse(400, 'BadRequest', asked) : await service.reload(asked));
}

const METHODS: Readonly<Record<string, string>> = {
  '/workflows': 'GET',
  '/readyz': 'GET',
  '/healthz': 'GET',
  '/metrics': 'GET',
  '/workflows/reload': 'POST',
  '/workflows/sync': 'POST',
};

/**
 * A web page can make a browser call 127.0.0.1, also under a name of its own (DNS rebinding). Browsers
 * tell the page's origin, and the name in Host; no caller of ours has an origin.
 */
function fromBrowser(request: IncomingMessage, hasToken: boolean): boolean {
  if (request.headers.origin !== undefined) return true;
  const name = (request.headers.host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  return !hasToken && !isLoopback(name);
}

/** Compares digests, which are of one length: the time taken says nothing of the token. */
function allowed(request: IncomingMessage, token: string): boolean {
  const given = /^Bearer +(.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

/** The whole body as text; undefined when it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_BODY) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** A reload's request, or what is wrong with it. Keys that we don't know are other tools' business. */
export function readRequest(body: string): Request | string {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    return `the body is not JSON: ${message(error)}`;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'the body must be an object';
  const { workflowId, action, release, poolVersion } = value as Record<string, unknown>;
  if (typeof workflowId !== 'string' || workflowId === '') return 'workflowId must be text';
  if (action !== undefined && action !== 'deploy' && action !== 'redeploy' && action !== 'undeploy') {
    return 'action must be "deploy", "redeploy" or "undeploy"';
  }
  for (const [key, one] of Object.entries({ release, poolVersion })) {
    if (one !== undefined && typeof one !== 'string') return `${key} must be text`;
  }
  return {
    workflowId,
    action: action ?? 'deploy',
    ...(typeof release === 'string' && release !== '' ? { release } : {}),
    ...(typeof poolVersion === 'string' && poolVersion !== '' ? { poolVersion } : {}),
  };
}

function send(response: ServerResponse, answer: Answer): void {
  const text = Buffer.from(JSON.stringify(answer.body));
  response.writeHead(answer.status, { 'content-type': 'application/json', 'content-length': text.length, 'cache-control': 'no-store' });
  response.end(text);
}
