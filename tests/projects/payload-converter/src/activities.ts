const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

export async function nameOf(day: Date): Promise<string> {
  return DAYS[day.getUTCDay()] ?? '?';
}
