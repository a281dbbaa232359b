/**
 * The statements that every job passes through touch a bounded number of blocks per row, whatever the tables held when
 * their plans were made: no planner switch is set here, and no statistics are gathered.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { analyzeTables, grow, onePlanSession, openPlanTables } from './buffers.ts';
import type { PlanTables } from './buffers.ts';
import { boundText, buffersPerRow, isBounded, runOften } from './measured-statements.ts';

let tables: PlanTables;
beforeAll(async () => {
  tables = await openPlanTables();
});
afterAll(() => tables.close());

it('on empty tables', async () => {
  await runOften(tables.early);
  expect(await buffersPerRow(tables.early)).toSatisfy(isBounded, boundText);
});

it('on tables that hold 400 analysed rows', async () => {
  await grow(tables.early, 400, 0);
  await analyzeTables(tables.early);
  await runOften(tables.early);
  expect(await buffersPerRow(tables.early)).toSatisfy(isBounded, boundText);
});

it('on 10,000 rows more, with the plans of the small tables', async () => {
  await grow(tables.early, 10_000);
  expect(await buffersPerRow(tables.early)).toSatisfy(isBounded, boundText);
});

it('on 10,000 rows that were never analysed, in a new session', async () => {
  const late = onePlanSession(tables.url);
  try {
    expect(await buffersPerRow(late)).toSatisfy(isBounded, boundText);
  } finally {
    await late.end({ timeout: 5 });
  }
});

it('on 10,000 rows that were analysed', async () => {
  await analyzeTables(tables.early);
  expect(await buffersPerRow(tables.early)).toSatisfy(isBounded, boundText);
});
