import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { encodeClip } = proxyActivities<typeof activities>({ taskQueue: 'split-gpu', startToCloseTimeout: '10s' });

export async function encode(name: string): Promise<string> {
  return await encodeClip(name);
}
