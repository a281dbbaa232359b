/**
 * A deleted tenant leaves nothing of its jobs, in whatever states they are; what is kept of it is named here. A delete is
 * refused while a tenant has LLM calls, so these are removed first.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import { openOperatorToken, tenantSql } from '../../../src/db/tenant.ts';
import { discardDeadLetter, replayDeadLetter } from '../../../src/jobs/dead-letters.ts';
import { enqueueChild } from '../../../src/jobs/enqueue.ts';
import { requestCancel } from '../../../src/jobs/cancel.ts';
import { storeLogLines } from '../../../src/jobs/log-lines.ts';
import { pauseWork } from '../../../src/jobs/pauses.ts';
import { removeExpiredKeys } from '../../../src/jobs/sweep.ts';
import { claimDueTenants } from '../../../src/schedules/claim.ts';
import { misplaced, miscounted } from '../../faults/auditor.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve } from '../../support/holds.ts';
import { addTenant, removeTenants } from '../../support/tenants.ts';
import {
  addJob,
  addJobType,
  claimJob,
  finish,
  historyOf,
  jobRow,
  runningJob,
} from '../job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  sql = database.system;
  await addJobType(sql);
});
afterAll(() => test.close());

/** Tables without a foreign key to tenants or jobs, and why (sql/0001_tenancy.sql, sql/0006_budget.sql). */
const kept: Readonly<Record<string, string>> = {
  'public.llm_ledger': 'the book is append-only and outlives what it tells of',
  'public.llm_deleted_budgets': 'tells a ledger row of a deleted budget from one of no budget',
  'public.llm_limit_changes': 'tells by which limit a row of the ledger was admitted',
  'purser.operator_tokens': 'ends by itself after minutes, and the sweep removes it then',
};

/** Number of rows of the tenant, or of one of its jobs, in each table of ours that has some. */
async function rowsOf(tenantId: string, jobIds: readonly string[]): Promise<Map<string, number>> {
  const tables = await sql<{ name: string; columns: string[] }[]>`
    select n.nspname || '.' || c.relname as name, array_agg(a.attname::text) as columns
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
    where n.nspname in ('public', 'purser') and c.relkind in ('r', 'p') and not a.attisdropped
      and a.attname in ('tenant_id', 'job_id')
    group by 1`;
  expect(tables.length).toBeGreaterThan(20);
  const counts = new Map<string, number>();
  for (const { name, columns } of tables) {
    const ofTenant = columns.includes('tenant_id') ? sql`tenant_id = ${tenantId}` : sql`false`;
    const ofJob = columns.includes('job_id')
      ? sql`job_id = any(${[...jobIds]}::bigint[])`
      : sql`false`;
    const [row] = await sql<{ rows: number }[]>`
      select count(*)::int as rows from ${sql(name)} where ${ofTenant} or ${ofJob}`;
    if (row !== undefined && row.rows > 0) counts.set(name, row.rows);
  }
  return counts;
}

const error = { code: 'broken', message: 'it broke' };
const operator = { operator: 'alice', source: 'test' };

/** Jobs in every state, with all that can belong to a job. */
async function arrange(tenantId: string): Promise<void> {
  const due = await claimDueTenants(sql, { offsetMs: 366 * 86_400_000 });
  expect(due.created).toBeGreaterThan(0);
  const running = async () => runningJob(sql, tenantId);
  for (const toState of ['completed', 'dead_letter', 'cancelled'] as const) {
    await finish(sql, await running(), { toState, error });
  }
  const [replayed, discarded] = [await running(), await running()];
  for (const attempt of [replayed, discarded]) {
    await finish(sql, attempt, { toState: 'dead_letter', error });
  }
  await discardDeadLetter(sql, discarded.jobId, { ...operator, reason: 'known' });
  const parked = { toState: 'parked', neededUsd: '5', countsAttempt: false } as const;
  await finish(sql, await running(), parked);
  await finish(sql, await running(), { toState: 'failed', error, afterMs: 3_600_000 });
  const attempt = await running();
  await enqueueChild(tenantSql(database.tenant, { token: attempt.token }), {
    jobType: 'test_step',
    dedupKey: 'a child',
    runAt: new Date(Date.now() + 3_600_000),
  });
  await requestCancel(sql, { jobId: attempt.jobId, by: 'alice', reason: 'wrong file' });
  await reserve(sql, attempt, '0.1');
  const at = new Date().toISOString();
  await storeLogLines(sql, [
    { jobId: attempt.jobId, tenantId, attempt: 1, lines: [{ at, level: 'info', text: 'a line' }] },
  ]);
  await claimJob(sql, await addJob(sql, tenantId, { dedupKey: 'queued' }));
  await addJob(sql, tenantId, { runAt: new Date(Date.now() + 3_600_000) });
  await finish(sql, await running(), { toState: 'failed', error, afterMs: 0 });
  await replayDeadLetter(sql, replayed.jobId, operator);
  await addJob(sql, tenantId, { dedupKey: 'waiting' });
  await pauseWork(sql, { scope: 'tenant', name: tenantId, reason: 'incident', by: 'alice' });
  await openOperatorToken(sql, tenantId, 60_000);
}

const jobIdsOf = async (tenantId: string): Promise<string[]> =>
  (await sql<{ id: string }[]>`select id from jobs where tenant_id = ${tenantId}`).map(
    ({ id }) => id,
  );

it('its jobs of all states go with all that belongs to them; the ledger is kept', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '10', plan: 'pro' });
  await arrange(tenantId);
  const jobIds = await jobIdsOf(tenantId);
  const states = await sql<{ state: string }[]>`
    select distinct state from background_jobs where tenant_id = ${tenantId}`;
  expect(states.map(({ state }) => state).toSorted()).toEqual(
    'cancelled completed dead_letter failed parked pending queued running'.split(' '),
  );
  const other = await addTenant(sql);
  const stays = await runningJob(sql, other, { dedupKey: 'stays' });
  const before = await rowsOf(tenantId, jobIds);
  expect([...before.keys()]).toEqual(
    expect.arrayContaining([
      'public.job_keys',
      'public.job_log_lines',
      'public.jobs',
      'public.llm_budget_periods',
      'public.llm_budgets',
      'public.llm_ledger',
      'public.llm_reservations',
      'public.pauses',
      'public.tenant_schedules',
      'purser.dead_letters',
      'purser.in_flight',
      'purser.job_history',
      'purser.later',
      'purser.operator_tokens',
      'purser.parked',
      'purser.ticks',
      'purser.waiting',
    ]),
  );

  await removeTenants(sql, tenantId);

  expect([...(await rowsOf(tenantId, jobIds)).keys()].toSorted()).toEqual(
    Object.keys(kept).toSorted(),
  );
  await sql`update purser.operator_tokens set expires_at = now() - interval '1 second'`;
  await removeExpiredKeys(sql);
  expect([...(await rowsOf(tenantId, jobIds)).keys()]).not.toContain('purser.operator_tokens');
  expect([...(await misplaced(sql)), ...(await miscounted(sql))]).toEqual([]);
  expect((await jobRow(sql, stays.jobId)).state).toBe('running');
  expect(await historyOf(sql, stays.jobId)).toHaveLength(3);
  expect([...(await rowsOf(other, [stays.jobId])).keys()]).toContain('public.job_keys');
});
