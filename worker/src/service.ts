/** What each call does: look at the tree, wait until what runs agrees with it, say how that went. */
import type { Log } from './log';
import type { Pools } from './pools';
import type { Service } from './server';
import type { Settings } from './settings';
import { Counts, type HostFacts, listing, metrics, unready } from './status';
import { type Answer, isSettled, refuse, type Request, verdict, type World } from './verdict';

export function makeService(pools: Pools, settings: Settings, host: HostFacts, log: Log): Service {
  const counts = new Counts();
  const world = (): World => ({ pools: pools.pools.values(), temporal: pools.temporal, now: performance.now(), tailMs: settings.pollTailMs });
  const list = (): Answer => ({ status: 200, body: listing(pools, host, settings.temporal.address) as Answer['body'] });
  return {
    async reload(request: Request): Promise<Answer> {
      const began = performance.now();
      await pools.look(true);
      if (request.action === 'redeploy') pools.renew(request.workflowId);
      const found =
        (await pools.until(() => verdict(request, world()), settings.answerMs)) ??
        refuse(504, 'Timeout', `not there after ${settings.answerMs / 1000} s; the host goes on`);
      const tookMs = Math.round(performance.now() - began);
      const result = found.status === 200 ? 'ok' : String(found.body['reason']);
      counts.reload(result, tookMs);
      log(found.status === 200 ? 'info' : 'warn', 'reload', { ...request, result, error: found.body['error'], tookMs });
      return { status: found.status, body: { ...found.body, tookMs } };
    },
    async sync(): Promise<Answer> {
      await pools.look(true);
      await pools.until(() => ([...pools.pools.values()].every((pool) => isSettled(pool, world())) ? true : undefined), settings.answerMs);
      return list();
    },
    list,
    ready(): Answer {
      const reasons = unready(pools);
      return { status: reasons.length === 0 ? 200 : 503, body: { ready: reasons.length === 0, reasons } };
    },
    metrics: () => metrics(pools, counts),
  };
}
