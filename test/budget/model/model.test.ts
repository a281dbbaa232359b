/**
 * Any sequence of operations on the database ends as the model says (promise 4). Longer runs by hand:
 * PURSER_PROPERTY_RUNS=5000 npx vitest run test/budget/model; PURSER_PROPERTY_SEED repeats one.
 */
import { assert } from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { assertBooksRight } from '../../support/ledger.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { dropChecks } from './checks.ts';
import { followsModel, runOptions } from './property.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await dropChecks(database.sql);
});
afterAll(() => database.close());

it(
  'any sequence of reserves, sends, settlements, expiries and changed limits is what the model says',
  { timeout: 0 },
  async () => {
    await assert(followsModel(database.sql), runOptions());
    await assertBooksRight(database.sql);
    const [row] = await database.sql<{ held: number }[]>`
      select count(*)::int as held from llm_reservations where status = 'RESERVED'`;
    expect(row).toEqual({ held: 0 });
  },
);
