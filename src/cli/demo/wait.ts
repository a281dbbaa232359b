/** Waits until the demo's work is done, with a progress bar. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../../db/database.ts';
import { PurserError } from '../../errors.ts';
import { progressBar } from '../terminal/progress.ts';
import type { DemoRun } from './database.ts';
import { countFinished, countUnfinished, reasonOfWaiting } from './queries.ts';

const pollMs = 200;
/** After this long without progress the demo prints what jobs wait for. */
const noProgressMs = 15_000;

/** Throws `interrupted` when a stop was requested. */
export async function untilDone(
  { invocation, lifecycle }: DemoRun,
  { system: sql }: Database,
  tenantIds: readonly string[],
): Promise<void> {
  const bar = progressBar(invocation, 'working');
  let progress = { finished: -1, at: Date.now() };
  try {
    for (;;) {
      const unfinished = await countUnfinished(sql, tenantIds);
      const finished = await countFinished(sql, tenantIds);
      bar.update(finished, finished + unfinished);
      if (unfinished === 0) return;
      if (finished !== progress.finished) progress = { finished, at: Date.now() };
      if (Date.now() - progress.at > noProgressMs) {
        const reason = await reasonOfWaiting(sql, tenantIds);
        invocation.note(
          `${unfinished} jobs are waiting${reason === undefined ? '' : `: ${reason}`}`,
        );
        progress = { finished, at: Date.now() };
      }
      if (lifecycle.stopSignal.aborted) {
        throw new PurserError('interrupted', `stopped with ${unfinished} unfinished jobs`);
      }
      await sleep(pollMs);
    }
  } finally {
    bar.end();
  }
}
