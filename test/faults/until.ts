/** Waiting for what happens in other processes, through the outages that a scenario makes. */
import { setTimeout as sleep } from 'node:timers/promises';

/** For work to be done, outages included. */
export const patienceMs = 150_000;

/** Looks again and again, through outages of what it asks; throws naming `what` after `withinMs`. */
export async function until(
  what: string,
  look: () => Promise<boolean>,
  withinMs = patienceMs,
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

/** All of them to their end, so that no failure leaves another scenario running; then the first failure. */
export async function together<T>(scenarios: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(scenarios);
  const failed = settled.find((each) => each.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
}
