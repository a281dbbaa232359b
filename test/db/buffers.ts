/**
 * Tables of any size for the statements of measured-statements.ts. One session runs them all, so that the plans which it made
 * while the tables were empty are the plans that it uses when they are full.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { addJobType, step } from '../jobs/job-steps.ts';
import { makeJobsWritable } from './writable-jobs.ts';

/** Tables that grow. */
const tables = [
  'public.jobs',
  'purser.waiting',
  'purser.later',
  'purser.in_flight',
  'purser.job_history',
  'public.tenants',
  'public.tenant_schedules',
  'purser.ticks',
];

export interface PlanTables {
  readonly url: string;
  /** Its plans are made while the tables are empty. */
  readonly early: Sql;
  close(): Promise<void>;
}

/**
 * A database whose statements ran while it was empty, on a server of its own: while a transaction is open in any database
 * of a server, no scan marks dead entries as such, and all later ones read them again. `given`: further settings of it.
 */
export async function openPlanTables(
  given: Readonly<Record<string, string>> = {},
): Promise<PlanTables> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-plans-'));
  await chmod(dataDir, 0o711);
  const settings = { shared_buffers: '256MB', max_wal_size: '4GB', ...given };
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

/** Blocks of tables and indexes that this session has read, whether or not they were in memory. */
export async function hits(sql: Sql): Promise<number> {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<{ blocks: string }[]>`
    select (select sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)
      from pg_statio_user_tables where schemaname in ('public', 'purser'))::text as blocks`;
  return Number(row?.blocks);
}
