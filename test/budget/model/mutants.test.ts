/** A property that no wrong implementation breaks proves nothing. */
import fc from 'fast-check';
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
  const run = await fc.check(followsModel(database.sql), { numRuns: 200, endOnFailure: true });
  await undo();
  expect(run.failed).toBe(true);
  if (process.env.SHOW)
    console.log(mutant.name, run.numRuns, String(run.errorInstance).slice(0, 1200));
});
