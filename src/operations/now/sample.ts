/** The sample that the sweep takes once a minute of what the console draws over 24 hours. */
import type { Sql } from '../../db/connect.ts';
import { waitingTypes } from '../why/waiting-types.ts';

/** Returns 1, or 0 where another scheduler took one within the last minute. */
export async function sampleFleet(sql: Sql): Promise<number> {
  const [sample] = await sql<{ isDue: boolean }[]>`select purser.begin_sample() as "isDue"`;
  if (sample?.isDue !== true) return 0;
  const waits = (await waitingTypes(sql, {})).map(({ jobType, waitMs }) => [
    jobType,
    Math.round(waitMs),
  ]);
  await storeSample(sql, JSON.stringify(Object.fromEntries(waits)));
  return 1;
}

async function storeSample(sql: Sql, waits: string): Promise<void> {
  await sql`select purser.store_sample(${waits}::text::jsonb)`;
}
