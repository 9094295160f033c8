import { proxyActivities } from '@temporalio/workflow';
import type * as activities from '../activities';
import type { Language } from '../shared/types';

const { compose } = proxyActivities<typeof activities>({ startToCloseTimeout: '30 seconds' });

export async function writeLetter(to: string, language: Language): Promise<string> {
  return await compose({ to, language });
}
