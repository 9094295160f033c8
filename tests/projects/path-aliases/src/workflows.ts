import { proxyActivities } from '@temporalio/workflow';
import type * as activities from '@/activities';
import { line } from '@/lib/format';

const { quote } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function shipOrder(id: string, kg: number): Promise<string> {
  return line(id, kg, await quote(kg));
}
