import { readFile } from 'node:fs/promises';
import path from 'node:path';
import greetings from './greetings.json';
import type { Letter } from '../shared/types';

export async function compose({ to, language }: Letter): Promise<string> {
  const template = await readFile(path.join(__dirname, 'letter.txt'), 'utf8');
  return template.replace('{greeting}', greetings[language]).replace('{to}', to).trim();
}
