import { line } from '../text';

export async function charge(name: string, amount: number): Promise<string> {
  return line(name, amount);
}
