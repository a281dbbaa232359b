/** A type whose jobs fail until the archive is up, which a file in the working folder says. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

export const handlers = [
  {
    type: 'send_report',
    timeoutMs: 30_000,
    maxAttempts: 1,
    onBudget: 'park',
    giveUpAfterMs: 86_400_000,
    // Slower than a batch replays, so that some of what it replays has not begun.
    concurrency: 20,
    payload: z.object({ days: z.number().positive(), to: z.string().optional() }),
    run: async ({ payload: { days, to }, signal }) => {
      if (to === 'nobody') {
        throw Object.assign(new Error('nobody has this address'), { code: 'no_recipient' });
      }
      if (to !== undefined) return { sent: days };
      if (!existsSync('archive-is-up')) {
        throw Object.assign(new Error('the archive answers 503'), { status: 503 });
      }
      await sleep(2_000, undefined, { signal });
      return { sent: days };
    },
  },
];
