import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { charge } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function invoice(name: string, amount: number): Promise<string> {
  return await charge(name, amount);
}
