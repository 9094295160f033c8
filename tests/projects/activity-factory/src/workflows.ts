import { proxyActivities } from '@temporalio/workflow';
import type { createActivities } from './activities';

// Note usage of ReturnType<> generic since createActivities is a factory function
const { greet_es, greet_fr } = proxyActivities<ReturnType<typeof createActivities>>({
  startToCloseTimeout: '30 seconds',
});

export async function dependencyWorkflow(name: string): Promise<string> {
  return `${await greet_es(name)} / ${await greet_fr(name)}`;
}
