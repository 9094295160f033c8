/** The variable by which the SDK's core learns how long polls under way may outlive a shutdown; see `retire.ts`. */
export function keepPollsOpen(tailMs: number): Record<string, string> {
  return { TEMPORAL_POLL_SHUTDOWN_INTERRUPT_WAIT_MS: String(Math.round(tailMs)) };
}
