/** What the sweep samples for the charts: each end once, failures and spend by when they were, and no gap. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { addUpJobCounts } from '../../../src/jobs/sweep.ts';
import { readHours } from '../../../src/operations/now/series.ts';
import { sampleFleet } from '../../../src/operations/now/sample.ts';
import { again, exhausted } from '../../jobs/failures/ends.ts';
import { addJob, addJobType, claim, finish, runningJob, step } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;
beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  await addJobType(sql);
});
beforeEach(async () => {
  await sql`delete from tenants`;
  await sql`delete from purser.job_counts`;
  await sql`delete from purser.failures`;
  for (const table of ['job_ends', 'fleet_samples', 'type_waits']) {
    await sql`delete from purser.${sql(table)}`;
  }
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

describe('ends of jobs', () => {
  it('are counted once each, whoever adds them up, and whatever was counted before', async () => {
    for (let n = 0; n < 3; n += 1) await finish(sql, await runningJob(sql, tenantId));
    await finish(sql, await runningJob(sql, tenantId), exhausted('boom', 'x'));
    await Promise.all([addUpJobCounts(sql), addUpJobCounts(sql), addUpJobCounts(sql)]);
    await addUpJobCounts(sql);
    const hours = await readHours(sql);
    expect([sum(hours.completed), sum(hours.deadLetters), sum(hours.cancelled)]).toEqual([3, 1, 0]);
    expect(hours.completed.at(-1)).toBe(3);
  });

  it('stay counted when their jobs are deleted', async () => {
    await finish(sql, await runningJob(sql, tenantId));
    await addUpJobCounts(sql);
    await sql`delete from jobs`;
    await addUpJobCounts(sql);
    expect(sum((await readHours(sql)).completed)).toBe(1);
    expect(await sql`select from purser.job_counts`).toHaveLength(0);
  });

  it('and the counts themselves are as without the charts', async () => {
    await finish(sql, await runningJob(sql, tenantId));
    await finish(sql, await runningJob(sql, tenantId));
    await addUpJobCounts(sql);
    await sql`delete from jobs where id = (select min(id) from jobs)`;
    await addUpJobCounts(sql);
    const counts =
      await sql`select outcome, sum(jobs)::int as jobs from purser.job_counts group by 1`;
    expect([...counts]).toEqual([{ outcome: 'completed', jobs: 1 }]);
  });
});

const sampleAgain = async (): Promise<number> => {
  await sql`update purser.fleet_samples set taken_at = taken_at - interval '1 minute'`;
  return sampleFleet(sql);
};

const ledgerRow = (at: Date, usd: string) => sql`
  insert into llm_ledger (at, tenant_id, budget_id, period_start, reservation_id, event, reserved_delta_usd,
    spent_delta_usd, unknown_delta_usd, available_delta_usd)
  values (${at}, ${tenantId}, gen_random_uuid(), current_date, gen_random_uuid(), 'settle', 0, ${usd}::numeric, 0,
    -${usd}::numeric)`;

const slotsBack = async (slots: number): Promise<Date> => {
  const [row] = await sql<{ at: Date }[]>`
    select purser.slot_of(now()) - ${slots} * interval '5 minutes' + interval '1 second' as at`;
  if (row === undefined) throw new Error('no time');
  return row.at;
};

describe('a sample', () => {
  it('is taken once a minute, whoever asks', async () => {
    const taken = await Promise.all([sampleFleet(sql), sampleFleet(sql), sampleFleet(sql)]);
    expect(sum(taken)).toBe(1);
    expect(await sampleFleet(sql)).toBe(0);
    expect(await sampleAgain()).toBe(1);
  });

  it('counts failed attempts and the spend, and again what was committed late', async () => {
    await sampleFleet(sql);
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, again('http_500', 'x'));
    await ledgerRow(await slotsBack(0), '0.000000001');
    await sampleAgain();
    await ledgerRow(await slotsBack(0), '0.5');
    await sampleAgain();
    const hours = await readHours(sql);
    expect(sum(hours.failedAttempts)).toBe(1);
    expect(hours.spentUsd.at(-1)).toBe('0.500000001');
  });

  it('fills what no scheduler has sampled, each row in the slot of its time', async () => {
    await sampleFleet(sql);
    const before = await slotsBack(40);
    await sql`update purser.fleet_samples set slot = purser.slot_of(${before})`;
    await ledgerRow(await slotsBack(41), '7');
    await ledgerRow(await slotsBack(20), '2');
    await ledgerRow(await slotsBack(1), '3');
    await ledgerRow(await slotsBack(0), '4');
    await sampleFleet(sql);
    const slots = await sql`
      select trim_scale(spent_usd)::text as usd from purser.fleet_samples where spent_usd > 0 order by slot`;
    expect(slots.map(({ usd }) => usd)).toEqual(['2', '3', '4']);
  });

  it('keeps the longest wait of each type, of waiting and of queued jobs, and the lag', async () => {
    const jobId = await addJob(sql, tenantId);
    await sql`update purser.waiting set scheduled_for = now() - interval '90 seconds' where job_id = ${jobId}`;
    await sampleFleet(sql);
    await claim(sql);
    await sql`update purser.in_flight set scheduled_for = now() - interval '30 seconds'`;
    await sampleAgain();
    const waits = (await readHours(sql)).waitsMs.get(step) ?? [];
    expect(Math.round((waits.at(-1) ?? 0) / 10_000)).toBe(9);
    await sql`update purser.type_waits set slot = slot - interval '1 hour'`;
    await sampleAgain();
    const later = (await readHours(sql)).waitsMs.get(step) ?? [];
    expect(Math.round((later.at(-1) ?? 0) / 10_000)).toBe(3);
  });

  it('removes what is older than two days', async () => {
    await sql`
      insert into purser.job_ends values (now() - interval '3 days', ${step}, 'completed', 1)`;
    await sql`insert into purser.type_waits values (now() - interval '3 days', ${step}, 1)`;
    await sql`insert into purser.fleet_samples (slot) values (now() - interval '3 days')`;
    await sampleFleet(sql);
    for (const table of ['job_ends', 'fleet_samples', 'type_waits']) {
      const old = await sql`
        select from purser.${sql(table)} where slot < now() - interval '2 days'`;
      expect(old).toHaveLength(0);
    }
  });
});

it('without any sample all hours are there, and empty', async () => {
  const hours = await readHours(sql);
  expect(hours.sampledAt).toBeNull();
  expect(hours.completed).toHaveLength(24);
  expect(sum(hours.completed)).toBe(0);
});
