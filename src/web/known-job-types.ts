/** The registered job types as last read, so that pages about the queues work while Postgres is unreachable. */
import type { Logger } from '../log.ts';
import { shared, within } from './time-limit.ts';

const keptMs = 5_000;
const answerMs = 2_000;

/** Reads at most every 5 s. Returns the previous list when reading fails; never throws. */
export function knownJobTypes(
  read: () => Promise<readonly string[]>,
  log: Logger,
): () => Promise<readonly string[]> {
  let known: readonly string[] = [];
  return shared(keptMs, async () => {
    try {
      known = await within(answerMs, read());
    } catch (error) {
      log.warn({ error }, 'job_types_not_read');
    }
    return known;
  });
}
