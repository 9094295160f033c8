export const PRICE_PER_KG = 3;
