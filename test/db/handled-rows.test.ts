/**
 * Under limits of every kind, a dispatch and a begin handle a bounded number of rows per job in the nodes of their plans,
 * and so does the waking of parked jobs: no list is searched for each job, and what others have in flight is not read.
 * Buffers would not show the first.
 */
import postgres from 'postgres';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import { claimWaitingJobs } from '../../src/jobs/dispatch.ts';
import type { DispatchedJob } from '../../src/jobs/dispatch.ts';
import { setJobLimit } from '../../src/jobs/limits/job-limits.ts';
import { wakeParkedJobs } from '../../src/jobs/sweep.ts';
import { step } from '../jobs/job-steps.ts';
import { openPlanTables } from './buffers.ts';
import type { PlanTables } from './buffers.ts';

/** A node of a plan that auto_explain sends. Rows are those of one loop. */
interface Node {
  readonly 'Actual Rows'?: number;
  readonly 'Actual Loops'?: number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Join Filter'?: number;
  readonly Plans?: readonly Node[];
}

const tenantCount = 50;
/** Of a tenant: no group, two of its own, and ten that each share with another tenant. */
const groups = [
  '',
  'user:1',
  'user:2',
  ...Array.from({ length: 10 }, (_, index) => `shared:${index}:`),
];
/** Jobs of each group of each tenant. */
const each = 2;
const jobs = tenantCount * groups.length * each;
const mostPerJob = 150;
const by = 'test';

let tables: PlanTables;
/** Its plans are made while the tables are empty, or nearly so. */
let observed: Sql;
let plans: string[] = [];
beforeAll(async () => {
  tables = await openPlanTables({
    session_preload_libraries: 'auto_explain',
    'auto_explain.log_min_duration': '0',
    'auto_explain.log_analyze': 'on',
    'auto_explain.log_timing': 'off',
    'auto_explain.log_nested_statements': 'on',
    'auto_explain.log_format': 'json',
    'auto_explain.log_level': 'notice',
  });
  observed = postgres(tables.url, {
    max: 1,
    onnotice: ({ message = '' }) => void (message.includes('plan:') && plans.push(message)),
  });
  const { early } = tables;
  await setJobLimit(early, { jobType: step }, { maxRunning: 100_000, by });
  await setJobLimit(early, { group: 'user:*', eachTenant: true }, { maxRunning: 100_000, by });
  await setJobLimit(early, { group: 'shared:*' }, { maxRunning: 100_000, by });
  await addTenants('tenant', 10);
  for (let run = 0; run < 7; run += 1) {
    await addWaiting('tenant', 1, 1);
    await begin(await dispatch(10));
    await addParked(1);
    await wakeParkedJobs(observed);
    await early`delete from jobs`;
  }
  await addTenants('other', tenantCount);
  await addWaiting('other', tenantCount, 4 * each);
  await dispatch(10 * jobs);
  await addTenants('due', tenantCount);
}, 120_000);
afterAll(async () => {
  await observed.end({ timeout: 5 });
  await tables.close();
});

/** Each has a limit of what runs and one of starts. */
async function addTenants(name: string, count: number): Promise<void> {
  await tables.early`
    insert into tenants (id, plan) select ${name} || '-' || n, 'pro' from generate_series(1, ${count}) n
    on conflict do nothing`;
  await tables.early`
    insert into job_limits (tenant_id, job_type, max_running, max_starts, per_seconds, by)
    select ${name} || '-' || n, t.job_type, t.most, t.starts, t.seconds, ${by}
    from generate_series(1, ${count}) n,
      (values ('', null::int, 100000, 60), (${step}, 100000, null, null)) t (job_type, most, starts, seconds)`;
}

const addWaiting = (name: string, count: number, ofGroup: number) => tables.early`
  insert into background_jobs (tenant_id, job_type, group_name, max_attempts, give_up_at)
  select ${name} || '-' || n, ${step}, g.name || case when g.name like 'shared%' then (n % 25)::text else '' end, 3, now() + interval '1 day'
  from generate_series(1, ${count}) n, unnest(${groups}::text[]) g (name), generate_series(1, ${ofGroup})`;

/** Of as many tenants. */
async function addParked(count: number): Promise<void> {
  await tables.early`
    insert into tenants (id, plan) select 'parked-' || n, 'pro' from generate_series(1, ${count}) n
    on conflict do nothing`;
  await tables.early`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts)
      select 'parked-' || n, ${step}, 3 from generate_series(1, ${count}) n returning id, tenant_id)
    insert into purser.parked (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at, needed_usd)
    select id, tenant_id, ${step}, 0, now(), now() + interval '1 day', 1 from made`;
}

const dispatch = (capacity: number): Promise<DispatchedJob[]> =>
  claimWaitingJobs(observed, [{ jobType: step, capacity }]);

const begin = (some: readonly DispatchedJob[]) =>
  beginAttempts(
    observed,
    some
      .map(({ jobId, entryId }) => ({ jobId, entryId, token: newToken(jobId) }))
      .toSorted((a, b) => Number(a.jobId) - Number(b.jobId)),
    'worker-1',
    30_000,
  );

const rowsOf = (node: Node): number =>
  (node['Actual Loops'] ?? 0) *
    ((node['Actual Rows'] ?? 0) +
      (node['Rows Removed by Filter'] ?? 0) +
      (node['Rows Removed by Join Filter'] ?? 0)) +
  (node.Plans ?? []).reduce((sum, inner) => sum + rowsOf(inner), 0);

/** Rows per job of each statement that handles many, by its beginning. */
async function handled(run: () => Promise<number>) {
  plans = [];
  expect(await run()).toBe(jobs);
  expect(plans.length).toBeGreaterThan(1);
  return plans
    .map((message) => {
      const explained = JSON.parse(message.slice(message.indexOf('{'))) as {
        'Query Text': string;
        Plan: Node;
      };
      return {
        statement: explained['Query Text'].replace(/\s+/g, ' ').slice(0, 80),
        rows: Math.round(rowsOf(explained.Plan) / jobs),
      };
    })
    .filter(({ rows }) => rows > mostPerJob);
}

it('no statement of a dispatch or a begin handles many rows per job', async () => {
  await addWaiting('due', tenantCount, each);
  let dispatched: DispatchedJob[] = [];
  expect(await handled(async () => (dispatched = await dispatch(jobs)).length)).toEqual([]);
  expect(await handled(async () => (await begin(dispatched)).length)).toEqual([]);
});

it('nor does one that wakes parked jobs, of as many tenants', async () => {
  await addParked(jobs);
  expect(await handled(() => wakeParkedJobs(observed))).toEqual([]);
});
