export async function store(name: string): Promise<string> {
  return `stored ${name}`;
}
