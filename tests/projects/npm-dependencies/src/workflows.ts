import { ApplicationFailure, proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';
import { cart, type Cart } from './schema';

const { delivery } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function checkout(input: Cart): Promise<string> {
  const checked = cart.safeParse(input);
  if (!checked.success) {
    throw ApplicationFailure.nonRetryable(checked.error.message);
  }
  const { email, items } = checked.data;
  return `${email}: ${items} items, ready in ${await delivery(items)}`;
}
