import { proxyActivities } from '@temporalio/workflow';
import type * as activities from '../activities';

const { upper } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function child(name: string): Promise<string> {
  return await upper(name);
}
