/**
 * Why a job, the jobs of a type or tenant, or those of the fleet do not run: all causes at one moment, the one to lift
 * first named first. It reads Postgres only, in one snapshot, and its cost does not grow with the number of jobs.
 */
import type { Sql, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { assertKnown } from '../../jobs/pauses.ts';
import type { JobState } from '../../jobs/states.ts';
import { inOrder } from './cause.ts';
import type { Cause } from './cause.ts';
import { causesOfJob } from './job.ts';
import { readPlace } from './place.ts';
import type { JobPlace } from './place.ts';
import { causesOfScope } from './scopes.ts';

/** Nothing given: the fleet. A job by itself; a type, a tenant, or both. */
export interface WhyTarget {
  readonly jobId?: string | undefined;
  readonly jobType?: string | undefined;
  readonly tenantId?: string | undefined;
}

export interface WhyAnswer {
  readonly target: WhyTarget;
  /** Of a job. */
  readonly state?: JobState;
  /** Never empty. */
  readonly causes: readonly Cause[];
}

const longestMs = 5_000;

/** Throws `unknown_job`, `unknown_job_type` or `unknown_tenant`. */
export async function why(sql: Sql, target: WhyTarget): Promise<WhyAnswer> {
  return sql.begin('isolation level repeatable read read only', async (tx) => {
    await setPlans(tx);
    const { jobId, jobType, tenantId } = target;
    if (jobId !== undefined) {
      const job = await readPlace(tx, jobId);
      if (job === undefined) {
        throw new PurserError('unknown_job', `there is no job ${jobId}`, { status: 404 });
      }
      return { target, state: stateOf(job), causes: inOrder(await causesOfJob(tx, job)) };
    }
    if (jobType !== undefined) await assertKnown(tx, { scope: 'job_type', name: jobType });
    if (tenantId !== undefined) await assertKnown(tx, { scope: 'tenant', name: tenantId });
    return { target, causes: inOrder(await causesOfScope(tx, { jobType, tenantId })) };
  });
}

/** A plan that reads a table of jobs as a whole is never the right one here, not even where statistics are missing. */
export async function setPlans(tx: Tx): Promise<void> {
  await tx`
    select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
      set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true),
      set_config('statement_timeout', ${String(longestMs)}, true)`;
}

function stateOf({ stands, outcome, failed }: JobPlace): JobState {
  if (stands === 'ended') return outcome ?? 'completed';
  return stands === 'waiting' || stands === 'later' ? (failed ? 'failed' : 'pending') : stands;
}
