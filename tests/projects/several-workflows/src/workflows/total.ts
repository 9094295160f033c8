export async function total(names: string[]): Promise<number> {
  return names.length;
}
