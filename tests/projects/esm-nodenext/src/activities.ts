import { setTimeout as sleep } from 'node:timers/promises';
import { shout } from './text.mjs';

const prefix = await load();

async function load(): Promise<string> {
  await sleep(5);
  return 'title of';
}

export async function title(name: string): Promise<string> {
  return `${shout(name)}: ${prefix} ${name}`;
}
