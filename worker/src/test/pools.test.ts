/** The supervisor, with children that are only values. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { FromChild, ToChild } from '../messages';
import { Pools } from '../pools';
import type { Child } from '../processes';
import { readSettings } from '../settings';
import { laneKey, type PoolVersion, type Tree } from '../tree';
import { verdict, type Answer, type Request } from '../verdict';

class Fake implements Child {
  orders: ToChild[] = [];
  killed = false;
  ended = false;
  private hear: ((report: FromChild) => void)[] = [];
  private exits: ((code: number | null, signal: NodeJS.Signals | null) => void)[] = [];
  constructor(readonly pid: number, public words = '') {}
  send(order: ToChild): void { this.orders.push(order); }
  kill(): void { this.killed = true; this.exit(null, 'SIGKILL'); }
  lastWords(): string { return this.words; }
  misused(): boolean { return this.words.startsWith('it misused'); }
  onMessage(listener: (report: FromChild) => void): void { this.hear.push(listener); }
  onOutput(): void {}
  onExit(listener: (code: number | null, signal: NodeJS.Signals | null) => void): void { this.exits.push(listener); }
  say(...reports: FromChild[]): void { for (const report of reports) for (const listener of this.hear) listener(report); }
  poll(): void { this.say({ type: 'loaded', failed: [], refused: false }, { type: 'connecting' }, { type: 'polling' }); }
  exit(code: number | null, signal: NodeJS.Signals | null = null): void {
    if (this.ended) return;
    this.ended = true;
    for (const listener of this.exits) listener(code, signal);
  }
  get version(): string | undefined { return this.orders.flatMap((order) => (order.type === 'serve' ? [order.pool.poolVersion] : []))[0]; }
  get drained(): boolean { return this.orders.some((order) => order.type === 'drain'); }
}

let pools: Pools | undefined;
afterEach(() => pools?.killAll());

function setUp(...more: string[]) {
  const children: Fake[] = [];
  let tree: Tree = { pools: new Map(), broken: new Map() };
  const launch = (): Child => {
    const child = new Fake(children.length + 1);
    children.push(child);
    return child;
  };
  const settings = readSettings(['--data', '/nowhere', '--no-spare', ...more], {});
  const made = (pools = new Pools(settings, { shared: launch, own: launch }, () => undefined, () => tree));
  return {
    children,
    pools: made,
    alive: () => children.filter((child) => !child.ended),
    async want(version: string | undefined, retry = true): Promise<void> {
      tree = { pools: new Map(version === undefined ? [] : [['default/q', pool(version)]]), broken: new Map() };
      await made.look(retry);
    },
    async see(next: Tree): Promise<void> { tree = next; await made.look(true); },
    ask: (request: Partial<Request> = {}): Answer | undefined =>
      verdict({ workflowId: 'a', action: 'deploy', ...request }, { pools: made.pools.values(), temporal: made.temporal, now: performance.now(), tailMs: 1000 }),
  };
}

function pool(version: string): PoolVersion {
  const release = (workflowId: string) => ({ workflowId, release: `r${version}`, path: '/r', workflowTypes: [workflowId], activityNames: [], env: {} });
  return { namespace: 'default', taskQueue: 'q', poolVersion: version, buildId: `b${version}`, isolation: 'shared', sdk: '1', versioning: 'PINNED', kept: false, releases: [release('a'), release('b')] };
}

const flush = (): Promise<void> => sleep(0);

test('the old version goes on until the new one polls, then it is drained', async () => {
  const { children, want, ask } = setUp();
  await want('1');
  children[0]?.poll();
  await flush();
  await want('2');
  children[1]?.say({ type: 'loaded', failed: [], refused: false });
  assert.equal(children[0]?.drained, false);
  assert.equal(ask(), undefined);
  children[1]?.say({ type: 'polling' });
  await flush();
  assert.equal(children[0]?.drained, true);
  assert.equal(ask(), undefined, 'no success while the old one may still take a task');
  children[0]?.say({ type: 'quiet' });
  assert.equal(ask()?.status, 200);
  assert.equal(ask()?.body['poolVersion'], '2');
});

test('of ten versions in a row only the serving one and the newest have processes', async () => {
  const { children, want, alive } = setUp();
  await want('1');
  children[0]?.poll();
  await flush();
  for (let version = 2; version <= 11; version += 1) await want(String(version));
  assert.deepEqual(alive().map((child) => child.version), ['1', '11']);
});

test('a thousand looks at once read the tree once', async () => {
  const { pools: made, want } = setUp();
  await want('1');
  let reads = 0;
  (made as unknown as { read: () => Tree }).read = () => ((reads += 1), { pools: new Map(), broken: new Map() });
  await Promise.all(Array.from({ length: 1000 }, () => made.look(true)));
  assert.equal(reads, 1);
});

test('a version that refuses to load leaves the old one serving and is answered 422 with the culprit', async () => {
  const { children, want, ask } = setUp();
  await want('1');
  children[0]?.poll();
  await flush();
  await want('2');
  children[1]?.say({ type: 'loaded', failed: [{ workflowId: 'b', error: 'boom' }], refused: true });
  await flush();
  assert.equal(children[1]?.killed, true);
  assert.equal(children[0]?.drained, false);
  assert.equal(ask()?.status, 422);
  assert.deepEqual(ask()?.body['failed'], [{ workflowId: 'b', error: 'boom' }]);
});

test('a version that was cleared away while it loaded is nobody\'s failure, and the newer one is served', async () => {
  const { children, see, want, ask } = setUp();
  await see({ pools: new Map([['default/q', { ...pool('1'), bundle: '/nowhere/pools/default/q/1/workflows.js' }]]), broken: new Map() });
  children[0]?.say({ type: 'loaded', failed: [{ workflowId: 'a', error: 'ENOENT: no such file' }], refused: true });
  await flush();
  assert.equal(children[0]?.killed, true);
  assert.equal(ask(), undefined, 'no verdict on a release');
  await want('2');
  children[1]?.poll();
  await flush();
  assert.equal(ask()?.status, 200);
});

test('a version that was cleared away before it could be read is begun again when it is there again', async () => {
  const { children, want, ask } = setUp();
  await want('1');
  children[0]?.say({ type: 'gone' });
  await flush();
  assert.equal(children[0]?.killed, true);
  assert.equal(ask(), undefined, 'no verdict on a release');
  await want('1');
  children[1]?.poll();
  await flush();
  assert.equal(ask()?.status, 200);
});

test('the first version may serve what loads of it, a later one must not be worse', async () => {
  const { children, want, ask } = setUp();
  const tolerated = (child: Fake | undefined) => child?.orders.flatMap((order) => (order.type === 'serve' ? order.options.tolerated : []));
  await want('1');
  assert.deepEqual(tolerated(children[0]), ['*']);
  children[0]?.say({ type: 'loaded', failed: [{ workflowId: 'b', error: 'boom' }], refused: false }, { type: 'polling' });
  await flush();
  assert.equal(ask()?.status, 200);
  assert.equal(ask({ workflowId: 'b' })?.status, 422);
  await want('2');
  assert.deepEqual(tolerated(children[1]), ['b/r1']);
});

test('a release that hangs at load is named, and at the first start the others are served without it', async () => {
  const { children, want } = setUp('--load-timeout', '0.05');
  await want('1');
  children[0]?.say({ type: 'loading', workflowId: 'a' }, { type: 'loading', workflowId: 'b' });
  await sleep(100);
  assert.equal(children[0]?.killed, true);
  const [order] = children[1]?.orders ?? [];
  assert.equal(order?.type === 'serve' && order.options.skipped[0]?.workflowId, 'b');
});

test('a crash is followed by a restart with growing waits, and its last words are kept', async () => {
  const { children, want, pools: made } = setUp();
  await want('1');
  children[0]?.poll();
  const slot = made.pools.get('default/q')?.current;
  if (children[0]) children[0].words = 'TypeError: oh no';
  children[0]?.exit(1);
  assert.deepEqual([slot?.state, slot?.restarts, slot?.lastError], ['backoff', 1, 'TypeError: oh no']);
  await sleep(300);
  assert.equal(children.length, 1, 'not at once');
  await sleep(400);
  assert.equal(children.length, 2);
  children[1]?.poll();
  children[1]?.exit(1);
  await sleep(700);
  assert.equal(children.length, 2, 'the second wait is longer');
  await sleep(500);
  assert.equal(children.length, 3);
});

for (const loaded of [false, true]) {
  test(`a new version that is killed from outside ${loaded ? 'before it polls' : 'while it loads'} is started again, and no release is blamed`, async () => {
    const { children, want, ask } = setUp();
    await want('1');
    children[0]?.poll();
    await want('2');
    const killed = async (index: number): Promise<void> => {
      children[index]?.say({ type: 'loading', workflowId: 'a' });
      if (loaded) children[index]?.say({ type: 'loaded', failed: [], refused: false }, { type: 'connecting' });
      children[index]?.exit(null, 'SIGKILL');
      await flush();
    };
    await killed(1);
    assert.equal(ask(), undefined, 'waits for the next try');
    await sleep(600);
    children[2]?.poll();
    await flush();
    assert.equal(children[0]?.drained, true);
    children[0]?.exit(0);
    await flush();
    assert.equal(ask()?.status, 200);
  });

  test(`a new version that is killed three times ${loaded ? 'before it polls' : 'while it loads'} is to blame for it`, async () => {
    const { children, want, ask } = setUp();
    await want('1');
    children[0]?.poll();
    await want('2');
    for (const index of [1, 2, 3]) {
      assert.equal(ask(), undefined);
      children[index]?.say({ type: 'loading', workflowId: 'a' });
      if (loaded) children[index]?.say({ type: 'loaded', failed: [], refused: false }, { type: 'connecting' });
      children[index]?.exit(null, 'SIGKILL');
      await flush();
      if (index < 3) await sleep(500 * 2 ** (index - 1) + 100);
    }
    assert.equal(ask()?.status, 422);
    assert.equal(children[0]?.drained, false, 'the version before goes on');
  });
}

test('a process that was killed for its misuse of the pipe is blamed at once', async () => {
  const { children, want, ask } = setUp();
  await want('1');
  children[0]?.poll();
  await want('2');
  children[1]?.say({ type: 'loading', workflowId: 'a' });
  if (children[1]) children[1].words = 'it misused its pipe to the host: garbage';
  children[1]?.exit(null, 'SIGKILL');
  await flush();
  assert.equal(ask()?.status, 422);
});

test('an unreadable or vanished tree stops nothing', async () => {
  const { children, want, see, alive } = setUp();
  await want('1');
  children[0]?.poll();
  await see({ pools: new Map(), broken: new Map(), unreadable: 'EIO' });
  await see({ pools: new Map(), broken: new Map(), absent: true });
  await see({ pools: new Map(), broken: new Map([['default/q', { namespace: 'default', taskQueue: 'q', poolVersion: '2', error: 'bad' }]]) });
  assert.equal(alive().length, 1);
  assert.equal(children[0]?.drained, false);
});

test('an undeployed pool is drained, and its reload is answered when nothing of it takes tasks', async () => {
  const { children, want, ask } = setUp();
  await want('1');
  children[0]?.poll();
  assert.equal(ask({ action: 'undeploy' })?.status, 409);
  await want(undefined);
  assert.equal(children[0]?.drained, true);
  assert.equal(ask({ action: 'undeploy' }), undefined);
  children[0]?.say({ type: 'quiet' });
  assert.equal(ask({ action: 'undeploy' })?.status, 200);
  assert.equal(ask()?.status, 404);
});

test('a redeploy serves the same version from a fresh process, and what runs goes on until that polls', async () => {
  const { children, want, ask, pools: made } = setUp();
  await want('1');
  children[0]?.poll();
  await flush();
  made.renew('a');
  assert.deepEqual(children.map((child) => child.version), ['1', '1']);
  assert.equal(children[0]?.drained, false);
  assert.equal(ask({ action: 'redeploy' }), undefined, 'not before the fresh one polls');
  made.renew('a');
  assert.equal(children.length, 2, 'one that is on its way is fresh enough');
  children[1]?.poll();
  await flush();
  assert.equal(children[0]?.drained, true);
  children[0]?.say({ type: 'quiet' });
  assert.equal(ask({ action: 'redeploy' })?.status, 200);
  made.renew('nobody');
  assert.equal(children.length, 2);
});

test('a redeploy whose fresh process fails leaves the old one serving', async () => {
  const { children, want, ask, pools: made } = setUp();
  await want('1');
  children[0]?.poll();
  await flush();
  made.renew('a');
  children[1]?.say({ type: 'loaded', failed: [{ workflowId: 'a', error: 'boom' }], refused: true });
  await flush();
  assert.equal(ask({ action: 'redeploy' })?.status, 422);
  assert.equal(children[0]?.drained, false);
});

test('a call for another release than the tree names is answered 409', async () => {
  const { children, want, ask } = setUp();
  await want('2');
  children[0]?.poll();
  assert.equal(ask({ release: 'r1' })?.status, 409);
  assert.equal(ask({ poolVersion: '1' })?.status, 409);
  assert.equal(ask({ release: 'r2', poolVersion: '2' })?.status, 200);
});

test('a worker that ignores its drain is killed after grace and ten seconds more, not before', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const { children, pools: made } = setUp('--grace', '5');
  (made as unknown as { read: () => Tree }).read = () => ({ pools: new Map([['default/q', pool('1')]]), broken: new Map() });
  await made.look(true);
  children[0]?.poll();
  void made.close();
  context.mock.timers.tick(14_900);
  assert.equal(children[0]?.killed, false);
  context.mock.timers.tick(200);
  assert.equal(children[0]?.killed, true);
});

/** Versions of one deployment, oldest first: the last is current, the others are kept for what is pinned to them. */
function lanes(...versions: string[]): Tree {
  const all = versions.map((version, index) => ({ ...pool(version), deployment: 'q', kept: index < versions.length - 1 }));
  return { pools: new Map(all.map((one) => [laneKey(one), one])), broken: new Map() };
}

test('a version that is kept goes on beside the new one, and ends when it is kept no more', async () => {
  const { children, see, ask } = setUp();
  await see(lanes('1'));
  children[0]?.poll();
  await see(lanes('1', '2'));
  children[1]?.poll();
  await flush();
  assert.equal(children[0]?.drained, false);
  assert.equal(ask()?.body['buildId'], 'b2', 'a deploy is answered by the newest version');
  assert.equal(ask({ action: 'undeploy' })?.status, 409);
  await see(lanes('2'));
  assert.equal(children[0]?.drained, true);
  assert.equal(children[1]?.drained, false);
});

test('a change of activities alone takes over within its Build ID, and other versions go on', async () => {
  const { children, see } = setUp();
  await see(lanes('1', '2'));
  for (const child of children) child.poll();
  const tree = lanes('1', '2');
  const swapped = { ...pool('3'), buildId: 'b2', deployment: 'q' };
  await see({ ...tree, pools: new Map([...tree.pools, [laneKey(swapped), swapped]]) });
  children[2]?.poll();
  await flush();
  assert.deepEqual(children.map(({ drained }) => drained), [false, true, false]);
});

test('a kept version whose process crashes is started again', async () => {
  const { children, see, pools: made } = setUp();
  await see(lanes('1', '2'));
  for (const child of children) child.poll();
  children[0]?.exit(1);
  await made.until(() => (children.length === 3 ? true : undefined), 5000);
  assert.equal(children[2]?.version, '1');
});

test('a list of kept versions that can not be read retires none of them', async () => {
  const { children, see } = setUp();
  await see(lanes('1', '2'));
  for (const child of children) child.poll();
  const trouble = { namespace: 'default', taskQueue: 'q', poolVersion: '2', error: 'EIO' };
  await see({ pools: new Map(), broken: new Map([['default/q', trouble]]) });
  assert.deepEqual(children.map(({ drained }) => drained), [false, false]);
  await see(lanes('1', '2'));
  assert.equal(children.length, 2);
});

test('a workflow that only kept versions have counts as undeployed', async () => {
  const { children, see, ask } = setUp();
  await see(lanes('1'));
  children[0]?.poll();
  const [only] = lanes('1').pools.values();
  if (only === undefined) throw new Error('no pool');
  await see({ pools: new Map([[laneKey(only), { ...only, kept: true }]]), broken: new Map() });
  assert.equal(ask({ action: 'undeploy' })?.status, 200);
  assert.equal(ask()?.status, 404);
  assert.equal(children[0]?.drained, false);
});
