import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { pack } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function packOrder(id: string, parts: number): Promise<string> {
  const { text, bytes } = await pack(id, parts);
  return `${text}, in ${bytes} bytes`;
}
