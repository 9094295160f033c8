export function shout(text: string): string {
  return text.toUpperCase();
}

export const letters = (text: string): string => `${text.length} letters`;
