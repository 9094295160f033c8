import { rate } from '@/lib/rates';

export async function quote(kg: number): Promise<number> {
  return rate(kg);
}
