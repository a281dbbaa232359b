/** A property that no wrong implementation breaks proves nothing. */
import { check } from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { dropChecks } from './checks.ts';
import { install, sequentialMutants } from './mutants.ts';
import { followsModel } from './property.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await dropChecks(database.sql);
});
afterAll(() => database.close());

it.each(sequentialMutants)('finds that $name', async (mutant) => {
  const undo = await install(database.sql, mutant);
  const run = await check(followsModel(database.sql), { numRuns: 500, endOnFailure: true });
  await undo();
  expect(run.failed).toBe(true);
});
