import { proxyActivities } from '@temporalio/workflow';
import type { TranslationActivities } from './activities';

const activities = proxyActivities<Pick<TranslationActivities, 'translate'>>({ startToCloseTimeout: '10s' });

export async function translate(word: string): Promise<string> {
  return await activities.translate(word);
}
