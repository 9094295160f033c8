/**
 * Where a release's own code connects to. Every sample of the SDK says `localhost:7233`, or nothing,
 * which means the same: on a host that is "the host's server", wherever that is. Any other address is
 * meant, and kept. Pure.
 */

/** What the host tells its children, in their environment: names as Temporal's own tools know them. */
export interface Target {
  readonly address: string;
  readonly namespace: string;
  readonly taskQueue: string;
  readonly tls: boolean;
  /** Files. */
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly apiKeyFile?: string;
  /** The Version that its Workers on the pool's task queue belong to. */
  readonly version?: { readonly deploymentName: string; readonly buildId: string };
  readonly versioning?: string;
}

export interface Connecting {
  address?: unknown;
  tls?: unknown;
  apiKey?: unknown;
}

const LOCAL = /^(?:https?:\/\/)?(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])?(?::7233)?\/?$/i;

export function targetOf(env: Readonly<Record<string, string | undefined>>): Target | undefined {
  const { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace, TEMPORAL_TASK_QUEUE: taskQueue } = env;
  if (!address) return undefined;
  const [tlsCa, tlsCert, tlsKey] = [env['TEMPORAL_TLS_SERVER_CA_CERT_PATH'], env['TEMPORAL_TLS_CLIENT_CERT_PATH'], env['TEMPORAL_TLS_CLIENT_KEY_PATH']];
  const apiKeyFile = env['TIMEWRIGHT_API_KEY_FILE'];
  const [deploymentName, buildId] = [env['TIMEWRIGHT_DEPLOYMENT'], env['TIMEWRIGHT_BUILD_ID']];
  return {
    address,
    namespace: namespace || 'default',
    taskQueue: taskQueue ?? '',
    tls: env['TEMPORAL_TLS'] === 'true',
    ...(tlsCa === undefined ? {} : { tlsCa }),
    ...(tlsCert === undefined ? {} : { tlsCert }),
    ...(tlsKey === undefined ? {} : { tlsKey }),
    ...(apiKeyFile === undefined ? {} : { apiKeyFile }),
    ...(deploymentName && buildId ? { version: { deploymentName, buildId }, versioning: env['TIMEWRIGHT_VERSIONING'] ?? 'PINNED' } : {}),
  };
}

export interface Redirected<T> {
  readonly options: T;
  /** What was changed, for people; undefined when nothing was. */
  readonly note?: string;
}

/** Options of a connection that the code asks for → those it gets. The host's credentials go to the host's server only. */
export function redirectConnection<T extends Connecting>(
  given: T | undefined,
  target: Target,
  read: (file: string) => Buffer,
): Redirected<T> {
  const options = { ...given } as T;
  const asked = typeof options.address === 'string' ? options.address : '';
  const isLocal = (options.address === undefined || options.address === null || typeof options.address === 'string') && LOCAL.test(asked);
  if (!isLocal && asked !== target.address) return { options };
  options.address = target.address;
  if (target.tls && (options.tls === undefined || options.tls === null || options.tls === false)) options.tls = tlsOf(target, read);
  if (target.apiKeyFile !== undefined && options.apiKey === undefined) options.apiKey = read(target.apiKeyFile).toString('utf8').trim();
  if (asked === target.address || LOCAL.test(target.address)) return { options };
  return { options, note: `its code connects to ${asked === '' ? 'the default address' : asked}: it gets the host's server, ${target.address}` };
}

function tlsOf(target: Target, read: (file: string) => Buffer): object {
  const { tlsCa, tlsCert, tlsKey } = target;
  return {
    ...(tlsCa === undefined ? {} : { serverRootCACertificate: read(tlsCa) }),
    ...(tlsCert === undefined || tlsKey === undefined ? {} : { clientCertPair: { crt: read(tlsCert), key: read(tlsKey) } }),
  };
}

/** A worker's namespace: `default`, said or meant, is the pool's. */
export function redirectNamespace<T extends { namespace?: unknown }>(given: T, target: Target): Redirected<T> {
  const { namespace } = given;
  if (target.namespace === 'default' || (namespace !== undefined && namespace !== 'default')) return { options: given };
  return {
    options: { ...given, namespace: target.namespace },
    note: `its code says namespace ${namespace === undefined ? 'nothing, which means default' : 'default'}: it serves the pool's, ${target.namespace}`,
  };
}

/** A release's own Worker on the pool's queue becomes part of the Version, unless it says itself what it is. */
export function asVersion<T extends { namespace?: string; taskQueue?: string }>(options: T, target: Target): T {
  const ours = options.taskQueue === target.taskQueue && (options.namespace ?? 'default') === target.namespace;
  if (target.version === undefined || !ours || 'workerDeploymentOptions' in options) return options;
  const { version, versioning: defaultVersioningBehavior } = target;
  return { ...options, workerDeploymentOptions: { useWorkerVersioning: true, version, defaultVersioningBehavior } };
}
