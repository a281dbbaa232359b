/**
 * One round of the sweep: what crashed, expired, waited for money or was lost by a queue is brought back or
 * to its end. Every part is one short statement, so any number of schedulers may sweep.
 */
import { releaseExpiredReservations } from '../budget/expire.ts';
import { isStoreUnavailable } from '../db/store-errors.ts';
import type { Sql } from '../db/connect.ts';
import { removeOldHeartbeats } from '../db/heartbeats.ts';
import { terminateStuckSessions } from '../db/tenant-pool.ts';
import { listDeadLetters } from '../jobs/dead-letters.ts';
import { listOldQueued, returnToPending } from '../jobs/queued.ts';
import {
  expireWaitingJobs,
  maxRowsPerSweep,
  removeExpiredKeys,
  rescueLostAttempts,
  wakeParkedJobs,
} from '../jobs/sweep.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { mirrorDeadLetters, mirroredDeadLetters } from '../queues/dead-letter-mirror.ts';
import type { Transport } from '../queues/transport.ts';

export interface SweepOptions {
  readonly sql: Sql;
  readonly transport: Transport;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly leaseMs: number;
  /** Queued entries younger than this are left alone. */
  readonly reconcileAfterMs: number;
  /** Sweeps of parts that the scheduler does not know, by kind. */
  readonly more: readonly { kind: string; run: (sql: Sql, now: Date) => Promise<number> }[];
}

const oldHeartbeatMs = 3_600_000;
/** Longer than any commit. */
const stuckSessionMs = 60_000;

/**
 * Returns how many things were moved. A part that fails keeps no other one from its work; the first failure is
 * thrown when all are done, and at once where the database is away.
 */
export async function sweepOnce(options: SweepOptions, now: Date): Promise<number> {
  const { sql, metrics, log } = options;
  let total = 0;
  const count = (kind: string, moved: number): void => {
    if (moved === 0) return;
    total += moved;
    metrics.swept.inc({ kind }, moved);
    log.info({ kind, moved }, 'swept');
  };
  const parts: readonly (() => Promise<void>)[] = [
    async () =>
      count('stuck_session_terminated', await terminateStuckSessions(sql, stuckSessionMs)),
    () => rescue(options, count),
    async () => count('expired', await expireWaitingJobs(sql, now)),
    async () => {
      const holds = await releaseExpiredReservations({ sql, now, limit: 500 });
      count('hold_released', holds.released);
      count('hold_unknown', holds.unknown);
    },
    async () => count('woken', await wakeParkedJobs(sql, now)),
    async () => count('key_removed', await removeExpiredKeys(sql, now)),
    ...options.more.map(
      ({ kind, run }) =>
        async () =>
          count(kind, await run(sql, now)),
    ),
    async () => void (await removeOldHeartbeats(sql, oldHeartbeatMs)),
    async () => count('entry_lost', await reconcileQueues(options, now)),
    async () => {
      const newest = await listDeadLetters(sql, { limit: mirroredDeadLetters });
      await mirrorDeadLetters(options.transport, newest);
    },
  ];
  const failures: unknown[] = [];
  for (const part of parts) {
    try {
      await part();
    } catch (error) {
      if (isStoreUnavailable(error)) throw error;
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return total;
}

/** All of them, however many died at once: each waits for it. */
async function rescue(
  options: SweepOptions,
  count: (kind: string, moved: number) => void,
): Promise<void> {
  const judgedAt = await whenToJudgeLeases(options);
  if (judgedAt === undefined) return;
  for (let more = true; more;) {
    const rescued = await rescueLostAttempts(options.sql, judgedAt);
    count('rescued', rescued.requeued);
    count('worker_lost', rescued.deadLettered);
    count('cancelled', rescued.cancelled);
    more = rescued.requeued + rescued.deadLettered + rescued.cancelled >= maxRowsPerSweep;
  }
}

/**
 * By the clock that dates leases, which is the database's: one of ours that is ahead would take jobs from workers
 * that live. While Postgres was away nobody could renew: after its start, one lease has to pass first.
 */
async function whenToJudgeLeases({ sql, leaseMs }: SweepOptions): Promise<Date | undefined> {
  const [row] = await sql<{ at: Date; judged: boolean }[]>`
    select now() as at,
           now() - pg_postmaster_start_time() > ${leaseMs} * interval '1 millisecond' as judged`;
  return row?.judged === true ? row.at : undefined;
}

async function reconcileQueues(options: SweepOptions, now: Date): Promise<number> {
  const old = await listOldQueued(options.sql, now, options.reconcileAfterMs);
  if (old.length === 0) return 0;
  const lost = await options.transport.findLost(old);
  return lost.length === 0 ? 0 : returnToPending(options.sql, lost, 'queue entry lost');
}
