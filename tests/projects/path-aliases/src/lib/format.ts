export const line = (id: string, kg: number, price: number): string => `${id}: ${kg} kg for ${price}`;
