/** What a preview says before anything is done: whose jobs, how old, what they can cost, and which would not run. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { codeOf } from '../../../src/errors.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { addPause } from '../../../src/jobs/pauses.ts';
import { maxMembers, previewBatch } from '../../../src/operations/batches/preview.ts';
import { fatal } from '../../jobs/failures/ends.ts';
import { addJobType, claim, finish, runningJob, step } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve } from '../../support/holds.ts';
import { addTenant, removeTenants } from '../../support/tenants.ts';
import { alice, deadLetters } from './batch-database.ts';

let test: TestDatabase;
let sql: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  sql = test.sql;
  await addJobType(sql);
});
afterEach(async () => {
  await sql`delete from pauses`;
  await sql`delete from job_limits`;
  await removeTenants(sql);
});
afterAll(() => test.close());

const preview = (filter = {}) => previewBatch(sql, alice, { act: 'replay', filter });

/** A dead letter whose attempts each held these amounts; `refused` was the last thing that it asked for. */
async function spender(
  tenantId: string,
  attempts: readonly (readonly string[])[],
  refused?: string,
): Promise<string> {
  const job = await runningJob(sql, tenantId);
  for (const [index, holds] of attempts.entries()) {
    const attempt = { ...job, tenantId, attempt: index + 1 };
    await sql`update purser.in_flight set attempt = ${index + 1} where job_id = ${job.jobId}`;
    for (const usd of holds) await reserve(sql, attempt, usd);
  }
  if (refused !== undefined) {
    const attempt = { ...job, tenantId, attempt: attempts.length };
    const answer = await reserve(sql, attempt, refused).catch(codeOf);
    if (answer !== 'budget_exceeded') throw new Error(`${refused} was not refused`);
  }
  await finish(sql, job, fatal('boom', 'it broke'));
  return job.jobId;
}

it('counts jobs and tenants, names the largest ones first, and the oldest end', async () => {
  const [small, large] = [await addTenant(sql), await addTenant(sql)];
  const [oldest = ''] = await deadLetters(sql, small, 1);
  await deadLetters(sql, large, 3);
  const found = await preview();
  expect(found).toMatchObject({
    jobs: 4,
    isCut: false,
    tenants: 2,
    topTenants: [
      { tenantId: large, jobs: 3 },
      { tenantId: small, jobs: 1 },
    ],
    worstCaseNanoUsd: 0n,
    withoutHold: 4,
    blocked: { budget: 0, cap: 0, pause: 0 },
    blockedGroups: [],
  });
  const [row] = await sql<{ at: Date }[]>`
    select finished_at as at from jobs where id = ${oldest}`;
  expect(found.oldestAt).toEqual(row?.at);
  expect((await preview({ tenantId: small })).tenants).toBe(1);
});

it('adds up the holds of the last attempt of each job, and what was refused after it', async () => {
  const tenantId = await addTenant(sql, { limitUsd: '1000' });
  await spender(tenantId, [['5'], ['0.25', '0.000000001']]);
  await spender(tenantId, [['1']], '999');
  expect(await preview()).toMatchObject({
    worstCaseNanoUsd: 250_000_001n + 1_000_000_000_000n,
    withoutHold: 0,
  });
});

it('shows a tenant that has no budget left, and the jobs that do not fit into what is left', async () => {
  const empty = await addTenant(sql, { limitUsd: '10' });
  await spender(empty, [['4']]);
  await spender(empty, [['4']]);
  // Of which no hold is known.
  await deadLetters(sql, empty, 1);
  await sql`update llm_budgets set monthly_limit_usd = 5 where tenant_id = ${empty}`;
  const soft = await addTenant(sql, { limitUsd: '1', hard: false });
  await spender(soft, [['2']]);
  const rich = await addTenant(sql, { limitUsd: '100' });
  await spender(rich, [['2']]);
  const found = await preview();
  expect(found.blocked).toEqual({ budget: 3, cap: 0, pause: 0 });
  expect(found.blockedGroups).toEqual([
    { tenantId: empty, jobType: step, jobs: 3, budget: 3, cap: 0, pause: 0 },
  ]);
  await sql`update llm_budgets set monthly_limit_usd = 12 where tenant_id = ${empty}`;
  // 4 of 12 are available: the first job fits, the second does not.
  expect((await preview()).blocked.budget).toBe(1);
});

it('shows what is paused, and what a full limit holds up', async () => {
  const [capped, paused] = [await addTenant(sql), await addTenant(sql)];
  await deadLetters(sql, capped, 2);
  await deadLetters(sql, paused, 3);
  await setJobLimit(sql, { tenantId: capped }, { maxRunning: 1, by: 'alice' });
  expect((await preview()).blocked.cap).toBe(0);
  await runningJob(sql, capped);
  await claim(sql);
  const pause = { scope: 'tenant', name: paused, reason: 'x', by: 'alice', stops: false } as const;
  await sql.begin((tx) => addPause(tx, pause));
  expect(await preview()).toMatchObject({
    blocked: { budget: 0, cap: 2, pause: 3 },
    blockedGroups: [
      { tenantId: paused, jobs: 3, pause: 3, cap: 0 },
      { tenantId: capped, jobs: 2, pause: 0, cap: 2 },
    ],
  });
  await setJobLimit(sql, { jobType: step }, { maxStarts: 0, perSeconds: 60, by: 'alice' });
  expect((await preview()).blocked.cap).toBe(5);
});

it('takes 100,000 jobs at most, and says that there are more', async () => {
  const tenantId = await addTenant(sql);
  const [one = ''] = await deadLetters(sql, tenantId, 1);
  await sql`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts, outcome, error, finished_at)
      select ${tenantId}, ${step}, 1, 'dead_letter', '{"code": "boom"}', now() from generate_series(1, ${maxMembers}::int)
      returning id
    )
    insert into purser.dead_letters (job_id, tenant_id, finished_at, job_type, attempt, error_code, fingerprint, ended_by, words)
    select m.id, ${tenantId}, now(), ${step}, 1, 'boom', '0-0000000000000000', 'fatal', '' from made m`;
  const found = await preview();
  expect(found).toMatchObject({ jobs: maxMembers, isCut: true, tenants: 1 });
  const [kept] = await sql`
    select count(*)::int as members, min(job_id) as first from purser.batch_members where batch_id = ${found.batchId}`;
  expect(kept).toEqual({ members: maxMembers, first: one });
}, 120_000);
