export const line = (name: string, amount: number): string => `invoice for ${name}: ${amount}`;
