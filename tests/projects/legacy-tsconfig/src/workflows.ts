import { proxyActivities, sleep } from '@temporalio/workflow';
import type * as activities from './activities';

const { sortNumbers } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function batch(numbers: number[]): Promise<string> {
  let rounds = 0;
  let sorted = numbers;
  for (const pause of new Set([1, 2])) {
    await sleep(pause);
    sorted = await sortNumbers(sorted);
    rounds += 1;
  }
  return `${sorted.join(',')} done after ${rounds} rounds`;
}
