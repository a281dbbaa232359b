/** Waits for conditions in other processes, through the outages of a scenario. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Time for the work, outages included. */
export const outageWaitMs = 150_000;

/** Looks again and again, through outages of what it asks; throws naming `what` after `withinMs`. */
export async function until(
  what: string,
  look: () => Promise<boolean>,
  withinMs = outageWaitMs,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  let failure: unknown;
  for (;;) {
    const found = await look().catch((error: unknown) => {
      failure = error;
      return false;
    });
    if (found) return;
    if (Date.now() > deadline) {
      throw new Error(`waited ${withinMs} ms in vain for ${what}`, { cause: failure });
    }
    await sleep(25);
  }
}

/** Waits for all of them, so that no scenario runs on after a failure; then throws the first failure. */
export async function together<T>(scenarios: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(scenarios);
  const failed = settled.find((each) => each.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
}
