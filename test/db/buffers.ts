/**
 * Buffers that the hot statements touch per row, on tables of any size. One session runs them all, so that the plans
 * which it made while the tables were empty are the plans that it uses when they are full.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import type { AttemptEnd } from '../../src/jobs/attempts.ts';
import { newToken, beginAttempts, finishAttempts } from '../../src/jobs/attempts.ts';
import { claimWaitingJobs, listTypesWithWork } from '../../src/jobs/dispatch.ts';
import { requestCancel } from '../../src/jobs/cancel.ts';
import { enqueueMany } from '../../src/jobs/enqueue.ts';
import { expireWaitingJobs } from '../../src/jobs/sweep.ts';
import { claimDueTenants } from '../../src/schedules/claim.ts';
import type { ClaimResult } from '../../src/schedules/claim.ts';
import { addJobType, completed, step } from '../jobs/job-steps.ts';
import { makeJobsWritable } from './writable-jobs.ts';

/** Rows that each measured statement works on. */
const rows = 10;

/** Tables that grow. */
const tables = [
  'public.jobs',
  'purser.waiting',
  'purser.later',
  'purser.in_flight',
  'purser.job_history',
  'public.tenants',
  'public.tenant_schedules',
  'purser.tick_keys',
];

export interface PlanTables {
  readonly url: string;
  /** Its plans are made while the tables are empty. */
  readonly early: Sql;
  close(): Promise<void>;
}

/**
 * A database whose statements ran while it was empty, on a server of its own: while a transaction is open in any database
 * of a server, no scan marks dead entries as such, and all later ones read them again.
 */
export async function openPlanTables(): Promise<PlanTables> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-plans-'));
  await chmod(dataDir, 0o711);
  const settings = { shared_buffers: '256MB', max_wal_size: '4GB' };
  const server = await startEmbeddedPostgres({ dataDir, durable: false, settings });
  const { url } = server;
  await prepareDatabase({ url });
  const early = onePlanSession(url);
  await makeJobsWritable(early);
  await prepareTables(early);
  return {
    url,
    early,
    close: async () => {
      await early.end({ timeout: 5 });
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** One session, so that it keeps its plans and its counters can be flushed before they are read. */
export const onePlanSession = (url: string): Sql =>
  connect(url, { max: 1, applicationName: 'purser test plans' });

async function prepareTables(sql: Sql): Promise<void> {
  await addJobType(sql);
  // Autovacuum reads blocks too.
  const every = await sql<{ name: string }[]>`
    select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'purser')`;
  for (const { name } of every)
    await sql.unsafe(`alter table ${name} set (autovacuum_enabled = off)`);
  await sql`insert into tenants (id, plan) select 'tenant-' || n, 'pro' from generate_series(1, 10) n`;
}

/**
 * Adds ended jobs, of each hundred one that is in flight and one that waits (of a type without handlers), and tenants
 * whose schedules are not due.
 */
export async function grow(sql: Sql, jobs: number, payloadBytes = 1_000): Promise<void> {
  const payload = JSON.stringify(payloadBytes === 0 ? {} : { text: 'x'.repeat(payloadBytes) });
  await sql`
    with ended as (
      insert into public.jobs (tenant_id, job_type, max_attempts, outcome, attempt, finished_at, payload)
      select 'tenant-' || 1 + n % 10, ${step}, 3, 'completed', 1, now(), ${payload}::text::jsonb
      from generate_series(1, ${jobs}) n returning id, tenant_id
    ), in_flight as (
      insert into purser.in_flight (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, entry_id)
      select id, tenant_id, ${step}, 0, now(), now() + interval '1 day', gen_random_uuid() from ended where id % 100 = 0
    ), waiting as (
      insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at)
      select id, tenant_id, 'grown_step', 0, now(), now() + interval '1 day' from ended where id % 100 = 1
    )
    insert into purser.job_history (job_id, tenant_id, to_state, attempt)
    select id, tenant_id, 'completed', 1 from ended`;
  await sql`
    insert into tenants (id, plan) select 'grown-' || ${jobs} || '-' || n, 'pro' from generate_series(1, ${jobs / 10}) n`;
  await sql`update tenant_schedules set next_due = now() + interval '1 day' where tenant_id like 'grown-%'`;
  // A scan marks the dead entries of that update, which stand where due schedules do. VACUUM would do it too, and ALTER
  // TABLE would add rows faster, but both end the plans that are under test.
  await sql.begin(async (tx) => {
    await tx`set local enable_seqscan = off`;
    await tx`select count(next_due) from tenant_schedules where enabled and next_due <= now()`;
  });
}

export const analyzeTables = async (sql: Sql): Promise<void> => {
  for (const table of tables) await sql.unsafe(`analyze ${table}`);
};

/** Buffers per row of each hot statement, run once each over `rows` rows. */
export async function buffersPerRow(sql: Sql): Promise<Record<string, number>> {
  await sql`update tenant_schedules set next_due = now() - interval '1 hour', last_bucket = null
    where tenant_id like 'tenant-%'`;
  await sql`delete from purser.tick_keys`;
  await sql`
    insert into background_jobs (tenant_id, job_type, max_attempts, give_up_at)
    select 'tenant-' || 1 + n % 10, ${step}, 3, now() + interval '1 day' from generate_series(1, ${rows}) n`;
  const measured: Record<string, number> = {};
  const measure = async <T>(name: string, count: (answer: T) => number, run: () => Promise<T>) => {
    const before = await hits(sql);
    const answer = await run();
    const touched = (await hits(sql)) - before;
    if (count(answer) === 0) throw new Error(`${name} found no row`);
    measured[name] = touched / count(answer);
    return answer;
  };
  await measure(
    'claim',
    ({ claimed }: ClaimResult) => claimed,
    () => claimDueTenants(sql),
  );
  await sql`delete from background_jobs where job_type <> ${step}`;
  await measure(
    'types with work',
    (types) => types.length,
    () => listTypesWithWork(sql, 20),
  );
  const jobs = await measure(
    'dispatch',
    (claimed) => claimed.length,
    () => claimWaitingJobs(sql, [{ jobType: step, capacity: rows }]),
  );
  const requests = jobs.map(({ jobId, entryId }) => ({
    jobId,
    entryId,
    token: newToken(jobId),
  }));
  await measure(
    'begin',
    (begun) => begun.length,
    () => beginAttempts(sql, requests, 'worker-1', 30_000),
  );
  const half = Math.floor(requests.length / 2);
  const ends = requests.map(({ jobId, token }, index) => {
    const end: AttemptEnd = index < half ? completed : { ...completed, toState: 'cancelled' };
    return { jobId, token, end };
  });
  const finish = (name: string, some: typeof ends) =>
    measure(
      name,
      (ended) => ended.size,
      () => finishAttempts(sql, some),
    );
  await finish('finish', ends.slice(0, half));
  await finish('finish, not completed', ends.slice(half));
  await finish('finish again', ends.slice(0, half));
  await finish('finish again, not completed', ends.slice(half));
  const someRequests = Array.from({ length: rows }, (_, n) => ({
    tenantId: `tenant-${n + 1}`,
    jobType: step,
  }));
  const cancelled = await enqueueMany(sql, someRequests);
  await measure(
    'cancel',
    (answers) => answers.length,
    () =>
      Promise.all(
        cancelled.map(({ jobId }) => requestCancel(sql, { jobId, by: 'test', reason: 'test' })),
      ),
  );
  const late = await enqueueMany(sql, someRequests);
  await sql`update purser.waiting set give_up_at = now() - interval '1 hour'
    where job_id = any(${late.map(({ jobId }) => jobId)}::bigint[])`;
  await measure(
    'expiry',
    (expired) => expired,
    () => expireWaitingJobs(sql),
  );
  return measured;
}

/** Blocks of tables and indexes that this session has read, whether or not they were in memory. */
async function hits(sql: Sql): Promise<number> {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<{ blocks: string }[]>`
    select (select sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)
      from pg_statio_user_tables where schemaname in ('public', 'purser'))::text as blocks`;
  return Number(row?.blocks);
}

/** Each touches 35 to 90, dead rows of the last run among them; a scan of 10,000 jobs would add 140. */
const mostPerRow = 120;

export const boundText = `each statement touches at most ${mostPerRow} blocks per row`;

export function isBounded(measured: Record<string, number>): boolean {
  const names = Object.keys(measured);
  return names.length === 10 && names.every((name) => (measured[name] ?? Infinity) <= mostPerRow);
}

/** A driver and a server keep a plan only after some runs. */
export async function runOften(sql: Sql): Promise<void> {
  for (let run = 0; run < 7; run += 1) await buffersPerRow(sql);
}
