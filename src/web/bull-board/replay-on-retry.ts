/**
 * The buttons Retry and Promote on a dead letter in Bull Board. Bull Board would act on BullMQ's entry; here the
 * request becomes Purser's replay, which makes a new job of the dead letter, once, under the operator's name.
 */
import type { Context } from 'hono';
import type { Sql } from '../../db/connect.ts';
import type { Database } from '../../db/database.ts';
import { withLockTimeout } from '../../db/locks/lock-timeout.ts';
import { codeOf } from '../../errors.ts';
import { listDeadLetters, replayDeadLetter } from '../../jobs/dead-letters.ts';
import type { Logger } from '../../log.ts';
import {
  jobOfDeadLetterEntry,
  mirrorDeadLetters,
  mirroredDeadLetters,
} from '../../queues/dead-letter-mirror.ts';
import type { Transport } from '../../queues/transport.ts';
import { within } from '../time-limit.ts';
import type { WebEnv } from '../web-env.ts';

export interface ReplayOptions {
  readonly database: Pick<Database, 'system' | 'once'>;
  readonly transport: Transport;
  readonly log: Logger;
}

const mirrorMs = 2_000;

/**
 * Answers with the new job, or 404 when the entry stands for no dead letter. Throws `lock_held` (503) when another
 * session holds the dead letter, its tenant or an earlier replay.
 */
export async function replayOnRetry(
  c: Context<WebEnv>,
  { database, transport, log }: ReplayOptions,
  entryId: string,
): Promise<Response> {
  const jobId = jobOfDeadLetterEntry(entryId);
  if (jobId === undefined) {
    return c.json(
      { error: 'not_a_dead_letter', message: 'this entry does not stand for a dead letter' },
      404,
    );
  }
  const operator = c.get('operator');
  const replayed = await withLockTimeout(database, `the replay of dead letter ${jobId}`, (tx) =>
    replayDeadLetter(tx, jobId, { operator, source: 'bull_board' }),
  );
  log.info(
    { jobId, newJobId: replayed.jobId, created: replayed.created, operator },
    'dead_letter_replayed',
  );
  try {
    await within(mirrorMs, updateMirror(database.system, transport));
  } catch (error) {
    // The replay is committed; the scheduler's next sweep updates the mirror.
    log.warn({ code: codeOf(error), error }, 'dead_letters_not_mirrored');
  }
  return c.json({ jobId: replayed.jobId, created: replayed.created });
}

async function updateMirror(sql: Sql, transport: Transport): Promise<void> {
  await mirrorDeadLetters(transport, await listDeadLetters(sql, { limit: mirroredDeadLetters }));
}
