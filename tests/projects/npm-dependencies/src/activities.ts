import ms from 'ms';

export async function delivery(items: number): Promise<string> {
  return ms(items * ms('1 day'), { long: true });
}
