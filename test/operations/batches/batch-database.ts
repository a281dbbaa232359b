/** Dead letters and batches for tests, without a scheduler: steps are taken by the test. */
import type { Sql } from '../../../src/db/connect.ts';
import type { Operator } from '../../../src/operations/audit.ts';
import { batchOf } from '../../../src/operations/batches/batch.ts';
import type { BatchDetails } from '../../../src/operations/batches/batch.ts';
import type { BatchAct } from '../../../src/operations/batches/filter.ts';
import { startBatch } from '../../../src/operations/batches/acts.ts';
import { previewBatch } from '../../../src/operations/batches/preview.ts';
import { stepBatches } from '../../../src/operations/batches/step.ts';
import type { JobFilter } from '../../../src/jobs/search/filter.ts';
import { endedJob, fatal } from '../../jobs/failures/ends.ts';

export const alice: Operator = { name: 'alice', proof: 'asserted', door: 'cli', host: 'desk' };
export const bob: Operator = { name: 'bob', proof: 'session', door: 'console' };

export const deadLetter = (sql: Sql, tenantId: string, code = 'boom'): Promise<string> =>
  endedJob(sql, tenantId, fatal(code, 'it broke'));

/** Ids in ascending order. */
export async function deadLetters(sql: Sql, tenantId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let made = 0; made < count; made += 1) ids.push(await deadLetter(sql, tenantId));
  return ids;
}

/** Previews and starts a batch, at the highest pace. Returns its id. */
export async function started(
  sql: Sql,
  act: BatchAct,
  filter: JobFilter,
  perSecond = 1_000,
): Promise<string> {
  const { batchId } = await previewBatch(sql, alice, { act, filter });
  await startBatch(sql, alice, { batchId, perSecond, reason: 'fixed' });
  return batchId;
}

const maxSteps = 1_000;

/** Takes steps, each as if it were due, until the batch runs no more. */
export async function untilOver(sql: Sql, batchId: string): Promise<BatchDetails> {
  for (let steps = 0; steps < maxSteps; steps += 1) {
    const batch = await batchOf(sql, batchId);
    if (batch.state !== 'running' && batch.state !== 'undoing') return batch;
    await dueNow(sql);
    await stepBatches(sql);
  }
  throw new Error(`batch ${batchId} is not over after ${maxSteps} steps`);
}

/** The pace allows a step at once. */
export async function dueNow(sql: Sql): Promise<void> {
  await sql`
    update purser.batches set next_at = '-infinity' where state in ('running', 'undoing')`;
}

/** Ids of the jobs that replay one of these, by the id of the original. */
export async function replaysOf(sql: Sql, ids: readonly string[]): Promise<Map<string, string>> {
  const rows = await sql<{ original: string; id: string }[]>`
    select replay_of::text as original, id from public.jobs where replay_of = any(${[...ids]}::bigint[])`;
  return new Map(rows.map(({ original, id }) => [original, id]));
}
