import { proxyActivities } from '@temporalio/workflow';
import { show } from '../../common/prices';
import type * as activities from './activities';

const { priceOf } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });

export async function oneClickBuy(item: string, count: number): Promise<string> {
  const { amount, currency } = await priceOf(item);
  return `${count} x ${item} = ${show({ amount: amount * count, currency })}`;
}
