/** A fleet of one scheduler and one worker, a tenant, and jobs taken into each state by the functions of the product. */
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import { removeHeartbeat, writeHeartbeat } from '../../../src/db/heartbeats.ts';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import { pauseWork } from '../../../src/jobs/pauses.ts';
import type { Cause } from '../../../src/operations/why/cause.ts';
import { why } from '../../../src/operations/why/why.ts';
import { endOfThrow } from '../../../src/worker/classify.ts';
import { addJobType, finish, runningJob, step } from '../../jobs/job-steps.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve } from '../../support/holds.ts';
import { addTenant } from '../../support/tenants.ts';

export const other = 'test_other';
export let test: TestDatabase;
export let sql: Sql;
/** Added before each test, with a month of 1 USD. */
export let tenantId: string;

/**
 * The hooks of a test file. A call, and not an effect of the import: files that share a process import this once.
 */
export function useArranged(): void {
  beforeAll(async () => {
    test = await freshDatabase();
    sql = test.sql;
    await addJobType(sql);
    await addJobType(sql, other);
  });
  beforeEach(async () => {
    await sql`
      with paused as (delete from pauses), stopped as (delete from llm_stops), open as (delete from llm_breakers),
        waiting as (delete from purser.waiting where job_id > 5000000), limited as (delete from job_limits), fleet as (update llm_fleet_scopes set removed_at = now()),
        beating as (delete from heartbeats)
      delete from jobs`;
    tenantId = await addTenant(sql, { limitUsd: '1' });
    await beat('scheduler');
    await beat('worker', [step]);
  });
  afterAll(() => test.close());
}

export async function beat(
  role: 'scheduler' | 'worker',
  jobTypes: readonly string[] = [],
  running = 0,
  processId = `${role}-1`,
): Promise<string> {
  await writeHeartbeat(sql, {
    processId,
    role,
    version: '1',
    hostname: 'host-1',
    pid: 1,
    jobTypes,
    typeSlots: jobTypes.map(() => 5),
    slots: 5,
    running,
    progressedAt: new Date(),
    metrics: [],
  });
  return processId;
}
export const stopped = (role: 'scheduler' | 'worker') => removeHeartbeat(sql, `${role}-1`);
export const silentFor = (seconds: number) => sql`
  update heartbeats set beat_at = now() - ${seconds} * interval '1 second' where role = 'worker'`;

export const causesOf = async (jobId: string): Promise<readonly Cause[]> =>
  (await why(sql, { jobId })).causes;
export const codesOf = async (jobId: string): Promise<string[]> =>
  (await causesOf(jobId)).map(({ code }) => code);
export async function firstOf(jobId: string): Promise<Cause> {
  const [first] = await causesOf(jobId);
  if (first === undefined) throw new Error('no cause');
  return first;
}
export const pause = (scope: 'all' | 'job_type' | 'tenant', name = '') =>
  pauseWork(sql, { scope, name, reason: 'bad release', by: 'alice' });
/** Rows of the state alone: dispatch and `why` read no other. */
export const waitingRows = (count: number) => sql`
  insert into purser.waiting (job_id, tenant_id, job_type, priority, scheduled_for, give_up_at)
  select 5000000 + n, ${tenantId}, ${step}, 0, now(), now() + interval '1 day' from generate_series(1, ${count}::int) n`;
export const inAnHour = (): Date => new Date(Date.now() + 3_600_000);

/** Ends the attempt as the worker does when its handler throws. */
export async function throws(attempt: BegunAttempt, thrown: unknown): Promise<string> {
  const end = endOfThrow(thrown, {
    attempt,
    handler: { onBudget: 'park', backoff: { baseMs: 60_000, maxMs: 60_000 } as never },
    now: new Date(),
  });
  expect(await finish(sql, attempt, end)).toBe('applied');
  return attempt.jobId;
}
const thrownBy = async (call: Promise<unknown>): Promise<unknown> => {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error('the call was admitted');
};
/** A job whose LLM call of `usd` is refused. */
export async function refusedJob(usd = '5', overrides: Parameters<typeof reserve>[3] = {}) {
  const attempt = await runningJob(sql, tenantId);
  return throws(attempt, await thrownBy(reserve(sql, { ...attempt, tenantId }, usd, overrides)));
}
