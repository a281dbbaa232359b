/**
 * An enqueue of a tenant whose backlog has a limit reads that backlog and the queues, with plans that were made while the
 * tables were empty: not what other tenants have waiting.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enqueue, enqueueMany } from '../../src/jobs/enqueue.ts';
import { step } from '../jobs/job-steps.ts';
import { analyzeTables, grow, hits, onePlanSession, openPlanTables } from './buffers.ts';
import type { PlanTables } from './buffers.ts';

/** Blocks that one of ten calls touches. A scan of the waiting or postponed jobs of the others would add 100. */
const mostPerCall = 150;
const calls = 10;
const tenantId = 'limited';

let tables: PlanTables;
beforeAll(async () => {
  tables = await openPlanTables();
  const { early } = tables;
  await early`insert into tenants (id, max_backlog_jobs) values (${tenantId}, 100000)`;
  for (let run = 0; run < 7; run += 1) await blocksPerCall();
  await grow(early, 10_000, 0);
  await early`
    with made as (
      insert into jobs (tenant_id, job_type, max_attempts)
      select 'tenant-' || 1 + n % 10, ${step}, 3 from generate_series(1, 20000) n returning id, tenant_id
    ), postponed as (
      insert into purser.later (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at)
      select id, tenant_id, ${step}, 0, now() + interval '1 day', now() + interval '2 days' from made where id % 2 = 0)
    insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at)
    select id, tenant_id, ${step}, 0, now(), now() + interval '1 day' from made where id % 2 = 1`;
});
afterAll(() => tables.close());

async function blocksPerCall(sql = tables.early): Promise<Record<string, number>> {
  const request = { tenantId, jobType: step };
  const before = await hits(sql);
  for (let n = 0; n < calls; n += 1) await enqueue(sql, request);
  const between = await hits(sql);
  for (let n = 0; n < calls; n += 1) await enqueueMany(sql, [request, request]);
  const after = await hits(sql);
  await sql`delete from jobs where tenant_id = ${tenantId}`;
  return { enqueue: (between - before) / calls, enqueueMany: (after - between) / calls };
}

const isBounded = ({ enqueue: one = Infinity, enqueueMany: many = Infinity }): boolean =>
  one <= mostPerCall && many <= mostPerCall;
const boundText = `each call touches at most ${mostPerCall} blocks`;

it('with the plans of the empty tables', async () => {
  expect(await blocksPerCall()).toSatisfy(isBounded, boundText);
});

it('in a new session, never analysed and analysed', async () => {
  const late = onePlanSession(tables.url);
  try {
    expect(await blocksPerCall(late)).toSatisfy(isBounded, boundText);
    await analyzeTables(late);
    expect(await blocksPerCall(late)).toSatisfy(isBounded, boundText);
  } finally {
    await late.end({ timeout: 5 });
  }
});
