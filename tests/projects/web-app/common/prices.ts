export interface Price {
  amount: number;
  currency: 'EUR' | 'USD';
}

export function show({ amount, currency }: Price): string {
  return `${amount.toFixed(2)} ${currency}`;
}
