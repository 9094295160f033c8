/** Says what was thrown, with the place in the release's code where there is one. */
import { message } from './log';

/** The part of a path that is of the release: `…/releases/{workflowId}/{release}/` goes before it. */
const PLACE = /\/releases\/[^/\s]+\/[^/\s]+\/((?!node_modules)[^\s():]+:\d+(?::\d+)?)/;
const MAX = 2000;

export function blame(error: unknown): string {
  if (!(error instanceof Error)) return message(error).slice(0, MAX);
  const place = PLACE.exec(error.stack ?? '')?.[1];
  const what = `${error.name}: ${error.message}`.slice(0, MAX);
  return place === undefined || what.includes(place) ? what : `${what} (${place})`;
}
