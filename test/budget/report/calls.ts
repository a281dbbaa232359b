/** Jobs with LLM calls, as a report finds them. */
import { recordUsage } from '../../../src/budget/settle.ts';
import { checkAndReserve, markSent } from '../../../src/budget/reserve.ts';
import { markUnknown } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { PurserError } from '../../../src/errors.ts';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import { addJobType, begin, claim, finish } from '../../jobs/job-steps.ts';
import { enqueue } from '../../../src/jobs/enqueue.ts';
import { reserve, settlementOf } from '../../support/holds.ts';
import type { TestAttempt } from '../../support/tenants.ts';

/** A running attempt of a real job of this type, which is registered. */
export async function attemptOf(
  sql: Sql,
  tenantId: string,
  jobType: string,
): Promise<BegunAttempt> {
  await addJobType(sql, jobType);
  const { jobId } = await enqueue(sql, { tenantId, jobType });
  const job = (await claim(sql, 1_000, jobType)).find((claimed) => claimed.jobId === jobId);
  if (job === undefined) throw new Error(`job ${jobId} was not claimed`);
  return begin(sql, job);
}

export interface TestCall {
  readonly hold: string;
  /** Settled at this cost. */
  readonly cost?: string;
  readonly ends?: 'held' | 'unknown';
  readonly provider?: string;
  readonly model?: string;
  readonly now?: Date;
}

/** One call of an attempt. Returns its reservation. */
export async function callOf(sql: Sql, attempt: TestAttempt, call: TestCall): Promise<string> {
  const { provider = 'openai', model = 'test-model', now } = call;
  const at = now === undefined ? {} : { now };
  const { reservationId } = await reserve(sql, attempt, call.hold, { provider, model, ...at });
  await markSent(sql, { reservationId, ...at });
  if (call.cost !== undefined) await recordUsage(sql, settlementOf(reservationId, call.cost, now));
  else if (call.ends !== 'held') await markUnknown(sql, { reservationId });
  return reservationId;
}

/** A call that the budget refuses, and the end of its attempt that follows. */
export async function refusedCall(
  sql: Sql,
  attempt: BegunAttempt,
  toState: 'parked' | 'dead_letter' = 'parked',
): Promise<void> {
  const refusal = await checkAndReserve(sql, {
    ...attempt,
    idempotencyKey: `refused-${attempt.jobId}`,
    holdNanoUsd: 10n ** 15n,
    ttlMs: 60_000,
    provider: 'openai',
    model: 'test-model',
    price: { source: 'test', model: 'test-model', rates: {} },
  }).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(refusal instanceof PurserError)) throw new Error('the call was not refused');
  await finish(sql, attempt, {
    toState,
    countsAttempt: false,
    error: { code: refusal.code, message: refusal.message },
    ...(toState === 'parked' ? { neededUsd: '1000000' } : {}),
  });
}
