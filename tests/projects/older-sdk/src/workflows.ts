import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { sdkVersion } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function version(): Promise<string> {
  return await sdkVersion();
}
