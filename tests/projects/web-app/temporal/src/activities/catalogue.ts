import type { Price } from '../../../common/prices';

const PRICES: Record<string, number> = { book: 10 };

export async function priceOf(item: string): Promise<Price> {
  return { amount: PRICES[item] ?? 0, currency: 'EUR' };
}
