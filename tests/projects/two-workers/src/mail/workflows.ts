import { sleep } from '@temporalio/workflow';

export async function sendMail(to: string): Promise<string> {
  await sleep(10);
  return `sent to ${to}`;
}
