/**
 * Statements of the sweep: takes over attempts with an expired lease (their jobs are suspects after two dead workers),
 * wakes parked jobs, ends jobs that waited too long, adds up the counts of ended jobs, and removes expired dedup keys
 * and operator tokens. The database's clock decides what is due. Rows locked by another transaction are skipped, and a
 * row that cannot be changed does not keep the others.
 */
import type { Queryable } from '../db/connect.ts';
import { lockTimeout, runBatch } from '../db/row-faults.ts';
import type { SweepStatementOptions } from '../db/row-faults.ts';
import { sharedCrashesOfSuspect } from './attempts.ts';

/** Longest wait of a job that ran alone when its worker died. */
const maxIsolatedDelaySeconds = 600;
/** Maximum rows per statement. */
export const maxRowsPerSweep = 500;

type Ids = readonly string[] | undefined;

const idsOf = (rows: readonly { readonly id: string }[]): string[] => rows.map(({ id }) => id);

export interface Rescued {
  readonly requeued: number;
  /** Their cancellation had been requested. */
  readonly cancelled: number;
}

/**
 * Returns running jobs with an expired lease to pending, without counting the attempt. The second death of a worker
 * makes a job a suspect. A job that ran alone is not blamed for the death of its worker (only for that of its own
 * process, which the worker reports); as it may still be the cause, by its memory, it waits longer each time.
 */
export async function rescueLostAttempts(
  sql: Queryable,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<Rescued> {
  const states: string[] = [];
  await runBatch({
    run: async (ids) => {
      const rescued = await endExpiredLeases(sql, offsetMs, ids);
      states.push(...rescued);
      return rescued.length;
    },
    list: async () =>
      idsOf(
        await sql`
          select job_id as id from purser.in_flight
          where expires_at < now() + ${offsetMs} * interval '1 millisecond'
          order by job_id limit ${maxRowsPerSweep}`,
      ),
    onRowFault,
  });
  const count = (wanted: string): number => states.filter((state) => state === wanted).length;
  return {
    requeued: count('pending'),
    cancelled: count('cancelled'),
  };
}

/** Returns the jobs' new states. */
async function endExpiredLeases(sql: Queryable, offsetMs: number, ids: Ids): Promise<string[]> {
  const rows = await sql<{ state: string }[]>`
    select state from purser.rescue_attempts(${ids === undefined ? null : [...ids]}::bigint[],
      ${offsetMs} * interval '1 millisecond', ${maxRowsPerSweep}, ${sharedCrashesOfSuspect}, ${maxIsolatedDelaySeconds})`;
  return rows.map(({ state }) => state);
}

/** Ends jobs that have waited for longer than giveUpAfter of their type. */
export async function expireWaitingJobs(
  sql: Queryable,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<number> {
  return runBatch({
    run: (ids) => endWaitingJobs(sql, offsetMs, ids),
    list: async () =>
      idsOf(
        await sql`
          select job_id as id from (
            select job_id, give_up_at from purser.waiting
            union all select job_id, give_up_at from purser.later
            union all select job_id, give_up_at from purser.parked
            union all select job_id, give_up_at from purser.in_flight where token is null
          ) w where give_up_at < now() + ${offsetMs} * interval '1 millisecond'
          order by give_up_at limit ${maxRowsPerSweep}`,
      ),
    onRowFault,
  });
}

async function endWaitingJobs(sql: Queryable, offsetMs: number, ids: Ids): Promise<number> {
  const [row] = await sql<{ expired: number }[]>`
    select purser.expire_waiting(${ids === undefined ? null : [...ids]}::bigint[],
      ${offsetMs} * interval '1 millisecond', ${maxRowsPerSweep}) as expired`;
  return row?.expired ?? 0;
}

/**
 * Wakes parked jobs: all that are due, and of the others, by priority, as many as their tenant's available budget
 * covers. A woken job is counted against that budget until its attempt ends, so that a small top-up does not wake more
 * jobs in every sweep.
 */
export async function wakeParkedJobs(
  sql: Queryable,
  { offsetMs = 0, onRowFault }: SweepStatementOptions = {},
): Promise<number> {
  return runBatch({
    run: (ids) => wakeFittingJobs(sql, offsetMs, ids),
    list: async () => idsOf(await sql`select job_id as id from purser.parked order by job_id`),
    onRowFault,
  });
}

async function wakeFittingJobs(sql: Queryable, offsetMs: number, ids: Ids): Promise<number> {
  const [row] = await sql<{ woken: number }[]>`
    select purser.wake_parked(${ids === undefined ? null : [...ids]}::bigint[],
      ${offsetMs} * interval '1 millisecond') as woken`;
  return row?.woken ?? 0;
}

/** Adds up the counts of ended jobs, to which every finish appends rows. */
export async function addUpJobCounts(sql: Queryable): Promise<void> {
  await sql`select purser.add_up_job_counts()`;
}

/** Removes expired keys of ended jobs and of ticks, and expired operator tokens. Returns the number of keys. */
export async function removeExpiredKeys(sql: Queryable): Promise<number> {
  const [removed] = await sql<{ keys: number }[]>`
    with ${lockTimeout(sql)}, expired_token as (
      select token from purser.operator_tokens
      where exists (select from lock_timeout) and expires_at < now()
      limit ${maxRowsPerSweep * 10} for update skip locked
    ), operator_tokens as (
      delete from purser.operator_tokens t using expired_token e where t.token = e.token
    ), expired_tick as (
      select k.tenant_id, k.job_type, k.bucket from purser.ticks k
      where exists (select from lock_timeout) and k.expires_at < now()
        and not exists (select from public.jobs j where j.id = k.job_id and j.outcome is null)
      limit ${maxRowsPerSweep * 10} for update of k skip locked
    ), ticks as (
      delete from purser.ticks k using expired_tick e
      where k.tenant_id = e.tenant_id and k.job_type = e.job_type and k.bucket = e.bucket
      returning k.job_id
    ), expired_key as (
      select k.tenant_id, k.job_type, k.dedup_key from public.job_keys k
      where exists (select from lock_timeout) and k.expires_at < now()
        and not exists (select from public.jobs j where j.id = k.job_id and j.outcome is null)
      limit ${maxRowsPerSweep * 10} for update of k skip locked
    ), keys as (
      delete from public.job_keys k using expired_key e
      where k.tenant_id = e.tenant_id and k.job_type = e.job_type and k.dedup_key = e.dedup_key
      returning k.job_id
    )
    select ((select count(*) from keys) + (select count(*) from ticks))::int as keys`;
  return removed?.keys ?? 0;
}
