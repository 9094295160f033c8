import { proxyActivities, proxySinks } from '@temporalio/workflow';
import type * as activities from './activities';
import type { ProgressSinks } from './sinks';

const { seen } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });
const { progress } = proxySinks<ProgressSinks>();

export async function counted(count: number): Promise<string> {
  for (let number = 0; number < count; number += 1) progress.step(number);
  return await seen();
}
