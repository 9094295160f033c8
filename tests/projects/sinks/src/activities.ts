import { steps } from './steps';

/** What the sink has written down, in this very process. */
export async function seen(): Promise<string> {
  return steps.join(' ');
}
