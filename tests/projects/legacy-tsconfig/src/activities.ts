export class Sorter {
  sort(numbers: number[]): number[] {
    return [...numbers].sort((a, b) => a - b);
  }
}

export async function sortNumbers(numbers: number[]): Promise<number[]> {
  return new Sorter().sort(numbers);
}
