/**
 * Order Processing
 * Auto-generated workflow. Do not edit.
 */
import * as workflow from '@temporalio/workflow';
import type * as activities from './activities';

const acts = workflow.proxyActivities<typeof activities>({
  startToCloseTimeout: '5m',
  retry: { maximumAttempts: 3, initialInterval: '1s', backoffCoefficient: 2 },
});

export interface OrderProcessingInput {
  orderId: string;
  amount: number;
}

export async function orderProcessing(input: OrderProcessingInput): Promise<any> {
  const results: Record<string, any> = {};

  // Node: validate (activity)
  results['node_1'] = await acts.validateOrder(input);

  // Node: condition
  if (input.amount > 100) {
    // Node: charge (activity)
    results['node_3'] = await acts.chargeOrder(input);
  }

  // Node: wait (timer)
  await workflow.sleep('10ms');

  return { orderId: input.orderId, steps: Object.values(results), approved: true };
}
