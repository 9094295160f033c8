export async function upper(name: string): Promise<string> {
  return name.toUpperCase();
}
