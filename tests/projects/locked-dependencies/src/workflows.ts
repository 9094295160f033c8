import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { slug } = proxyActivities<typeof activities>({ startToCloseTimeout: '10s' });

export async function slugs(titles: string[]): Promise<string[]> {
  return await Promise.all(titles.map((title) => slug(title)));
}
