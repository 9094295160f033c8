import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { store } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function audited(name: string): Promise<unknown> {
  return await store(name);
}
