import slugify from 'slugify';

export const slug = async (title: string): Promise<string> => slugify(title, { lower: true, strict: true });
