/**
 * Refuses to use queues that another database uses: a copy of a database has the same fleet id, and each fleet would
 * take entries of the other. A replica that is promoted, a restart and an empty Redis pass by themselves.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queryable } from '../../db/connect.ts';
import { knowsHeartbeat } from '../../db/heartbeats.ts';
import { exitCodes, PurserError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { markKeptMs } from '../../queues/user-mark.ts';

/** The mark of a fleet that has ended, or that has yet to connect to a promoted replica, is gone after this time. */
const watchMs = markKeptMs * 1.5;
const pollMs = 500;
const readWithinMs = 3_000;

export interface QueueUse {
  readonly backend: Pick<QueueBackend, 'userMark'>;
  readonly sql: Queryable;
  readonly signal?: AbortSignal;
}

/** Throws `queue_store_shared` (exit 78) while processes of another database use the queues. */
export async function assertOwnQueues({ backend, sql, signal }: QueueUse): Promise<void> {
  const { userMark } = backend;
  if (userMark === undefined) return;
  const untilMs = performance.now() + watchMs;
  for (;;) {
    const user = await Promise.race([userMark.read(), noAnswer()]);
    if (user === undefined || (await knowsHeartbeat(sql, user))) return;
    if (performance.now() > untilMs) {
      const [own] = await sql<{ name: string }[]>`select current_database() as name`;
      throw new PurserError(
        'queue_store_shared',
        `these queues are in use by ${user.processId} on another database (named ${user.database}), and this database ` +
          `(named ${own?.name ?? '?'}) does not know that process: one of them is a copy of the other. On the copy run: ` +
          'purser queues separate --yes; or give it another REDIS_URL',
        { exitCode: exitCodes.configuration },
      );
    }
    await sleep(pollMs, undefined, { signal });
  }
}

async function noAnswer(): Promise<never> {
  await sleep(readWithinMs, undefined, { ref: false });
  throw new Error('the queue store does not answer');
}

/** At the start of a role: as above, but a store that is away does not hold the role up. */
export async function checkQueueUse(use: QueueUse, log: Logger): Promise<void> {
  try {
    await Promise.race([assertOwnQueues(use), sleep(2 * watchMs, undefined, { ref: false })]);
  } catch (error) {
    if (error instanceof PurserError && error.code === 'queue_store_shared') throw error;
    log.warn({ error }, 'queue_use_not_checked');
  }
}
