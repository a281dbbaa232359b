/** Time in ticks of a stall watchdog, which a slow machine does not change. */
import { silentLog } from './llm-attempt.ts';
import { StallWatchdog } from '../../src/process/stall-watchdog.ts';

export const tickMs = 5;

/** Resolves when a watch would have missed something that it expects within `ms`. */
export async function untilMissed(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    new StallWatchdog({ log: silentLog, onStall: () => resolve(), tickMs }).expect('an end', ms);
  });
}
