import { proxyActivities } from '@temporalio/workflow';

/** Implemented by another team's worker, on its own task queue. */
interface MediaActivities {
  resize(name: string, width: number, height: number): Promise<string>;
}

const { resize } = proxyActivities<MediaActivities>({ taskQueue: 'media-activities', startToCloseTimeout: '20s' });

export async function thumbnails(names: string[]): Promise<string[]> {
  return await Promise.all(names.map((name) => resize(name, 64, 64)));
}
