import { PRICE_PER_KG } from '~config';

export const rate = (kg: number): number => kg * PRICE_PER_KG;
