export const steps: number[] = [];
