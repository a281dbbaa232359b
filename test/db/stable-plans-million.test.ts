/** As stable-plans.test.ts, on 1,000,000 jobs and 100,000 tenants, with the plans of the small tables. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { analyzeTables, grow, onePlanSession, openPlanTables } from './buffers.ts';
import type { PlanTables } from './buffers.ts';
import { boundText, buffersPerRow, isBounded, runOften } from './measured-statements.ts';

let tables: PlanTables;
beforeAll(async () => {
  tables = await openPlanTables();
  const { early } = tables;
  await runOften(early);
  await grow(early, 400, 0);
  await analyzeTables(early);
  await runOften(early);
  await grow(early, 1_000_000, 0);
}, 900_000);
afterAll(() => tables.close());

it('with the plans of the small tables', async () => {
  const measured = await buffersPerRow(tables.early);
  console.log('blocks per row, 1,000,000 jobs:', measured);
  expect(measured).toSatisfy(isBounded, boundText);
});

it('with the plans of a new session, never analysed and analysed', async () => {
  const late = onePlanSession(tables.url);
  try {
    expect(await buffersPerRow(late)).toSatisfy(isBounded, boundText);
    await analyzeTables(late);
    expect(await buffersPerRow(late)).toSatisfy(isBounded, boundText);
  } finally {
    await late.end({ timeout: 5 });
  }
}, 120_000);
