/**
 * The statements that every job passes through touch a bounded number of blocks per row, whatever the tables held when
 * their plans were made: no planner switch is set here, and no statistics are gathered.
 */
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
/** Its plans are made while the tables are empty. */
let early: Sql;

beforeAll(async () => {
  test = await freshDatabase();
  early = connect(test.url, { max: 1, applicationName: 'purser test plans' });
  await prepareTables(early);
});
afterAll(async () => {
  await early.end({ timeout: 5 });
  await test.close();
});

it('on empty tables', async () => {
  await runOften(early);
  expect(await buffersPerRow(early)).toSatisfy(isBounded, boundText);
});

it('on tables that hold 400 analysed rows', async () => {
  await grow(early, 400, 0);
  await analyzeTables(early);
  await runOften(early);
  expect(await buffersPerRow(early)).toSatisfy(isBounded, boundText);
});

it('on 10,000 rows more, with the plans of the small tables', async () => {
  await grow(early, 10_000);
  expect(await buffersPerRow(early)).toSatisfy(isBounded, boundText);
});

it('on 10,000 rows that were never analysed, in a new session', async () => {
  const late = connect(test.url, { max: 1, applicationName: 'purser test plans' });
  try {
    expect(await buffersPerRow(late)).toSatisfy(isBounded, boundText);
  } finally {
    await late.end({ timeout: 5 });
  }
});

it('on 10,000 rows that were analysed', async () => {
  await analyzeTables(early);
  expect(await buffersPerRow(early)).toSatisfy(isBounded, boundText);
});
