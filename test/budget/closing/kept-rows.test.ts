/** What money was spent on is kept: a tenant, a budget or a month with calls is not deleted, and no delete takes a call. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setBudget } from '../../../src/budget/budgets.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { codeOf, messageOf } from '../../../src/errors.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve, settlementOf, untilWaiting } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';
import { runningJob, addJobType } from '../../jobs/job-steps.ts';

let database: TestDatabase;
let sql: Sql;
let wide: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  ({ sql } = database);
  wide = connect(database.url, { max: 8, applicationName: 'purser test calls' });
  await addJobType(sql);
});
afterAll(async () => {
  await wide.end({ timeout: 5 });
  await assertBooksRight(sql);
  await database.close();
});

const remove = (tenantId: string) => sql`delete from tenants where id = ${tenantId}`;
const hasMoney = (tenantId: string) => ({
  code: 'PU105',
  message: expect.stringMatching(`has_money: .*'${tenantId}' has LLM calls on its books`),
});

async function rowsOf(tenantId: string): Promise<number> {
  const [row] = await sql<{ rows: number }[]>`
    select (select count(*) from llm_reservations where tenant_id = ${tenantId})::int
      + (select count(*) from llm_ledger where tenant_id = ${tenantId})::int
      + (select count(*) from llm_usage where tenant_id = ${tenantId})::int
      + (select count(*) from llm_usage_items where tenant_id = ${tenantId})::int as rows`;
  return row?.rows ?? 0;
}

/** The reserve stops before its ledger row, with its month locked and its reservation written. */
async function stoppedReserve<T>(
  attempt: Parameters<typeof reserve>[1],
  run: (reserved: Promise<unknown>) => Promise<T>,
): Promise<T> {
  let reserved: Promise<unknown> = Promise.resolve();
  let ran: Promise<T> | undefined;
  await sql.begin(async (tx) => {
    await tx`lock table llm_ledger in share mode`;
    reserved = reserve(wide, attempt, '0.1').then(() => 'reserved', codeOf);
    await untilWaiting(sql, 1);
    ran = run(reserved);
    ran.catch(() => {});
    await untilWaiting(sql, 2);
  });
  await reserved;
  if (ran === undefined) throw new Error('nothing ran');
  return ran;
}

describe('the delete of a tenant', () => {
  it('is refused with a clear error from its first call or refusal on, and takes nothing', async () => {
    const tenantId = await addTenant(sql, { limitUsd: '1' });
    const { reservationId } = await reserve(sql, await startAttempt(sql, tenantId), '0.5');
    await recordUsage(sql, settlementOf(reservationId, '0.2'));
    const rows = await rowsOf(tenantId);
    expect(rows).toBe(7);
    await expect(remove(tenantId)).rejects.toMatchObject(hasMoney(tenantId));
    await expect(sql`delete from llm_budgets where tenant_id = ${tenantId}`).rejects.toThrow(
      /has_money: month \d{4}-\d\d-01 of the budget of tenant '/,
    );
    for (const table of ['llm_reservations', 'llm_usage']) {
      await expect(sql`delete from ${sql(table)} where tenant_id = ${tenantId}`).rejects.toThrow(
        /violates foreign key/,
      );
    }
    expect(await rowsOf(tenantId)).toBe(rows);

    const refused = await addTenant(sql, { limitUsd: '0' });
    const attempt = await startAttempt(sql, refused);
    await expect(reserve(sql, attempt, '0.5')).rejects.toMatchObject({ code: 'budget_exceeded' });
    await expect(remove(refused)).rejects.toMatchObject(hasMoney(refused));
  });

  it('goes on where there was no call, whatever limits were set', async () => {
    const tenantId = await addTenant(sql);
    await setBudget(sql, { tenantId, monthlyLimitUsd: '25', hard: true });
    await remove(tenantId);
    const [left] = await sql<{ rows: number }[]>`
      select ((select count(*) from llm_budgets where tenant_id = ${tenantId})
        + (select count(*) from llm_budget_periods where tenant_id = ${tenantId}))::int as rows`;
    expect(left?.rows).toBe(0);
  });

  it('that runs beside a reserve waits for it, and is refused', async () => {
    for (const first of [true, false]) {
      const tenantId = await addTenant(sql, { limitUsd: '1' });
      // The first call of a month writes the month, too.
      if (!first) await setBudget(sql, { tenantId, monthlyLimitUsd: '2', hard: true });
      const attempt = await startAttempt(sql, tenantId);
      const removed = await stoppedReserve(attempt, async () =>
        remove(tenantId).then(() => '', messageOf),
      );
      // By the delete itself, not by one of those that it leads to.
      expect(removed).toMatch('has LLM calls on its books');
      expect(await rowsOf(tenantId)).toBe(2);
    }
  });

  it('that comes before a reserve leaves it nothing to write to: the call is refused', async () => {
    for (const [job, code] of [
      [false, 'unknown_tenant'],
      [true, 'stale_token'],
    ] as const) {
      const tenantId = await addTenant(sql, { limitUsd: '1' });
      await setBudget(sql, { tenantId, monthlyLimitUsd: '2', hard: true });
      const attempt = job
        ? await runningJob(sql, tenantId, { dedupKey: tenantId })
        : await startAttempt(sql, tenantId);
      let reserved: Promise<unknown> = Promise.resolve();
      await sql.begin(async (tx) => {
        await tx`delete from tenants where id = ${tenantId}`;
        reserved = reserve(wide, attempt, '0.1').then(() => 'reserved', codeOf);
        await untilWaiting(sql, 1);
      });
      expect(await reserved).toBe(code);
      expect(await rowsOf(tenantId)).toBe(0);
    }
  });

  it('and reserves at the same time, forty times: either the tenant stays or no call is admitted', async () => {
    const outcomes = new Set<string>();
    for (let round = 0; round < 40; round += 1) {
      const tenantId = await addTenant(sql, { limitUsd: '1' });
      const attempt = await runningJob(sql, tenantId, { dedupKey: tenantId });
      const calls = [0, 1].map(async () =>
        reserve(wide, attempt, '0.1').then(() => 'reserved', codeOf),
      );
      await sleep(round % 7);
      const removed = await remove(tenantId).then(() => 'removed', codeOf);
      const ended = await Promise.all(calls);
      const admitted = ended.filter((end) => end === 'reserved').length;
      expect(await rowsOf(tenantId)).toBe(2 * admitted);
      expect(removed).toBe(admitted > 0 ? 'PU105' : 'removed');
      outcomes.add(removed);
    }
    expect(outcomes).toContain('PU105');
  }, 30_000);
});

it('no table of calls refers to a tenant or a budget, and none cascades but the pins', async () => {
  const keys = await sql<{ of: string; to: string; rule: string }[]>`
    select conrelid::regclass::text as of, confrelid::regclass::text as to, confdeltype as rule
    from pg_constraint where contype = 'f' and conrelid::regclass::text = any(${[
      'llm_reservations',
      'llm_usage',
      'llm_usage_items',
      'llm_pins',
      'llm_refusals',
      'llm_ledger',
      'llm_adjustments',
      'llm_top_ups',
    ]}) order by 1, 2`;
  expect(keys.map(({ of, to, rule }) => `${of} ${to} ${rule}`)).toEqual([
    'llm_pins llm_reservations c',
    'llm_usage llm_reservations a',
    'llm_usage_items llm_usage a',
  ]);
});
