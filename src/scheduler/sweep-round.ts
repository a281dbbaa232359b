/**
 * One round of the sweep: takes over lost attempts, returns queued jobs under a stop, ends what expired, wakes parked jobs, returns jobs with a lost queue
 * entry, and removes what is no longer needed. Every part is short, and any number of schedulers may sweep.
 */
import { closeEndedMonths } from '../budget/closing/close.ts';
import { releaseExpiredReservations } from '../budget/expire.ts';
import { assumeUnknown } from '../budget/resolve.ts';
import { sweepFleetScopes } from '../budget/fleet/sweep.ts';
import { addUpSpend } from '../budget/spend/add-up.ts';
import type { Sql } from '../db/connect.ts';
import { removeOldHeartbeats } from '../db/heartbeats.ts';
import type { OnRowFault, SweepStatementOptions } from '../db/row-faults.ts';
import { isServerAway } from '../db/store-errors.ts';
import { terminateStuckSessions } from '../db/tenant-pool.ts';
import { terminateBlockingSessions, terminateOverdueSessions } from '../db/session-limits.ts';
import { listDeadLetters } from '../jobs/dead-letters.ts';
import { forgetStarts, markLimited } from '../jobs/limits/job-limits.ts';
import { listOldQueued, returnToPending } from '../jobs/queued.ts';
import { returnStopped } from '../jobs/stop/stopped.ts';
import {
  addUpJobCounts,
  expireWaitingJobs,
  maxRowsPerSweep,
  removeExpiredKeys,
  rescueLostAttempts,
  wakeParkedJobs,
} from '../jobs/sweep.ts';
import type { Logger } from '../log.ts';
import { removeExpiredAnswers } from '../operations/idempotency/answers.ts';
import type { Metrics } from '../metrics.ts';
import { removeExpiredPreviews } from '../operations/batches/step.ts';
import { sampleFleet } from '../operations/now/sample.ts';
import { mirrorDeadLetters, mirroredDeadLetters } from '../queues/dead-letter-mirror.ts';
import { MirrorPace } from '../queues/mirror-pace.ts';
import type { Transport } from '../queues/transport.ts';

/** A part of the sweep that another folder provides. */
export interface SweepPart {
  readonly kind: string;
  readonly run: (sql: Sql, options: SweepStatementOptions) => Promise<number>;
}

export interface SweepOptions {
  readonly sql: Sql;
  readonly transport: Transport;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Whether an expired lease tells of a dead worker now. Default: yes. */
  readonly mayJudgeLeases?: (() => boolean) | undefined;
  /** Queued entries younger than this are left alone. */
  readonly reconcileAfterMs: number;
  /** When the copy of the dead letters is compared with the table. Default: in each round. */
  readonly mirrorPace?: MirrorPace | undefined;
  readonly more: readonly SweepPart[];
}

const oldHeartbeatMs = 3_600_000;
const maxReservations = 500;
/** How long a provider's report may be late. */
const unknownMs = 48 * 3_600_000;
/** A month is closed when its unknown calls have been assumed. */
const closeMs = 72 * 3_600_000;
const maxMonths = 100;
/** Longer than any commit. */
const stuckSessionMs = 60_000;
/** Longer than the lock timeouts of system statements; the queues in Postgres wait longer. */
const blockingMs = 5_000;
/** After the deadline of the attempt. */
const overdueMs = 60_000;

/**
 * Returns the number of changes. After a part that fails the others run; then the first failure is thrown. If the
 * database is unavailable, the error is thrown at once.
 */
export async function sweepOnce(options: SweepOptions): Promise<number> {
  const { sql, metrics, log } = options;
  let total = 0;
  const count = (kind: string, changes: number): void => {
    if (changes === 0) return;
    total += changes;
    metrics.swept.inc({ kind }, changes);
    log.info({ kind, changes }, 'swept');
  };
  const failures: unknown[] = [];
  for (const { kind, run } of partsOf(options, count)) {
    const onRowFault: OnRowFault = (id, error) =>
      log.error({ kind, id, error }, 'sweep_row_failed');
    try {
      count(kind, await run(sql, { onRowFault }));
    } catch (error) {
      if (isServerAway(error)) throw error;
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return total;
}

type Count = (kind: string, changes: number) => void;

/** In this order: what holds locks ends before the statements that would meet them. */
function partsOf(options: SweepOptions, count: Count): readonly SweepPart[] {
  return [
    { kind: 'stuck_session_terminated', run: (sql) => terminateStuckSessions(sql, stuckSessionMs) },
    { kind: 'overdue_session_terminated', run: (sql) => terminateOverdueSessions(sql, overdueMs) },
    {
      kind: 'blocking_session_terminated',
      run: (sql) => terminateBlockingSessions(sql, blockingMs),
    },
    { kind: 'rescued', run: (sql, each) => rescue(options, each, count) },
    { kind: 'stopped', run: (sql) => returnStopped(sql) },
    { kind: 'expired', run: expireWaitingJobs },
    {
      kind: 'hold_released',
      run: async (sql, { onRowFault }) => {
        const holds = await releaseExpiredReservations({ sql, limit: maxReservations, onRowFault });
        count('hold_unknown', holds.unknown);
        return holds.released;
      },
    },
    {
      kind: 'hold_assumed',
      run: (sql) => assumeUnknown(sql, { afterMs: unknownMs, limit: maxReservations }),
    },
    {
      kind: 'month_closed',
      run: (sql) => closeEndedMonths(sql, { afterMs: closeMs, limit: maxMonths }),
    },
    { kind: 'spend_added_up', run: addUpSums },
    { kind: 'fleet_limit', run: (sql) => sweepFleetScopes(sql) },
    { kind: 'woken', run: wakeParkedJobs },
    { kind: 'key_removed', run: (sql) => removeExpiredKeys(sql) },
    { kind: 'answer_removed', run: (sql) => removeExpiredAnswers(sql) },
    { kind: 'job_counts', run: addUpCounts },
    { kind: 'fleet_sampled', run: takeSample },
    { kind: 'limit_marked', run: (sql) => markLimited(sql) },
    { kind: 'permit_removed', run: (sql) => forgetStarts(sql) },
    { kind: 'batch_preview_removed', run: (sql) => removeExpiredPreviews(sql) },
    ...options.more,
    { kind: 'heartbeat_removed', run: (sql) => removeOldHeartbeats(sql, oldHeartbeatMs) },
    { kind: 'entry_lost', run: () => reconcileQueues(options) },
    { kind: 'dead_letter_mirrored', run: () => mirrorNewestDeadLetters(options) },
  ];
}

/** Changes no count. */
async function addUpCounts(sql: Sql): Promise<number> {
  await addUpJobCounts(sql);
  return 0;
}

/** Changes no amount. */
async function addUpSums(sql: Sql): Promise<number> {
  await addUpSpend(sql);
  return 0;
}

/** Changes no job. */
async function takeSample(sql: Sql): Promise<number> {
  await sampleFleet(sql);
  return 0;
}

/** All expired leases, however many: returns the number of jobs that go back to pending. */
async function rescue(
  options: SweepOptions,
  each: SweepStatementOptions,
  count: Count,
): Promise<number> {
  if (options.mayJudgeLeases?.() === false) return 0;
  let requeued = 0;
  for (let more = true; more;) {
    const rescued = await rescueLostAttempts(options.sql, each);
    requeued += rescued.requeued;
    count('cancelled', rescued.cancelled);
    more = rescued.requeued + rescued.cancelled >= maxRowsPerSweep;
  }
  return requeued;
}

async function reconcileQueues(options: SweepOptions): Promise<number> {
  const old = await listOldQueued(options.sql, options.reconcileAfterMs);
  if (old.length === 0) return 0;
  const lost = await options.transport.findLost(old);
  return lost.length === 0 ? 0 : returnToPending(options.sql, lost, 'queue entry lost');
}

/** Changes of the copy are not counted. */
async function mirrorNewestDeadLetters(options: SweepOptions): Promise<number> {
  const listed = await listDeadLetters(options.sql, { limit: mirroredDeadLetters });
  const { mirrorPace = new MirrorPace() } = options;
  if (!mirrorPace.isDue(listed)) return 0;
  await mirrorDeadLetters(options.transport, listed);
  mirrorPace.compared(listed);
  return 0;
}
