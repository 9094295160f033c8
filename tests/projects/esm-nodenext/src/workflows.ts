import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities.js';
import { letters } from './text.mjs';

const { title } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });

export async function fetchTitle(name: string): Promise<string> {
  return `${await title(name)} (${letters(name)})`;
}
