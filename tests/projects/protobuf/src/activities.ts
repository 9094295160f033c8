import { shop } from './proto/order';

export async function pack(id: string, parts: number): Promise<{ text: string; bytes: number }> {
  const bytes = shop.Order.encode({ id, parts }).finish();
  const order = shop.Order.decode(bytes);
  return { text: `${order.id} has ${order.parts} parts`, bytes: bytes.length };
}
