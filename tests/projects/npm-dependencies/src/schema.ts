import { z } from 'zod';

export const cart = z.object({ email: z.string().email(), items: z.number().int().positive() });

export type Cart = z.infer<typeof cart>;
