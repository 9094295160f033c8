import { version } from '@temporalio/worker/package.json';

export async function sdkVersion(): Promise<string> {
  return version;
}
