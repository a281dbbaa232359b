/** As stable-plans.test.ts, on 1,000,000 jobs and 100,000 tenants, with the plans of the small tables. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import {
  analyzeTables,
  boundText,
  buffersPerRow,
  grow,
  isBounded,
  prepareTables,
  runOften,
} from './buffers.ts';

let test: TestDatabase;
let early: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  early = connect(test.url, { max: 1, applicationName: 'purser test plans' });
  await prepareTables(early);
  await runOften(early);
  await grow(early, 400, 0);
  await analyzeTables(early);
  await runOften(early);
  await grow(early, 1_000_000);
}, 300_000);
afterAll(async () => {
  await early.end({ timeout: 5 });
  await test.close();
});

it('with the plans of the small tables', async () => {
  const measured = await buffersPerRow(early);
  console.log('blocks per row, 1,000,000 jobs:', measured);
  expect(measured).toSatisfy(isBounded, boundText);
});

it('with the plans of a new session, never analysed and analysed', async () => {
  const late = connect(test.url, { max: 1, applicationName: 'purser test plans' });
  try {
    expect(await buffersPerRow(late)).toSatisfy(isBounded, boundText);
    await analyzeTables(late);
    expect(await buffersPerRow(late)).toSatisfy(isBounded, boundText);
  } finally {
    await late.end({ timeout: 5 });
  }
}, 120_000);
