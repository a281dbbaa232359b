/** The property that the database follows the model, for tests of the database and of wrong ones. */
import {
  asyncModelRun,
  asyncProperty,
  commands as sequencesOf,
  constantFrom,
  oneof,
  record,
} from 'fast-check';

import type { Sql } from '../../../src/db/connect.ts';
import { compare, compareAnswers } from './command.ts';
import { commands, expire, monthCommands } from './commands.ts';
import { openWorld } from './world.ts';

const starts = record({
  now: constantFrom('2026-01-31T23:00:00Z', '2027-12-31T23:59:59.999Z', '2028-02-29T12:00:00Z').map(
    (text) => Date.parse(text),
  ),
  scale: constantFrom(1n, 100_000_003n, 10_000_000_000_007n),
});

/** Each run has tenants of its own, and ends with a sweep of all that they hold. */
export function followsModel(sql: Sql, maxCommands = 60) {
  // Without scopes reserve takes a shorter way.
  const sequences = oneof(
    sequencesOf(monthCommands, { maxCommands, size: 'max' }),
    sequencesOf(commands, { maxCommands, size: 'max' }),
  );
  return asyncProperty(starts, sequences, async (start, sequence) => {
    const { model, real } = await openWorld(sql, start);
    try {
      await asyncModelRun(() => ({ model, real }), sequence);
      model.now = model.money.lastExpiry();
      compareAnswers(await expire(model, real, 1_000));
      await compare(model, real);
    } finally {
      // What a failed run holds is not for the sweeps of the next one.
      await sql`update llm_reservations set expires_at = 'infinity' where status = 'RESERVED'`;
    }
  });
}

/** `PURSER_PROPERTY_RUNS` and `PURSER_PROPERTY_SEED` of the environment. */
export function runOptions(): { numRuns: number; seed?: number } {
  const { PURSER_PROPERTY_RUNS: runs = '40', PURSER_PROPERTY_SEED: seed } = process.env;
  return { numRuns: Number(runs), ...(seed === undefined ? {} : { seed: Number(seed) }) };
}
