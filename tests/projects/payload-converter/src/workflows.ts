import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { nameOf } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s', retry: { maximumAttempts: 1 } });

export async function weekday(date: string): Promise<string> {
  return await nameOf(new Date(date));
}
