import { Size } from './size';

export { Size };

export async function resize(name: string, width: number, height: number): Promise<string> {
  return `${name} ${new Size(width, height)}`;
}
