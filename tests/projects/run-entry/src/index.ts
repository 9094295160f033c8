import { proxyActivities, sleep } from '@temporalio/workflow';
import type * as tasks from './tasks';

const { tick } = proxyActivities<typeof tasks>({ startToCloseTimeout: '10s' });

export async function countdown(from: number): Promise<string> {
  const said: string[] = [];
  for (let left = from; left > 0; left -= 1) {
    said.push(await tick(left));
    await sleep(10);
  }
  return [...said, 'go'].join(' ');
}
