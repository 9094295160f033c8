export const tick = async (left: number): Promise<string> => String(left);
